package mock

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestExchangeResponseHasInstagramsExactBodyAndHeaders(t *testing.T) {
	s := newStand(t, ServerOptions{})
	for n, want := range []string{"5183944", "5183961", "5183978"} {
		a := s.exchange(t, "IGAA-anna")
		issued := s.Issued("IGAA-anna")
		if len(issued) != n+1 {
			t.Fatalf("tokens issued: got %d, want %d", len(issued), n+1)
		}
		want = `{"access_token":"` + issued[n] + `","token_type":"bearer","expires_in":` + want + `}`
		if a.err != nil || a.status != 200 || a.body != want {
			t.Errorf("got %d %s (error %v), want %s", a.status, a.body, a.err, want)
		}
		for name, want := range map[string]string{
			"Content-Type": `^application/json; charset=UTF-8$`, "X-App-Usage": `^\{"call_volume":0,"cpu_time":0\}$`, "X-Fb-Trace-Id": `^\w{11}$`,
			"X-Fb-Request-Id": `^A\w{22}$`, "X-Fb-Rev": `^\d+$`, "Instagram-Api-Version": `^v23\.0$`,
		} {
			if got := a.header.Get(name); !regexp.MustCompile(want).MatchString(got) {
				t.Errorf("%s: got %q, want %s", name, got, want)
			}
		}
	}
	if a := s.get(t, "/v19.0/access_token?"+query("IGAA-anna")); a.status != 200 || a.header.Get("Instagram-Api-Version") != "v19.0" {
		t.Errorf("with a version: got %d and Instagram-Api-Version %q, want 200 and v19.0", a.status, a.header.Get("Instagram-Api-Version"))
	}
	if strange := s.Strange(); len(strange) > 0 {
		t.Errorf("strange requests: got %v, want none", strange)
	}
}

func TestIssuedTokensLookRealAndAreUnique(t *testing.T) {
	s := newStand(t, ServerOptions{})
	seen := map[string]string{}
	for _, short := range []string{"IGAA-a", "IGAA-b", "IGAAQ", "x"} {
		for range 20 {
			s.exchange(t, short)
		}
		issued := s.Issued(short)
		if len(issued) != 20 {
			t.Fatalf("tokens issued for %s: got %d, want 20", short, len(issued))
		}
		for _, long := range issued {
			if !regexp.MustCompile(`^IGAA\w{176}$`).MatchString(long) {
				t.Errorf("%s: got %s, want IGAA and 176 letters or digits", short, long)
			}
			if len(short) > 1 && strings.Contains(long, short) {
				t.Errorf("%s: got %s, want a token without %s in it", short, long, short)
			}
			if other, twice := seen[long]; twice {
				t.Errorf("%s: got a token that was issued for %s before, want a new token", short, other)
			}
			seen[long] = short
		}
	}
	s.Reset()
	if s.exchange(t, "IGAA-a"); len(s.Issued("IGAA-a")) != 1 || seen[s.Issued("IGAA-a")[0]] != "" {
		t.Errorf("after a reset: Issued got %v, want one new token", s.Issued("IGAA-a"))
	}
	if len(s.Issued("never-sent")) != 0 {
		t.Errorf("a token that was never received: Issued got %v, want none", s.Issued("never-sent"))
	}
}

func TestTokenLifetimesCycleThrough57ValuesInInstagramsRange(t *testing.T) {
	seen := map[int]bool{}
	for n := range 57 {
		seen[expiresIn(n)] = true
		if s := expiresIn(n); s < 5183944 || s > 5184000 {
			t.Errorf("expiresIn(%d) = %d, want 5183944 to 5184000", n, s)
		}
	}
	if len(seen) != 57 || expiresIn(57) != expiresIn(0) {
		t.Errorf("different values: got %d, want 57; expiresIn(57) got %d, want %d", len(seen), expiresIn(57), expiresIn(0))
	}
}

