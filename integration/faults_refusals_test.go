package integration

// Meta's hosts send refusals in several shapes. A refusal in any of these shapes keeps its status,
// and does not open the breaker. All apps read the same token from an answer, even if some of
// their JSON decoders ignore case.

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// refusalShape is a shape of a refusal, with the expected responses to the exchange of a token and
// of a code.
type refusalShape struct {
	status                int
	contentType, body     string
	message               string // in both responses
	code, subcode         int    // in the response to the exchange of a token
	flatCode, flatSubcode int    // in the response to the exchange of a code
}

const (
	inJSON, inHTML = "application/json; charset=UTF-8", `text/html; charset="utf-8"`
	notAccepted    = "Invalid Request: The user has not accepted the invite to test the app"
)

func unreadMessage(status int) string {
	return fmt.Sprintf("Meta answered this call with status %d, but without an error that igproxy can read.", status)
}

// refusalShapes maps prefixes of tokens and codes to shapes.
var refusalShapes = map[string]refusalShape{
	"envelope":  {400, inJSON, `{"error":{"message":"m","type":"OAuthException","code":10}}`, "m", 10, 0, 400, 0},
	"strings":   {400, inJSON, `{"error":{"message":"m","type":"OAuthException","code":"190","error_subcode":"463","is_transient":"0"}}`, "m", 190, 463, 400, 463},
	"nocode":    {403, inJSON, `{"error":{"message":"m","type":"OAuthException"}}`, "m", 100, unreadable, 403, unreadable},
	"login":     {400, inJSON, `{"error_type":"OAuthException","code":400,"error_message":"m"}`, "m", 100, unreadable, 400, 0},
	"threads":   {400, inJSON, `{"error_message":"` + notAccepted + `","error_code":1349245}`, notAccepted, 1349245, 0, 1349245, 0},
	"rfc6749":   {401, inJSON, `{"error":"invalid_client","error_description":"m"}`, "m", 100, unreadable, 401, unreadable},
	"text":      {404, inJSON, `{"error":"m"}`, "m", 100, unreadable, 404, unreadable},
	"rest":      {400, "text/javascript; charset=UTF-8", `{"error_code":102,"error_msg":"m"}`, "m", 102, 0, 102, 0},
	"flat":      {400, inJSON, `{"message":"m","code":2500}`, "m", 2500, 0, 2500, 0},
	"case":      {400, inJSON, `{"error":{"message":"m","code":10,"CODE":2,"Message":"n"},"ERROR":{"code":2,"is_transient":true}}`, "m", 10, 0, 400, 0},
	"page":      {403, inHTML, "<!DOCTYPE html><title>Error</title>", unreadMessage(403), 100, unreadable, 403, unreadable},
	"longpage":  {400, inHTML, "<!DOCTYPE html>" + strings.Repeat("<p>Sorry, something went wrong.", 10_000), unreadMessage(400), 100, unreadable, 400, unreadable},
	"empty":     {405, inJSON, "", unreadMessage(405), 100, unreadable, 405, unreadable},
	"garbage4x": {451, inJSON, "{\"error\":\xff", unreadMessage(451), 100, unreadable, 451, unreadable},
}

