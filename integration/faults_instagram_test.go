package integration

// For each fault of Instagram, or of the network in front of it, the test checks which response the
// app gets, how many calls the fault costs, and whether it opens the breaker. The response is never
// much later than the timeout, and errors have Instagram's envelope. No error contains a token, no
// response contains the secret, and the next request without a fault succeeds.

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/igproxy/igproxy/proxy/mock"
)

// noise is added to time limits, because the machine may be busy.
const noise = 2 * time.Second

// upstreamFault is a fault with its expected effects. An app triggers it with the token NAME-1.
type upstreamFault struct {
	name          string
	status        int    // of the response to the app
	code, subcode int    // of the error in this response
	calls         int    // to Instagram, for one request
	result        string // the label result of igproxy_upstream_requests_total
}

// opensBreaker reports whether the breaker counts the fault as a failure.
func (f upstreamFault) opensBreaker() bool {
	return map[string]bool{"transient": true, "broken": true, "unreached": true, "timeout": true}[f.result]
}

// remembered reports whether igproxy caches the result. It caches tokens and refusals.
func (f upstreamFault) remembered() bool {
	return map[string]bool{"token": true, "bad_token": true, "standing": true, "refused": true, "user_limit": true}[f.result]
}

// These are subcodes of igproxy's own errors.
const badAnswer, tooLate, unreachable, unreadable = 990024, 990022, 990023, 990025

var upstreamFaults = []upstreamFault{
	// Definite refusals: Instagram is healthy.
	{"expired", 400, 190, 463, 1, "bad_token"}, {"revoked", 400, 190, 460, 1, "bad_token"}, {"garbage", 400, 190, 0, 1, "bad_token"},
	{"longlived", 400, 452, 4279019, 1, "bad_token"}, {"standing", 400, 100, 0, 1, "standing"}, {"permission", 403, 10, 0, 1, "refused"},
	{"limit17", 403, 17, 0, 1, "user_limit"}, {"limit32", 400, 32, 0, 1, "user_limit"}, {"reflecterr", 400, 190, 0, 1, "bad_token"},
	{"invite", 400, 1349245, 0, 1, "refused"}, {"html403", 403, 100, unreadable, 1, "refused"},
	// Instagram or its edge reports a failure.
	{"down", 502, 2, 0, 2, "transient"}, {"unknown", 502, 1, 0, 2, "transient"}, {"down502", 502, 2, 0, 2, "transient"},
	{"down503", 502, 2, 0, 2, "transient"}, {"down504", 502, 2, 0, 2, "transient"}, {"down400", 400, 2, 0, 2, "transient"},
	{"patience", 502, 2, 0, 1, "transient"}, {"html500", 502, 2, badAnswer, 2, "broken"}, {"html502", 502, 2, badAnswer, 1, "broken"},
	{"html", 502, 2, badAnswer, 1, "broken"}, {"html504", 502, 2, badAnswer, 1, "broken"},
	{"html429", 502, 2, badAnswer, 1, "broken"},
	// 200 with an invalid or unusual body, and a redirect.
	{"html200", 502, 2, badAnswer, 1, "broken"}, {"empty200", 502, 2, badAnswer, 1, "broken"}, {"array200", 502, 2, badAnswer, 1, "broken"},
	{"null200", 502, 2, badAnswer, 1, "broken"}, {"error200", 502, 2, badAnswer, 1, "broken"}, {"notoken", 502, 2, badAnswer, 1, "broken"},
	{"emptytoken", 502, 2, badAnswer, 1, "broken"}, {"dupkeys", 502, 2, badAnswer, 1, "broken"}, {"trailing", 502, 2, badAnswer, 1, "broken"},
	{"badjson", 502, 2, badAnswer, 1, "broken"}, {"noexpires", 502, 2, badAnswer, 1, "broken"}, {"stringexpires", 502, 2, badAnswer, 1, "broken"},
	{"floatexpires", 502, 2, badAnswer, 1, "broken"}, {"zeroexpires", 502, 2, badAnswer, 1, "broken"},
	{"negativeexpires", 502, 2, badAnswer, 1, "broken"}, {"hugeexpires", 502, 2, badAnswer, 1, "broken"}, {"extra", 200, 0, 0, 1, "token"},
	{"lettercase", 200, 0, 0, 1, "token"},
	{"reflect", 502, 2, badAnswer, 1, "broken"}, {"redirect", 502, 2, badAnswer, 1, "broken"},
	// Responses that are too large, too deeply nested, or badly compressed.
	{"huge", 502, 2, badAnswer, 1, "broken"}, {"endless", 502, 2, badAnswer, 1, "broken"}, {"hugeheaders", 502, 2, badAnswer, 1, "broken"},
	{"gzipbomb", 502, 2, badAnswer, 1, "broken"}, {"gzipbroken", 502, 2, badAnswer, 1, "broken"}, {"deep", 502, 2, badAnswer, 1, "broken"},
	// The connection fails or is slow. If a reused connection fails, igproxy repeats the call on a
	// new connection. This does not count as a retry, so one retry may follow.
	{"reset", 503, 2, unreachable, 3, "unreached"}, {"close", 503, 2, unreachable, 3, "unreached"},
	{"garbageline", 502, 2, badAnswer, 1, "broken"}, {"truncated", 502, 2, badAnswer, 1, "broken"}, {"chunkcut", 502, 2, badAnswer, 1, "broken"},
	{"hang", 504, 2, tooLate, 1, "silent"}, {"driphead", 504, 2, tooLate, 1, "timeout"}, {"hangbody", 504, 2, tooLate, 1, "timeout"},
	{"drip", 504, 2, tooLate, 1, "timeout"}, {"slow", 200, 0, 0, 1, "token"}, {"flaky", 200, 0, 0, 2, "token"}, {"flaky500", 200, 0, 0, 2, "token"},
}

