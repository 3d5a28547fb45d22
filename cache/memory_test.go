package cache

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/igproxy/igproxy/cache/redistest"
)

func newCache(t testing.TB, o Options) *Cache {
	t.Helper()
	if o.MaxBytes == 0 {
		o.MaxBytes = 1 << 20
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

// eventually calls done until it returns true, and fails the test after 10 s.
func eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 10 s: %s", what)
		}
	}
}

// remember stores e as a process without a lease does.
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
				t.Errorf("life %v: a nanosecond before the end got %q, found %v; want \"value\", found true", life, e.Value, ok)
			}
			time.Sleep(time.Nanosecond)
			if e, ok := c.Recall(k); ok {
				t.Errorf("life %v: at the end got %q, want a miss", life, e.Value)
			}
		}
	})
}

func TestReplacingAnEntryReplacesItsExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, k := newCache(t, Options{}), keyOf(t, "token")
		put := func(value string, life time.Duration) {
			c.Keep(k, Entry{Value: []byte(value), Expires: time.Now().Add(life)})
		}
		put("short", time.Second)
		put("long", time.Hour)
		time.Sleep(time.Minute)
		if e, ok := c.Recall(k); !ok || string(e.Value) != "long" {
			t.Errorf("after the expiry of the first entry: got %q, found %v; want \"long\", found true", e.Value, ok)
		}
		put("short again", time.Second)
		time.Sleep(time.Second)
		if e, ok := c.Recall(k); ok {
			t.Errorf("after the expiry of the third entry: got %q, want a miss", e.Value)
		}
	})
}

// The tier checks the expiry itself, because the library's timers can be late.
func TestNoExpiredEntryIsServedWhenATimerIsLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, k := newCache(t, Options{}), keyOf(t, "token")
		c.Keep(k, Entry{Value: []byte("value"), Expires: time.Now().Add(time.Second)})
		c.memory.entries.SetExpiresAfter(k.id, time.Hour)
		time.Sleep(time.Second)
		if _, late := c.memory.entries.GetIfPresent(k.id); !late {
			t.Fatal("the library, with a late timer: got a miss, want the expired entry, so that Recall has to check the expiry")
		}
		if e, ok := c.Recall(k); ok {
			t.Errorf("after its expiry: got %q, want a miss", e.Value)
		}
	})
}

func TestExpiredEntryIsNotStoredOrCounted(t *testing.T) {
	r := &recorder{}
	c := newCache(t, Options{Observer: r})
	c.Keep(keyOf(t, "kept"), Entry{Value: []byte("value"), Expires: time.Now()})
	remember(c, keyOf(t, "remembered"), Entry{Value: []byte("value"), Expires: time.Now().Add(-time.Hour)})
	if c.Len() != 0 || len(r.all()) != 0 {
		t.Errorf("got %d entries in memory, want 0; counted %v, want nothing", c.Len(), r.all())
	}
}

func TestKeepStoresNothingInRedis(t *testing.T) {
	server := redistest.Start(t)
	c, r := over(t, patiently(server))
	c.Keep(keyOf(t, "token"), lasting("value"))
	c.pending.Wait()
	if names := server.Keys(); len(names) != 0 || r.of("store memory stored") != 1 {
		t.Errorf("Redis has the keys %q, want no key; counted %v, want one store in memory", names, r.all())
	}
}

func TestMemoryIsBoundedInBytes(t *testing.T) {
	const bound = 256 << 10
	c, keys := newCache(t, Options{MaxBytes: bound}), keysOf(t, "secret", "app", "scope")
	for i := range 3000 {
		c.Keep(keys.Derive(fmt.Sprint(i)), Entry{Value: make([]byte, i%maxKept), Expires: time.Now().Add(time.Hour)})
	}
	c.memory.entries.CleanUp() // otter evicts in the background
	if got := c.Bytes(); got > bound {
		t.Errorf("the entries in memory have %d bytes, want at most %d", got, bound)
	}
	found, size := 0, 0
	for i := range 3000 {
		if e, ok := c.Recall(keys.Derive(fmt.Sprint(i))); ok {
			found++
			size += entryOverhead + len(e.Value)
		}
	}
	if found == 0 || size > bound {
		t.Errorf("found %d entries, want at least 1; they have %d bytes in total, want at most %d", found, size, bound)
	}
}

