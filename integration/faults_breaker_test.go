package integration

// During an outage a few calls fail before the circuit breaker opens; all other requests for cold
// tokens get a fast 503. A half-open breaker lets only one trial call (a probe) pass at a time, and
// a probe that hangs ends with a timeout. Refusals do not open the breaker, nor do callers that
// disconnect.

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/igproxy/igproxy/proxy/mock"
)

// percentile sorts the times, and returns the percentile p: for p99, p is .99.
func percentile(times []time.Duration, p float64) time.Duration {
	slices.Sort(times)
	return times[int(float64(len(times)-1)*p)]
}

func TestThousandRequestsDuringAnOutageCostTwentyCalls(t *testing.T) {
	// The fifth failed request opens the breaker. At that moment the other three callers may have
	// requests in flight. With one retry for each request, that is at most 16 calls. The limit
	// of 20 leaves some room.
	const requests, callers, most = 1000, 4, 20
	ig, upstream := instagram(t, mock.ServerOptions{})
	p := fast(t, 1, "UPSTREAM_URL="+upstream.URL, "BREAKER_OPEN=1m", "LOG_LEVEL=info")[0]
	known := p.ask(t, "IGAA-known")
	ig.SetFault("down")
	before := ig.Calls()
	var mu sync.Mutex // protects the next three variables
	var refused, hits []time.Duration
	paid := 0 // cold tokens that were not refused at once
	next := make(chan int)
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for i := range next {
				cold, err := p.try(t.Context(), fmt.Sprintf("IGAA-cold-%d", i))
				// Hits and cold tokens alternate, so that both are measured under the same load.
				hit, err2 := p.try(t.Context(), "IGAA-known")
				if err != nil || err2 != nil || hit.status != 200 || hit.token() != known.token() {
					t.Errorf("a cold token got the error %v, want none; a known token got %d, %v, want 200 with the same token", err, hit.status, err2)
					continue
				}
				e := cold.graphError(t)
				if !e.Transient || e.Code != 2 {
					t.Errorf("a cold token got %d %s, want code 2 with is_transient", cold.status, cold.body)
				}
				mu.Lock()
				hits = append(hits, hit.took)
				if e.Subcode == 990020 && cold.status == 503 && within(cold.header.Get("Retry-After"), time.Minute) {
					refused = append(refused, cold.took)
				} else {
					paid++
				}
				mu.Unlock()
			}
		})
	}
	for i := range requests {
		next <- i
	}
	close(next)
	wg.Wait()
	calls := ig.Calls() - before
	if calls > most || paid > most || len(refused) < requests-most {
		t.Fatalf("%d calls (want at most %d); %d requests were refused at once (want at least %d), and %d others were not (want at most %d)", calls, most, len(refused), requests-most, paid, most)
	}
	fast503, hit := percentile(refused, .99), percentile(hits, .99)
	t.Logf("%d calls for %d requests; p99 of the 503s %s, of the hits %s", calls, requests, fast503, hit)
	if fast503 > 10*time.Millisecond && fast503 > 5*hit { // on a slow machine, hits are slow too
		t.Errorf("p99 of the 503s is %s, want at most 10ms, or five times the p99 of the hits, which is %s", fast503, hit)
	}
}

// halfOpen starts a sidecar with ig as its upstream, makes a call fail so that the breaker opens,
// and waits until the breaker is half-open.
func halfOpen(t *testing.T, ig *edge, settings ...string) *process {
	t.Helper()
	p := serve(t, append(settings, "UPSTREAM_URL="+ig.URL, "BREAKER_OPEN=1s", "BREAKER_FAILURES=1", "UPSTREAM_RETRIES=0")...)
	if r := p.ask(t, "down-1"); r.status != 502 {
		t.Fatalf("the call that opens the breaker: got %d %s, want 502", r.status, r.body)
	}
	eventually(t, "the breaker is half-open", func() bool { return p.breaker(t) == "half-open" })
	return p
}

