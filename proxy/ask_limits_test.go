package proxy

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// An error about a rate limit is passed on as Meta sent it, with the usage headers. After a limit
// on the app, requests for all other tokens are refused without a call to Meta. After a limit on a
// user, only requests for that user's token are refused.
func TestRateLimitsAreReportedAndPauseCalls(t *testing.T) {
	i, s := newInstagram(t, overTLS)
	// otherStatus is the status that a request for another token gets. retryAfter is the highest
	// expected Retry-After, in seconds.
	for token, c := range map[string]struct{ status, otherStatus, retryAfter int }{
		"limit4-1":   {400, 429, 300},
		"limit613-1": {400, 429, 60},
		"limit429-1": {429, 429, 7},
		"limit17-1":  {403, 200, 60},
		"limit32-1":  {400, 200, 60},
	} {
		i.Reset()
		p := newProxy(t, optionsFor(t, s.URL, s.CA()))
		// near reports whether Retry-After is from 1 to limit seconds. It may be far below limit,
		// because on a busy machine seconds may pass before igproxy computes it.
		near := func(h http.Header, limit int) bool {
			n, err := time.ParseDuration(h.Get("Retry-After") + "s")
			return err == nil && n > 0 && n <= time.Duration(limit)*time.Second
		}
		first := ask(p, get(target(token)))
		if first.Code != c.status || !near(first.Header(), c.retryAfter) {
			t.Errorf("%s: got %d, want %d; Retry-After is %q, want 1 to %d", token, first.Code, c.status, first.Header().Get("Retry-After"), c.retryAfter)
		}
		if token == "limit4-1" && (!strings.Contains(first.Header().Get("X-App-Usage"), "100") ||
			!strings.Contains(first.Header().Get("X-Business-Use-Case-Usage"), "estimated_time_to_regain_access")) {
			t.Errorf("%s: got the headers %v, want Meta's X-App-Usage and X-Business-Use-Case-Usage", token, first.Header())
		}
		again := ask(p, get(target(token)))
		if again.Code < 400 || !near(again.Header(), c.retryAfter) || i.CallsFor(token) != 1 {
			t.Errorf("%s again: got %d, want an error; Retry-After is %q, want 1 to %d; Meta was asked %d times, want once",
				token, again.Code, again.Header().Get("Retry-After"), c.retryAfter, i.CallsFor(token))
		}
		other := ask(p, get(target("IGAAother")))
		if other.Code != c.otherStatus {
			t.Errorf("after %s: another token got %d, want %d", token, other.Code, c.otherStatus)
		}
		if n, want := i.CallsFor("IGAAother"), map[bool]int{true: 1}[c.otherStatus == 200]; n != want {
			t.Errorf("after %s: Meta was asked %d times for another token, want %d", token, n, want)
		}
	}
}

// A hit in memory has no usage headers, because they would be outdated.
func TestUsageHeadersComeOnlyWithTheirExchange(t *testing.T) {
	base, _ := saying(t, rawResponse(200, goodToken, `X-App-Usage: {"call_volume":3}`, `X-Business-Use-Case-Usage: not JSON`))
	o := optionsFor(t, base, nil)
	o.Cache = newCache(t)
	p := newProxy(t, o)
	h := ask(p, get(target("IGAAshort"))).Header()
	if h.Get("X-App-Usage") != `{"call_volume":3}` || h["X-Business-Use-Case-Usage"] != nil {
		t.Errorf("got the headers %v, want X-App-Usage, and no X-Business-Use-Case-Usage, because it is not JSON", h)
	}
	if h := ask(p, get(target("IGAAshort"))).Header(); h["X-App-Usage"] != nil || !strings.Contains(h.Get("Cache-Status"), "hit") {
		t.Errorf("got the headers %v, want a hit without X-App-Usage", h)
	}
}
