package cache

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"
)

// lookEvery is how often the journals are looked at: how late the other processes of a fleet hear of a purge.
const lookEvery = time.Second

// tries are how often a purge is written until it is found as it was written: another process may write at the same moment.
const tries = 5

// errUntold is the end of those tries.
var errUntold = errors.New("the journal in Redis was overwritten again and again")

// Epoch is the one of an app; Scope does not matter. Whoever asks for the same gets the same, so that a reload keeps it.
func (c *Cache) Epoch(o KeysOptions) (*Epoch, error) {
	e, err := newEpoch(o)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if known, ok := c.epochs[e.key.id]; ok {
		return known, nil
	}
	if c.epochs == nil {
		c.epochs = map[ID]*Epoch{}
		if c.redis != nil && !c.closed {
			c.pending.Go(c.listen) // ends with Close
		}
	}
	c.epochs[e.key.id] = e
	return e, nil
}

// Retain lets go of all epochs but these, when a reload has changed what keys are made of.
func (c *Cache) Retain(these []*Epoch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	maps.DeleteFunc(c.epochs, func(_ ID, e *Epoch) bool { return !slices.Contains(these, e) })
}

// PurgeAll makes everything of an epoch unknown: here at once, and in the other processes once they look at the journal. An error says
// that Redis could not be told; it will be when it answers, as long as this process lives.
func (c *Cache) PurgeAll(ctx context.Context, e *Epoch) error {
	e.next(time.Now())
	c.memory.drop(e)
	return c.tell(ctx, e)
}

// PurgeKeys is the same for single entries. Keep is the longest that any process's memory has one. An exchange that is under way may
// bring an entry back: it is Instagram's word of now.
func (c *Cache) PurgeKeys(ctx context.Context, e *Epoch, keys []Key, keep time.Duration) error {
	var err error
	if c.redis != nil { // before the others forget: who asks after that must not find it
		err = c.redis.remove(ctx, keys)
	}
	e.mark(keys, time.Now(), time.Now().Add(keep))
	for _, k := range keys {
		c.memory.entries.Invalidate(k.id)
	}
	return both(err, c.tell(ctx, e))
}

// both are one line, and once what has one cause.
func both(a, b error) error {
	switch {
	case a == nil || b != nil && a.Error() == b.Error():
		return b
	case b == nil:
		return a
	}
	return fmt.Errorf("%w; %w", a, b)
}

// tell writes the journal and reads it again, until it is there.
func (c *Cache) tell(ctx context.Context, e *Epoch) error {
	if c.redis == nil {
		return nil
	}
	for range tries {
		if whole, err := c.look(ctx, e); whole || err != nil {
			return err
		}
	}
	return errUntold
}

// Learn looks at the journals once, within ctx: at a start, before anybody asks. Nothing depends on it; they are looked at again and again.
func (c *Cache) Learn(ctx context.Context) {
	if c.redis == nil {
		return
	}
	c.mu.Lock()
	all := make([]*Epoch, 0, len(c.epochs))
	for _, e := range c.epochs {
		all = append(all, e)
	}
	c.mu.Unlock()
	for _, e := range all {
		if _, err := c.look(ctx, e); err != nil && !errors.Is(err, errJournal) {
			return // the others would wait for the same Redis
		}
	}
}

// listen learns until the cache is closed.
func (c *Cache) listen() {
	for {
		wait := time.NewTimer(lookEvery/2 + rand.N(lookEvery/2)) // many sidecars don't ask in step
		select {
		case <-wait.C:
		case <-c.closing:
			wait.Stop()
			return
		}
		if c.redis.gate.allow() {
			c.Learn(context.Background())
		}
	}
}

// look reads an epoch's journal and forgets what it says; where it lacks something, it is written. Whole: it lacked nothing.
func (c *Cache) look(ctx context.Context, e *Epoch) (whole bool, err error) {
	sealed, err := c.redis.journal(ctx, e.key)
	if err != nil {
		return false, err
	}
	var known []byte
	if entry, err := open(e.key, sealedValue, sealed, time.Now()); err == nil { // what does not open is nobody's journal
		known = entry.Value
	}
	later, ids, more, err := e.merge(known, time.Now())
	if err != nil { // one of a version to come; it is left alone
		return false, err
	}
	if later {
		c.memory.drop(e)
	}
	for _, id := range ids {
		c.memory.entries.Invalidate(id)
	}
	e.told(c.redis.log, later, ids)
	if !more {
		return true, nil
	}
	value := e.journal(time.Now())
	if value == nil {
		return true, nil
	}
	if sealed, err = seal(e.key, sealedValue, Entry{Value: value, Expires: time.Now().Add(journalTTL)}); err != nil {
		return false, err
	}
	return false, c.redis.writeJournal(ctx, e.key, sealed)
}
