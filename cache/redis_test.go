package cache

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/igproxy/igproxy/cache/redistest"
)

// over returns a cache that uses the Redis of o, and the recorder of the cache's counts and log.
func over(t testing.TB, o RedisOptions) (*Cache, *recorder) {
	t.Helper()
	r := &recorder{}
	o.Mode = ModeSingle
	return newCache(t, Options{Redis: &o, Observer: r, Logger: r.logger()}), r
}

func patiently(s *redistest.Server) RedisOptions {
	return RedisOptions{URL: s.URL(), Timeout: patient, StoreTimeout: patient}
}

func lasting(value string) Entry {
	return Entry{Value: []byte(value), Expires: time.Now().Add(time.Hour)}
}

// misses claims n keys, checks that each is a miss, and returns the total time.
func misses(t *testing.T, c *Cache, name string, n int) time.Duration {
	t.Helper()
	began, keys := time.Now(), keysOf(t, "secret", "app", "scope")
	for i := range n {
		if e, tier, ok := look(context.Background(), c, keys.Derive(fmt.Sprint(name, i))); ok || tier != "" {
			t.Errorf("%s %d: got %q from %q, want a miss", name, i, e.Value, tier)
		}
	}
	return time.Since(began)
}

func TestRedisKeysAndValuesAreUnreadableAndExpire(t *testing.T) {
	server := redistest.Start(t)
	o := patiently(server)
	o.Prefix = "house"
	c, _ := over(t, o)
	k := keysOf(t, "canary-secret", "canary-app", "canary-scope").Derive("canary-token")
	remember(c, k, lasting("canary-value"))
	remember(c, keyOf(t, "another"), lasting("canary-value"))
	c.pending.Wait()

	names, want := server.Keys(), "house:{"+k.ID().String()+"}:v"
	if len(names) != 2 || !slices.Contains(names, want) {
		t.Errorf("got the keys %q, want two, one of them %q", names, want)
	}
	form := regexp.MustCompile(`^house:\{[0-9a-f]{64}\}:v$`)
	for name, value := range server.Dump() {
		if !form.MatchString(name) {
			t.Errorf("key %q, want the form %s", name, form)
		}
		if ttl := server.TTL(name); ttl <= 0 || ttl > time.Hour {
			t.Errorf("%s has a TTL of %v, want more than 0 and at most an hour", name, ttl)
		}
		if strings.Contains(name+value, "canary") {
			t.Errorf("Redis has %q = %q, want no canary in either", name, value)
		}
	}
}

func TestDefaultPrefixOfRedisKeysIsIgproxy(t *testing.T) {
	server := redistest.Start(t)
	c, _ := over(t, patiently(server))
	remember(c, keyOf(t, "token"), lasting("value"))
	c.pending.Wait()
	if names := server.Keys(); len(names) != 1 || !strings.HasPrefix(names[0], "igproxy:{") {
		t.Errorf("got the keys %q, want one that begins with igproxy:{", names)
	}
}

// A connection that is out of step, or a hostile Redis, may reply with other users' entries.
func TestSwappedValueIsAMissAndIsOverwritten(t *testing.T) {
	server := redistest.Start(t)
	writer, _ := over(t, patiently(server))
	a, b := keyOf(t, "a"), keyOf(t, "b")
	remember(writer, a, lasting("of a"))
	remember(writer, b, lasting("of b"))
	writer.pending.Wait()
	server.Shuffle()

	c, r := over(t, patiently(server))
	unsealed := func(want int) {
		t.Helper()
		for _, k := range []Key{a, b} {
			if e, _, ok := look(context.Background(), c, k); ok {
				t.Errorf("got %q, want a miss", e.Value)
			}
		}
		if got := r.of("lookup redis unsealed"); got != want {
			t.Errorf("%d values could not be decrypted, want %d; all counts: %v", got, want, r.all())
		}
	}
	unsealed(2)
	for _, name := range server.Keys() {
		server.Set(name, "no seal at all")
	}
	unsealed(4)
	for _, name := range server.Keys() {
		server.Set(name, "")
	}
	unsealed(4) // an empty value is not an entry
	if h := c.Health(); h.State != "ok" {
		t.Errorf("after reading values that cannot be decrypted: health is %+v, want ok", h)
	}
	remember(c, a, lasting("of a again"))
	c.pending.Wait()
	cold, _ := over(t, patiently(server))
	if e, tier, ok := look(context.Background(), cold, a); !ok || tier != TierRedis || string(e.Value) != "of a again" {
		t.Errorf("after the next store: got %q from %q, found %v; want \"of a again\" from Redis", e.Value, tier, ok)
	}
}

