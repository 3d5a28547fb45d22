package mock

import (
	"bytes"
	"encoding/json"
	"fmt"
	"mime/multipart"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func loginError(message string) string {
	return `{"error_type":"OAuthException","code":400,"error_message":"` + message + `"}`
}

const unverified = "Error validating verification code. Please make sure your redirect_uri is identical to the one you used in the OAuth " +
	"dialog request"

func TestCodeWorksOnceAndItsTokenCanBeExchanged(t *testing.T) {
	s := newStand(t, ServerOptions{})
	a := s.login(t, loginForm("AQcode"))
	issued := s.Issued("AQcode")
	if len(issued) != 1 || a.status != 200 || a.header.Get("Content-Type") != jsonType || a.body != `{"data":[{"access_token":"`+issued[0]+
		`","user_id":"17841400000000001","permissions":"instagram_business_basic,instagram_business_content_publish"}]}` {
		t.Fatalf("got %d %s, want 200 in the documented shape; issued %v, want one token", a.status, a.body, issued)
	}
	for range 2 {
		if a := s.login(t, loginForm("AQcode")); a.status != 400 || a.body != loginError("This authorization code has been used") {
			t.Errorf("again: got %d %s, want 400 with body %s", a.status, a.body, loginError("This authorization code has been used"))
		}
	}
	if a := s.exchange(t, issued[0]); a.status != 200 || s.CallsTo("code") != 3 || s.CallsTo("exchange") != 1 || s.CallsFor("AQcode") != 3 {
		t.Errorf("exchange of the issued token: got %d %s, want 200; %d code exchanges, want 3; %d token exchanges, want 1; %d calls with the code, want 3", a.status, a.body, s.CallsTo("code"), s.CallsTo("exchange"), s.CallsFor("AQcode"))
	}
	s.Reset()
	if a := s.login(t, loginForm("AQcode")); a.status != 400 {
		t.Errorf("a used code after a reset: got %d, want 400", a.status)
	}
}

func TestConcurrentUsesOfACodeYieldOneToken(t *testing.T) {
	s := newStand(t, ServerOptions{})
	var got atomic.Int64
	var wg sync.WaitGroup
	for range 30 {
		wg.Go(func() {
			if s.login(t, loginForm("AQcode")).status == 200 {
				got.Add(1)
			}
		})
	}
	wg.Wait()
	if got.Load() != 1 || len(s.Issued("AQcode")) != 1 {
		t.Errorf("%d callers got a token, want 1; %d tokens issued, want 1", got.Load(), len(s.Issued("AQcode")))
	}
}

func TestCodeResponsesHaveTheChosenShape(t *testing.T) {
	flat := regexp.MustCompile(`^\{"access_token":"IGAA\w{176}","user_id":17841400000000001,"permissions":\["instagram_business_basic",` +
		`"instagram_business_content_publish"\]\}$`)
	s := newStandOf(t, Options{FlatCodes: true}, ServerOptions{})
	if a := s.login(t, loginForm("AQ1")); !flat.MatchString(a.body) {
		t.Errorf("FlatCodes: got %s, want the flat shape", a.body)
	}
	for n, c := range []struct {
		mode   string
		status int
		flat   bool
	}{{"data", 200, false}, {"nonsense", 400, false}, {"flat", 200, true}, {"", 400, true}} {
		a := s.send(t, "POST", "/__shape?mode="+c.mode, nil, nil)
		got := s.login(t, loginForm(fmt.Sprintf("AQshape%d", n)))
		if a.status != c.status || flat.MatchString(got.body) != c.flat || strings.HasPrefix(got.body, `{"data":[{`) == c.flat {
			t.Errorf("mode %q: got %d %s, want %d; the next code exchange: got %s, want the shape %s", c.mode, a.status, a.body, c.status, got.body,
				map[bool]string{false: "data", true: "flat"}[c.flat])
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("SetShape(\"nonsense\"): got no panic, want one")
		}
	}()
	s.SetShape("nonsense")
}

// A refusal does not consume the code, so after all rows the code still works.
func TestCodeRefusalsHaveTheirOwnShape(t *testing.T) {
	s := newStandOf(t, Options{AppID: testApp, Secret: testSecret}, ServerOptions{})
	bound, foreign := s.Code(testApp, testRedirect), s.Code("17", "")
	for _, c := range []struct {
		name string
		form url.Values
		want string
	}{
		{"unknown app", loginForm(bound, "client_id", "17"), "Invalid platform app"},
		{"app before secret", loginForm(bound, "client_id", "17", "client_secret", "wrong"), "Invalid platform app"},
		{"wrong secret", loginForm(bound, "client_secret", "wrong"), unverified},
		{"another grant type", loginForm(bound, "grant_type", "ig_exchange_token"), "Invalid grant_type"},
		{"invalid redirect_uri", loginForm(bound, "redirect_uri", "callback"), "Invalid redirect_uri"},
		{"another redirect_uri", loginForm(bound, "redirect_uri", testRedirect+"/"), unverified},
		{"another app's code", loginForm(foreign), "Matching code was not found or was already used"},
		{"the suffix of the redirect", loginForm(bound + "#_"), "Matching code was not found or was already used"},
		{"no client_id", loginForm(bound, "client_id", ""), "You must provide a client_id"},
		{"no client_secret", loginForm(bound, "client_secret", ""), "You must provide a client_secret"},
		{"no grant_type", loginForm(bound, "grant_type", ""), "You must provide a grant_type"},
		{"no redirect_uri", loginForm(bound, "redirect_uri", ""), "You must provide a redirect_uri"},
		{"no code", loginForm(""), "You must provide a code"},
		{"nothing", url.Values{}, "You must provide a client_id"},
	} {
		a := s.login(t, c.form)
		if a.status != 400 || a.body != loginError(c.want) || a.header.Get("Content-Type") != jsonType || a.header.Get("WWW-Authenticate") != "" {
			t.Errorf("%s: got %d %s (error %v), want 400 %s; the headers are %v, want JSON and no WWW-Authenticate", c.name, a.status, a.body, a.err, loginError(c.want), a.header)
		}
	}
	if a := s.get(t, "/oauth/access_token?"+loginForm(bound).Encode()); a.status != 400 ||
		a.body != `{"error_type":"IGApiException","code":400,"error_message":"Unsupported request - method type: get"}` {
		t.Errorf("GET: got %d %s, want 400 and the error of an unsupported method", a.status, a.body)
	}
	if a := s.post(t, "/oauth/access_token?"+loginForm(bound).Encode(), urlencoded, ""); a.body != loginError("You must provide a client_id") {
		t.Errorf("in the query: got %d %s, want %s", a.status, a.body, loginError("You must provide a client_id"))
	}
	if a := s.login(t, loginForm(bound)); a.status != 200 {
		t.Errorf("after all refusals: got %d %s, want 200", a.status, a.body)
	}
}

func TestCodesOfTheControlEndpointExpireAfterAnHour(t *testing.T) {
	s := newStand(t, ServerOptions{})
	code := func(query string) string {
		var got struct{ Code string }
		a := s.send(t, "POST", "/__code?"+query, nil, nil)
		if err := json.Unmarshal([]byte(a.body), &got); err != nil || a.status != 200 || !regexp.MustCompile(`^AQ[\w-]{200}$`).MatchString(got.Code) {
			t.Fatalf("/__code?%s: got %d %s, want 200 with a code", query, a.status, a.body)
		}
		return got.Code
	}
	bound := code("redirect_uri=" + url.QueryEscape(testRedirect) + "&client_id=" + testApp)
	if a := s.login(t, loginForm(bound, "client_id", "17")); a.body != loginError("Matching code was not found or was already used") {
		t.Errorf("another app: got %s, want %s", a.body, loginError("Matching code was not found or was already used"))
	}
	old := code("")
	s.Age(59 * time.Minute)
	if a := s.login(t, loginForm(bound)); a.status != 200 {
		t.Errorf("after 59 minutes: got %d %s, want 200", a.status, a.body)
	}
	s.Age(time.Minute)
	if a := s.login(t, loginForm(old)); a.body != loginError("This authorization code has expired") {
		t.Errorf("after an hour: got %d %s, want %s", a.status, a.body, loginError("This authorization code has expired"))
	}
}

func TestCodeExchangeAcceptsMultipartForms(t *testing.T) {
	s := newStand(t, ServerOptions{})
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	for name, values := range loginForm("AQcode") {
		_ = w.WriteField(name, values[0])
	}
	_ = w.Close()
	if a := s.post(t, "/oauth/access_token", w.FormDataContentType(), body.String()); a.status != 200 {
		t.Errorf("got %d %s, want 200", a.status, a.body)
	}
	if strange := s.Strange(); len(strange) > 0 {
		t.Errorf("strange requests: got %v, want none", strange)
	}
	for _, contentType := range []string{"multipart/form-data", "text/plain", ";"} {
		if a := s.post(t, "/oauth/access_token", contentType, body.String()); a.body != loginError("You must provide a client_id") {
			t.Errorf("%s: got %d %s, want %s", contentType, a.status, a.body, loginError("You must provide a client_id"))
		}
	}
}
