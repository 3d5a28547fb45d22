package integration

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/igproxy/igproxy/proxy/mock"
)

// If the first call for every token fails, one retry for each would double the load on a failing
// Meta. Retries are therefore limited to a tenth of the calls, one more each second, and ten that
// are saved up at the start. This is enough to retry all of the rare failures of a healthy Meta.
func TestRetriesAreLimitedToATenthOfTheCalls(t *testing.T) {
	t.Parallel()
	const tokens, callers, initial, perSecond = 500, 8, 10, 1
	t.Run("every first call gets 500", func(t *testing.T) {
		t.Parallel()
		ig, upstream := instagram(t, mock.ServerOptions{})
		p := fast(t, 1, "UPSTREAM_URL="+upstream.URL, "BREAKER_FAILURES=1000000", "BREAKER_RATIO=1", "BREAKER_MIN_REQUESTS=1000000")[0]
		start := time.Now()
		var right, lost atomic.Int32
		next := make(chan int)
		var wg sync.WaitGroup
		for range callers {
			wg.Go(func() {
				for i := range next {
					r, err := p.try(t.Context(), fmt.Sprintf("flaky500-%d", i))
					switch {
					case err == nil && r.status == 200:
						right.Add(1)
					case err == nil && (r.status == 503 || r.status == 502) && r.graphError(t).Code == 2:
						lost.Add(1)
					}
				}
			})
		}
		for i := range tokens {
			next <- i
		}
		close(next)
		wg.Wait()
		retries := ig.Calls() - tokens
		most := tokens/10 + initial + perSecond*int(time.Since(start).Seconds()+1)
		t.Logf("%d calls for %d tokens, %d retries within %s; want at most %d retries", ig.Calls(), tokens, retries, time.Since(start).Round(time.Millisecond), most)
		if retries > most || retries < tokens/10 {
			t.Errorf("got %d retries for %d tokens, want at least %d and at most %d", retries, tokens, tokens/10, most)
		}
		if int(right.Load()) != retries || int(lost.Load()) != tokens-retries {
			t.Errorf("got %d tokens with status 200, want %d, one for each retry; got %d tokens with an error, want %d", right.Load(), retries, lost.Load(), tokens-retries)
		}
		spent, denied := p.sum(t, "igproxy_upstream_retries_total", `result="spent"`), p.sum(t, "igproxy_upstream_retries_total", `result="denied"`)
		if int(spent) != retries || int(denied) != tokens-retries {
			t.Errorf("counted %v retries as spent, want %d, and %v as denied, want %d", spent, retries, denied, tokens-retries)
		}
	})
	// Instagram closes the reused connection during the first call for each token. igproxy repeats
	// the call on a new connection, and does not count this as a retry.
	t.Run("every first connection is closed", func(t *testing.T) {
		t.Parallel()
		ig, upstream := instagram(t, mock.ServerOptions{})
		p := fast(t, 1, "UPSTREAM_URL="+upstream.URL, "UPSTREAM_RETRIES=0")[0]
		p.ask(t, "IGAA-warm")
		for i := range tokens {
			if r := p.ask(t, fmt.Sprintf("flaky-%d", i)); r.status != 200 {
				t.Fatalf("call %d: got %d %s, want 200", i, r.status, r.body)
			}
		}
		if calls := ig.Calls(); calls != 2*tokens+1 || p.sum(t, "igproxy_upstream_retries_total") != 0 {
			t.Errorf("got %d calls, want %d: two for each token, and one to open the connection; got %v retries, want 0", calls, 2*tokens+1, p.sum(t, "igproxy_upstream_retries_total"))
		}
	})
	// The first call for every twentieth token fails. igproxy retries every failed call.
	t.Run("one first call in twenty gets 500", func(t *testing.T) {
		t.Parallel()
		ig, upstream := instagram(t, mock.ServerOptions{})
		p := fast(t, 1, "UPSTREAM_URL="+upstream.URL)[0]
		for i := range 400 {
			token := fmt.Sprintf("IGAA-%d", i)
			if i%20 == 0 {
				token = fmt.Sprintf("flaky500-%d", i)
			}
			if r := p.ask(t, token); r.status != 200 {
				t.Fatalf("%s: got %d %s, want 200", token, r.status, r.body)
			}
		}
		if ig.Calls() != 420 {
			t.Errorf("%d calls, want 420", ig.Calls())
		}
	})
}