func TestChecksHaveInstagramsOrder(t *testing.T) {
	s := newStand(t, ServerOptions{})
	const grant, secret = "grant_type=ig_exchange_token", "client_secret=" + testSecret
	for name, c := range map[string]struct {
		method, target string
		status         int
		want           string // the envelope before the trace ID
		authenticate   string // the error name in WWW-Authenticate; "" without this header
	}{
		"method before path": {"POST", "/x", 400,
			`"message":"Unsupported request - method type: post","type":"IGApiException","code":100`, "invalid_request"},
		"path before secret": {"GET", "/me/x?" + grant, 500,
			`"message":"Unknown path components: /me/x","type":"IGApiException","code":2500`, ""},
		"a similar path": {"GET", "/vx/access_token?" + query("a"), 500,
			`"message":"Unknown path components: /vx/access_token","type":"IGApiException","code":2500`, ""},
		"secret before token": {"GET", "/access_token?" + grant + "&client_secret=wrong", 400,
			`"message":"Error validating client secret.","type":"OAuthException","code":100`, "invalid_request"},
		"secret before fault": {"GET", "/access_token?" + grant + "&access_token=expired-1", 400,
			`"message":"Error validating client secret.","type":"OAuthException","code":100`, "invalid_request"},
		"token before grant": {"GET", "/v22.0/access_token?" + secret, 400,
			`"message":"An active access token must be used to query information about the current user.","type":"OAuthException",` +
				`"code":2500`, "invalid_request"},
		"grant before fault": {"GET", "/access_token?" + secret + "&access_token=expired-1&grant_type=x", 400,
			`"message":"(#100) Param grant_type must be one of {ig_exchange_token}","type":"OAuthException","code":100`, "invalid_request"},
		"token last": {"GET", "/access_token?" + query("garbage-1"), 400,
			`"message":"Invalid OAuth access token - Cannot parse access token","type":"OAuthException","code":190`, "invalid_token"},
		"the token of check --online": {"GET", "/access_token?" + query("igproxy-check-this-is-no-token"), 400,
			`"message":"Invalid OAuth access token - Cannot parse access token","type":"OAuthException","code":190`, "invalid_token"},
	} {
		a := s.send(t, c.method, c.target, nil, nil)
		want := regexp.MustCompile(`^\{"error":\{` + regexp.QuoteMeta(c.want) + `,"fbtrace_id":"A\w{22}"\}\}$`)
		if a.status != c.status || !want.MatchString(a.body) || a.header.Get("Content-Type") != jsonType {
			t.Errorf("%s: got %d %s (error %v), want %d with %s", name, a.status, a.body, a.err, c.status, c.want)
		}
		got := a.header.Get("WWW-Authenticate")
		if (got == "") != (c.authenticate == "") || got != "" && !strings.HasPrefix(got, `OAuth "Facebook Platform" "`+c.authenticate+`" "`) {
			t.Errorf("%s: WWW-Authenticate: got %q, want the error %q", name, got, c.authenticate)
		}
	}
}

func TestWithoutAConfiguredSecretAnySecretIsAccepted(t *testing.T) {
	i := New(Options{})
	for secret, want := range map[string]int{"anything": 200, "": 400} {
		w := httptest.NewRecorder()
		i.ServeHTTP(w, httptest.NewRequest("GET", "/access_token?grant_type=ig_exchange_token&access_token=IGAA&client_secret="+secret, nil))
		if w.Code != want {
			t.Errorf("secret %q: got %d, want %d", secret, w.Code, want)
		}
	}
}

func TestStrangeRequestsAreListedAndStillAnswered(t *testing.T) {
	s := newStand(t, ServerOptions{})
	const canary = "IGAAcanaryCanaryCanaryCanaryCanary"
	good := "/access_token?" + query("IGAA-1")
	for _, c := range []struct {
		method, target, body string
		header               http.Header
		want                 string
	}{
		{"GET", good + "&client_id=1&format=json", "", nil, "parameter client_id, parameter format"},
		{"GET", good + "&access_token=IGAA-2", "", nil, "repeated access_token"},
		{"GET", "/access_token?access_token=IGAA-1", "", nil, "no grant_type, no client_secret"},
		{"GET", good + "&" + canary + "=1", "", nil, "parameter of an odd name"},
		{"GET", good + "&x=%zz", "", nil, "malformed query"},
		{"GET", good, "access_token=1", nil, "body"},
		{"GET", good, "", http.Header{"Authorization": {"Bearer " + canary}, "Referer": {canary}, "User-Agent": {"igproxy"}},
			"header Authorization, header Referer"},
		{"POST", "/" + canary + "?" + query("IGAA-1"), "", nil, "method, unknown path"},
	} {
		s.Reset()
		a := s.send(t, c.method, c.target, strings.NewReader(c.body), c.header) // an empty reader sends no body
		if got := s.Strange(); a.err != nil || len(got) != 1 || got[0] != c.want {
			t.Errorf("strange requests: got %q (error %v), want %q", got, a.err, c.want)
		}
		if a.status == 0 || s.Calls() != 1 {
			t.Errorf("%s: got status %d, want a response; %d calls, want 1", c.want, a.status, s.Calls())
		}
	}
}

