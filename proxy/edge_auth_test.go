package proxy

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

const ownToken = "sidecar:own/token+0123456789" // with a colon: in Basic, only the first colon is a separator

func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

func TestIgproxysOwnTokenIsAcceptedInThreeForms(t *testing.T) {
	digest := sha256.Sum256([]byte(ownToken))
	required, open := trusting(digest), trust{}
	for name, c := range map[string]struct {
		fields []string // name, value, ...
		right  bool
	}{
		"its own header":                {[]string{"X-Igproxy-Token", ownToken}, true},
		"a base URL's password":         {[]string{"Authorization", basic("igproxy", ownToken)}, true},
		"any user name":                 {[]string{"Authorization", basic("", ownToken)}, true},
		"basic in lower case":           {[]string{"Authorization", strings.Replace(basic("u", ownToken), "B", "b", 1)}, true},
		"with Instagram's bearer":       {[]string{"X-Igproxy-Token", ownToken, "Authorization", "Bearer IGAA"}, true},
		"with another Basic credential": {[]string{"X-Igproxy-Token", ownToken, "Authorization", basic("u", "p")}, true},
		"nothing":                       {nil, false},
		"empty":                         {[]string{"X-Igproxy-Token", ""}, false},
		"wrong":                         {[]string{"X-Igproxy-Token", ownToken + "x"}, false},
		"cut short":                     {[]string{"X-Igproxy-Token", ownToken[:len(ownToken)-1]}, false},
		"its digest":                    {[]string{"X-Igproxy-Token", string(digest[:])}, false},
		"twice":                         {[]string{"X-Igproxy-Token", ownToken, "X-Igproxy-Token", ownToken}, false},
		"a right and a wrong header":    {[]string{"X-Igproxy-Token", ownToken, "X-Igproxy-Token", "x"}, false},
		"a wrong header, right basic":   {[]string{"X-Igproxy-Token", "x", "Authorization", basic("u", ownToken)}, false},
		"as the user name":              {[]string{"Authorization", basic(ownToken, "")}, false},
		"a wrong password":              {[]string{"Authorization", basic("igproxy", "x")}, false},
		"two correct Basic headers":     {[]string{"Authorization", basic("u", ownToken), "Authorization", basic("u", ownToken)}, false},
		"basic, not encoded":            {[]string{"Authorization", "Basic " + ownToken}, false},
		"as the bearer":                 {[]string{"Authorization", "Bearer " + ownToken}, true},
		"bearer in lower case":          {[]string{"Authorization", "bearer " + ownToken}, true},
		"another bearer":                {[]string{"Authorization", "Bearer IGAA"}, false},
		"two bearers":                   {[]string{"Authorization", "Bearer " + ownToken, "Authorization", "Bearer " + ownToken}, false},
		"a wrong header, right bearer":  {[]string{"X-Igproxy-Token", "x", "Authorization", "Bearer " + ownToken}, false},
		"in Proxy-Authorization":        {[]string{"Proxy-Authorization", "Bearer " + ownToken}, false},
		"in a cookie":                   {[]string{"Cookie", "X-Igproxy-Token=" + ownToken}, false},
	} {
		r := get(wireOK)
		for i := 0; i < len(c.fields); i += 2 {
			r.Header.Add(c.fields[i], c.fields[i+1])
		}
		if got := required.check(r, destination{}); (got == nil) != c.right || got != nil && got != errUntrusted {
			t.Errorf("%s: got the error %v, want accepted: %v", name, got, c.right)
		}
		if got := open.check(r, destination{}); got != nil {
			t.Errorf("%s (without the check): got the error %v, want none", name, got)
		}
	}
}

