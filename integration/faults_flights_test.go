package integration

// Up to upstream.max_in_flight exchanges are in flight at a time, and do not wait for each other.
// When this limit is reached, a limited number of callers wait, and all others get a fast 503.
// Known tokens are still served.

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/igproxy/igproxy/proxy/mock"
)

func TestSlowExchangeDoesNotDelayOthers(t *testing.T) {
	t.Parallel()
	const timeout = 5 * time.Second
	ig, upstream := instagram(t, mock.ServerOptions{})
	p := serve(t, "UPSTREAM_URL="+upstream.URL, "UPSTREAM_TIMEOUT="+timeout.String())
	slow := make(chan response, 1)
	go func() { r, _ := p.try(t.Context(), "hang-1"); slow <- r }() // ends with its timeout
	eventually(t, "the slow exchange is in flight", func() bool { return ig.CallsFor("hang-1") == 1 })
	var right atomic.Int32
	crowd(100, func(i int) {
		if r, err := p.try(t.Context(), fmt.Sprintf("IGAA-fast-%d", i)); err == nil && r.status == 200 {
			right.Add(1)
		}
	})
	select {
	case r := <-slow:
		t.Errorf("the fast exchanges were answered after the slow one, which got %d", r.status)
	default:
		r := <-slow
		if r.status != 504 || r.took > timeout+noise {
			t.Errorf("the slow exchange got %d after %s, want 504 soon after the timeout", r.status, r.took)
		}
	}
	if right.Load() != 100 {
		t.Errorf("%d of 100 fast exchanges were answered, want all", right.Load())
	}
}

// Two exchanges are in flight, and sixteen callers wait (eight times upstream.max_in_flight). All
// further callers are refused at once.
func TestTooManyConcurrentExchangesGet503Fast(t *testing.T) {
	t.Parallel()
	const slots, waiting, callers = 2, 16, 100
	gate := make(chan struct{})
	ig := newEdge(t, map[string]http.HandlerFunc{"cold": func(w http.ResponseWriter, r *http.Request) {
		<-gate
		says(200, "application/json", goodAnswer)(w, r)
	}})
	open := make(chan struct{})
	release := func() {
		select {
		case <-open:
		default:
			close(open)
			close(gate)
		}
	}
	defer release()
	p := serve(t, "UPSTREAM_URL="+ig.URL, fmt.Sprintf("UPSTREAM_MAX_IN_FLIGHT=%d", slots), "UPSTREAM_TIMEOUT=15s")
	known := p.ask(t, "IGAA-known")
	before := ig.asked("")
	var answered, refused, others atomic.Int32
	done := make(chan struct{})
	go func() { // ends when its callers have ended
		defer close(done)
		crowd(callers, func(i int) {
			r, err := p.try(t.Context(), fmt.Sprintf("cold-%d", i))
			switch {
			case err == nil && r.status == 200:
				answered.Add(1)
			case err == nil && r.status == 503 && r.graphError(t).Subcode == 990021 && within(r.header.Get("Retry-After"), time.Second):
				refused.Add(1)
			default:
				others.Add(1)
			}
		})
	}()
	eventually(t, "the callers beyond the limit are refused", func() bool { return refused.Load() == callers-slots-waiting })
	if r := p.ask(t, "IGAA-known"); r.status != 200 || r.token() != known.token() {
		t.Errorf("a known token got %d; want 200 with the same token", r.status)
	}
	if n := ig.asked("") - before; n != slots {
		t.Errorf("%d calls at once, want %d", n, slots)
	}
	release()
	<-done
	if answered.Load() != slots+waiting || others.Load() != 0 {
		t.Errorf("%d requests were answered (want %d), and %d were neither answered nor refused (want 0)", answered.Load(), slots+waiting, others.Load())
	}
}
