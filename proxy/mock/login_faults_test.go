package mock

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
)

func TestFaultsApplyToCodeExchanges(t *testing.T) {
	s := newStand(t, ServerOptions{})
	for name, want := range wantRefusals {
		var inside graphError
		if err := json.Unmarshal([]byte("{"+want.inside+"}"), &inside); err != nil {
			t.Fatal(err)
		}
		message := map[string]string{"expired": "This authorization code has expired",
			"garbage": "Matching code was not found or was already used"}[name]
		if message == "" {
			message = inside.Message
		}
		for range 2 { // a refusal does not consume the code
			a := s.login(t, loginForm(name+"-1"))
			body := fmt.Sprintf(`{"error_type":%q,"code":%d,"error_message":%q}`, inside.Type, want.status, message)
			if a.status != want.status || a.body != body {
				t.Errorf("%s: got %d %s, want %d %s", name, a.status, a.body, want.status, body)
			}
		}
	}
	for name, want := range map[string]string{
		"slow": `^\{"data":\[\{"access_token":"IGAA\w+","user_id":"\d+","permissions":"[\w,]+"\}\]\}$`, "stringexpires": `^\{"data":`,
		"notoken": `^\{"token_type"`, "emptytoken": `"access_token":""`, "array200": `^\[\{"data".*\]$`, "badjson": `[^}]$`, "empty200": `^$`,
		"extra": `\}\],"owner_id":17841400000000001,"granted":\{ `, "reflect": `"you_sent":\["` + testSecret + `","reflect-1"\]\}$`,
		"dupkeys": `\}\],"access_token":"IGAA\w+"\}$`, "html200": `^<!DOCTYPE`, "error200": `^\{"error_type":"OAuthException","code":400,`,
	} {
		if a := s.login(t, loginForm(name+"-1")); a.status != 200 || !regexp.MustCompile(want).MatchString(a.body) {
			t.Errorf("%s: got %d %.200s (error %v), want 200 and a body that matches %s", name, a.status, a.body, a.err, want)
		}
	}
}

// A call consumes its code even if the response is lost on the way, so a repeated call is refused.
func TestBrokenConnectionConsumesTheCode(t *testing.T) {
	s := newStand(t, ServerOptions{})
	for _, name := range []string{"reset", "close", "flaky", "truncated", "garbageline"} {
		if a := s.login(t, loginForm(name+"-1")); a.err == nil {
			t.Errorf("%s: got %d %s, want a broken connection", name, a.status, a.body)
		}
		if a := s.login(t, loginForm(name+"-1")); a.body != loginError("This authorization code has been used") {
			t.Errorf("%s, again: got %d %s (error %v), want %s", name, a.status, a.body, a.err, loginError("This authorization code has been used"))
		}
	}
	s.SetFault("down")
	if a := s.login(t, loginForm("AQcode")); a.status != 500 {
		t.Errorf("down: got %d %s, want 500", a.status, a.body)
	}
	s.SetFault("")
	if a := s.login(t, loginForm("AQcode")); a.status != 200 {
		t.Errorf("up again: got %d %s, want 200", a.status, a.body)
	}
}

func TestStrangeCodeExchangesAreListed(t *testing.T) {
	s := newStand(t, ServerOptions{})
	good := loginForm("AQcode").Encode()
	for _, c := range []struct {
		query, body, contentType, want string
		header                         http.Header
	}{
		{"", good + "&scope=x", urlencoded, "parameter scope", nil},
		{"", good + "&code=AQ2", urlencoded, "repeated code", nil},
		{"", good + "&x=%zz", urlencoded, "malformed body", nil},
		{"", loginForm("a", "code", "").Encode() + "&access_token=IGAA", urlencoded, "parameter access_token", nil},
		{"?client_secret=" + testSecret, good, urlencoded, "parameter client_secret in the query", nil},
		{"", good, urlencoded, "header Authorization, header X-Forwarded-For", http.Header{"Authorization": {"Basic eDp5"}, "X-Forwarded-For": {"::1"}}},
		{"", `{"client_id":"1","client_secret":"2","grant_type":"3","redirect_uri":"4","code":"5"}`, "application/json", "content type", nil},
	} {
		s.Reset()
		h := c.header.Clone()
		if h == nil {
			h = http.Header{}
		}
		h.Set("Content-Type", c.contentType)
		a := s.send(t, "POST", "/oauth/access_token"+c.query, strings.NewReader(c.body), h)
		if got := s.Strange(); a.err != nil || len(got) != 1 || got[0] != c.want {
			t.Errorf("query %q, body %q: strange: got %q (error %v), want one request: %q", c.query, c.body, got, a.err, c.want)
		}
	}
}
