// Package cache stores entries by token: in memory, and sealed in Redis, where later processes and
// the other processes of a fleet find them.
//
// An entry is only returned for the token that it was stored under, whatever Redis replies, and
// never after it has expired. Each operation has a time budget for Redis, and never waits longer.
// The cache also starts while Redis is down. Nothing here depends on Instagram or HTTP: an entry is
// the caller's bytes and the time at which they expire. An entry that is meant to be replaced is a
// record (record.go).
//
// Redis never holds a token or an entry in plain text: the names in Redis are keyed hashes of
// tokens, and entries are sealed under keys that cannot be derived without the token.
package cache

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// Entry is a value with the time at which it expires.
type Entry struct {
	// Value is the caller's bytes. They are shared, not copied, so they must not be changed.
	Value []byte
	// Expires is the end of the entry. From this time on, the entry is not returned.
	Expires time.Time
}

// Tier is where an entry was found.
type Tier string

// The tiers.
const (
	TierMemory Tier = "memory"
	TierRedis  Tier = "redis"
)

// Observer counts what the cache does. Its methods are called outside locks, from many goroutines,
// and must return quickly.
type Observer interface {
	// Lookup is called for each Recall, for each Peek that finds an entry, and once for each claim
	// that asks Redis. The result is Found, Missed, "unsealed" (a value that could not be
	// decrypted) or "error".
	Lookup(tier Tier, result string)
	// Store is called for each store by Keep or Remember, with "stored", "lost" (another entry was
	// stored first), "error", "dropped" (too many stores are pending, or the cache is closed) or
	// "oversize" (the value is too large).
	Store(tier Tier, result string)
	// Claim is called for each claim that memory cannot answer, if Redis is configured. It is not
	// called if the token was purged after the key was derived.
	Claim(Outcome)
	// RedisError is called for each fault of Redis, with the operation (claim, publish, renew,
	// release, purge, revoke or load) and the kind of fault.
	RedisError(operation, kind string)
	// RedisState is called with true at the start, with false when the cache stops using Redis, and
	// with true when it uses Redis again.
	RedisState(ok bool)
}

// The results of a lookup without a fault.
const (
	Found  = "hit"
	Missed = "miss"
)

type noObserver struct{}

func (noObserver) Lookup(Tier, string)       {}
func (noObserver) Claim(Outcome)             {}
func (noObserver) Store(Tier, string)        {}
func (noObserver) RedisError(string, string) {}
func (noObserver) RedisState(bool)           {}

// Options configure a Cache.
type Options struct {
	// MaxBytes bounds the memory tier, including the overhead of each entry. Required.
	MaxBytes int64
	// Redis is the second tier. Nil: memory only.
	Redis *RedisOptions
	// Observer counts what the cache does. Nil: nothing is counted.
	Observer Observer
	// Logger gets a line for each change of Redis's state, for the first fault of each kind that an
	// operator has to fix, for purges by other processes, for a purge of everything after too many
	// purges of single tokens, for panics, and for warnings from the memory tier. Nil: no log.
	Logger *slog.Logger
}

// maxPending bounds the writes to Redis that are pending in the background: stores of answers and
// of failures, and releases of leases. Updates of records have a separate bound, which is the same
// number. A write beyond the bound is dropped. A dropped store costs at most one more exchange
// later. A dropped update costs at most one more refresh. A lease that is not released expires by
// itself.
const maxPending = 256

// maxStored bounds the value of an entry in Redis, in bytes. It is far below maxReply, and far
// above the size of Meta's answers. A larger value is not shared: each process asks upstream for
// it.
const maxStored = 256 << 10

// Cache combines the two tiers. Safe for concurrent use.
type Cache struct {
	memory   *memory
	redis    *redisTier // nil: memory only
	shared   shared     // redis, or nil; tests use a model
	observer Observer
	log      *slog.Logger
	lease    time.Duration // RedisOptions.Lease
	wait     time.Duration // RedisOptions.Wait
	patience time.Duration // how long Remember waits for a store, if it waits at all

	mu       sync.Mutex // protects closed and purges; pending.Go is not called after closed is set
	closed   bool
	purges   map[ID]*Purges // by the ID of Purges.key
	closing  chan struct{}  // closed by Close
	pending  sync.WaitGroup // writes to Redis, renewals of leases, and revocations
	watching sync.WaitGroup // the goroutine that runs watchRedis
	room     chan struct{}  // has one element for each pending write that maxPending bounds
	revoking revoking

	records    sync.Mutex    // serializes the changes of records in memory
	recordRoom chan struct{} // has one element for each update of a record in the background
}

