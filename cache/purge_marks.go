package cache

import (
	"maps"
	"sync"
	"sync/atomic"
	"time"
)

// Purges records what was purged of one app's entries.
//
// A purge does not depend on deleting anything: it changes the names of entries. Every purge has a
// number, and the keys of a purged token (or of all tokens of the app) are derived with that
// number. Entries from before the purge keep their old names, so no later request finds them: not
// in memory, not in Redis, not after a failover to a replica that lagged, and not when a call that
// was in flight stores its answer late.
//
// The processes of a fleet share the numbers through one sorted set per app in Redis. Each process
// reads it at least once a second and merges it with what it knows: the highest number of a token
// wins. If the set lacks a purge that a process knows, that process adds it again. So a purge
// survives a flush of Redis, and also works if Redis was unavailable when it was made. A process
// that is cut off from Redis learns of a purge when Redis is back; until then it serves what it has
// in memory.
type Purges struct {
	key   Key // names the sorted set and seals its members
	known atomic.Pointer[marks]
	mu    sync.Mutex // serializes changes of known
}

// marks are the numbers of the last purges. They do not change once known points to them.
type marks struct {
	all    int64        // of everything; zero: never
	tokens map[ID]int64 // of single tokens, by Key.token; each is higher than all
}

// mark is one purge.
type mark struct {
	token  ID    // the zero ID stands for everything
	number int64 // Unix milliseconds of Redis's clock, or more, to exceed the number of an earlier purge
}

const (
	// maxMarks bounds the purged tokens of an app. Beyond it, everything is purged instead.
	maxMarks = 500

	// keepMarks is how long a purge is remembered. No entry lives longer than a long-lived token of
	// Meta, which lives for 60 days.
	keepMarks = 61 * 24 * time.Hour

	purgesScope = "igproxy/purges" // no caller uses a scope of this name
)

var everything ID

// noMarks are the marks of keys that cannot be purged, and of an app before its first purge.
var noMarks = &marks{}

func newPurges(o KeysOptions) (*Purges, error) {
	o.Scope, o.Upstream = purgesScope, ""
	keys, err := NewKeys(o)
	if err != nil {
		return nil, err
	}
	p := &Purges{key: keys.Derive("purges")}
	p.known.Store(noMarks)
	return p, nil
}

// current returns the marks that are known. A nil Purges has none.
func (p *Purges) current() *marks {
	if p == nil {
		return noMarks
	}
	return p.known.Load()
}

// add marks tokens as purged. Each number is at least now, and higher than the numbers of the
// token's last purge and of the last purge of everything.
func (p *Purges) add(now int64, tokens ...ID) (added []mark) {
	p.mu.Lock()
	defer p.mu.Unlock()
	next := p.known.Load().clone()
	for _, token := range tokens {
		m := mark{token, max(now, next.number(token)+1, next.all+1)}
		next.take(m)
		added = append(added, m)
	}
	added = append(added, next.prune(now)...)
	p.known.Store(next)
	return added
}

// merge adds the marks from the sorted set in Redis. It returns the marks that were new, the marks
// that the set lacks, and the members of the set that are out of date. A member that cannot be
// decrypted is ignored: write access to Redis is not enough to purge.
func (p *Purges) merge(now int64, members []string) (learned, missing []mark, stale []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	next := p.known.Load().clone()
	found := make(map[string]mark, len(members))
	stored := make(map[ID]int64, len(members))
	for _, member := range members {
		m, ok := p.open(member)
		if !ok {
			continue
		}
		found[member], stored[m.token] = m, max(m.number, stored[m.token])
		if next.take(m) {
			learned = append(learned, m)
		}
	}
	learned = append(learned, next.prune(now)...)
	for member, m := range found {
		if m.number != next.number(m.token) {
			stale = append(stale, member)
		}
	}
	for _, m := range next.list() {
		if m.number > stored[m.token] {
			missing = append(missing, m)
		}
	}
	p.known.Store(next)
	return learned, missing, stale
}

func (m *marks) clone() *marks { return &marks{m.all, maps.Clone(m.tokens)} }

// number returns the number of a token's own purge (or of the purge of everything), or zero if
// there was none.
func (m *marks) number(token ID) int64 {
	if token == everything {
		return m.all
	}
	return m.tokens[token]
}

// take adds a mark if it is newer than what is known, and reports whether it did.
func (m *marks) take(one mark) bool {
	switch {
	case one.number <= max(m.all, m.number(one.token)):
		return false
	case one.token == everything:
		m.all = one.number
	default:
		if m.tokens == nil {
			m.tokens = map[ID]int64{}
		}
		m.tokens[one.token] = one.number
	}
	return true
}

// prune forgets the marks that a purge of everything has replaced, and the marks that are so old
// that every entry from before them has expired. If too many are left, it purges everything and
// returns the mark of that purge.
func (m *marks) prune(now int64) (added []mark) {
	maps.DeleteFunc(m.tokens, func(_ ID, number int64) bool {
		return number <= m.all || number+keepMarks.Milliseconds() < now
	})
	if len(m.tokens) <= maxMarks {
		return nil
	}
	last := now
	for _, number := range m.tokens {
		last = max(last, number+1)
	}
	m.all, m.tokens = last, nil
	return []mark{{everything, last}}
}

func (m *marks) list() (all []mark) {
	if m.all > 0 {
		all = append(all, mark{everything, m.all})
	}
	for token, number := range m.tokens {
		all = append(all, mark{token, number})
	}
	return all
}

// seal returns the member of the sorted set that stands for a mark.
func (p *Purges) seal(m mark) (string, error) {
	sealed, err := seal(p.key, sealedMark, Entry{Value: m.token[:], Expires: time.UnixMilli(m.number)})
	return string(sealed), err
}

func (p *Purges) open(member string) (m mark, ok bool) {
	// The zero time is before every number, so that no mark counts as expired.
	e, err := open(p.key, sealedMark, []byte(member), time.Time{})
	if err != nil || len(e.Value) != len(m.token) {
		return m, false
	}
	return mark{ID(e.Value), e.Expires.UnixMilli()}, true
}
