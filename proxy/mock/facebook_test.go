package mock

import (
	"bytes"
	"encoding/json"
	"mime/multipart"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"
)

const (
	facebookSecret = "00112233445566778899aabbccddeeff"
	facebookApp    = "8675309"
)

// extendQuery returns the path and query of Facebook's token exchange as igproxy sends it.
// facebookCodeQuery and appTokenQuery do the same for the other login calls.
func extendQuery(token string) string {
	return loginQuery("grant_type", "fb_exchange_token", "client_id", facebookApp, "client_secret", facebookSecret, "fb_exchange_token", token)
}

func facebookCodeQuery(code string) string {
	return loginQuery("client_id", facebookApp, "client_secret", facebookSecret, "redirect_uri", testRedirect, "code", code)
}

func appTokenQuery(id, secret string) string {
	return loginQuery("grant_type", "client_credentials", "client_id", id, "client_secret", secret)
}

// loginQuery returns the login path with a query. The arguments are names and values in turn.
func loginQuery(pairs ...string) string {
	q := url.Values{}
	for n := 0; n < len(pairs); n += 2 {
		q.Set(pairs[n], pairs[n+1])
	}
	return "/oauth/access_token?" + q.Encode()
}

// sendAs sends the parameters of a target in one of the forms that apps use.
func (s *stand) sendAs(t *testing.T, form, target string) answer {
	t.Helper()
	path, query, _ := strings.Cut(target, "?")
	values, _ := url.ParseQuery(query)
	switch form {
	case "GET":
		return s.get(t, target)
	case "POST with a query":
		return s.send(t, "POST", target, nil, nil)
	case "POST urlencoded":
		return s.post(t, path, urlencoded, query)
	case "POST multipart":
		var body bytes.Buffer
		w := multipart.NewWriter(&body)
		for name := range values {
			_ = w.WriteField(name, values.Get(name))
		}
		_ = w.Close()
		return s.post(t, path, w.FormDataContentType(), body.String())
	case "POST JSON":
		members := map[string]string{}
		for name := range values {
			members[name] = values.Get(name)
		}
		body, _ := json.Marshal(members)
		return s.post(t, path, "application/json", string(body))
	}
	t.Fatalf("unknown form %s", form)
	return answer{}
}

var anyForm = []string{"GET", "POST with a query", "POST urlencoded", "POST multipart", "POST JSON"}

func TestFacebookExchangesACodeAndThenExtendsTheToken(t *testing.T) {
	for _, host := range []string{"", "graph.facebook.com"} {
		of := allApps
		of.Host = host
		s := newStandOf(t, of, ServerOptions{})
		a := s.get(t, "/v23.0"+facebookCodeQuery("AQcode"))
		short := tokenOf(t, a)
		if a.body != `{"access_token":"`+short+`","token_type":"bearer","expires_in":3600}` || !strings.HasPrefix(short, "EAA") ||
			a.header.Get("Facebook-Api-Version") != "v23.0" || a.header.Get("Instagram-Api-Version") != "" {
			t.Errorf("code: got %d %s with the headers %v, want a token that begins with EAA, and the header Facebook-Api-Version: v23.0 without Instagram-Api-Version", a.status, a.body, a.header)
		}
		a = s.get(t, extendQuery(short))
		long := tokenOf(t, a)
		if a.body != `{"access_token":"`+long+`","token_type":"bearer","expires_in":5183961}` || long == short || s.Issued(short)[0] != long {
			t.Errorf("exchange: got %d %s, want a new token with expires_in 5183961", a.status, a.body)
		}
		extended := tokenOf(t, s.get(t, "/v23.0"+extendQuery(long)))
		if extended == long || s.Issued(long)[0] != extended {
			t.Errorf("extended token: got %s, want a new token; Issued got %v, want the extended token", extended, s.Issued(long))
		}
		if a := s.get(t, "/me?fields=id,username&access_token="+extended); a.body != `{"id":"10158000000000001","username":"anna.pages"}` {
			t.Errorf("read: got %d %s, want %s", a.status, a.body, `{"id":"10158000000000001","username":"anna.pages"}`)
		}
		if a := s.post(t, "/me/feed", urlencoded, "message=x&access_token="+extended); a.body != `{"id":"17900000000000060"}` {
			t.Errorf("write: got %d %s, want %s", a.status, a.body, `{"id":"17900000000000060"}`)
		}
		a = s.get(t, "/me/accounts?limit=1&access_token="+extended)
		if next := `\/v23.0\/10158000000000001\/accounts?access_token=` + extended + `&limit=1&after=`; !strings.Contains(a.body, next) {
			t.Errorf("list: got %d %s, want a body with %q", a.status, a.body, next)
		}
		s.Age(61 * 24 * time.Hour)
		wantCode(t, "expired", s.get(t, extendQuery(extended)), 400, 190, 463)
		for endpoint, want := range map[string]int{"facebook_code": 1, "facebook_exchange": 3, "facebook_read": 2, "facebook_write": 1, "read": 0} {
			if got := s.CallsTo(endpoint); got != want {
				t.Errorf("calls to %s: got %d, want %d", endpoint, got, want)
			}
		}
		if strange := s.Strange(); len(strange) > 0 {
			t.Errorf("strange requests: got %v, want none", strange)
		}
	}
}

