package mock

import (
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"
)

const (
	threadsSecret = "fedcba9876543210fedcba9876543210"
	threadsApp    = "1234567890"
)

var allApps = Options{AppID: testApp, Secret: testSecret, Threads: App{AppID: threadsApp, Secret: threadsSecret},
	Facebook: App{AppID: facebookApp, Secret: facebookSecret}}

func threadsQuery(token string) string {
	return "grant_type=th_exchange_token&client_secret=" + threadsSecret + "&access_token=" + url.QueryEscape(token)
}

func threadsLogin(code string) url.Values {
	return loginForm(code, "client_id", threadsApp, "client_secret", threadsSecret)
}

func TestThreadsSharesOneListenerWithInstagramFromCodeToRefresh(t *testing.T) {
	s := newStandOf(t, allApps, ServerOptions{})
	a := s.login(t, threadsLogin("AQcode"))
	if !regexp.MustCompile(`^\{"access_token":"THQV\w{176}","user_id":24000000000000001\}$`).MatchString(a.body) {
		t.Fatalf("code: got %d %s, want a short-lived token and a user_id", a.status, a.body)
	}
	short := tokenOf(t, a)
	a = s.get(t, "/access_token?"+threadsQuery(short))
	long := tokenOf(t, a)
	if a.body != `{"access_token":"`+long+`","token_type":"bearer","expires_in":5183961}` || !strings.HasPrefix(long, "THAA") ||
		s.Issued(short)[0] != long || s.Issued("AQcode")[0] != short {
		t.Errorf("exchange: got %s, want a token that begins with THAA, issued for the short-lived token", a.body)
	}
	refresh := "/refresh_access_token?grant_type=th_refresh_token&access_token=" + long
	wantCode(t, "young", s.get(t, refresh), 400, 190, 0)
	s.Age(25 * time.Hour)
	if a := s.get(t, refresh); !strings.HasPrefix(tokenOf(t, a), "THAA") {
		t.Errorf("a day later: got %d %s, want a token that begins with THAA", a.status, a.body)
	}
	if a := s.get(t, "/v1.0/me?fields=username,id&access_token="+long); a.body != `{"username":"anna.threads","id":"24000000000000001"}` {
		t.Errorf("read: got %d %s, want %s", a.status, a.body, `{"username":"anna.threads","id":"24000000000000001"}`)
	}
	s.exchange(t, "IGAA-anna")
	for endpoint, want := range map[string]int{"threads_code": 1, "threads_exchange": 1, "threads_refresh": 2, "threads_read": 1, "exchange": 1, "refresh": 0} {
		if got := s.CallsTo(endpoint); got != want {
			t.Errorf("calls to %s: got %d, want %d", endpoint, got, want)
		}
	}
	if strange := s.Strange(); len(strange) > 0 {
		t.Errorf("strange requests: got %v, want none", strange)
	}
}

func TestEachAppAcceptsOnlyItsOwnSecret(t *testing.T) {
	s := newStandOf(t, allApps, ServerOptions{})
	swapped := strings.NewReplacer(testSecret, threadsSecret, threadsSecret, testSecret)
	wantCode(t, "Threads' secret at Instagram", s.get(t, "/access_token?"+swapped.Replace(query("IGAA-1"))), 400, 100, 0)
	wantCode(t, "Instagram's secret at Threads", s.get(t, "/access_token?"+swapped.Replace(threadsQuery("THQV1"))), 400, 100, 0)
	for name, form := range map[string]url.Values{
		"a code at Threads with Instagram's secret": loginForm("AQ1", "client_id", threadsApp),
		"a code at Instagram with Threads' secret":  loginForm("AQ1", "client_secret", threadsSecret)} {
		if a := s.login(t, form); a.body != loginError(unverified) {
			t.Errorf("%s: got %d %s, want %s", name, a.status, a.body, loginError(unverified))
		}
	}
	wantCode(t, "Instagram's token at Threads", s.get(t, "/access_token?"+threadsQuery("IGAA1")), 400, 190, 0)
	wantCode(t, "Threads' token at Instagram", s.get(t, "/access_token?"+query("THQV1")), 400, 190, 0)
	if a := s.get(t, "/access_token?"+threadsQuery("any")); a.status != 200 {
		t.Errorf("any other token: got %d %s, want 200", a.status, a.body)
	}
}

