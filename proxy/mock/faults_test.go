package mock

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
)

// wantRefusals has, for each fault that is a refusal, the status and the members of the envelope
// before the trace ID.
var wantRefusals = map[string]struct {
	status int
	inside string
}{
	"expired": {400, `"message":"Error validating access token: Session has expired on Sunday, 01-Nov-26 10:00:00 PST. The current time is Sunday, ` +
		`01-Nov-26 11:00:03 PST.","type":"OAuthException","code":190,"error_subcode":463`},
	"revoked": {400, `"message":"Error validating access token: The session has been invalidated because the user changed their password or ` +
		`Facebook has changed the session for security reasons.","type":"OAuthException","code":190,"error_subcode":460`},
	"garbage": {400, `"message":"Invalid OAuth access token - Cannot parse access token","type":"OAuthException","code":190`},
	"longlived": {400, `"message":"Session key invalid. This could be because the session key has an incorrect format, or because the user has ` +
		`revoked this session","type":"OAuthException","code":452,"error_subcode":4279019`},
	"standing":    {400, `"message":"Unsupported request - method type: get","type":"IGApiException","code":100`},
	"permission":  {403, `"message":"(#10) Application does not have permission for this action","type":"OAuthException","code":10`},
	"wrongsecret": {400, `"message":"Error validating client secret.","type":"OAuthException","code":100`},
	"limit4":      {400, `"message":"(#4) Application request limit reached","type":"OAuthException","is_transient":true,"code":4`},
	"limit17":     {403, `"message":"(#17) User request limit reached","type":"OAuthException","is_transient":true,"code":17`},
	"limit32":     {400, `"message":"(#32) Page request limit reached","type":"OAuthException","code":32`},
	"limit613":    {400, `"message":"(#613) Calls to this api have exceeded the rate limit.","type":"OAuthException","code":613`},
	"limit429":    {429, `"message":"(#4) Application request limit reached","type":"OAuthException","code":4`},
	"down": {500, `"message":"An unexpected error has occurred. Please retry your request later.","type":"OAuthException",` +
		`"is_transient":true,"code":2`},
	"unknown": {500, `"message":"An unknown error has occurred.","type":"OAuthException","code":1`},
}

// wantBodies maps faults to the bodies that they send with status 200. LONG stands for the first
// token that was issued, LONG2 for the second, and SECONDS for a usual value of expires_in.
var wantBodies = map[string]string{
	"empty200":        ``,
	"array200":        `[{"access_token":"LONG","token_type":"bearer","expires_in":SECONDS}]`,
	"null200":         `null`,
	"noexpires":       `{"access_token":"LONG","token_type":"bearer"}`,
	"stringexpires":   `{"access_token":"LONG","token_type":"bearer","expires_in":"5183944"}`,
	"zeroexpires":     `{"access_token":"LONG","token_type":"bearer","expires_in":0}`,
	"negativeexpires": `{"access_token":"LONG","token_type":"bearer","expires_in":-1}`,
	"hugeexpires":     `{"access_token":"LONG","token_type":"bearer","expires_in":9223372036854775807}`,
	"notoken":         `{"token_type":"bearer","expires_in":5183944}`,
	"emptytoken":      `{"access_token":"","token_type":"bearer","expires_in":5183944}`,
	"dupkeys":         `{"access_token":"LONG2","token_type":"bearer","expires_in":SECONDS,"access_token":"LONG"}`,
	"trailing": `{"access_token":"LONG","token_type":"bearer","expires_in":SECONDS}` +
		`{"access_token":"LONG2","token_type":"bearer","expires_in":SECONDS}`,
	"badjson": `{"access_token":"LONG","token_type":"bearer","expires_`,
	"reflect": `{"access_token":"LONG","token_type":"bearer","expires_in":SECONDS,"you_sent":["` + testSecret + `","reflect-1"]}`,
	"extra": `{"access_token":"LONG","token_type":"bearer","expires_in":SECONDS,"user_id":17841400000000001,` +
		`"permissions":{ "scopes":[ "instagram_business_basic" ,"caf\u00e9\/"],  "n" : 1.50e2 }}`,
	"deep": `{"access_token":"LONG","token_type":"bearer","expires_in":SECONDS,"deep":` +
		strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + `}`,
	"lettercase": `{"access_token":"LONG","token_type":"bearer","expires_in":SECONDS,"ACCESS_TOKEN":"IGAAother","Token_Type":"other","eXpires_in":1}`,
	"slow":       `{"access_token":"LONG","token_type":"bearer","expires_in":SECONDS}`,
}

