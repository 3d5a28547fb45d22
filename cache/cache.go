// Package cache remembers entries by token: in memory at once, and in Redis, sealed, for the next process and for the others.
//
// It promises that an entry is only ever given to who holds the token it was stored under, whatever Redis answers; that nothing is given
// past its end; and that Redis is never waited for beyond its budget, nor needed to start. It knows neither Instagram nor HTTP: an entry
// is the caller's bytes and the time they end.
//
// Redis holds nothing readable: keys are keyed hashes of tokens, values are sealed under keys that nobody can derive without the token.
package cache

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// Entry is what is remembered.
type Entry struct {
	// Value is the caller's bytes. It is shared, not copied: nobody may change it.
	Value []byte
	// Expires is the entry's end; from this instant on it is gone.
	Expires time.Time
}

// Tier is where an entry was found.
type Tier string

// The tiers.
const (
	TierMemory Tier = "memory"
	TierRedis  Tier = "redis"
)

// Observer is told what happens, for metrics. It is called outside locks, from many goroutines, and must be quick.
type Observer interface {
	// Lookup is one look into a tier: hit, miss, unsealed (something was there that does not open) or error.
	Lookup(tier Tier, result string)
	// Store is one store: stored, lost (to one that was stored first), error or dropped (too many pending).
	Store(tier Tier, result string)
	// Claim is how one claim on a token came out. Only with Redis.
	Claim(Outcome)
	// RedisError is a fault of Redis in one operation (claim, publish, renew, release, ping, subscribe, purge), by kind.
	RedisError(operation, kind string)
	// RedisState says whether Redis is used (true) or left alone until it answers a PING.
	RedisState(ok bool)
}

// silent is the Observer of nobody.
type silent struct{}

func (silent) Lookup(Tier, string)       {}
func (silent) Claim(Outcome)             {}
func (silent) Store(Tier, string)        {}
func (silent) RedisError(string, string) {}
func (silent) RedisState(bool)           {}

// Options configure a Cache.
type Options struct {
	// MaxEntries bounds the memory tier. Required.
	MaxEntries int
	// Redis is the second tier. Nil: memory only.
	Redis *RedisOptions
	// Observer is told what happens. Nil: nobody is.
	Observer Observer
	// Logger gets one line a change of Redis's state. Nil: silence.
	Logger *slog.Logger
}

// maxPending bounds what is under way to Redis off the callers' paths; beyond it a store is dropped, which costs at most an exchange
// later.
const maxPending = 256

// Cache is the two tiers together. Safe for concurrent use.
type Cache struct {
	memory   *memory
	redis    *redisTier // nil: memory only
	shared   shared     // redis, or nothing at all; tests have a model of it
	observer Observer
	lease    time.Duration
	wait     time.Duration
	patience time.Duration // how long a caller waits for a store, where it waits at all

	mu      sync.Mutex // protects closed and epochs, and pending's Go against Close's Wait
	closed  bool
	epochs  map[ID]*Epoch // by the ID of their journal
	closing chan struct{}
	pending sync.WaitGroup
	room    chan struct{}
}

// New builds a Cache. It opens no connection, so a dead Redis does not keep it from starting.
func New(o Options) (*Cache, error) {
	if o.MaxEntries < 1 {
		return nil, fmt.Errorf("cache max_entries is %d: it must be at least 1", o.MaxEntries)
	}
	if o.Observer == nil {
		o.Observer = silent{}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	c := &Cache{observer: o.Observer, room: make(chan struct{}, maxPending), closing: make(chan struct{})}
	var err error
	if o.Redis != nil {
		if c.redis, err = newRedisTier(*o.Redis, o.Observer, o.Logger); err != nil {
			return nil, err
		}
		c.shared, c.lease, c.wait, c.patience = c.redis, o.Redis.Lease, o.Redis.Wait, c.redis.options.Timeout
	}
	if c.memory, err = newMemory(o.MaxEntries, o.Logger); err != nil {
		if c.redis != nil {
			c.redis.close()
		}
		return nil, fmt.Errorf("cache: the memory tier: %w", err)
	}
	return c, nil
}

// Recall looks into the memory tier. It never waits.
func (c *Cache) Recall(k Key) (Entry, bool) {
	e, ok := c.Peek(k)
	if !ok {
		c.observer.Lookup(TierMemory, Missed)
	}
	return e, ok
}

// Peek is Recall for who asks again by Recall after a miss: the Observer is told of a hit only.
func (c *Cache) Peek(k Key) (Entry, bool) {
	e, ok := c.memory.get(k)
	if ok {
		c.observer.Lookup(TierMemory, Found)
	}
	return e, ok
}

// The results of a lookup that went well.
const (
	Found  = "hit"
	Missed = "miss"
)

// Health is Redis's, as seen from here.
type Health struct {
	State string    // off (not configured), ok, or degraded (left alone until it answers a PING)
	Kind  string    // of the fault that degraded it
	Since time.Time // when it was degraded
}

// Health of now.
func (c *Cache) Health() Health {
	if c.redis == nil {
		return Health{State: "off"}
	}
	return c.redis.gate.health()
}

// Check asks Redis once for each thing that is needed of it, past its breaker, on a key of no token's. The error says which kind of
// fault it is and what to do, without the library's text.
func (c *Cache) Check(ctx context.Context, k Key) error {
	if c.redis == nil {
		return errors.New("redis is not configured; set redis.mode")
	}
	return c.redis.check(ctx, k)
}

// Len is about how many entries the memory tier holds.
func (c *Cache) Len() int { return c.memory.len() }

// Resize changes the bound of the memory tier; what is beyond it goes, the least used first.
func (c *Cache) Resize(maxEntries int) { c.memory.entries.SetMaximum(uint64(max(maxEntries, 1))) }

// Keep puts an entry into memory only: for what is true of this process and not of the token.
func (c *Cache) Keep(k Key, e Entry) { c.keep(k, e) }

func (c *Cache) keep(k Key, e Entry) bool {
	if !time.Now().Before(e.Expires) || k.over() { // what was purged while it was asked for is not remembered, in Redis neither
		return false
	}
	c.memory.put(k, e)
	c.observer.Store(TierMemory, "stored")
	return true
}

// later runs work off the caller's path. It reports false, and runs nothing, when too much is under way or the cache is closed. The
// work must end by itself, within the budget of a store or two: Close waits for it.
func (c *Cache) later(work func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	select {
	case c.room <- struct{}{}:
	default:
		return false
	}
	c.pending.Go(func() {
		defer func() { <-c.room }()
		work()
	})
	return true
}

// Close waits for pending stores, bounded by ctx, then ends every goroutine and connection. A second call does nothing.
func (c *Cache) Close(ctx context.Context) error {
	c.mu.Lock()
	again := c.closed
	c.closed = true
	c.mu.Unlock()
	if again {
		return nil
	}
	close(c.closing)
	done := make(chan struct{})
	go func() { c.pending.Wait(); close(done) }() // ends within the stores' budget
	var err error
	select {
	case <-done:
	case <-ctx.Done():
		err = fmt.Errorf("%d entries were not stored in Redis: %w", len(c.room), ctx.Err())
	}
	if c.redis != nil {
		c.redis.close() // ends stores that are still waiting
	}
	<-done
	c.memory.close()
	return err
}