// loginEdge returns the URL of a new server that answers a code exchange with the script for the
// prefix of the code. If the prefix has no script, the server passes the call to the stand-in,
// which is the parameter behind.
func loginEdge(t *testing.T, scripts map[string]http.HandlerFunc, behind http.Handler) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		form, _ := url.ParseQuery(string(body))
		name, _, _ := strings.Cut(form.Get("code"), "-")
		if script := scripts[name]; script != nil {
			script(w, r)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		behind.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func TestRefusalInAnyShapeDoesNotOpenTheBreaker(t *testing.T) {
	t.Parallel()
	scripts := map[string]http.HandlerFunc{}
	for name, s := range refusalShapes {
		scripts[name] = says(s.status, s.contentType, s.body)
	}
	ig := newEdge(t, scripts)
	p := serve(t, "UPSTREAM_URL="+ig.URL, "UPSTREAM_LOGIN_URL="+loginEdge(t, scripts, ig.Instagram), "APP_ID="+appID, "REDIRECT_URIS="+callback,
		"BREAKER_FAILURES=1", "BREAKER_RATIO=0.01", "BREAKER_MIN_REQUESTS=1")
	const rounds = 4 // more than fifty refusals
	for round := range rounds {
		for name, s := range refusalShapes {
			r := p.ask(t, fmt.Sprintf("%s-%d", name, round))
			if e := r.graphError(t); r.status != s.status || e.Code != s.code || e.Subcode != s.subcode || e.Message != s.message || e.Type == "" || e.Transient ||
				!strings.HasPrefix(r.body, `{"error":{"message":"`) {
				t.Errorf("%s: an exchange got %d %s, want %d with code %d and subcode %d", name, r.status, r.body, s.status, s.code, s.subcode)
			}
			r, err := callBack(t.Context(), p, appID, fmt.Sprintf("%s-%d", name, round))
			if err != nil {
				t.Fatal(err)
			}
			if e := r.flatError(t); r.status != s.status || e.Code != s.flatCode || e.Subcode != s.flatSubcode || e.Message != s.message || e.Transient ||
				!strings.HasPrefix(r.body, `{"error_type":"`) {
				t.Errorf("%s: a code got %d %s, want %d with code %d and subcode %d", name, r.status, r.body, s.status, s.flatCode, s.flatSubcode)
			}
			if strings.Contains(r.body, appSecret) {
				t.Errorf("%s: the answer contains the secret", name)
			}
		}
		if r := p.ask(t, fmt.Sprintf("IGAA-good-%d", round)); r.status != 200 || r.token() == "" {
			t.Errorf("a healthy token got %d %s; want 200 with a token", r.status, r.body)
		}
		if r, err := callBack(t.Context(), p, appID, fmt.Sprintf("AQgood-%d", round)); err != nil || r.status != 200 || r.token() == "" {
			t.Errorf("a healthy code got %d %s, %v; want 200 with a token", r.status, r.body, err)
		}
	}
	if n := rounds * len(refusalShapes); n < 50 || ig.asked("") < n {
		t.Errorf("%d refusals of tokens, want at least 50; %d calls with tokens, want at least %d", n, ig.asked(""), n)
	}
	if n := p.sum(t, "igproxy_breaker_changes_total"); n != 0 || p.breaker(t) != "closed" {
		t.Errorf("the breaker is %s, want closed; it has changed %v times, want 0", p.breaker(t), n)
	}
	for _, result := range []string{"transient", "broken", "unreached", "timeout"} {
		if n := p.sum(t, "igproxy_upstream_requests_total", `result="`+result+`"`); n != 0 {
			t.Errorf("%v refusals were counted as %s, want 0", n, result)
		}
	}
}

// The statuses 408, 425 and 429 mean "try again later". The breaker counts a response with such a
// status and without an error envelope as a failure. It also counts every 4xx response with code 2
// or is_transient.
func TestRetryable4xxIsAFailure(t *testing.T) {
	t.Parallel()
	scripts := map[string]http.HandlerFunc{}
	for _, status := range []int{408, 425, 429} {
		scripts[fmt.Sprint("later", status)] = says(status, inHTML, "<!DOCTYPE html><title>Error</title>")
	}
	scripts["code2"] = says(400, inJSON, `{"error_code":2,"error_msg":"m"}`)
	scripts["transient"] = says(403, inJSON, `{"error":{"message":"m","is_transient":"true"}}`)
	ig := newEdge(t, scripts)
	for name, want := range map[string][3]int{"later408": {502, 2, badAnswer}, "later425": {502, 2, badAnswer}, "later429": {502, 2, badAnswer},
		"code2": {400, 2, 0}, "transient": {403, 2, 0}} {
		p := serve(t, "UPSTREAM_URL="+ig.URL, "BREAKER_FAILURES=1", "UPSTREAM_RETRIES=0", "BREAKER_OPEN=1m")
		r := p.ask(t, name+"-1")
		if e := r.graphError(t); r.status != want[0] || e.Code != want[1] || e.Subcode != want[2] || name != "code2" && !e.Transient {
			t.Errorf("%s: got %d %s, want the status, the code and the subcode %v", name, r.status, r.body, want)
		}
		if state := p.breaker(t); state != "open" {
			t.Errorf("%s: the breaker is %s, want open", name, state)
		}
	}
}

// Some JSON decoders ignore case. Go's encoding/json, for example, reads ACCESS_TOKEN as
// access_token. If an object has both members, encoding/json uses the last of these.
func TestMembersOfAnAnswerInOtherLetterCaseAreDropped(t *testing.T) {
	t.Parallel()
	const good = `"access_token":"IGAAlong","token_type":"bearer"`
	others := `"ACCESS_TOKEN":"IGAAother","acceſs_toKen":"IGAAother","Token_Type":"other","EXPIRES_IN":1,"User_ID":1`
	scripts := map[string]http.HandlerFunc{
		"case": says(200, inJSON, `{`+good+`,"expires_in":5183944,`+others+`,"x":1}`),
		"flat": says(200, inJSON, `{`+good+`,"user_id":17841400000000001,`+others+`}`),
		"data": says(200, inJSON, `{"DATA":[],"data":[{`+good+`,"user_id":17841400000000001,`+others+`}]}`),
	}
	ig := newEdge(t, scripts)
	p := serve(t, "UPSTREAM_URL="+ig.URL, "UPSTREAM_LOGIN_URL="+loginEdge(t, scripts, ig.Instagram), "APP_ID="+appID, "REDIRECT_URIS="+callback)
	for range 2 { // the first answer comes from Instagram, the second from memory
		r := p.ask(t, "case-1")
		var app struct {
			AccessToken string `json:"access_token"`
			TokenType   string `json:"token_type"`
			ExpiresIn   int    `json:"expires_in"`
		}
		if err := json.Unmarshal([]byte(r.body), &app); err != nil || app.AccessToken != "IGAAlong" || app.TokenType != "bearer" || app.ExpiresIn < 5183000 {
			t.Errorf("an app reads %+v (%v) in %s, want the values of the lower-case members", app, err, r.body)
		}
		if strings.Contains(r.body, "other") || !strings.HasSuffix(r.body, `,"x":1}`) {
			t.Errorf("got %s, want only the lower-case members and x", r.body)
		}
	}
	for _, name := range []string{"flat", "data"} {
		r, err := callBack(t.Context(), p, appID, name+"-1")
		const inside = good + `,"user_id":17841400000000001`
		const want = `{` + inside + `,"data":[{` + inside + `}]}`
		if err != nil || r.status != 200 || r.body != want {
			t.Errorf("%s: got %d %s (%v), want 200 %s", name, r.status, r.body, err, want)
		}
	}
}