// New builds a Cache. It does not dial, so it succeeds while Redis is down.
func New(o Options) (*Cache, error) {
	if o.MaxBytes < 1 {
		return nil, fmt.Errorf("cache max_bytes is %d: it must be at least 1", o.MaxBytes)
	}
	if o.Observer == nil {
		o.Observer = noObserver{}
	}
	o.Logger = cmp.Or(o.Logger, slog.New(slog.DiscardHandler))
	memory, err := newMemory(o.MaxBytes, o.Logger)
	if err != nil {
		return nil, fmt.Errorf("cache: the memory tier: %w", err)
	}
	c := &Cache{memory: memory, observer: o.Observer, log: o.Logger, room: make(chan struct{}, maxPending), recordRoom: make(chan struct{}, maxPending), closing: make(chan struct{}), purges: map[ID]*Purges{},
		revoking: revoking{room: make(chan struct{}, maxRevoking)}}
	if o.Redis == nil {
		return c, nil
	}
	if c.redis, err = newRedisTier(*o.Redis, o.Observer, o.Logger); err != nil {
		memory.close()
		return nil, err
	}
	c.shared, c.lease, c.wait, c.patience = c.redis, o.Redis.Lease, o.Redis.Wait, c.redis.options.Timeout
	c.watching.Go(c.watchRedis)
	return c, nil
}

// Recall looks up an entry in memory. It never waits.
func (c *Cache) Recall(k Key) (Entry, bool) {
	e, ok := c.Peek(k)
	if !ok {
		c.observer.Lookup(TierMemory, Missed)
	}
	return e, ok
}

// Peek returns what Recall returns, but counts only hits. It is for callers that call Recall after
// a miss.
func (c *Cache) Peek(k Key) (Entry, bool) {
	e, ok := c.memory.get(k)
	if ok {
		c.observer.Lookup(TierMemory, Found)
	}
	return e, ok
}

// Health describes Redis as this process sees it.
type Health struct {
	State string    // off (not configured), ok, or degraded (not used until Redis answers again)
	Kind  string    // the kind of the last fault, while degraded
	Since time.Time // when the degraded state began
}

// Health returns the current health of Redis.
func (c *Cache) Health() Health {
	if c.redis == nil {
		return Health{State: "off"}
	}
	return c.redis.health()
}

// Check tries every Redis command that igproxy needs, even if the breaker is open. The error names
// the kind of fault and the next step, and contains no text from the Redis library.
func (c *Cache) Check(ctx context.Context) error {
	if c.redis == nil {
		return errors.New("redis is not configured; set redis.mode")
	}
	return c.redis.check(ctx)
}

// Len returns the approximate number of entries in memory.
func (c *Cache) Len() int { return c.memory.len() }

// LenOf returns the number of one app's entries in memory.
func (c *Cache) LenOf(p *Purges) int { return c.memory.lenOf(p) }

// Bytes returns the approximate size of the memory tier, in bytes.
func (c *Cache) Bytes() int64 { return c.memory.bytes() }

// Resize changes the bound of the memory tier, in bytes. If the tier is larger than the new bound,
// the entries that were used least are removed.
func (c *Cache) Resize(maxBytes int64) { c.memory.entries.SetMaximum(uint64(max(maxBytes, 1))) }

// Holds reports whether a value of this many bytes can be stored: in memory up to 8 KiB, in Redis
// up to 256 KiB.
func (c *Cache) Holds(size int) bool { return size <= maxKept || c.shared != nil && size <= maxStored }

// Keep stores an entry in memory only. Use it for entries that must not be stored in Redis. It
// stores nothing if the entry has expired, or if its token was purged after the key was derived. If
// the value is larger than 8 KiB, Keep only removes an earlier entry of the key.
func (c *Cache) Keep(k Key, e Entry) { c.keep(k, e, 0) }

func (c *Cache) keep(k Key, e Entry, index tag) {
	if !time.Now().Before(e.Expires) || k.purged() {
		return
	}
	c.memory.put(k, e, index)
	result := "stored"
	if len(e.Value) > maxKept {
		result = "oversize"
	}
	c.observer.Store(TierMemory, result)
}

// later runs a write to Redis in the background. It returns false, and runs nothing, if maxPending
// writes are pending or the cache is closed.
func (c *Cache) later(write func()) bool { return c.background("store", c.room, write) }

// background runs work in the background if there is room for it. It returns false, and runs
// nothing, if there is no room or the cache is closed. The work must end within the budgets of a
// few operations, because Close waits for it.
func (c *Cache) background(what string, room chan struct{}, work func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	select {
	case room <- struct{}{}:
	default:
		return false
	}
	c.pending.Go(func() {
		defer func() { <-room }()
		contain(c.log, what, work)
	})
	return true
}

// Close waits for pending writes to Redis, but not beyond ctx. Then it ends every goroutine and
// connection. A second call does nothing.
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
	go func() { // ends within the budgets of the writes
		defer close(done)
		contain(c.log, "close", c.pending.Wait)
	}()
	var err error
	select {
	case <-done:
	case <-ctx.Done():
		if n := len(c.room); n > 0 {
			err = fmt.Errorf("%d writes to Redis did not finish in time: %w", n, ctx.Err())
		}
	}
	if c.redis != nil {
		c.redis.close() // ends the writes that are still in flight
	}
	<-done
	c.watching.Wait()
	c.memory.close()
	return err
}