// With Options.Host, the paths of other hosts are unknown and their grant types are refused.
func TestHostServesOnlyItsOwnEndpoints(t *testing.T) {
	of := allApps
	targets := map[string]func(*stand) answer{
		"exchange":         func(s *stand) answer { return s.get(t, "/access_token?"+query("IGAA1")) },
		"refresh":          func(s *stand) answer { return s.refresh(t, "IGAA1") },
		"code":             func(s *stand) answer { return s.login(t, loginForm("AQ1")) },
		"read":             func(s *stand) answer { return s.get(t, "/me?access_token=IGAA1") },
		"write":            func(s *stand) answer { return s.post(t, "/me/media?access_token=IGAA1", urlencoded, "") },
		"threads_exchange": func(s *stand) answer { return s.get(t, "/access_token?"+threadsQuery("THQV1")) },
		"threads_refresh": func(s *stand) answer {
			return s.get(t, "/refresh_access_token?grant_type=th_refresh_token&access_token=THAA1")
		},
		"threads_code":       func(s *stand) answer { return s.login(t, threadsLogin("AQ2")) },
		"threads_read":       func(s *stand) answer { return s.get(t, "/me?access_token=THAA1") },
		"threads_app_token":  func(s *stand) answer { return s.get(t, appTokenQuery(threadsApp, threadsSecret)) },
		"facebook_exchange":  func(s *stand) answer { return s.get(t, extendQuery("EAAG1")) },
		"facebook_code":      func(s *stand) answer { return s.get(t, facebookCodeQuery("AQ3")) },
		"facebook_app_token": func(s *stand) answer { return s.get(t, appTokenQuery(facebookApp, facebookSecret)) },
		"facebook_read":      func(s *stand) answer { return s.get(t, "/me/accounts?access_token=EAAG1") },
		"facebook_debug_token": func(s *stand) answer {
			return s.get(t, "/debug_token?input_token=EAAG1&access_token="+url.QueryEscape(facebookApp+"|"+facebookSecret))
		},
	}
	const instagram, threads = "exchange refresh read write", "threads_exchange threads_refresh threads_code threads_read threads_app_token"
	const facebook = "facebook_exchange facebook_code facebook_app_token facebook_read facebook_debug_token"
	for name, served := range map[string]string{
		"": instagram + " code " + threads + " " + facebook, "graph.instagram.com": instagram, "api.instagram.com": "code",
		"graph.threads.net": threads, "graph.threads.com": threads, "graph.facebook.com": facebook,
	} {
		of.Host = name
		s := newStandOf(t, of, ServerOptions{})
		for target, send := range targets {
			want := 0
			if strings.Contains(" "+served+" ", " "+target+" ") {
				want = 1
			}
			s.Reset()
			if a := send(s); (a.status == 200) != (want == 1) || a.status == 200 && s.CallsTo(target) != 1 {
				t.Errorf("%s at host %q: got %d %s, want success %t; calls: got %d, want %d", target, name, a.status, a.body, want == 1, s.CallsTo(target), want)
			}
		}
	}
	of.Host = "api.instagram.com"
	s := newStandOf(t, of, ServerOptions{})
	wantCode(t, "an exchange at the login host", s.exchange(t, "IGAA1"), 500, 2500, 0)
	if s.CallsTo("other") != 1 {
		t.Errorf("calls to unknown paths: got %d, want 1", s.CallsTo("other"))
	}
}

// Without app IDs, the stand-in finds the family of a login call by its method and parameters. It
// finds the family of a read, a write or a call to debug_token by the call's tokens, by a proof, or
// by an edge that only Facebook has.
func TestOneListenerForAllHostsTellsTheFamiliesApart(t *testing.T) {
	s := newStandOf(t, Options{}, ServerOptions{})
	issued := tokenOf(t, s.get(t, extendQuery("EAAG1")))
	path, login, _ := strings.Cut(facebookCodeQuery("AQ2"), "?")
	for name, c := range map[string]struct {
		endpoint string
		send     func() answer
	}{
		"a code in a form":                 {"code", func() answer { return s.login(t, loginForm("AQ1")) }},
		"a code in a form without a grant": {"facebook_code", func() answer { return s.post(t, path, urlencoded, login) }},
		"a code by GET":                    {"facebook_code", func() answer { return s.get(t, facebookCodeQuery("AQ3")) }},
		"an exchange at Facebook":          {"facebook_exchange", func() answer { return s.sendAs(t, "POST JSON", extendQuery("x")) }},
		"an app token":                     {"facebook_app_token", func() answer { return s.get(t, appTokenQuery("17", "x")) }},
		"a token that Facebook issued":     {"facebook_read", func() answer { return s.get(t, "/me?access_token="+issued) }},
		"a token of unknown origin":        {"read", func() answer { return s.get(t, "/me?access_token=EAAelsewhere") }},
		"a proof": {"facebook_read", func() answer {
			return s.get(t, "/me?access_token=EAAelsewhere&appsecret_proof="+Proof("any", "EAAelsewhere"))
		}},
		"an edge of Facebook":               {"facebook_read", func() answer { return s.get(t, "/me/accounts?access_token=EAAelsewhere") }},
		"a write with a token":              {"threads_write", func() answer { return s.post(t, "/me/threads", urlencoded, "access_token=TH1") }},
		"inspected with an app token":       {"facebook_debug_token", func() answer { return s.get(t, "/debug_token?input_token=EAA1&access_token=17%7Cx") }},
		"inspected with Threads' app token": {"threads_debug_token", func() answer { return s.get(t, "/debug_token?input_token=TH1&access_token=TH%7C17%7Cx") }},
		"inspected with a user's token":     {"facebook_debug_token", func() answer { return s.get(t, "/debug_token?input_token=EAA1&access_token="+issued) }},
	} {
		s.Reset()
		if a := c.send(); a.status != 200 || s.CallsTo(c.endpoint) != 1 {
			t.Errorf("%s: got %d %s, want 200; calls: got %v, want one to %s", name, a.status, a.body, s.currentCounters().stats().Endpoints, c.endpoint)
		}
	}
}

func TestHostsAreListed(t *testing.T) {
	const want = "api.instagram.com graph.facebook.com graph.instagram.com graph.threads.com graph.threads.net"
	if got := strings.Join(Hosts(), " "); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestUnknownNamesPanic(t *testing.T) {
	for name, f := range map[string]func(){
		"host":     func() { New(Options{Host: "graph.instagram.org"}) },
		"endpoint": func() { New(Options{}).CallsTo("exchanges") },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("unknown %s: got no panic, want a panic", name)
				}
			}()
			f()
		}()
	}
}
