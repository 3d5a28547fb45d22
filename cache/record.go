package cache

import (
	"context"
	"encoding/binary"
	"errors"
	"time"
)

// A record is an entry that Update can replace at any time. By contrast, if Remember stores several
// entries under the same key, the first one in Redis wins, unless the caller says that a later one
// is better. Records are sealed and purged like all entries. Derive their keys with a
// KeysOptions.Scope that no other entries use.
//
// In memory, the value of a record has a prefix, the stamp: the time at which the copy was made, in
// Unix milliseconds.

// stampSize is the size of a stamp in bytes.
const stampSize = 8

// maxUpdates is how many times Update tries to replace a record that other processes replace too.
const maxUpdates = 5

var (
	errContended  = errors.New("other processes replaced the record at each try")
	errUnstorable = errors.New("the record has expired, was purged, or is too large")
)

// Load returns the record of a key. If memory has no copy that is younger than maxAge, Load asks
// Redis and waits for at most RedisOptions.Timeout. If Redis fails, Load returns the copy, however
// old it is. If Redis has lost the record, for example in a flush, Load returns the copy too, and
// stores it in Redis again.
func (c *Cache) Load(ctx context.Context, k Key, maxAge time.Duration) (Entry, bool) {
	copied, at, found := c.recordInMemory(k)
	age := time.Since(at)
	if c.shared == nil || k.purged() || found && age >= 0 && age < maxAge {
		return copied, found
	}
	var sealed []byte
	var err error
	switch ok := contain(c.log, "load", func() { sealed, err = c.shared.read(ctx, k) }); {
	case !ok || err != nil:
		return copied, found
	case sealed == nil:
		if found {
			c.background("record", c.recordRoom, func() { c.restore(k, copied) })
		}
		return copied, found
	}
	stored, err := open(k, sealedValue, sealed, time.Now())
	if err != nil {
		return copied, found
	}
	return c.keepRead(k, stored, at), true
}

// Update replaces a record. The function change returns the next record, or false to keep the
// stored one. Update first passes it the copy in memory; found is false if memory has no copy. If
// change returns a next record, but Redis has a record, Update calls change again with the record
// from Redis before it replaces that record.
//
// Update returns the record that is stored in the end, and whether change returned that record.
// If Redis is configured and fails, Update changes nothing and returns an error. It takes at most
// maxUpdates times RedisOptions.StoreTimeout.
func (c *Cache) Update(k Key, change func(stored Entry, found bool) (next Entry, replace bool)) (Entry, bool, error) {
	if c.shared == nil {
		return c.updateInMemory(k, change)
	}
	stored, _, found := c.recordInMemory(k)
	var over []byte // the sealed record that is replaced
	for range maxUpdates {
		next, replace := change(stored, found)
		if !replace {
			if over != nil && found {
				c.keepRecord(k, stored)
			}
			return stored, false, nil
		}
		ttl := time.Until(next.Expires).Truncate(time.Millisecond)
		if ttl <= 0 || len(next.Value) > maxKept-stampSize || k.purged() {
			return Entry{}, false, errUnstorable
		}
		sealed, err := seal(k, sealedValue, next)
		if err != nil {
			return Entry{}, false, err
		}
		winner, err := c.shared.publish(k, newOwner(), sealed, ttl, over, sealedIndex{})
		switch {
		case err != nil:
			return Entry{}, false, err
		case winner == nil:
			c.keepRecord(k, next)
			return next, true, nil
		}
		over = winner
		stored, err = open(k, sealedValue, winner, time.Now())
		found = err == nil // a record that cannot be decrypted is replaced as if it were missing
	}
	return Entry{}, false, errContended
}

// UpdateLater runs Update in the background. If Redis fails, or too many updates are pending, only
// the copy in memory is replaced. Load returns that copy until it is maxAge old. After that, Load
// returns the record from Redis; if Redis has no record, Load stores the copy there.
func (c *Cache) UpdateLater(k Key, change func(stored Entry, found bool) (next Entry, replace bool)) {
	inMemory := func() { _, _, _ = c.updateInMemory(k, change) }
	if c.shared == nil || !c.background("record", c.recordRoom, func() {
		if _, _, err := c.Update(k, change); err != nil {
			inMemory()
		}
	}) {
		inMemory()
	}
}

func (c *Cache) updateInMemory(k Key, change func(Entry, bool) (Entry, bool)) (Entry, bool, error) {
	c.records.Lock()
	defer c.records.Unlock()
	stored, _, found := c.recordInMemory(k)
	next, replace := change(stored, found)
	if !replace {
		return stored, false, nil
	}
	if !time.Now().Before(next.Expires) || len(next.Value) > maxKept-stampSize || k.purged() {
		return Entry{}, false, errUnstorable
	}
	c.putRecord(k, next)
	return next, true, nil
}

// restore stores a record that Redis has lost. If another process has stored a different record
// meanwhile, that record stays.
func (c *Cache) restore(k Key, e Entry) {
	_, _, _ = c.Update(k, func(stored Entry, found bool) (Entry, bool) {
		// The first call gets the copy in memory, which is usually e.
		return e, !found || string(stored.Value) == string(e.Value)
	})
}

// keepRead keeps a copy of a record that was read from Redis, and returns it. If the copy in memory
// was replaced during the read, keepRead keeps and returns the new copy instead. stamp is the stamp
// of the copy before the read.
func (c *Cache) keepRead(k Key, e Entry, stamp time.Time) Entry {
	c.records.Lock()
	defer c.records.Unlock()
	if copied, at, found := c.recordInMemory(k); found && !at.Equal(stamp) {
		return copied
	}
	c.putRecord(k, e)
	return e
}

// keepRecord keeps a copy of a record that is stored in Redis.
func (c *Cache) keepRecord(k Key, e Entry) {
	c.records.Lock()
	defer c.records.Unlock()
	c.putRecord(k, e)
}

// putRecord stores a record in memory, with the current time as its stamp. The caller holds
// c.records.
func (c *Cache) putRecord(k Key, e Entry) {
	value := binary.BigEndian.AppendUint64(make([]byte, 0, stampSize+len(e.Value)), uint64(time.Now().UnixMilli()))
	c.memory.put(k, Entry{Value: append(value, e.Value...), Expires: e.Expires}, 0)
}

// recordInMemory returns the copy of a record in memory and its stamp.
func (c *Cache) recordInMemory(k Key) (e Entry, at time.Time, found bool) {
	e, found = c.memory.get(k)
	if !found || len(e.Value) < stampSize {
		return Entry{}, time.Time{}, false
	}
	at = time.UnixMilli(int64(binary.BigEndian.Uint64(e.Value))) //nolint:gosec // putRecord wrote it
	e.Value = e.Value[stampSize:]
	return e, at, true
}