// wantElsewhere names the faults that have tests of their own, here or in wire_test.go.
var wantElsewhere = strings.Fields("reflecterr invite html html200 html403 error200 redirect huge endless gzipbomb hugeheaders " +
	"truncated hang hangbody drip reset close garbageline flaky flaky500")

func TestEveryFaultIsListedOnceDescribedAndTested(t *testing.T) {
	tested := map[string]bool{}
	for _, name := range wantElsewhere {
		tested[name] = true
	}
	for name := range wantRefusals {
		tested[name] = true
	}
	for name := range wantBodies {
		tested[name] = true
	}
	seen := map[string]bool{}
	for _, f := range Faults() {
		if !tested[f.Name] || seen[f.Name] || f.play == nil || !regexp.MustCompile(`^[a-z0-9]+$`).MatchString(f.Name) {
			t.Errorf("%q: tested %v, listed twice %v; want a tested fault, listed once, with a name of lower-case letters and digits", f.Name, tested[f.Name], seen[f.Name])
		}
		if f.Description == "" || strings.ContainsAny(f.Description, "\n\t") || len(f.Description) > 110 {
			t.Errorf("%s: description %q, want one line of at most 110 bytes", f.Name, f.Description)
		}
		seen[f.Name] = true
	}
	if len(seen) != len(tested) {
		t.Errorf("%d faults are listed, %d are tested; want equal numbers", len(seen), len(tested))
	}
}

func TestEachRefusalHasItsStatusAndEnvelope(t *testing.T) {
	s := newStand(t, ServerOptions{})
	for name, want := range wantRefusals {
		a := s.exchange(t, name+"-1")
		envelope := regexp.MustCompile(`^\{"error":\{` + regexp.QuoteMeta(want.inside) + `,"fbtrace_id":"A\w{22}"\}\}$`)
		if a.err != nil || a.status != want.status || !envelope.MatchString(a.body) || a.header.Get("Content-Type") != jsonType {
			t.Errorf("%s: got %d %s (error %v), want %d with %s", name, a.status, a.body, a.err, want.status, want.inside)
		}
		if got := a.header.Get("WWW-Authenticate"); (got != "") != (want.status == 400) {
			t.Errorf("%s, status %d: WWW-Authenticate got %q, want it only with status 400", name, want.status, got)
		}
		if len(s.Issued(name+"-1")) != 0 {
			t.Errorf("%s: issued tokens: got %v, want none", name, s.Issued(name+"-1"))
		}
	}
	if got := s.exchange(t, "limit429-1").header.Get("Retry-After"); got != "7" {
		t.Errorf("Retry-After: got %q, want 7", got)
	}
	limited := s.exchange(t, "limit4-1").header
	for _, name := range []string{"X-App-Usage", "X-Business-Use-Case-Usage"} {
		if v := limited.Get(name); !json.Valid([]byte(v)) || !strings.Contains(v, `"call_count":100`) {
			t.Errorf("%s: got %s, want JSON with a call_count of 100", name, v)
		}
	}
	if v := limited.Get("X-Business-Use-Case-Usage"); !strings.Contains(v, `"estimated_time_to_regain_access":5`) {
		t.Errorf("X-Business-Use-Case-Usage: got %s, want 5 minutes until access is regained", v)
	}
}

