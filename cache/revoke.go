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
	Dropped  Revocation = "dropped" // the entry was found, and is no longer served
	NotFound Revocation = "unknown" // the index has no entry with the token, or that entry has been purged already
	Skipped  Revocation = "skipped" // maxRevoking or maxLookups was reached
	NoLookup Revocation = "error"   // the token is not in the index in memory, and Redis failed
)

const (
	// maxRevoking bounds how many calls of Revoke may work in the background at the same time.
	maxRevoking = 16

	// maxLookups bounds how many tokens Revoke looks up in Redis in each second, because anyone who
	// can use the proxy can send any number of invalid tokens.
	maxLookups = 50
)

// revoking keeps Revoke within maxRevoking and maxLookups.
type revoking struct {
	room chan struct{} // has one element for each call that works in the background

	mu      sync.Mutex // protects the fields below
	second  int64      // the second in which the last lookup was requested, in Unix time
	lookups int        // lookups requested in that second, including those that were skipped
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

// Index makes Remember put the entry into the index under this key, so that Revoke can find it.
// Derive the key from the token that the entry's value contains, with a KeysOptions.Scope that no
// entry uses. Call Index before Remember.
func (cl *Claim) Index(k Key) { cl.index = k }

// Revoke makes the fleet forget the entries that are in the index under one of these keys, because
// the token that they contain is no longer valid. A revocation is like a purge of these entries,
// but is remembered only until shortly after the entries would have expired.
//
// Revoke does not block: it works in the background, within maxRevoking and maxLookups. It calls
// done once with the result, on the caller's goroutine or on another one.
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
	if c.redis != nil && err == nil { // if Redis fails, the other processes learn of the revocation when Redis is back
		_ = c.redis.writeMarks(ctx, p, added, nil) // both calls count their faults themselves
		_ = c.redis.removeIndexed(ctx, entries)
	}
	if len(entries) == 0 {
		return NotFound
	}
	return Dropped
}