func TestConcurrentCallsAreCountedExactly(t *testing.T) {
	s := newStand(t, ServerOptions{})
	s.SetFault("hang")
	var wg sync.WaitGroup
	for n := range 30 {
		wg.Go(func() { s.exchange(t, fmt.Sprintf("IGAA-%d", n%3)) })
	}
	eventually(t, "all calls arrived", func() bool { return s.Calls() == 30 })
	s.SetFault("")
	if a := s.exchange(t, "IGAA-0"); a.status != 200 {
		t.Errorf("a call while other calls hang: got %d (error %v), want 200", a.status, a.err)
	}
	if got := s.currentCounters().stats(); got.MaxInFlight != 31 {
		t.Errorf("max_in_flight: got %d, want 31", got.MaxInFlight)
	}
	s.Instagram.Close()
	wg.Wait()
	eventually(t, "all calls ended", func() bool { return s.currentCounters().stats().InFlight == 0 })
	for short, want := range map[string][2]int{"IGAA-0": {11, 11}, "IGAA-1": {10, 10}, "IGAA-9": {0, 0}} {
		if got := [2]int{s.CallsFor(short), s.MaxConcurrent(short)}; got != want {
			t.Errorf("%s: CallsFor got %d, want %d; MaxConcurrent got %d, want %d", short, got[0], want[0], got[1], want[1])
		}
	}
	s.Reset()
	if s.Calls() != 0 || s.CallsFor("IGAA-0") != 0 || s.MaxConcurrent("IGAA-0") != 0 || len(s.Issued("IGAA-0")) != 0 {
		t.Errorf("after a reset: Calls got %d, want 0; CallsFor got %d, want 0; MaxConcurrent got %d, want 0; Issued got %v, want none",
			s.Calls(), s.CallsFor("IGAA-0"), s.MaxConcurrent("IGAA-0"), s.Issued("IGAA-0"))
	}
	s.exchange(t, "IGAA-0")
	if s.CallsFor("IGAA-0") != 1 || s.MaxConcurrent("IGAA-0") != 1 {
		t.Errorf("a call after the reset: CallsFor got %d, want 1; MaxConcurrent got %d, want 1", s.CallsFor("IGAA-0"), s.MaxConcurrent("IGAA-0"))
	}
}

// Requests in flight during a reset are subtracted from the old counters when they end, so no new
// counter becomes negative.
func TestAResetForgetsRequestsInFlight(t *testing.T) {
	s := newStand(t, ServerOptions{})
	done := make(chan struct{})
	go func() { s.exchange(t, "hang-1"); close(done) }()
	eventually(t, "the call arrived", func() bool { return s.Calls() == 1 })
	s.Reset()
	s.Instagram.Close()
	<-done
	if got := s.currentCounters().stats(); got.InFlight != 0 || got.Total != 0 {
		t.Errorf("after the reset: got %+v, want all counters 0", got)
	}
}

func TestSetFaultPanicsOnUnknownName(t *testing.T) {
	defer func() {
		if got := fmt.Sprint(recover()); !strings.Contains(got, "unknown fault") || !strings.Contains(got, "expired") {
			t.Errorf("got the panic %s, want one that lists the known faults", got)
		}
	}()
	New(Options{}).SetFault("exspired")
}

// A simulated clock does not work with real connections, so the test calls the handler directly.
func TestLatencyAndSlowFaultsTakeTheirTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := New(Options{Latency: time.Second})
		took := func(token string) time.Duration {
			start := time.Now()
			w := httptest.NewRecorder()
			i.ServeHTTP(w, httptest.NewRequest("GET", "/access_token?"+query(token), nil))
			if w.Code != 200 {
				t.Errorf("%s: got %d, want 200", token, w.Code)
			}
			return time.Since(start)
		}
		if got := took("IGAA-1"); got != time.Second {
			t.Errorf("Options.Latency: took %s, want 1s", got)
		}
		i.SetLatency(20 * time.Millisecond)
		if got := took("slow-1"); got != 320*time.Millisecond {
			t.Errorf("slow: took %s, want 320ms", got)
		}
		if got := took("drip-1"); got < 3*time.Minute || got > 5*time.Minute {
			t.Errorf("drip: took %s, want 3 to 5 minutes", got)
		}
	})
}

func TestLogContainsNoTokenOrSecret(t *testing.T) {
	var log strings.Builder
	i := New(Options{Secret: testSecret, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	exchange := "/access_token?"
	for _, target := range []string{exchange + query("IGAA-canary"), exchange + query("reflect-canary") + "&canary=canary", "/canary"} {
		i.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", target, nil))
	}
	lines := slices.Collect(strings.Lines(log.String()))
	if len(lines) != 3 || !strings.Contains(lines[0], "token="+hashOf("IGAA-canary")) || !strings.Contains(lines[1], "fault=reflect") {
		t.Errorf("got:\n%swant three lines, the first with the hash of the token, the second with fault=reflect", log.String())
	}
	everything := log.String() + fmt.Sprintf("%+v %#v", *i.currentCounters(), i.currentCounters().fullStats())
	for _, secret := range []string{"IGAA-canary", "reflect-canary", testSecret, i.Issued("IGAA-canary")[0]} {
		if strings.Contains(everything, secret) {
			t.Errorf("log and counters: got %s..., want no token or secret", secret[:8])
		}
	}
}