// The expiry inside the seal applies, whatever happens to the TTL.
func TestEntryWithoutTTLStillExpires(t *testing.T) {
	server := redistest.Start(t)
	c, r := over(t, patiently(server))
	k := keyOf(t, "token")
	server.Do("SET", "igproxy:{"+k.ID().String()+"}:v", string(sealed(t, k, Entry{Value: []byte("value"), Expires: time.Now()})))
	if e, tier, ok := look(context.Background(), c, k); ok {
		t.Errorf("after its expiry: got %q from %q, want a miss", e.Value, tier)
	}
	if r.of("lookup redis miss") != 1 || c.Health().State != "ok" {
		t.Errorf("counted %v, want one miss; health is %+v, want ok", r.all(), c.Health())
	}
}

func TestClaimOutlivesItsCaller(t *testing.T) {
	server := redistest.Start(t)
	writer, _ := over(t, patiently(server))
	k := keyOf(t, "token")
	remember(writer, k, lasting("value"))
	writer.pending.Wait()
	c, _ := over(t, patiently(server))
	gone, leave := context.WithCancel(context.Background())
	leave()
	if e, tier, ok := look(gone, c, k); !ok || tier != TierRedis {
		t.Errorf("got %q from %q, found %v; want the value from Redis, although the caller has left", e.Value, tier, ok)
	}
}

func TestMemoryIsUsedWithoutRedis(t *testing.T) {
	c := newCache(t, Options{})
	misses(t, c, "cold", 1)
	k := keyOf(t, "token")
	remember(c, k, lasting("value"))
	if e, tier, ok := look(context.Background(), c, k); !ok || tier != TierMemory || string(e.Value) != "value" {
		t.Errorf("got %q from %q, found %v; want the value from memory", e.Value, tier, ok)
	}
	if h := c.Health(); h.State != "off" {
		t.Errorf("health %+v, want off", h)
	}
	if err := c.Check(context.Background()); err == nil || !strings.Contains(err.Error(), "redis.mode") {
		t.Errorf("Check: got the error %v, want one that names redis.mode", err)
	}
}

// New reports wrong options, and its errors never contain the password.
func TestWrongRedisOptionsAreRefused(t *testing.T) {
	for _, c := range []struct {
		o    RedisOptions
		want string
	}{
		{RedisOptions{Mode: ModeSingle}, "redis.url or redis.addrs"},
		{RedisOptions{Mode: "", Addrs: []string{"127.0.0.1:1"}}, `mode ""`},
		{RedisOptions{Mode: "Single", Addrs: []string{"127.0.0.1:1"}}, `mode "Single"`},
		{RedisOptions{Mode: ModeSingle, URL: "http://:canary@127.0.0.1"}, "redis.url"},
		{RedisOptions{Mode: ModeSingle, URL: "redis://:canary@127.0.0.1:1/no-number"}, "redis.url"},
		{RedisOptions{Mode: ModeSingle, URL: "redis://:canary@127.0.0.1:1\x7f"}, "redis.url"},
	} {
		cache, err := New(Options{MaxBytes: 1 << 20, Redis: &c.o})
		if err == nil || cache != nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%+v: got the error %v, want one with %q, without the password (canary); got a cache: %v, want false", c.o, err, c.want, cache != nil)
		}
	}
}

func BenchmarkClaimRedisHit(b *testing.B) {
	server := redistest.Start(b)
	c, _ := over(b, patiently(server))
	k := keyOf(b, "token")
	remember(c, k, Entry{Value: make([]byte, 256), Expires: time.Now().Add(time.Hour)})
	c.pending.Wait()
	b.ReportAllocs()
	for b.Loop() {
		c.memory.entries.Invalidate(k.id)
		if _, tier, _ := look(context.Background(), c, k); tier != TierRedis {
			b.Fatalf("found in %q, want %q", tier, TierRedis)
		}
	}
}