func TestEachFaultyBodyIsExact(t *testing.T) {
	s := newStand(t, ServerOptions{})
	seconds := regexp.MustCompile(`\b518(39[4-9]|4000)\d?\b`)
	for name, want := range wantBodies {
		a := s.exchange(t, name+"-1")
		issued := append(s.Issued(name+"-1"), "", "") // the fault can issue fewer than two tokens
		got := strings.NewReplacer(issued[0]+`"`, `LONG"`, issued[1]+`"`, `LONG2"`).Replace(a.body)
		if issued[1] == "" {
			got = strings.Replace(a.body, issued[0], "LONG", 1)
		}
		if issued[0] == "" {
			got = a.body
		}
		if strings.Contains(want, "SECONDS") {
			got = seconds.ReplaceAllString(got, "SECONDS")
		}
		if a.err != nil || a.status != 200 || got != want || a.header.Get("Content-Type") != jsonType {
			t.Errorf("%s: got %d %.300s (error %v), want 200 %.300s", name, a.status, got, a.err, want)
		}
	}
	for name, v := range s.exchange(t, "reflect-1").header {
		if (name == "X-App-Usage" || name == "X-Fb-Debug") && (!strings.Contains(v[0], testSecret) || !strings.Contains(v[0], "reflect-1")) {
			t.Errorf("reflect: %s: got %s, want the token and the secret", name, v[0])
		}
	}
}

func TestHTMLPagesAndRedirectsAreSent(t *testing.T) {
	s := newStand(t, ServerOptions{})
	for name, status := range map[string]int{"html": 503, "html200": 200, "html403": 403} {
		a := s.exchange(t, name+"-1")
		kind, _, _ := strings.Cut(a.header.Get("Content-Type"), ";")
		if a.err != nil || a.status != status || kind != "text/html" || !strings.HasPrefix(a.body, "<!DOCTYPE html>") {
			t.Errorf("%s: got %d %s (error %v), want %d with an HTML page", name, a.status, a.body, a.err, status)
		}
	}
	if a := s.exchange(t, "error200-1"); a.status != 200 || !strings.HasPrefix(a.body, `{"error":{"message":"Error validating access token`) {
		t.Errorf("error200: got %d %s, want 200 with an error", a.status, a.body)
	}
	a := s.exchange(t, "redirect-1")
	if a.status != 302 || a.header.Get("Location") != "/__trap" || s.currentCounters().stats().Trapped != 0 {
		t.Errorf("redirect: got %d with the headers %v, want 302 to /__trap; trapped got %d, want 0", a.status, a.header, s.currentCounters().stats().Trapped)
	}
	client := &http.Client{Transport: s.transport}
	res, err := client.Get(s.server.URL + "/access_token?" + query("redirect-1"))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if got := s.currentCounters().stats().Trapped; got != 1 {
		t.Errorf("trapped requests of a client that follows redirects: got %d, want 1", got)
	}
}

func TestInviteFaultSendsAnErrorWithoutEnvelope(t *testing.T) {
	s := newStand(t, ServerOptions{})
	const want = `{"error_message":"Invalid Request: The user has not accepted the invite to test the app","error_code":1349245}`
	for _, a := range []answer{s.exchange(t, "invite-1"), s.login(t, loginForm("invite-1"))} {
		if a.err != nil || a.status != 400 || a.body != want || a.header.Get("Content-Type") != jsonType {
			t.Errorf("got %d %s (error %v), want 400 %s", a.status, a.body, a.err, want)
		}
	}
}

