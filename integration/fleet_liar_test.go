package integration

// Redis lies: its replies are shifted by one command, have a flipped bit, are cut off, or are
// replaced by replies to other commands. Even so, apps never get an error or another user's token,
// because values are sealed: a value that belongs to another token counts as a miss. In production,
// a connection that is out of step returns replies to other commands, without an error.

import (
	"fmt"
	"sync"
	"testing"

	"github.com/igproxy/igproxy/cache/redistest"
	"github.com/igproxy/igproxy/proxy/mock"
)

func TestLyingRedisNeverGivesAnotherUsersToken(t *testing.T) {
	const requests, tokens, callers = 12_500, 500, 32
	ig, upstream := instagram(t, mock.ServerOptions{})
	redis := redistest.Start(t)
	liar := redistest.StartLiar(t, redis)
	// Memory holds one or two entries, so nearly every request goes to Redis. Each token is sent to
	// the two sidecars in turn, so each sidecar reads what the other has stored.
	all := fast(t, 2, "UPSTREAM_URL="+upstream.URL, "REDIS_MODE=single", "REDIS_URL="+liar.URL(), "CACHE_MAX_BYTES=1KiB", "LOG_LEVEL=info",
		"UPSTREAM_MAX_IN_FLIGHT=1000", patientRedis)
	var got tally
	next := make(chan int)
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for i := range next {
				short := fmt.Sprintf("IGAA-lied-%d", i*7919%tokens)
				r, err := all[(i+i/tokens)%2].try(t.Context(), short)
				got.count(ig, short, r, err)
			}
		})
	}
	part := requests / (len(redistest.Lies) + 1)
	for i := range requests {
		if i%part == 0 && i/part < len(redistest.Lies) {
			liar.SetLie(redistest.Lies[i/part], 25)
		} else if i == part*len(redistest.Lies) {
			liar.SetLie(redistest.Truth, 1)
		}
		next <- i
	}
	close(next)
	wg.Wait()
	if got.right.Load() != requests {
		t.Errorf("%s; want %d right answers", &got, requests)
	}
	if liar.LieCount() < 250 {
		t.Errorf("got %d replies selected for a lie, want at least 250", liar.LieCount())
	}
	t.Logf("%s; %d replies selected for a lie; %d calls to Instagram", &got, liar.LieCount(), ig.Calls())
	wantShared(t, all, "after")
}