func TestFacebookAcceptsEveryFormOfALoginCall(t *testing.T) {
	s := newStandOf(t, allApps, ServerOptions{})
	for _, form := range anyForm {
		for name, target := range map[string]string{
			"exchange": extendQuery("EAAG1"), "app token": appTokenQuery(facebookApp, facebookSecret),
			"code":                     facebookCodeQuery("AQ" + strings.ReplaceAll(form, " ", "")),
			"code with its grant type": facebookCodeQuery("AQgrant"+strings.ReplaceAll(form, " ", "")) + "&grant_type=authorization_code",
			"code without redirect":    loginQuery("client_id", facebookApp, "client_secret", facebookSecret, "code", "AQno"+strings.ReplaceAll(form, " ", "")),
		} {
			if a := s.sendAs(t, form, target); !strings.HasPrefix(tokenOf(t, a), map[string]string{"app token": facebookApp + "|"}[name]) {
				t.Errorf("%s, %s: got %d %s, want a token", form, name, a.status, a.body)
			}
		}
	}
}

func TestFacebookRefusesLoginsInItsEnvelope(t *testing.T) {
	for _, host := range []string{"", "graph.facebook.com"} {
		of := allApps
		of.Host = host
		s := newStandOf(t, of, ServerOptions{})
		bound := s.Code(facebookApp, testRedirect)
		s.get(t, facebookCodeQuery("AQused"))
		s.Age(time.Hour)
		fresh, foreign := s.Code(facebookApp, testRedirect), s.Code("17", "")
		code, exchange := facebookCodeQuery, extendQuery
		for _, c := range []struct {
			name, target  string
			code, subcode int
			message, kind string
		}{
			{"no client_id", strings.Replace(exchange("EAA1"), "client_id", "id", 1), 101, 0, "Missing client_id parameter.", "invalid_request"},
			{"another client_id", strings.Replace(exchange("EAA1"), facebookApp, "17", 1), 101, 0, "Error validating application. Invalid application ID.", "invalid_request"},
			{"wrong secret", strings.Replace(exchange("EAA1"), facebookSecret, "x", 1), 1, 0, "Error validating client secret.", "invalid_request"},
			{"wrong secret of an app token", appTokenQuery(facebookApp, "x"), 1, 0, "Error validating client secret.", "invalid_request"},
			{"wrong secret with a code", strings.Replace(code("AQ1"), facebookSecret, "x", 1), 1, 0, "Error validating client secret.", "invalid_request"},
			{"no token", exchange(""), 1, 0, "fb_exchange_token parameter not specified", "invalid_request"},
			{"garbage", exchange("garbage-1"), 190, 0, "Invalid OAuth access token - Cannot parse access token", "invalid_token"},
			{"Instagram's token", exchange("IGAA1"), 190, 0, "Invalid OAuth access token - Cannot parse access token", "invalid_token"},
			{"an app token", exchange(facebookApp + "|" + facebookSecret), 190, 0, "Invalid OAuth access token - Cannot parse access token", "invalid_token"},
			{"the fault wrongsecret", exchange("wrongsecret-1"), 1, 0, "Error validating client secret.", "invalid_request"},
			{"no code", code(""), 1, 0, "Missing authorization code", "invalid_request"},
			{"unknown grant type", code("AQ1") + "&grant_type=password", 100, 0, "Invalid grant_type", "invalid_code"},
			{"malformed code", code("AQ1#_"), 100, 0, "Invalid verification code format.", "invalid_code"},
			{"another app's code", code(foreign), 100, 0, "Invalid verification code format.", "invalid_code"},
			{"used code", code("AQused"), 100, 36009, "This authorization code has been used.", "invalid_code"},
			{"expired code", code(bound), 100, 36007, "This authorization code has expired.", "invalid_code"},
			{"the fault expired", code("expired-1"), 100, 36007, "This authorization code has expired.", "invalid_code"},
			{"the fault garbage", code("garbage-1"), 100, 0, "Invalid verification code format.", "invalid_code"},
			{"another redirect_uri", strings.Replace(code(fresh), "callback", "other", 1), 100, 36008, unverified, "invalid_code"},
			{"no redirect_uri", loginQuery("client_id", facebookApp, "client_secret", facebookSecret, "code", fresh), 100, 36008, unverified, "invalid_code"},
		} {
			a := s.get(t, c.target)
			wantCode(t, c.name, a, 400, c.code, c.subcode)
			if !strings.Contains(a.body, `"message":"`+c.message+`"`) || !strings.Contains(a.header.Get("WWW-Authenticate"), `"`+c.kind+`" "`+c.message) {
				t.Errorf("%s: body got %s, want the message %q; WWW-Authenticate got %s, want %q and the message", c.name, a.body, c.message, a.header.Get("WWW-Authenticate"), c.kind)
			}
		}
		if a := s.get(t, code(fresh)); a.status != 200 {
			t.Errorf("after all refusals: got %d %s, want 200", a.status, a.body)
		}
		a := s.send(t, "PUT", extendQuery("EAA1"), nil, nil)
		if wantCode(t, "wrong method", a, 400, 100, 0); !strings.Contains(a.body, `"Unsupported put request."`) {
			t.Errorf("wrong method: got %s, want a body with %q", a.body, `"Unsupported put request."`)
		}
	}
	s := newStandOf(t, Options{Host: "graph.facebook.com"}, ServerOptions{})
	for _, path := range []string{"/access_token", "/refresh_access_token", "/me/x"} {
		wantCode(t, path, s.get(t, path), 400, 2500, 0)
	}
}