func TestReflectErrRepeatsTokenAndSecretEverywhere(t *testing.T) {
	s := newStand(t, ServerOptions{})
	a := s.exchange(t, "reflecterr-1")
	var env struct{ Error graphError }
	if err := json.Unmarshal([]byte(a.body), &env); err != nil || a.status != 400 || env.Error.Code != 190 {
		t.Fatalf("got %d %s (error %v), want 400 with code 190", a.status, a.body, err)
	}
	places := map[string]string{"message": env.Error.Message, "title": env.Error.UserTitle, "text": env.Error.UserMsg}
	for _, name := range []string{"WWW-Authenticate", "X-App-Usage", "X-Business-Use-Case-Usage", "X-Fb-Debug"} {
		places[name] = a.header.Get(name)
	}
	for place, text := range places {
		if !strings.Contains(text, testSecret) || !strings.Contains(text, "reflecterr-1") {
			t.Errorf("%s: got %s, want the token and the secret", place, text)
		}
	}
}

func TestOversizedResponsesHaveTheirSizes(t *testing.T) {
	s := newStand(t, ServerOptions{})
	if a := s.exchange(t, "huge-1"); a.err != nil || a.status != 200 || len(a.body) < hugeBytes || !json.Valid([]byte(a.body)) {
		t.Errorf("huge: got status %d with %d bytes (error %v), want 200 with JSON of at least %d bytes", a.status, len(a.body), a.err, hugeBytes)
	}
	if a := s.exchange(t, "hugeheaders-1"); a.err != nil || a.status != 200 || len(fmt.Sprint(a.header)) < headerBytes*headerCount {
		t.Errorf("hugeheaders: got status %d with %d bytes of headers (error %v), want 200 with at least %d bytes", a.status, len(fmt.Sprint(a.header)), a.err, headerBytes*headerCount)
	}
	if a := s.exchange(t, "endless-1"); !errors.Is(a.err, io.ErrUnexpectedEOF) || a.status != 200 || len(a.body) < endlessBytes {
		t.Errorf("endless: got status %d with %d bytes (error %v), want 200 with at least %d bytes and an unexpected end", a.status, len(a.body), a.err, endlessBytes)
	}
}

func TestEndlessResponseEndsWhenItsClientDisconnects(t *testing.T) {
	s := newStand(t, ServerOptions{})
	r, err := http.NewRequest("GET", s.server.URL+"/access_token?"+query("endless-1"), nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := s.transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(res.Body, make([]byte, 1<<20)); err != nil {
		t.Error(err)
	}
	res.Body.Close()
	eventually(t, "the call has ended", func() bool { return s.currentCounters().stats().InFlight == 0 })
}

func TestGzipBombInflatesAThousandfold(t *testing.T) {
	s := newStand(t, ServerOptions{})
	a := s.send(t, "GET", "/access_token?"+query("gzipbomb-1"), nil, http.Header{"Accept-Encoding": {"gzip"}})
	if a.err != nil || a.header.Get("Content-Encoding") != "gzip" || len(a.body) > 512<<10 {
		t.Fatalf("got %d bytes with the headers %v (error %v), want at most %d bytes of gzip", len(a.body), a.header, a.err, 512<<10)
	}
	z, err := gzip.NewReader(strings.NewReader(a.body))
	if err != nil {
		t.Fatal(err)
	}
	var tail bytes.Buffer
	n, err := io.CopyN(io.Discard, z, bombMember*bombMembers)
	if err != nil || n != 256<<20 {
		t.Fatalf("inflated to %d bytes (error %v), want %d bytes", n, err, 256<<20)
	}
	if _, err := tail.ReadFrom(z); err != nil || !strings.Contains(tail.String(), s.Issued("gzipbomb-1")[0]) {
		t.Errorf("after the spaces: got %s (error %v), want the issued token", tail.String(), err)
	}
	plain := s.send(t, "GET", "/access_token?"+query("gzipbomb-1"), nil, http.Header{"Accept-Encoding": {"identity"}})
	if plain.status != 200 || !json.Valid([]byte(plain.body)) || plain.header.Get("Content-Encoding") != "" {
		t.Errorf("without gzip: got %d %s, want 200 with JSON that is not compressed", plain.status, plain.body)
	}
}
