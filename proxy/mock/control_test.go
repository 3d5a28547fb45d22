package mock

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestStatsIdentifyTokensByHash(t *testing.T) {
	s := newStand(t, ServerOptions{})
	const empty = `{"total":0,"in_flight":0,"max_in_flight":0,"strange":[],"trapped":0,"body_bytes":0,"endpoints":{},"tokens":{},"faults":{}}` + "\n"
	if got := s.get(t, "/__stats").body; got != empty {
		t.Errorf("at the start: got %s, want %s", got, empty)
	}
	s.exchange(t, "IGAA-1")
	s.exchange(t, "IGAA-1")
	s.exchange(t, "expired-1")
	s.get(t, "/access_token?"+query("redirect-1")+"&x=1")
	trapped := s.get(t, "/__trap")
	if trapped.status != 200 || !strings.HasPrefix(trapped.body, `{"access_token":"IGAA`) {
		t.Errorf("the trap: got %d %s, want 200 with a token, as after an exchange", trapped.status, trapped.body)
	}
	text := strings.NewReplacer("FIRST", hashOf("IGAA-1"), "SECOND", hashOf("expired-1"), "THIRD", hashOf("redirect-1")).Replace(
		`{"total":4,"in_flight":0,"max_in_flight":1,"strange":["parameter x"],"trapped":1,"body_bytes":0,"endpoints":{"exchange":4},"tokens":{"FIRST":{"calls":2,"refreshes":0,"max_concurrent":1},` +
			`"SECOND":{"calls":1,"refreshes":0,"max_concurrent":1},"THIRD":{"calls":1,"refreshes":0,"max_concurrent":1}},"faults":{"expired":1,"redirect":1}}`)
	var got, want any
	a := s.get(t, "/__stats")
	if err := json.Unmarshal([]byte(text), &want); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(a.body), &got); err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %s, want %s", a.body, text)
	}
	if strings.Contains(a.body, "IGAA") || !strings.HasSuffix(a.body, "}\n") || a.header.Get("Content-Type") != "application/json" {
		t.Errorf("got %s with the headers %v, want JSON that ends with a newline and contains no token", a.body, a.header)
	}
	if len(hashOf("x")) != 16 {
		t.Errorf("length of a hash: got %d, want 16", len(hashOf("x")))
	}
	s.send(t, "POST", "/__reset", nil, nil)
	if s.Calls() != 0 || len(s.Strange()) != 0 {
		t.Errorf("after a reset: calls: got %d, want 0; strange requests: got %v, want none", s.Calls(), s.Strange())
	}
}

func TestAFaultForAllTokensLastsUntilItIsCleared(t *testing.T) {
	s := newStand(t, ServerOptions{})
	form := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	for _, c := range []struct {
		target, body string
		status       int
		says         string
		then         int // status of an exchange after this request
	}{
		{"/__fault?mode=down", "", 200, `{"fault":"down"}` + "\n", 500},
		{"/__fault?mode=nonsense", "", 400, "limit613", 500},
		{"/__fault", "", 400, "mode", 500},
		{"/__fault?mode=", "", 200, `{"fault":""}` + "\n", 400},
		{"/__fault", "mode=permission-", 200, `{"fault":"permission"}` + "\n", 403},
		{"/__fault", "mode=", 200, `{"fault":""}` + "\n", 400},
	} {
		a := s.send(t, "POST", c.target, strings.NewReader(c.body), form)
		if a.status != c.status || !strings.Contains(a.body, c.says) || !strings.HasSuffix(a.body, "\n") {
			t.Errorf("%s %s: got %d %s (error %v), want %d with %q and a newline at the end", c.target, c.body, a.status, a.body, a.err, c.status, c.says)
		}
		if got := s.exchange(t, "expired-1"); got.status != c.then {
			t.Errorf("an exchange after %s %s: got %d, want %d", c.target, c.body, got.status, c.then)
		}
	}
}

