package proxy

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/igproxy/igproxy/cache"
	"github.com/igproxy/igproxy/cache/redistest"
)

// One sidecar, the leader, asks Meta and gets a failure. Another sidecar, the follower, finds this
// failure in Redis and does not ask Meta.
func TestAFailureFromRedisIsMarkedAsRepeated(t *testing.T) {
	i, s := newInstagram(t, overTLS)
	redis := redistest.Start(t)
	var log strings.Builder
	sidecar := func() *Proxy {
		c, err := cache.New(cache.Options{
			MaxBytes: 1 << 20,
			Redis:    &cache.RedisOptions{Mode: cache.ModeSingle, URL: redis.URL(), Timeout: 5 * time.Second, Lease: 5 * time.Second, Wait: 5 * time.Second},
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close(context.Background()) })
		o := optionsFor(t, s.URL, s.CA())
		o.Cache, o.ClaimBudget, o.Logger = c, 10*time.Second, slog.New(slog.NewTextHandler(&log, nil))
		o.Breaker.Failures = 1000
		return newProxy(t, o)
	}
	leader, follower := sidecar(), sidecar()
	for n := range 200 { // repeats the test if the leader has not published its failure before the follower asks
		token := fmt.Sprint("down-", n)
		if w := askAt(leader, "localhost", target(token)); w.Code != 502 {
			t.Fatalf("the leader got %d, want 502", w.Code)
		}
		before := i.Calls()
		log.Reset()
		w := askAt(follower, "localhost", target(token))
		if w.Code != 502 {
			t.Fatalf("the follower got %d, want 502", w.Code)
		}
		if i.Calls() > before {
			continue
		}
		if got, want := w.Header().Get("Cache-Status"), `igproxy; detail="failed a moment ago"`; got != want {
			t.Errorf("the follower's Cache-Status: got %q, want %q", got, want)
		}
		if !strings.Contains(log.String(), "repeated=true") {
			t.Errorf("the follower's log line: got %s, want repeated=true in it", log.String())
		}
		return
	}
	t.Fatal("the follower never found the failure in Redis")
}