// See trust for the calls in which a bearer token counts as igproxy's own.
func TestIgproxysOwnTokenAsBearerIsNeverSentToMeta(t *testing.T) {
	const exchange = "access_token?grant_type=ig_exchange_token"
	form := codeForm("CODE").Encode()
	for name, c := range map[string]struct {
		method, path, body string
		with, without      int // the status with and without the check; 0: not tested
	}{
		"token in the query":            {"GET", "/" + exchange + "&access_token=IGAA", "", 200, 400},
		"the same, escaped":             {"GET", "/" + exchange + "&access%5Ftoken=IGAA", "", 200, 400},
		"refresh":                       {"GET", "/refresh_access_token?grant_type=ig_refresh_token&access_token=IGAA", "", 200, 400},
		"no token in the query":         {"GET", "/" + exchange, "", 401, 0},
		"own token in the query too":    {"GET", "/" + exchange + "&access_token=" + ownToken, "", 400, 0},
		"code":                          {"POST", "/oauth/access_token", form, 200, 200},
		"passed through":                {"GET", "/me?access_token=IGAA", "", 200, 200},
		"passed through, without token": {"GET", "/me", "", 401, 0},
		"passed through, token in body": {"POST", "/me/media", "access_token=IGAA", 401, 0},
		"malformed query":               {"GET", "/me?access_token=IGAA&x=%zz", "", 401, 0},
	} {
		for checked, want := range map[bool]int{true: c.with, false: c.without} {
			if want == 0 {
				continue // without the check, igproxy takes the bearer token for Meta's
			}
			graph := newService(t)
			o := optionsFor(t, graph.url.String(), nil)
			o.Cache, o.Passthrough = newCache(t), passing(PassthroughOptions{})
			o.Apps[0].ID, o.Apps[0].RedirectURIs = "21", []string{callback}
			if checked {
				o.Bearers = trusting(sha256.Sum256([]byte(ownToken))).digests
			}
			if strings.HasPrefix(c.path, "/oauth") {
				graph.say(200, codeAnswer)
			}
			r := httptest.NewRequest(c.method, c.path, strings.NewReader(c.body))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			r.Header.Set("Authorization", "Bearer "+ownToken)
			w := ask(newProxy(t, o), r)
			if w.Code != want {
				t.Errorf("%s (with the check: %v): got %d %s, want %d", name, checked, w.Code, w.Body, want)
			}
			for i, asked := range graph.asked() {
				if all := asked + fmt.Sprint(graph.head[i]); strings.Contains(all, ownToken) || strings.Contains(all, url.QueryEscape(ownToken)) {
					t.Errorf("%s (with the check: %v): Instagram got %s, want no call with igproxy's own token", name, checked, all)
				}
			}
			if (w.Code == 200) != (len(graph.asked()) == 1) {
				t.Errorf("%s (with the check: %v): got the status %d and %d calls to Instagram; want one call with a 200, and no call with an error", name, checked, w.Code, len(graph.asked()))
			}
		}
	}
}

// A bearer token that is not igproxy's own may be Meta's, so it is not counted as a guess.
func TestMetasBearerIsNotCountedAsAGuess(t *testing.T) {
	required, counted := trusting(sha256.Sum256([]byte(ownToken))), map[bearerResult]int{}
	required.count = func(r bearerResult) { counted[r]++ }
	for _, token := range []string{"IGAA", ownToken} {
		_ = required.check(with(get(wireOK), "Authorization", "Bearer "+token), destination{})
	}
	if want := map[bearerResult]int{bearerMissing: 1, bearerCurrent: 1}; !maps.Equal(counted, want) {
		t.Errorf("counted %v, want %v", counted, want)
	}
}

// trusting returns a trust that accepts the tokens with these digests and counts nothing.
func trusting(digests ...[sha256.Size]byte) trust {
	return trust{func() [][sha256.Size]byte { return digests }, func(bearerResult) {}}
}

// During a rotation both tokens are accepted, and the counter shows whether an app still sends the
// previous one.
func TestBothOfIgproxysOwnTokensAreAcceptedDuringARotation(t *testing.T) {
	required := trusting(sha256.Sum256([]byte("the next one")), sha256.Sum256([]byte(ownToken)))
	counted := map[bearerResult]int{}
	required.count = func(r bearerResult) { counted[r]++ }
	for name, c := range map[string]struct {
		fields []string // the values of X-Igproxy-Token
		right  bool
	}{"current": {[]string{"the next one"}, true}, "previous": {[]string{ownToken}, true}, "both in one request": {[]string{"the next one", ownToken}, false},
		"another": {[]string{"x"}, false}, "missing": {nil, false}} {
		r := get(wireOK)
		r.Header[trustHeader] = c.fields
		if got := required.check(r, destination{}); (got == nil) != c.right {
			t.Errorf("%s: got the error %v, want accepted: %v", name, got, c.right)
		}
	}
	if want := map[bearerResult]int{bearerCurrent: 1, bearerPrevious: 1, bearerWrong: 2, bearerMissing: 1}; !maps.Equal(counted, want) {
		t.Errorf("counted %v, want %v", counted, want)
	}
}