func TestHalfOpenBreakerLimitsProbes(t *testing.T) {
	t.Parallel()
	const callers = 200
	gate := make(chan struct{})
	ig := newEdge(t, map[string]http.HandlerFunc{"cold": func(w http.ResponseWriter, r *http.Request) {
		<-gate
		says(200, "application/json", goodAnswer)(w, r)
	}})
	release := sync.OnceFunc(func() { close(gate) })
	defer release()
	p := halfOpen(t, ig, "UPSTREAM_TIMEOUT=15s")
	before := ig.asked("")
	var refused, answered, others atomic.Int32
	done := make(chan struct{})
	go func() { // ends when its callers have ended
		defer close(done)
		crowd(callers, func(i int) {
			r, err := p.try(t.Context(), fmt.Sprintf("cold-%d", i))
			switch {
			case err == nil && r.status == 200:
				answered.Add(1)
			case err == nil && r.status == 503 && r.graphError(t).Subcode == 990020 && within(r.header.Get("Retry-After"), time.Second):
				refused.Add(1)
			default:
				others.Add(1)
			}
		})
	}()
	eventually(t, "all but the probe are refused", func() bool { return refused.Load() == callers-1 })
	if n := ig.asked("") - before; n != 1 {
		t.Errorf("%d calls while half-open, want 1, the probe", n)
	}
	release()
	<-done
	if answered.Load() != 1 || others.Load() != 0 {
		t.Errorf("%d requests were answered (want 1, the probe), and %d were neither answered nor refused (want 0)", answered.Load(), others.Load())
	}
	if r := p.ask(t, "IGAA-after"); r.status != 200 || p.breaker(t) != "closed" {
		t.Errorf("after the probe: got %d, and the breaker is %s; want 200 and closed", r.status, p.breaker(t))
	}
}

// Without a timeout, a hanging probe would keep the breaker half-open permanently.
func TestHangingProbeTimesOut(t *testing.T) {
	t.Parallel()
	const timeout = 500 * time.Millisecond
	ig := newEdge(t, nil)
	p := halfOpen(t, ig, "UPSTREAM_TIMEOUT="+timeout.String())
	before := ig.asked("")
	ig.SetFault("hang")
	if r := p.ask(t, "IGAA-probe"); r.status != 504 || r.took > timeout+noise {
		t.Errorf("the probe: got %d after %s, want 504 soon after the timeout", r.status, r.took)
	}
	if r := p.ask(t, "IGAA-second"); r.graphError(t).Subcode != 990020 && r.status != 504 {
		t.Errorf("after the probe: got %d %s, want 504, or 503 with subcode 990020", r.status, r.body)
	}
	ig.SetFault("")
	hung := ig.asked("") - before
	eventually(t, "the breaker closes", func() bool { return p.ask(t, "IGAA-after").status == 200 })
	if hung > 2 || p.breaker(t) != "closed" {
		t.Errorf("%d calls hung, want at most 2; the breaker is %s, want closed", hung, p.breaker(t))
	}
	eventually(t, "the log shows that the breaker opened twice", func() bool {
		var states []string
		for _, line := range p.Log.Lines("breaker changed") {
			states = append(states, line["to"].(string))
		}
		got := strings.Join(states, " ")
		return strings.HasPrefix(got, "open half-open open half-open") && strings.HasSuffix(got, "closed")
	})
}

func TestRefusalsAndDisconnectsNeverOpenTheBreaker(t *testing.T) {
	t.Parallel()
	ig := newEdge(t, map[string]http.HandlerFunc{})
	p := serve(t, "UPSTREAM_URL="+ig.URL, "BREAKER_FAILURES=1", "BREAKER_RATIO=0.01", "BREAKER_MIN_REQUESTS=1")
	closed := func(t *testing.T) {
		t.Helper()
		if changes := p.sum(t, "igproxy_breaker_changes_total"); changes > 0 || p.breaker(t) != "closed" {
			t.Errorf("the breaker is %s, want closed; it has changed %v times, want 0", p.breaker(t), changes)
		}
	}
	t.Run("refusals", func(t *testing.T) {
		for i := range 20 {
			for _, fault := range []string{"expired", "revoked", "garbage", "longlived", "standing", "permission", "limit17"} {
				if r := p.ask(t, fmt.Sprintf("%s-%d", fault, i)); r.status != 400 && r.status != 403 {
					t.Fatalf("%s: got %d %s, want 400 or 403", fault, r.status, r.body)
				}
			}
		}
		closed(t)
	})
	t.Run("callers that leave", func(t *testing.T) {
		ig.SetLatency(200 * time.Millisecond)
		defer ig.SetLatency(0)
		before := ig.asked("")
		ctx, leave := context.WithCancel(t.Context())
		var left atomic.Int32
		done := make(chan struct{})
		go func() { // ends when the callers disconnect
			defer close(done)
			crowd(50, func(i int) {
				if _, err := p.try(ctx, fmt.Sprintf("IGAA-left-%d", i)); err != nil {
					left.Add(1)
				}
			})
		}()
		eventually(t, "an exchange is in flight", func() bool { return ig.asked("") > before })
		leave()
		<-done
		eventually(t, "the abandoned exchanges have ended", func() bool { return p.sum(t, "igproxy_flights") == 0 })
		if left.Load() == 0 {
			t.Error("every caller got its answer before it could disconnect, so this case proves nothing")
		}
		closed(t)
	})
	if r := p.ask(t, "IGAA-after"); r.status != 200 {
		t.Errorf("got %d, want 200", r.status)
	}
}
