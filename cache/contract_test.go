package cache

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/igproxy/igproxy/cache/redistest"
)

// patient is a timeout that a busy machine does not reach.
const patient = 20 * time.Second

// tier has the operations that the function contract needs to test memory or Redis.
type tier struct {
	store  func(Key, Entry)
	settle func() // returns when everything stored so far can be found
	find   func(Key) (Entry, bool)
	shared bool // shared by processes, so that the first store wins
}

func TestMemoryFulfilsTheContractOfATier(t *testing.T) {
	contract(t, func(t *testing.T) tier {
		c := newCache(t, Options{})
		return tier{store: func(k Key, e Entry) { remember(c, k, e) }, settle: func() {}, find: func(k Key) (Entry, bool) {
			recalled, ok := c.Recall(k)
			claimed, from, found := look(context.Background(), c, k)
			if ok != found || !bytes.Equal(recalled.Value, claimed.Value) || (found && from != TierMemory) {
				t.Errorf("Recall: got %q, found %v; Claim: got %q from %q, found %v; want the same from both, and from memory", recalled.Value, ok, claimed.Value, from, found)
			}
			return claimed, found
		}}
	})
}

func TestRedisFulfilsTheContractOfATier(t *testing.T) {
	t.Parallel()
	for _, v := range []struct {
		name   string
		server redistest.Options
		client func(*redistest.Server) RedisOptions
	}{
		{"TCP", redistest.Options{}, func(s *redistest.Server) RedisOptions { return RedisOptions{URL: s.URL()} }},
		{"unix", redistest.Options{Unix: true}, func(s *redistest.Server) RedisOptions { return RedisOptions{URL: s.UnixURL()} }},
		{"TLS", redistest.Options{TLS: true}, func(s *redistest.Server) RedisOptions { return RedisOptions{URL: s.URL(), CA: s.CA()} }},
		{"TLS by address", redistest.Options{TLS: true}, func(s *redistest.Server) RedisOptions {
			return RedisOptions{Addrs: []string{s.Addr()}, TLS: true, CA: s.CA()}
		}},
		{"password", redistest.Options{Password: "p@ss"}, func(s *redistest.Server) RedisOptions {
			return RedisOptions{Addrs: []string{s.Addr()}, Password: func() (string, error) { return "p@ss", nil }}
		}},
		{"password in the URL", redistest.Options{Password: "secret"}, func(s *redistest.Server) RedisOptions { return RedisOptions{URL: s.URL()} }},
	} {
		t.Run(v.name, func(t *testing.T) {
			server := redistest.Start(t, v.server)
			o := v.client(server)
			o.Mode, o.Timeout, o.StoreTimeout = ModeSingle, patient, patient
			contract(t, func(t *testing.T) tier { return throughRedis(t, o) })
		})
	}
}

// throughRedis returns a tier that stores with one cache and reads with others, whose memory is
// empty.
func throughRedis(t *testing.T, o RedisOptions) tier {
	writer := newCache(t, Options{Redis: &o})
	return tier{shared: true, store: func(k Key, e Entry) { remember(writer, k, e) }, settle: writer.pending.Wait, find: func(k Key) (Entry, bool) {
		cold := newCache(t, Options{Redis: &o})
		defer closeCache(t, cold)
		if e, ok := cold.Recall(k); ok {
			t.Errorf("the memory of a new cache has %q", e.Value)
		}
		e, from, ok := look(context.Background(), cold, k)
		if ok != (from == TierRedis) {
			t.Errorf("the first claim: found %v in %q; want the entry in Redis, or a miss", ok, from)
		}
		if again, from, warm := look(context.Background(), cold, k); warm != ok || !bytes.Equal(again.Value, e.Value) || (warm && from != TierMemory) {
			t.Errorf("the second claim: got %.40q from %q, found %v; want %.40q from memory, found %v, as in the first claim", again.Value, from, warm, e.Value, ok)
		}
		return e, ok
	}}
}