func TestLatencyIsSetByAControlEndpoint(t *testing.T) {
	s := newStand(t, ServerOptions{})
	if a := s.send(t, "POST", "/__latency?d=200ms", nil, nil); a.status != 200 || a.body != `{"latency":"200ms"}`+"\n" {
		t.Errorf("got %d %s, want 200 with body %s", a.status, a.body, `{"latency":"200ms"}`+"\n")
	}
	if _, _, got := s.settings(); got != 200*time.Millisecond {
		t.Errorf("got latency %s, want 200ms", got)
	}
	for _, d := range []string{"", "200", "-1s", "soon"} {
		if a := s.send(t, "POST", "/__latency?d="+d, nil, nil); a.status != 400 || !strings.Contains(a.body, "unit") {
			t.Errorf("d=%s: got %d %s, want 400 with %q", d, a.status, a.body, "unit")
		}
	}
}

func TestControlEndpointsTakeOneMethod(t *testing.T) {
	s := newStand(t, ServerOptions{})
	other := map[string]string{"GET": "POST", "POST": "GET"}
	for target, allowed := range map[string]string{"/__stats": "GET", "/__faults": "GET", "/__reset": "POST",
		"/__fault?mode=down": "POST", "/__latency?d=1s": "POST", "/__age?d=25h": "POST", "/__code": "POST", "/__shape?mode=flat": "POST", "/__secret": "POST",
		"/__proof?mode=required": "POST", "/__revoke": "POST", "/__refresh?mode=same": "POST", "/__webhook": "POST", "/__signed_request": "POST"} {
		a := s.send(t, other[allowed], target, nil, nil)
		if a.status != 405 || a.header.Get("Allow") != allowed {
			t.Errorf("%s: status: got %d, want 405; Allow: got %q, want %q", target, a.status, a.header.Get("Allow"), allowed)
		}
	}
	if a := s.exchange(t, "IGAA-1"); a.status != 200 {
		t.Errorf("an exchange after refused control requests: got %d, want 200", a.status)
	}
	if a := s.get(t, "/__nonsense"); a.status != 500 || !strings.Contains(a.body, `"code":2500`) {
		t.Errorf("an unknown path: got %d %s, want 500 with %q", a.status, a.body, `"code":2500`)
	}
}

func TestFaultsAreListedWithTheirPrefix(t *testing.T) {
	s := newStand(t, ServerOptions{})
	a := s.get(t, "/__faults")
	for _, f := range Faults() {
		if text := "\n" + a.body; !strings.Contains(text, "\n"+f.Prefix()+"  ") || !strings.Contains(text, "  "+f.Description+"\n") {
			t.Errorf("%s: got the list %q, want a line with %q and %q", f.Name, a.body, f.Prefix(), f.Description)
		}
	}
	if s.Calls() != 0 {
		t.Errorf("calls after GET /__faults: got %d, want 0", s.Calls())
	}
}

func TestSecretsAreSetByAControlEndpoint(t *testing.T) {
	s := newStand(t, ServerOptions{})
	form := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	for _, c := range []struct {
		target, body string
		status       int
		accepted     []string
		refused      []string
	}{
		{"/__secret", "secret=one-secret", 200, []string{"one-secret"}, []string{"another-one", ""}},
		{"/__secret", "secret=one-secret&secret=another-one", 200, []string{"one-secret", "another-one"}, []string{"a-third"}},
		{"/__secret", "app=threads&secret=a-third", 200, []string{"one-secret", "another-one"}, []string{"a-third"}},
		{"/__secret?secret=a-third", "", 400, []string{"one-secret"}, []string{"a-third"}},
		{"/__secret", "app=whatsapp&secret=a-third", 400, []string{"one-secret"}, []string{"a-third"}},
		{"/__secret", "", 200, []string{"one-secret", "a-third"}, []string{""}},
	} {
		if a := s.send(t, "POST", c.target, strings.NewReader(c.body), form); a.status != c.status || strings.Contains(a.body, "one") {
			t.Errorf("%s %s: got %d %s, want %d without the secrets", c.target, c.body, a.status, a.body, c.status)
		}
		accepts := s.Instagram.app(instagramFamily).accepts
		for _, secret := range c.accepted {
			if !accepts(secret) {
				t.Errorf("after %s %s: the secret %q is refused, want it accepted", c.target, c.body, secret)
			}
		}
		for _, secret := range c.refused {
			if accepts(secret) {
				t.Errorf("after %s %s: the secret %q is accepted, want it refused", c.target, c.body, secret)
			}
		}
	}
}
