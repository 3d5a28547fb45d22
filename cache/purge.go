package cache

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"time"
)

// readEvery is the longest time that watchRedis waits between two reads of the fleet's purges from
// Redis. Such a read also finds out whether a failed Redis works again.
const readEvery = time.Second

// Purges returns the purges of an app. It ignores the options Scope and Upstream. The same options
// give the same Purges, so that purges survive a reload.
func (c *Cache) Purges(o KeysOptions) (*Purges, error) {
	p, err := newPurges(o)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if known, ok := c.purges[p.key.id]; ok {
		return known, nil
	}
	c.purges[p.key.id] = p
	return p, nil
}

// Retain forgets all Purges except these. Call it after a reload, which may have removed an app or
// changed what its keys are derived from.
func (c *Cache) Retain(these []*Purges) {
	c.mu.Lock()
	defer c.mu.Unlock()
	maps.DeleteFunc(c.purges, func(_ ID, p *Purges) bool { return !slices.Contains(these, p) })
}

// PurgeAll makes the fleet forget all entries of an app: this process at once, and the other
// processes when they next read the purges. After an error, Redis may not have the purge yet. This
// process then writes the purge when Redis answers again, if it is still running by then.
func (c *Cache) PurgeAll(ctx context.Context, p *Purges) error {
	return c.purge(ctx, p, []ID{everything}, nil)
}

// PurgeKeys does for single entries what PurgeAll does for all entries. It also deletes them from
// Redis. If an exchange is in flight, its answer is returned, but not stored.
func (c *Cache) PurgeKeys(ctx context.Context, p *Purges, keys []Key) error {
	var tokens []ID
	for _, k := range keys {
		tokens = append(tokens, k.token)
	}
	return c.purge(ctx, p, tokens, keys)
}

func (c *Cache) purge(ctx context.Context, p *Purges, tokens []ID, keys []Key) error {
	now, err := c.readPurges(ctx, p) // so that the new purge gets no number that another process has just used
	added := p.add(now, tokens...)
	if len(added) > len(tokens) { // too many marks: everything was purged
		c.log.Warn("all entries purged", "names", maxMarks)
	}
	for _, k := range keys {
		c.memory.entries.Invalidate(k.id)
	}
	c.forget(p, added)
	if c.redis == nil || err != nil {
		return err
	}
	return errors.Join(c.redis.writeMarks(ctx, p, added, nil), c.redis.remove(ctx, keys))
}

// forget frees the memory of what was purged.
func (c *Cache) forget(p *Purges, purged []mark) {
	for _, m := range purged {
		if m.token == everything {
			c.memory.drop(p)
		}
		c.memory.entries.Invalidate(m.token)
	}
}

// Learn reads the purges of the fleet now. Call it at the start and after a reload. It ends within
// the budgets of its operations, and does not end earlier when ctx ends. Faults are not returned,
// because watchRedis soon reads the purges again.
func (c *Cache) Learn(ctx context.Context) {
	_, _ = c.readPurges(ctx, c.allPurges()...)
}

func (c *Cache) allPurges() []*Purges {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Collect(maps.Values(c.purges))
}

// readPurges merges the purges in Redis with those that this process knows, and writes to Redis the
// purges that Redis lacks. It returns the time of Redis in Unix milliseconds, or the local time if
// the read fails.
func (c *Cache) readPurges(ctx context.Context, all ...*Purges) (now int64, err error) {
	if c.redis == nil {
		return time.Now().UnixMilli(), nil
	}
	now, sets, err := c.redis.readMarks(ctx, all)
	if err != nil {
		return time.Now().UnixMilli(), err
	}
	for i, p := range all {
		learned, missing, stale := p.merge(now, sets[i])
		c.forget(p, learned)
		purges := slices.DeleteFunc(learned, func(m mark) bool { return m.until > 0 })
		if len(purges) > 0 {
			c.redis.log.Info("purge received", "marks", len(purges))
		}
		err = errors.Join(err, c.redis.writeMarks(ctx, p, missing, stale))
	}
	return now, err
}

// watchRedis reads the purges until the cache is closed. After a fault it reads sooner, because the
// read finds out whether Redis is back.
func (c *Cache) watchRedis() {
	for every := readEvery; ; {
		select {
		case <-time.After(every/2 + rand.N(every/2)): // jitter, so that the processes of a fleet do not ask in step
		case <-c.closing:
			return
		}
		every = readEvery / 2
		contain(c.log, "read purges", func() {
			if _, err := c.readPurges(context.Background(), c.allPurges()...); err == nil {
				every = readEvery
			}
		})
	}
}