// A large answer would take memory that many smaller answers could use.
func TestLargeValuesAreNotKeptInMemory(t *testing.T) {
	r := &recorder{}
	c, k := newCache(t, Options{Observer: r}), keyOf(t, "token")
	c.Keep(k, Entry{Value: make([]byte, maxKept), Expires: time.Now().Add(time.Hour)})
	if e, ok := c.Recall(k); !ok || len(e.Value) != maxKept {
		t.Errorf("a value of %d bytes: recalled %d bytes, found %v; want the value", maxKept, len(e.Value), ok)
	}
	c.Keep(k, Entry{Value: make([]byte, maxKept+1), Expires: time.Now().Add(time.Hour)})
	if e, ok := c.Recall(k); ok {
		t.Errorf("a value of %d bytes: recalled %d bytes, want a miss and not the earlier entry", maxKept+1, len(e.Value))
	}
	if r.of("store memory stored") != 1 || r.of("store memory oversize") != 1 {
		t.Errorf("counted %v, want one value stored and one too large", r.all())
	}
}

// entryOverhead is close to what an entry really takes in addition to its value.
func TestWeightOfAnEntryIsCloseToItsSizeInMemory(t *testing.T) {
	const entries = 20_000
	keys, index := keysOf(t, "secret", "app", "scope"), keysOf(t, "secret", "app", "index")
	for i, size := range []int{100, 100, 350, 350, 1000, 1000, 4000, 4000} {
		indexed := i%2 == 1
		c := newCache(t, Options{MaxBytes: 1 << 30})
		before := heap()
		for i := range entries {
			tag := tag(0)
			if indexed {
				tag = index.Derive(fmt.Sprint(i)).tag()
			}
			c.keep(keys.Derive(fmt.Sprint(i)), Entry{Value: make([]byte, size), Expires: time.Now().Add(time.Hour)}, tag)
		}
		eventually(t, "all entries are in memory", func() bool { return c.Len() == entries })
		took := float64(heap()-before) / entries
		weight := float64(c.Bytes()) / entries
		t.Logf("values of %d bytes, indexed %v: an entry takes %.0f bytes and weighs %.0f", size, indexed, took, weight)
		if took > 1.15*weight || took < 0.7*weight {
			t.Errorf("values of %d bytes: an entry takes %.0f bytes, want 70%% to 115%% of its weight, %.0f", size, took, weight)
		}
		closeCache(t, c)
	}
}

// heap returns the bytes of live objects.
func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // the second time for finalizers and pools
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
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
			t.Errorf("a minute after storing entries for a second: got %d entries in memory, want 0", n)
		}
	})
}

func TestCloseLeavesNoGoroutine(t *testing.T) {
	before := goleak.IgnoreCurrent()
	c, err := New(Options{MaxBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	k := keyOf(t, "token")
	remember(c, k, Entry{Value: []byte("value"), Expires: time.Now().Add(time.Hour)})
	for range 2 {
		closeCache(t, c)
	}
	goleak.VerifyNone(t, before)
	if e, ok := c.Recall(k); ok {
		t.Errorf("from a closed cache: got %q, want a miss", e.Value)
	}
}

func TestMaxBytesMustBePositive(t *testing.T) {
	for _, n := range []int64{0, -1} {
		if c, err := New(Options{MaxBytes: n}); err == nil || c != nil {
			t.Errorf("max_bytes %d: got the cache %v, want nil; got the error %v, want one", n, c, err)
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
				b.Error("got a miss, want a hit")
				return
			}
		}
	})
}

func TestMaxBytesCanBeChanged(t *testing.T) {
	const weight = entryOverhead + 1
	c := newCache(t, Options{MaxBytes: 1000 * weight})
	fill := func(from, n int) {
		for i := range n {
			c.Keep(keyOf(t, fmt.Sprint(from+i)), Entry{Value: []byte("v"), Expires: time.Now().Add(time.Hour)})
		}
	}
	fill(0, 500)
	c.Resize(100 * weight)
	fill(1000, 200)
	eventually(t, "entries beyond the limit are gone", func() bool { return c.Len() <= 100 })
	c.Resize(1000 * weight)
	fill(2000, 500)
	eventually(t, "there is room again", func() bool { return c.Len() > 400 })
}
