package cache

import (
	"encoding/binary"
	"errors"
	"sync"
	"time"
)

// The index finds an entry by a token that its value contains: the long-lived token that was issued
// for the token of the entry. Revoke uses it when that long-lived token turns out to be revoked. An
// entry is in the index only if its claim got a key from Index.
//
// In Redis, the index has one sealed value for each such entry. It is named and sealed with a key
// that is derived from the long-lived token, and expires with the entry. In memory, an entry has
// the first eight bytes of that key's ID, its tag, and a set has half of each tag. So a token that
// is in no entry costs one lookup, and only for one that is, all entries are visited.

// indexed is an entry as Revoke needs it.
type indexed struct {
	id      ID
	token   ID    // Key.token
	number  int64 // of the token's last purge when the key was derived; zero: there was none
	expires time.Time
	key     Key // of the entry in the index
}

// number returns the number of the token's last purge when the key was derived.
func (k Key) number() int64 { return k.marks.tokens[k.token] }

// record returns what the index stores in Redis for the entry of a key. The ID is stored only if it
// is not the token's.
func (k Key) record() []byte {
	b := append([]byte(nil), k.token[:]...)
	if number := k.number(); number > 0 {
		b = binary.BigEndian.AppendUint64(b, uint64(number))
		b = append(b, k.id[:]...)
	}
	return b
}

var errIndexRecord = errors.New("a value of the index has an unknown length")

// readRecord reads what record returned.
func readRecord(e Entry) (indexed, error) {
	const size = len(ID{})
	switch b := e.Value; len(b) {
	case size:
		return indexed{id: ID(b), token: ID(b), expires: e.Expires}, nil
	case size + 8 + size:
		number := int64(binary.BigEndian.Uint64(b[size:])) //nolint:gosec // record wrote it
		return indexed{id: ID(b[size+8:]), token: ID(b[:size]), number: number, expires: e.Expires}, nil
	}
	return indexed{}, errIndexRecord
}

// tag is the name of an index key in memory. Zero: the entry is not in the index.
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

// mayHave reports whether there may be an entry with one of these keys in the index.
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