// edgeScripts returns scripts for the faults that the stand-in cannot produce.
func edgeScripts() map[string]http.HandlerFunc {
	page := func(status int) http.HandlerFunc {
		return says(status, "text/html", "<!DOCTYPE html><title>Error</title>")
	}
	return map[string]http.HandlerFunc{
		"down502": refuses(502, 2), "down503": refuses(503, 2), "down504": refuses(504, 2), "down400": refuses(400, 2),
		"patience": refuses(503, 2, "Retry-After", "30"),
		"html500":  page(500), "html502": page(502), "html504": page(504), "html429": page(429),
		"floatexpires": says(200, "application/json", strings.Replace(goodAnswer, "5183944", "5183944.5", 1)),
		"gzipbroken":   says(200, "application/json", "\x1f\x8b\x08no gzip", "Content-Encoding", "gzip"),
		"chunkcut":     chunkCut, "driphead": dripHead,
	}
}

func TestFaultsOfInstagram(t *testing.T) {
	t.Parallel()
	const timeout = 2 * time.Second
	ig := newEdge(t, edgeScripts())
	p := serve(t, "UPSTREAM_URL="+ig.URL, "UPSTREAM_TIMEOUT="+timeout.String(), "BREAKER_FAILURES=1", "BREAKER_OPEN=100ms")
	good := 0
	works := func(t *testing.T) {
		t.Helper()
		eventually(t, "a good request works", func() bool {
			good++
			return p.ask(t, fmt.Sprintf("IGAA-good-%d", good)).status == 200 && p.breaker(t) == "closed"
		})
	}
	for _, f := range upstreamFaults {
		t.Run(f.name, func(t *testing.T) {
			works(t)
			before := p.sum(t, "igproxy_upstream_requests_total", `result="`+f.result+`"`)
			token := f.name + "-1"
			r := p.ask(t, token)
			breaker := p.breaker(t)
			if r.status != f.status || r.took > timeout+noise {
				t.Errorf("got %d after %s, want %d within %s: %s", r.status, r.took, f.status, timeout+noise, r.body)
			}
			if f.status != 200 {
				e := r.graphError(t)
				if e.Code != f.code || e.Subcode != f.subcode || e.Message == "" || r.token() != "" {
					t.Errorf("got %s, want code %d, subcode %d and no token", r.body, f.code, f.subcode)
				}
				if ours := f.subcode/10_000 == 99; ours && e.Transient != (f.opensBreaker() || f.result == "silent") || f.result == "bad_token" && e.Transient {
					t.Errorf("is_transient is %v, want %v", e.Transient, !e.Transient)
				}
			}
			if after := r.header.Get("Retry-After"); (f.status == 503 || f.name == "patience") && after == "" {
				t.Error("the response has no Retry-After header")
			}
			if n := ig.asked(token); n != f.calls {
				t.Errorf("%d calls, want %d", n, f.calls)
			}
			// If the transport repeats a call, Instagram counts two calls and the metric counts
			// one.
			if n := p.sum(t, "igproxy_upstream_requests_total", `result="`+f.result+`"`) - before; n < 1 || n > float64(f.calls) {
				t.Errorf("counted %v times as %s, want from 1 to %d times", n, f.result, f.calls)
			}
			if tripped := breaker != "closed"; tripped != f.opensBreaker() {
				t.Errorf("the fault opened the breaker: %v, want %v; the breaker is %s", tripped, f.opensBreaker(), breaker)
			}
			if seen := r.body + fmt.Sprint(r.header); strings.Contains(seen, appSecret) || f.status != 200 && strings.Contains(seen, token) {
				t.Errorf("the response contains the secret or the token: %s", seen)
			}
			if again := p.ask(t, token); f.remembered() && (again.status != f.status || ig.asked(token) != f.calls) {
				t.Errorf("the second request got %d, want the remembered %d; calls in all %d, want %d", again.status, f.status, ig.asked(token), f.calls)
			}
			works(t)
		})
	}
	for _, f := range mock.Faults() {
		if ig.asked(f.Name+"-1") == 0 && !elsewhere[f.Name] {
			t.Errorf("%s: no row of upstreamFaults has this fault", f.Name)
		}
	}
	if ig.asked("") == 0 {
		t.Error("Instagram received no call")
	}
	if p.sum(t, "igproxy_upstream_in_flight") != 0 || p.sum(t, "igproxy_flights") != 0 {
		t.Error("an exchange is still in flight")
	}
}

// elsewhere lists faults that pause the whole app. Other tests cover them, such as those in
// faults_limits_test.go.
var elsewhere = map[string]bool{"limit4": true, "limit613": true, "limit429": true, "wrongsecret": true}