// contract checks what a tier promises, with one subtest and a fresh tier per promise. The tiers on
// Redis share a server, so each subtest has its own tokens.
func contract(t *testing.T, fresh func(*testing.T) tier) {
	keys := keysOf(t, "secret", "app", "scope")
	in := func(life time.Duration) time.Time { return time.Now().Add(life) }

	t.Run("a stored entry is found with the same bytes and expiry", func(t *testing.T) {
		tier := fresh(t)
		for i, value := range []string{"", "value", "\x00\r\n$-1\r\n\xff", string(make([]byte, maxKept))} {
			k, e := keys.Derive(fmt.Sprint("same", i)), Entry{Value: []byte(value), Expires: in(time.Hour + time.Duration(i)*time.Microsecond)}
			tier.store(k, e)
			tier.settle()
			tier.has(t, k, e)
		}
	})
	t.Run("an unknown entry is a miss", func(t *testing.T) {
		fresh(t).lacks(t, keys.Derive("unknown"))
	})
	t.Run("an entry is a miss once it has expired", func(t *testing.T) {
		tier, k, e := fresh(t), keys.Derive("ends"), Entry{Value: []byte("value"), Expires: in(50 * time.Millisecond)}
		tier.store(k, e)
		tier.settle()
		time.Sleep(time.Until(e.Expires))
		tier.lacks(t, k)
	})
	t.Run("an expired entry is not stored", func(t *testing.T) {
		tier := fresh(t)
		for i, life := range []time.Duration{0, -time.Nanosecond, -time.Hour} {
			k := keys.Derive(fmt.Sprint("ended", i))
			tier.store(k, Entry{Value: []byte("value"), Expires: in(life)})
			tier.settle()
			tier.lacks(t, k)
		}
	})
	t.Run("another key's entry is a miss", func(t *testing.T) {
		tier := fresh(t)
		tier.store(keys.Derive("mine"), Entry{Value: []byte("value"), Expires: in(time.Hour)})
		tier.settle()
		for _, other := range []Key{
			keys.Derive("min"), keys.Derive("mine "), keysOf(t, "secret", "app2", "scope").Derive("mine"),
			keysOf(t, "secret", "app", "scope2").Derive("mine"), keysOf(t, "secret2", "app", "scope").Derive("mine"),
		} {
			tier.lacks(t, other)
		}
	})
	t.Run("of several stores, the last one wins in memory and the first one in Redis", func(t *testing.T) {
		tier, k := fresh(t), keys.Derive("several")
		var stored []Entry
		for i, life := range []time.Duration{time.Hour, 2 * time.Hour, time.Minute} {
			stored = append(stored, Entry{Value: []byte(fmt.Sprint("value ", i)), Expires: in(life)})
			tier.store(k, stored[i])
			tier.settle()
			if tier.shared {
				tier.has(t, k, stored[0])
			} else {
				tier.has(t, k, stored[i])
			}
		}
	})
	t.Run("a hundred concurrent claims each get their own entry", func(t *testing.T) {
		tier, end := fresh(t), in(time.Hour)
		each := func(do func(Key, Entry)) {
			var all sync.WaitGroup
			for i := range 100 {
				all.Go(func() {
					name := fmt.Sprint("crowd", i)
					do(keys.Derive(name), Entry{Value: []byte(name), Expires: end})
				})
			}
			all.Wait()
		}
		each(tier.store)
		tier.settle()
		each(func(k Key, e Entry) { tier.has(t, k, e) })
	})
}

func (tier tier) has(t *testing.T, k Key, want Entry) {
	t.Helper()
	got, ok := tier.find(k)
	if !ok || !bytes.Equal(got.Value, want.Value) || got.Expires.UnixMilli() != want.Expires.UnixMilli() {
		t.Errorf("got %.40q until %v, found %v; want %.40q until %v, found true", got.Value, got.Expires, ok, want.Value, want.Expires)
	}
}

func (tier tier) lacks(t *testing.T, k Key) {
	t.Helper()
	if e, ok := tier.find(k); ok || e.Value != nil {
		t.Errorf("got %.40q until %v; want a miss", e.Value, e.Expires)
	}
}
