package cache

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"
)

// Epoch is what was purged of one app's entries.
//
// Redis cannot be asked for all entries of an app: their names are keyed hashes, so that nobody can tell whose they are. So nothing is
// searched for. The pepper has the number of the epoch mixed in, and to purge all is to begin the next one: from then on entries of before
// are not found, in memory or in Redis, nor is what a call that was under way would store; in Redis they end with their TTL. To purge one
// token is to delete its entries, whose names its holder can derive.
//
// Both are told to the fleet by a journal, one sealed entry in Redis, which every process looks at once a second and merges with what it
// knows itself: the higher number wins, and the lists of tokens are united. A journal that gets lost, or is overwritten by one that knows
// less, is written again by whoever knows more, so that no order and no lock is needed. Who is cut off from Redis hears of a purge when
// Redis is back, and until then serves what its memory has, for no longer than its entries last.
type Epoch struct {
	key    Key // of the journal
	number atomic.Uint64

	mu     sync.Mutex // protects purged, and number's writes
	purged map[ID]mark
}

// mark is one token's entry that was purged.
type mark struct{ at, until uint64 } // Unix milliseconds; beyond until no memory can have it

const (
	labelEpoch  = "igproxy/v1/epoch"
	scopeOfOurs = "igproxy/purges" // no scope of a caller's
	journalTTL  = 60 * 24 * time.Hour
	maxMarks    = 500 // beyond it everything is purged: a longer journal would cost more than that
	markBytes   = sha256.Size + 16
)

// newEpoch begins before any purge.
func newEpoch(o KeysOptions) (*Epoch, error) {
	keys, err := NewKeys(KeysOptions{Secret: o.Secret, AppID: o.AppID, Scope: scopeOfOurs})
	if err != nil {
		return nil, err
	}
	return &Epoch{key: keys.Derive("journal"), purged: map[ID]mark{}}, nil
}

// pepper of an epoch's entries. That of number 0, before any purge, is the plain one.
func (e *Epoch) pepper(plain material, number uint64) (material, error) {
	if number == 0 {
		return plain, nil
	}
	pepper, err := hkdf.Key(sha256.New, []byte(*plain), nil, labelEpoch+string(binary.BigEndian.AppendUint64(nil, number)), sha256.Size)
	return hide(pepper), err
}

// over reports whether a key's epoch has ended.
func (k Key) over() bool { return k.of != nil && k.number != k.of.number.Load() }

// next begins the next epoch. Its number is a time, so that two processes that purge without knowing of each other agree on the later one.
func (e *Epoch) next(now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.number.Store(max(e.number.Load()+1, uint64(now.UnixMilli())))
}

// mark notes purged tokens' entries. Their time is never before what is known already, by whatever clock: it would not be heard.
func (e *Epoch) mark(keys []Key, now, until time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, k := range keys {
		at, known := max(uint64(now.UnixMilli()), e.number.Load()), e.purged[k.id]
		if known.at > 0 {
			at = max(at, known.at+1)
		}
		e.purged[k.id] = mark{at, max(uint64(until.UnixMilli()), known.until, at+uint64(until.UnixMilli())-uint64(now.UnixMilli()))}
	}
}

// journal is what an Epoch knows, as bytes: the number, then each mark's ID, at and until. Empty: nothing was ever purged.
func (e *Epoch) journal(now time.Time) []byte {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.prune(now)
	if e.number.Load() == 0 && len(e.purged) == 0 {
		return nil
	}
	b := binary.BigEndian.AppendUint64(nil, e.number.Load())
	for id, m := range e.purged {
		b = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(append(b, id[:]...), m.at), m.until)
	}
	return b
}

// prune forgets marks that no memory can need, and those of before the epoch. It is called with mu held.
func (e *Epoch) prune(now time.Time) {
	began := e.number.Load()
	maps.DeleteFunc(e.purged, func(_ ID, m mark) bool { return m.at < began || m.until <= uint64(now.UnixMilli()) })
	if len(e.purged) > maxMarks {
		e.number.Store(max(began+1, uint64(now.UnixMilli())+1))
		clear(e.purged)
	}
}

var errJournal = errors.New("the journal in Redis is of another version of igproxy")

// merge takes in a journal, and returns what it was new to: a later epoch, or tokens' entries. more says that it lacks something.
func (e *Epoch) merge(journal []byte, now time.Time) (later bool, ids []ID, more bool, err error) {
	if len(journal) > 0 && (len(journal)-8)%markBytes != 0 || len(journal) > 8+2*maxMarks*markBytes {
		return false, nil, false, errJournal
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	was := e.number.Load()
	known := map[ID]bool{}
	var number uint64
	if len(journal) > 0 {
		number = binary.BigEndian.Uint64(journal)
		for rest := journal[8:]; len(rest) > 0; rest = rest[markBytes:] {
			id := ID(rest[:sha256.Size])
			m := mark{binary.BigEndian.Uint64(rest[sha256.Size:]), binary.BigEndian.Uint64(rest[sha256.Size+8:])}
			known[id] = true
			if m.at < max(number, was) || m.until <= uint64(now.UnixMilli()) { // as prune has it
				continue
			}
			if old, ok := e.purged[id]; !ok || old.at < m.at {
				e.purged[id] = m
				ids = append(ids, id)
			} else if old.at > m.at {
				more = true
			}
		}
	}
	if number > was {
		e.number.Store(number)
	}
	e.prune(now)
	for id := range e.purged {
		more = more || !known[id]
	}
	return e.number.Load() > was, ids, more || e.number.Load() > number, nil
}

// told says in the log what was purged here because another process was asked to.
func (e *Epoch) told(log *slog.Logger, later bool, ids []ID) {
	switch {
	case later:
		log.Info("purged: another sidecar was asked to", "what", "all", "epoch", e.number.Load())
	case len(ids) > 0:
		log.Info("purged: another sidecar was asked to", "what", "tokens", "entries", len(ids))
	}
}