func TestFacebookOmitsExpiresInUnderTheFaultNoexpires(t *testing.T) {
	s := newStandOf(t, allApps, ServerOptions{})
	want := regexp.MustCompile(`^\{"access_token":"EAA\w{177}","token_type":"bearer"\}$`)
	for _, target := range []string{extendQuery("noexpires-1"), facebookCodeQuery("noexpires-2")} {
		if a := s.get(t, target); a.status != 200 || !want.MatchString(a.body) {
			t.Errorf("%s: got %d %s, want a token without expires_in", target, a.status, a.body)
		}
	}
	s.SetFault("noexpires")
	if a := s.get(t, extendQuery("EAAG1")); a.status != 200 || !want.MatchString(a.body) {
		t.Errorf("after SetFault: got %d %s, want a token without expires_in", a.status, a.body)
	}
}

// Strange reports every login call that does not have the form that Meta documents.
func TestStrangeFacebookLoginsAreListed(t *testing.T) {
	s := newStandOf(t, allApps, ServerOptions{})
	for _, c := range []struct{ form, target, want string }{
		{"GET", extendQuery("EAAG1"), ""},
		{"GET", facebookCodeQuery("AQ1"), ""},
		{"GET", strings.Replace(facebookCodeQuery("AQ2"), url.QueryEscape(testRedirect), "", 1), ""},
		{"GET", appTokenQuery(facebookApp, facebookSecret), ""},
		{"GET", extendQuery("EAAG1") + "&format=json", "parameter format"},
		{"GET", extendQuery("EAAG1") + "&access_token=EAAG1", "parameter access_token"},
		{"GET", extendQuery("EAAG1") + "&client_id=" + facebookApp, "repeated client_id"},
		{"GET", facebookCodeQuery("AQ3") + "&grant_type=authorization_code", "parameter grant_type"},
		{"GET", loginQuery("client_id", facebookApp, "client_secret", facebookSecret, "code", "AQ4"), ""},
		{"POST with a query", extendQuery("EAAG1"), "method"},
		{"POST urlencoded", appTokenQuery(facebookApp, facebookSecret), "method, no grant_type, no client_id, no client_secret, body"},
	} {
		s.Reset()
		if a := s.sendAs(t, c.form, c.target); a.status != 200 || strings.Join(s.Strange(), "; ") != c.want {
			t.Errorf("%s %s: got %d %s, want 200; strange got %q, want %q", c.form, c.target, a.status, a.body, s.Strange(), c.want)
		}
	}
	s.Reset()
	s.send(t, "GET", extendQuery("EAAG1"), nil, http.Header{"Authorization": {"Bearer x"}})
	if got := strings.Join(s.Strange(), "; "); got != "header Authorization" {
		t.Errorf("strange: got %q, want %q", got, "header Authorization")
	}
}
