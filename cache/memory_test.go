package cache

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/igproxy/igproxy/cache/redistest"
)

func newCache(t testing.TB, o Options) *Cache {
	t.Helper()
	if o.MaxEntries == 0 {
		o.MaxEntries = 1000
	}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeCache(t, c) })
	return c
}

// closeCache closes c and waits for pending stores. A second call does nothing.
func closeCache(t testing.TB, c *Cache) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := c.Close(ctx); err != nil {
		t.Error(err)
	}
}

// eventually waits until is returns true.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 10 s: %s", what)
		}
	}
}

// remember stores e without a claim, as a process without Redis does.
func remember(c *Cache, k Key, e Entry) {
	cl := &Claim{Outcome: Alone, cache: c, key: k, owner: newOwner(), lease: noLease}
	cl.Remember(e, nil)
}

// look claims k and, on a miss, releases the claim at once.
func look(ctx context.Context, c *Cache, k Key) (Entry, Tier, bool) {
	cl := c.Claim(ctx, k)
	cl.Release()
	return cl.Entry, cl.Tier, cl.Outcome == Hit
}

func TestEntryExpiresAtTheExactInstant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, k := newCache(t, Options{}), keyOf(t, "token")
		for _, life := range []time.Duration{time.Nanosecond, time.Millisecond, 1500 * time.Millisecond, 24 * time.Hour} {
			remember(c, k, Entry{Value: []byte("value"), Expires: time.Now().Add(life)})
			time.Sleep(life - time.Nanosecond)
			if e, ok := c.Recall(k); !ok || string(e.Value) != "value" {
				t.Errorf("life %v: a nanosecond before its end got %q, %v", life, e.Value, ok)
			}
			time.Sleep(time.Nanosecond)
			if e, ok := c.Recall(k); ok {
				t.Errorf("life %v: at its end it is still there: %q", life, e.Value)
			}
		}
	})
}

func TestLifeOfAReplacedEntryIsTheNewOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, k := newCache(t, Options{}), keyOf(t, "token")
		put := func(value string, life time.Duration) {
			c.Keep(k, Entry{Value: []byte(value), Expires: time.Now().Add(life)})
		}
		put("short", time.Second)
		put("long", time.Hour)
		time.Sleep(time.Minute)
		if e, ok := c.Recall(k); !ok || string(e.Value) != "long" {
			t.Errorf("the first entry's expiry removed the second: %q, %v", e.Value, ok)
		}
		put("short again", time.Second)
		time.Sleep(time.Second)
		if e, ok := c.Recall(k); ok {
			t.Errorf("the longer life of the first entry kept it: %q", e.Value)
		}
	})
}

// The tier checks the expiry itself, because the library's timers can be late.
func TestLateTimerServesNoExpiredEntry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, k := newCache(t, Options{}), keyOf(t, "token")
		c.Keep(k, Entry{Value: []byte("value"), Expires: time.Now().Add(time.Second)})
		c.memory.entries.SetExpiresAfter(k.id, time.Hour)
		time.Sleep(time.Second)
		if _, late := c.memory.entries.GetIfPresent(k.id); !late {
			t.Fatal("the timer is not late")
		}
		if e, ok := c.Recall(k); ok {
			t.Errorf("past its end got %q", e.Value)
		}
	})
}

func TestExpiredEntryIsNotStoredOrCounted(t *testing.T) {
	r := &recorder{}
	c := newCache(t, Options{Observer: r})
	c.Keep(keyOf(t, "kept"), Entry{Value: []byte("value"), Expires: time.Now()})
	remember(c, keyOf(t, "remembered"), Entry{Value: []byte("value"), Expires: time.Now().Add(-time.Hour)})
	if c.Len() != 0 || len(r.all()) != 0 {
		t.Errorf("%d entries, counted %v", c.Len(), r.all())
	}
}

func TestKeepStaysOutOfRedis(t *testing.T) {
	server := redistest.Start(t)
	c, r := over(t, patiently(server))
	c.Keep(keyOf(t, "token"), lasting("value"))
	c.pending.Wait()
	if names := server.Keys(); len(names) != 0 || r.of("store memory stored") != 1 {
		t.Errorf("in Redis there are %q; counted %v", names, r.all())
	}
}

func TestMemoryIsBounded(t *testing.T) {
	const bound = 100
	c, keys := newCache(t, Options{MaxEntries: bound}), keysOf(t, "secret", "app", "scope")
	for i := range 50 * bound {
		c.Keep(keys.Derive(fmt.Sprint(i)), Entry{Value: []byte("value"), Expires: time.Now().Add(time.Hour)})
	}
	eventually(t, fmt.Sprintf("at most %d entries are held", bound), func() bool { return c.Len() <= bound })
	found := 0
	for i := range 50 * bound {
		if _, ok := c.Recall(keys.Derive(fmt.Sprint(i))); ok {
			found++
		}
	}
	if found == 0 || found > bound {
		t.Errorf("%d entries are still found, want 1 to %d", found, bound)
	}
}

func TestExpiredEntriesAreRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, keys := newCache(t, Options{}), keysOf(t, "secret", "app", "scope")
		for i := range 100 {
			c.Keep(keys.Derive(fmt.Sprint(i)), Entry{Value: []byte("value"), Expires: time.Now().Add(time.Second)})
		}
		time.Sleep(time.Minute) // otter removes expired entries about once a second
		synctest.Wait()
		if n := c.Len(); n != 0 {
			t.Errorf("a minute after all have expired, %d entries are held", n)
		}
	})
}

func TestCloseLeavesNoGoroutine(t *testing.T) {
	before := goleak.IgnoreCurrent()
	c, err := New(Options{MaxEntries: 10})
	if err != nil {
		t.Fatal(err)
	}
	k := keyOf(t, "token")
	remember(c, k, Entry{Value: []byte("value"), Expires: time.Now().Add(time.Hour)})
	for range 2 {
		closeCache(t, c)
	}
	goleak.VerifyNone(t, before)
	if _, ok := c.Recall(k); ok {
		t.Error("a closed cache still holds its entries")
	}
}

func TestMaxEntriesMustBePositive(t *testing.T) {
	for _, n := range []int{0, -1} {
		if c, err := New(Options{MaxEntries: n}); err == nil || c != nil {
			t.Errorf("max_entries %d: got %v, %v; want an error", n, c, err)
		}
	}
}

func BenchmarkRecallHit(b *testing.B) {
	c, k := newCache(b, Options{}), keyOf(b, "token")
	c.Keep(k, Entry{Value: make([]byte, 256), Expires: time.Now().Add(time.Hour)})
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, ok := c.Recall(k); !ok {
				b.Error("a miss")
				return
			}
		}
	})
}

func TestMaxEntriesCanBeChanged(t *testing.T) {
	c := newCache(t, Options{MaxEntries: 1000})
	fill := func(from, n int) {
		for i := range n {
			c.Keep(keyOf(t, fmt.Sprint(from+i)), Entry{Value: []byte("v"), Expires: time.Now().Add(time.Hour)})
		}
	}
	fill(0, 500)
	c.Resize(100)
	fill(1000, 200)
	eventually(t, "entries beyond the limit are gone", func() bool { return c.Len() <= 100 })
	c.Resize(1000)
	fill(2000, 500)
	eventually(t, "there is room again", func() bool { return c.Len() > 400 })
}
