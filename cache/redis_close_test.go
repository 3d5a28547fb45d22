package cache

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/igproxy/igproxy/cache/redistest"
)

// hung returns a cache whose Redis keeps its connections open but does not reply.
func hung(t *testing.T) (*redistest.Server, *Cache, *recorder) {
	server := redistest.Start(t)
	c, r := over(t, patiently(server))
	if err := c.Check(context.Background()); err != nil {
		t.Fatal(err)
	}
	server.Pause()
	return server, c, r
}

func rememberMany(t *testing.T, c *Cache, n int) {
	t.Helper()
	keys := keysOf(t, "secret", "app", "scope")
	for i := range n {
		remember(c, keys.Derive(fmt.Sprint("pending", i)), lasting("value"))
	}
}

func TestCloseWaitsForPendingStores(t *testing.T) {
	server, c, r := hung(t)
	rememberMany(t, c, 10)
	done := make(chan error, 1)
	go func() { done <- c.Close(context.Background()) }()
	select {
	case err := <-done:
		t.Errorf("while stores are pending: Close returned %v, want it to wait", err)
	case <-time.After(50 * time.Millisecond):
	}
	server.Resume()
	if err := <-done; err != nil {
		t.Errorf("Close: got %v, want nil", err)
	}
	if n := len(server.Keys()); n != 10 || r.of("store redis stored") != 10 {
		t.Errorf("%d entries are in Redis, want all 10; counted %v, want 10 stores in Redis", n, r.all())
	}
}

func TestCloseRespectsItsDeadline(t *testing.T) {
	before := goleak.IgnoreCurrent()
	server, c, r := hung(t)
	rememberMany(t, c, 10)
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	err := c.Close(ctx)
	if took := time.Since(began); took > patient/2 {
		t.Errorf("Close took %v with a deadline of 50 ms, want at most %v", took, patient/2)
	}
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "10 writes") {
		t.Errorf("got %v, want a deadline error that says that 10 writes did not finish", err)
	}
	if got := r.of("store redis error"); got != 10 {
		t.Errorf("%d failed stores were counted, want 10; all counts: %v", got, r.all())
	}
	server.Kill()
	goleak.VerifyNone(t, before)
}

func TestStoreBeyondTheLimitOfPendingStoresIsDroppedAndCounted(t *testing.T) {
	server, c, r := hung(t)
	rememberMany(t, c, maxPending+10)
	if got := r.of("store redis dropped"); got != 10 || r.of("fault publish backlog") != 10 {
		t.Errorf("%d stores were dropped, want 10, and as many faults \"publish backlog\"; all counts: %v", got, r.all())
	}
	if got := r.of("store memory stored"); got != maxPending+10 {
		t.Errorf("memory stored %d entries, want all %d", got, maxPending+10)
	}
	server.Resume()
	c.pending.Wait()
	if n := len(server.Keys()); n != maxPending {
		t.Errorf("%d entries are in Redis, want %d", n, maxPending)
	}
	remember(c, keyOf(t, "later"), lasting("value"))
	c.pending.Wait()
	if n := len(server.Keys()); n != maxPending+1 {
		t.Errorf("with room again, %d entries are in Redis, want %d", n, maxPending+1)
	}
}

func TestAfterCloseNothingIsStored(t *testing.T) {
	server := redistest.Start(t)
	c, r := over(t, patiently(server))
	closeCache(t, c)
	rememberMany(t, c, 3)
	c.pending.Wait()
	if keys := server.Keys(); len(keys) != 0 || r.of("store redis stored")+r.of("store redis error") != 0 {
		t.Errorf("Redis has the keys %q, want no key; counted %v, want no store in Redis and no attempt", keys, r.all())
	}
	misses(t, c, "closed", 3)
	closeCache(t, c)
}
