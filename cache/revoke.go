package cache

import (
	"context"
	"sync"
	"time"
)

// Revocation is the result of Revoke. The set of results is fixed, because they are metric labels.
type Revocation string

// The results.
const (
	Dropped  Revocation = "dropped" // the entry was found, and is no longer answered
	NotFound Revocation = "unknown" // no entry has the token, as far as this process can find out
	Skipped  Revocation = "skipped" // too many tokens are being looked up
	NoLookup Revocation = "error"   // the token is not in memory, and Redis failed
)

const (
	// maxRevoking bounds the calls of Revoke in flight.
	maxRevoking = 16

	// maxLookups bounds the tokens that Revoke looks up in Redis in each second. Anyone who can use
	// the proxy can send tokens that are not valid.
	maxLookups = 50
)

// revoking bounds what calls of Revoke cost.
type revoking struct {
	room chan struct{} // has one element for each call in flight

	mu      sync.Mutex // protects the fields below
	second  int64
	lookups int // in that second
}

// mayLookUp reports whether another token may be looked up in Redis in this second.
func (r *revoking) mayLookUp(now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if second := now.Unix(); second != r.second {
		r.second, r.lookups = second, 0
	}
	r.lookups++
	return r.lookups <= maxLookups
}

// Index makes Remember put the entry into the index under this key, with which Revoke finds it.
// Derive the key, in a scope of its own, from a token that the value of the entry contains. Call
// Index before Remember.
func (cl *Claim) Index(k Key) { cl.index = k }

// Revoke makes the fleet forget the entries that are in the index under one of these keys, because
// the token that they contain is no longer valid. It is a purge of single entries, except that it
// is remembered only until the entries would have expired.
//
// Revoke returns at once and works in the background, within limits. Then it calls done with the
// result, from this goroutine or another one.
func (c *Cache) Revoke(p *Purges, index []Key, done func(Revocation)) {
	inMemory := c.memory.tags.mayHave(index)
	switch {
	case !inMemory && c.redis == nil:
		done(NotFound)
	case !inMemory && !c.revoking.mayLookUp(time.Now()):
		done(Skipped)
	case !c.background("revoke", c.revoking.room, func() { done(c.revoke(context.Background(), p, index, inMemory)) }):
		done(Skipped)
	}
}

func (c *Cache) revoke(ctx context.Context, p *Purges, index []Key, inMemory bool) Revocation {
	var entries []indexed
	if inMemory {
		entries = c.memory.indexedBy(p, index)
	}
	if len(entries) == 0 && c.redis != nil {
		var err error
		if entries, err = c.redis.indexedBy(ctx, index); err != nil {
			return NoLookup
		}
	}
	if len(entries) == 0 {
		return NotFound
	}
	now, err := c.readPurges(ctx, p) // another process may have revoked the token already
	entries, added := p.revoke(now, entries)
	for _, e := range entries {
		c.memory.entries.Invalidate(e.id)
	}
	c.forget(p, added)
	if c.redis != nil && err == nil { // otherwise the others learn it when Redis is back
		_ = c.redis.writeMarks(ctx, p, added, nil) // faults of both are counted
		_ = c.redis.removeIndexed(ctx, entries)
	}
	if len(entries) == 0 {
		return NotFound
	}
	return Dropped
}