// trusted serves a Proxy that requires the token with this digest. It returns the Proxy's server,
// log and metrics.
func trusted(t *testing.T, digest *atomic.Pointer[[sha256.Size]byte], exchange exchangeFunc) (*httptest.Server, *bytes.Buffer, *Metrics) {
	t.Helper()
	e := testEngine(t)
	e.first, e.trust = exchange, trust{func() [][sha256.Size]byte { return [][sha256.Size]byte{*digest.Load()} }, func(bearerResult) {}}
	var log bytes.Buffer
	p := &Proxy{carried: carried{metrics: NewMetrics(), lines: newRequestLines(0), log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))}}
	p.current.Store(e)
	s := httptest.NewServer(p)
	t.Cleanup(s.Close)
	return s, &log, p.carried.metrics
}

func TestUnauthenticatedRequestsGet401InMetasErrorFormat(t *testing.T) {
	digest := sha256.Sum256([]byte(ownToken))
	var current atomic.Pointer[[sha256.Size]byte]
	current.Store(&digest)
	s, log, metrics := trusted(t, &current, func(context.Context, call) (answer, error) {
		t.Error("a request without igproxy's own token led to an exchange")
		return answer{}, errOverloaded()
	})
	const guess = "a-wrong-guess"
	targets := []string{wireOK, "/access_token", "/nowhere", "/access_token?grant_type=ig_exchange_token&access_token=a&access_token=b"}
	for _, target := range targets {
		r, err := http.NewRequest(http.MethodGet, s.URL+target, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set(trustHeader, guess)
		res, err := s.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		var env struct{ Error graphBody }
		if err := json.Unmarshal(body, &env); err != nil || env.Error.Code == nil || *env.Error.Code != 100 || env.Error.Subcode != 990013 {
			t.Errorf("%s: got the body %s (decoding error: %v), want the error 100/990013", target, body, err)
		}
		if res.StatusCode != 401 || res.Header.Get("WWW-Authenticate") != challenge || res.Header.Get("Cache-Status") != "" || res.Close {
			t.Errorf("%s: got the status %d, the header %v and a closed connection: %v; want 401 with a challenge, without Cache-Status, on a connection that stays open", target, res.StatusCode, res.Header, res.Close)
		}
	}
	rec := httptest.NewRecorder()
	metrics.Handler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if want := `igproxy_requests_total{app="none",grant="none",outcome="rejected",source="none"} 4`; !strings.Contains(rec.Body.String(), want) {
		t.Errorf("the metrics do not contain %s", want)
	}
	s.Close() // waits for the last log line, which is written after the response
	if got := strings.Count(log.String(), "outcome=rejected"); got != len(targets) || strings.Contains(log.String(), guess) {
		t.Errorf("%d log lines with outcome=rejected, want %d; the log must not contain %q:\n%s", got, len(targets), guess, log)
	}
}

func TestUnauthenticatedRequestWithABodyClosesTheConnection(t *testing.T) {
	var current atomic.Pointer[[sha256.Size]byte]
	current.Store(&[sha256.Size]byte{})
	s, _, _ := trusted(t, &current, nil)
	request := "POST " + wireOK + " HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n" + "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
	got := sent(t, s.Listener.Addr().String(), request, true)
	if n := strings.Count(got, "HTTP/1.1 401 "); n != 1 || !strings.Contains(got, "\r\nConnection: close\r\n") {
		t.Errorf("got %d responses with 401, want one, with Connection: close; all responses:\n%s", n, got)
	}
}

func TestAChangeOfIgproxysOwnTokenAppliesToTheNextRequest(t *testing.T) {
	old, next := sha256.Sum256([]byte(ownToken)), sha256.Sum256([]byte("the next one"))
	var current atomic.Pointer[[sha256.Size]byte]
	current.Store(&old)
	s, _, _ := trusted(t, &current, func(_ context.Context, c call) (answer, error) {
		if got := c.token.Reveal(); got != "t" {
			t.Errorf("the token %q was exchanged, want t", got)
		}
		return tokenAnswer(t, "long", time.Hour), nil
	})
	ask := func(token string) int {
		r, err := http.NewRequest(http.MethodGet, strings.Replace(s.URL, "://", "://igproxy:"+token+"@", 1)+wireOK, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := s.Client().Do(r) // net/http sends the user name and password of the URL as Basic
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		return res.StatusCode
	}
	if withOld, withNext := ask("sidecar:own%2Ftoken+0123456789"), ask("the%20next%20one"); withOld != 200 || withNext != 401 {
		t.Errorf("before the change: got %d with the old token, want 200; got %d with the next token, want 401", withOld, withNext)
	}
	current.Store(&next)
	if withOld, withNext := ask("sidecar:own%2Ftoken+0123456789"), ask("the%20next%20one"); withOld != 401 || withNext != 200 {
		t.Errorf("after the change: got %d with the old token, want 401; got %d with the next token, want 200", withOld, withNext)
	}
}
