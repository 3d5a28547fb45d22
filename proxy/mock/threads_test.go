package mock

import (
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestThreadsAcceptsACodeByPostAndGet(t *testing.T) {
	for _, host := range []string{"", "graph.threads.net", "graph.threads.com"} {
		of := allApps
		of.Host = host
		s := newStandOf(t, of, ServerOptions{})
		for form, strange := range map[string]string{
			"POST urlencoded": "", "POST multipart": "",
			"GET": "method, parameter client_id in the query, parameter client_secret in the query, parameter code in the query, " +
				"parameter grant_type in the query, parameter redirect_uri in the query, no client_id, no client_secret, no grant_type, " +
				"no redirect_uri, no code, content type",
			"POST with a query": "parameter client_id in the query, parameter client_secret in the query, parameter code in the query, " +
				"parameter grant_type in the query, parameter redirect_uri in the query, no client_id, no client_secret, no grant_type, " +
				"no redirect_uri, no code, content type",
		} {
			s.Reset()
			target := "/oauth/access_token?" + threadsLogin("AQ"+strings.ReplaceAll(form, " ", "")).Encode()
			if token := tokenOf(t, s.sendAs(t, form, target)); !strings.HasPrefix(token, "THQV") || s.CallsTo("threads_code") != 1 {
				t.Errorf("%q, %s: got %s, want a token that begins with THQV; %d calls, want 1", host, form, token, s.CallsTo("threads_code"))
			}
			if got := strings.Join(s.Strange(), "; "); got != strange {
				t.Errorf("%q, %s: strange: got %q, want %q", host, form, got, strange)
			}
			if a := s.sendAs(t, form, target); a.body != loginError("This authorization code has been used") {
				t.Errorf("%q, %s, again: got %d %s, want %s", host, form, a.status, a.body, loginError("This authorization code has been used"))
			}
		}
	}
}

func TestAppTokensInspectTokensAndDoNotExpire(t *testing.T) {
	for _, c := range []struct{ host, id, secret, prefix, endpoint, input string }{
		{"", threadsApp, threadsSecret, "TH|", "threads_", "THAA1"},
		{"graph.threads.com", threadsApp, threadsSecret, "TH|", "threads_", "THAA1"},
		{"", facebookApp, facebookSecret, "", "facebook_", "EAAG1"},
		{"graph.facebook.com", facebookApp, facebookSecret, "", "facebook_", "EAAG1"},
	} {
		of := allApps
		of.Host = c.host
		s := newStandOf(t, of, ServerOptions{})
		a := s.get(t, appTokenQuery(c.id, c.secret))
		token := tokenOf(t, a)
		if a.body != `{"access_token":"`+token+`","token_type":"bearer"}` ||
			!regexp.MustCompile(`^`+regexp.QuoteMeta(c.prefix+c.id+"|")+`\w{27}$`).MatchString(token) || s.Issued(c.id)[0] != token {
			t.Errorf("host %q, app %s: got %d %s, want an app token without expires_in; issued %v, want that token", c.host, c.id, a.status, a.body, s.Issued(c.id))
		}
		s.Age(10 * 365 * 24 * time.Hour)
		for _, access := range []string{token, c.prefix + c.id + "|" + c.secret} {
			a := s.get(t, "/v23.0/debug_token?input_token="+c.input+"&access_token="+url.QueryEscape(access))
			if a.status != 200 || !strings.Contains(a.body, `"is_valid":true`) {
				t.Errorf("host %q, debug_token with %s: got %d %s, want 200 with %q", c.host, access, a.status, a.body, `"is_valid":true`)
			}
			wantCode(t, "an app token at /me", s.get(t, "/me?access_token="+url.QueryEscape(access)), 400, 2500, 0)
			if a := s.get(t, "/17900000000000007?access_token="+url.QueryEscape(access)); a.status != 200 {
				t.Errorf("a read with an app token: got %d %s, want 200", a.status, a.body)
			}
		}
		wantCode(t, "wrong secret", s.get(t, appTokenQuery(c.id, "x")), 400, map[string]int{"threads_": 100, "facebook_": 1}[c.endpoint], 0)
		for endpoint, want := range map[string]int{"app_token": 2, "debug_token": 2, "read": 4} {
			if got := s.CallsTo(c.endpoint + endpoint); got != want {
				t.Errorf("%s%s: %d calls, want %d", c.endpoint, endpoint, got, want)
			}
		}
		if strange := s.Strange(); len(strange) > 0 {
			t.Errorf("strange requests: got %v, want none", strange)
		}
	}
}
