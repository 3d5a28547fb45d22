package cache

import (
	"encoding/binary"
	"errors"
	"sync"
	"time"
)

// An entry is found by the token that the client sent. The index finds the entry by another token:
// the long-lived token that Meta issued in exchange, which is part of the entry's value. Revoke
// uses the index when that long-lived token turns out to be revoked. An entry is in the index only
// if Claim.Index was called for it.
//
// In Redis, the index has one sealed value for each such entry. The value is named and sealed with
// a key that is derived from the long-lived token, and expires with the entry. In memory, an entry
// that this process got from upstream has a tag: the first eight bytes of the ID of that key. An
// entry that came from Redis has no tag, because the index in Redis already has the entry.
//
// A map counts the entries in memory by the lower half of their tags. For a token that is in no
// entry, one lookup in the map is almost always enough. All entries are visited only if the map has
// the lower half of the token's tag.

// indexed is what Revoke needs to know about an entry.
type indexed struct {
	id      ID
	token   ID    // Key.token
	number  int64 // Key.number
	expires time.Time
	key     Key // the entry's key in the index
}

// number returns the number of the last purge of this single token (not of everything) before the
// key was derived, or zero.
func (k Key) number() int64 { return k.marks.tokens[k.token] }

// indexValue returns what the index stores in Redis for the entry with this key. The value begins
// with Key.token. If Key.number is zero, nothing follows, because Key.token is also the entry's ID.
// If Key.number is not zero, this number and the entry's ID follow.
func (k Key) indexValue() []byte {
	b := append([]byte(nil), k.token[:]...)
	if number := k.number(); number > 0 {
		b = binary.BigEndian.AppendUint64(b, uint64(number))
		b = append(b, k.id[:]...)
	}
	return b
}

var errIndexValue = errors.New("a value in the index has an unexpected length")

// readIndexValue reads a value that indexValue returned.
func readIndexValue(e Entry) (indexed, error) {
	const size = len(ID{})
	switch b := e.Value; len(b) {
	case size:
		return indexed{id: ID(b), token: ID(b), expires: e.Expires}, nil
	case size + 8 + size:
		number := int64(binary.BigEndian.Uint64(b[size:])) //nolint:gosec // indexValue wrote it
		return indexed{id: ID(b[size+8:]), token: ID(b[:size]), number: number, expires: e.Expires}, nil
	}
	return indexed{}, errIndexValue
}

// tag stands in memory for an entry's key in the index. Zero means that the entry has no tag.
type tag uint64

func (k Key) tag() tag { return tag(binary.BigEndian.Uint64(k.id[:])) }

// half returns the lower half of a tag.
func (t tag) half() uint32 { return uint32(t) } //nolint:gosec // the upper half is dropped on purpose

// tags counts the entries in memory by the lower half of their tags.
type tags struct {
	mu    sync.Mutex // protects count
	count map[uint32]uint32
}

func (t *tags) add(one tag) {
	if one == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.count == nil {
		t.count = map[uint32]uint32{}
	}
	t.count[one.half()]++
}

func (t *tags) remove(one tag) {
	if one == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.count[one.half()]--; t.count[one.half()] == 0 {
		delete(t.count, one.half())
	}
}

// mayHave reports whether an entry in memory may have one of these keys in the index.
func (t *tags) mayHave(keys []Key) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, k := range keys {
		if t.count[k.tag().half()] > 0 {
			return true
		}
	}
	return false
}
