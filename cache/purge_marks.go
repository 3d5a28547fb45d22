package cache

import (
	"cmp"
	"encoding/binary"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A Purges holds the purges and revocations of one app.
//
// A purge does not depend on deleting anything. It changes the names under which igproxy looks up
// and stores entries. Every purge has a number, and the keys of a purged token (or of all tokens of
// the app) are derived with that number. Entries from before the purge keep their old names, so no
// later request finds them: not in memory, not in Redis, not after a failover to a replica that
// lagged, and not when a call that was in flight stores its answer late.
//
// The processes of a fleet share the numbers through one sorted set per app in Redis. Each process
// waits at most a second between two reads of the set. It merges the set with the numbers that it
// knows: the highest number of a token wins. If the set lacks a purge that a process knows, that
// process adds it again. So a purge survives a flush of Redis, and also works if Redis was
// unavailable when the purge was made. A process that is cut off from Redis learns of a purge when
// Redis is back; until then it serves what it has in memory.
type Purges struct {
	key   Key // names the sorted set and seals its members
	known atomic.Pointer[marks]
	mu    sync.Mutex // serializes changes of known
}

// marks are the numbers of the last purges and revocations. They do not change after they have been
// stored in Purges.known.
type marks struct {
	all    int64        // the number of the last purge of everything; zero: no such purge
	tokens map[ID]int64 // by Key.token: the number of the token's mark; always higher than the field all
	until  map[ID]int64 // by Key.token: mark.until, if the token's mark is a revocation
}

// mark is one purge or one revocation. A revocation works like a purge of one token, but igproxy
// makes it by itself, and forgets it earlier; see Revoke.
type mark struct {
	token ID // the zero ID stands for everything
	// number is usually the time of the mark in Unix milliseconds, by Redis's clock or, if Redis
	// does not reply, by the local clock. If an earlier mark of the same token or of everything
	// already has that number or a higher one, number is one more than the earlier number.
	number int64
	until  int64 // when a revocation is forgotten, in Unix milliseconds; zero: the mark is a purge
}

const (
	// maxMarks bounds the marks of an app that stand for purges of single tokens. Revocations are
	// not counted. The purge of one token can add several marks, because the keys of a token differ
	// by grant (KeysOptions.Scope). If an app has more such marks, everything is purged instead.
	maxMarks = 500

	// keepMarks is how long a purge is remembered. No entry lives longer than Meta's long-lived
	// tokens, which are valid for 60 days.
	keepMarks = 61 * 24 * time.Hour

	// maxRevoked bounds the revocations of an app. If an app has more, the oldest are forgotten, so
	// that users who revoke their tokens cannot cause a purge of everything. A forgotten revocation
	// only means that a copy of its entry, if one is left anywhere, can be found again.
	maxRevoked = 400

	// maxRead is how many members of the sorted set one read returns: the newest ones. An app has
	// fewer marks: at most maxMarks purges of tokens, maxRevoked revocations and one purge of
	// everything. The rest is room for marks that have several members, because several processes
	// have written them.
	maxRead = 2 * maxMarks

	// clockMargin is added to the life of a revocation, because the clocks of a fleet's machines
	// differ.
	clockMargin = time.Minute

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

// current returns the known marks, or noMarks if p is nil.
func (p *Purges) current() *marks {
	if p == nil {
		return noMarks
	}
	return p.known.Load()
}

// add marks tokens as purged, and returns the new marks. The parameter now is the time in Unix
// milliseconds. If the app then has more than maxMarks purges of single tokens, add purges
// everything, and also returns the mark of that purge.
func (p *Purges) add(now int64, tokens ...ID) (added []mark) {
	p.mu.Lock()
	defer p.mu.Unlock()
	next := p.known.Load().clone()
	for _, token := range tokens {
		added = append(added, next.add(now, mark{token: token}))
	}
	added = append(added, next.prune(now)...)
	p.known.Store(next)
	return added
}

// revoke marks the tokens of entries as revoked. It returns the entries whose tokens it marked, and
// the marks. It skips entries whose tokens have been purged since the entries were stored, because
// these entries are no longer served.
func (p *Purges) revoke(now int64, entries []indexed) (revoked []indexed, added []mark) {
	p.mu.Lock()
	defer p.mu.Unlock()
	next := p.known.Load().clone()
	for _, e := range entries {
		if next.tokens[e.token] == e.number {
			added = append(added, next.add(now, mark{token: e.token, until: e.expires.Add(clockMargin).UnixMilli()}))
			revoked = append(revoked, e)
		}
	}
	added = append(added, next.prune(now)...)
	p.known.Store(next)
	return revoked, added
}

// merge adds the marks from the sorted set in Redis. It returns the marks that were new (learned),
// the marks that the set lacks (missing), and the members to remove from the set (stale). A member
// is stale if its mark has been replaced or forgotten. If several members stand for the same mark,
// all but one are stale, too. A member that cannot be decrypted is ignored, so write access to
// Redis is not enough to purge.
func (p *Purges) merge(now int64, members []string) (learned, missing []mark, stale []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	next := p.known.Load().clone()
	found := make(map[string]mark, len(members))
	stored := make(map[ID]mark, len(members))
	for _, member := range members {
		m, ok := p.open(member)
		if !ok {
			continue
		}
		if found[member] = m; m.after(stored[m.token]) {
			stored[m.token] = m
		}
		if next.take(m) {
			learned = append(learned, m)
		}
	}
	learned = append(learned, next.prune(now)...)
	kept := map[mark]string{} // if a mark has several members, every process keeps the same one
	for member, m := range found {
		if one, ok := kept[m]; !ok || member < one {
			kept[m] = member
		}
	}
	for member, m := range found {
		if m != next.mark(m.token) || member != kept[m] {
			stale = append(stale, member)
		}
	}
	for _, m := range next.list() {
		if m.after(stored[m.token]) {
			missing = append(missing, m)
		}
	}
	p.known.Store(next)
	return learned, missing, stale
}

func (m *marks) clone() *marks { return &marks{m.all, maps.Clone(m.tokens), maps.Clone(m.until)} }

// mark returns the mark of a token (or of everything). If it has no mark, the number is zero.
func (m *marks) mark(token ID) mark {
	if token == everything {
		return mark{token: token, number: m.all}
	}
	return mark{token, m.tokens[token], m.until[token]}
}

// after reports whether m replaces another mark of the same token. The mark with the higher number
// replaces the other. If the numbers are equal, the mark that is remembered for longer does.
func (m mark) after(other mark) bool {
	if m.number != other.number {
		return m.number > other.number
	}
	return other.until > 0 && (m.until == 0 || m.until > other.until)
}

// add gives a mark its number and stores it. It returns the stored mark, which is a purge if the
// token was purged before.
func (m *marks) add(now int64, one mark) mark {
	one.number = max(now, m.mark(one.token).number+1, m.all+1)
	m.take(one)
	return m.mark(one.token)
}

// take adds a mark if it replaces the known mark, and reports whether it did.
func (m *marks) take(one mark) bool {
	known := m.mark(one.token)
	switch {
	case one.number <= m.all || !one.after(known):
		return false
	case one.token == everything:
		m.all = one.number
		return true
	}
	if m.tokens == nil {
		m.tokens, m.until = map[ID]int64{}, map[ID]int64{}
	}
	purged := known.number > 0 && known.until == 0
	m.tokens[one.token] = one.number
	if one.until == 0 || purged { // if a purge became a revocation, it would be forgotten too early
		delete(m.until, one.token)
	} else {
		m.until[one.token] = max(one.until, known.until)
	}
	return true
}

// prune forgets the marks that a purge of everything has replaced, and the marks that are so old
// that every entry from before them has expired. If too many purges are left, it purges everything
// and returns the mark of that purge. If too many revocations are left, it forgets the oldest.
func (m *marks) prune(now int64) (added []mark) {
	for token, number := range m.tokens {
		until := m.until[token]
		if number <= m.all || number+keepMarks.Milliseconds() < now || until > 0 && until < now {
			m.forget(token)
		}
	}
	if revoked := len(m.until); revoked > maxRevoked {
		oldest := slices.SortedFunc(maps.Keys(m.until), func(a, b ID) int { return cmp.Compare(m.tokens[a], m.tokens[b]) })
		for _, token := range oldest[:revoked-maxRevoked] {
			m.forget(token)
		}
	}
	if len(m.tokens)-len(m.until) <= maxMarks {
		return nil
	}
	last := now
	for _, number := range m.tokens {
		last = max(last, number+1)
	}
	m.all, m.tokens, m.until = last, nil, nil
	return []mark{{token: everything, number: last}}
}

func (m *marks) forget(token ID) {
	delete(m.tokens, token)
	delete(m.until, token)
}

func (m *marks) list() (all []mark) {
	if m.all > 0 {
		all = append(all, m.mark(everything))
	}
	for token := range m.tokens {
		all = append(all, m.mark(token))
	}
	return all
}

// seal returns the member of the sorted set that stands for a mark. The member holds the token's ID
// and, if the mark is a revocation, mark.until. The mark's number takes the place of the expiry.
// Versions of igproxy without revocations ignore the member of a revocation.
func (p *Purges) seal(m mark) (string, error) {
	value := m.token[:]
	if m.until > 0 {
		value = binary.BigEndian.AppendUint64(value, uint64(m.until))
	}
	sealed, err := seal(p.key, sealedMark, Entry{Value: value, Expires: time.UnixMilli(m.number)})
	return string(sealed), err
}

func (p *Purges) open(member string) (m mark, ok bool) {
	// The expiry of a member is the mark's number, which is usually in the past. The zero time is
	// passed as the current time, so that no mark counts as expired.
	e, err := open(p.key, sealedMark, []byte(member), time.Time{})
	if err != nil || len(e.Value) != len(m.token) && len(e.Value) != len(m.token)+8 {
		return m, false
	}
	m = mark{token: ID(e.Value[:len(m.token)]), number: e.Expires.UnixMilli()}
	if end := e.Value[len(m.token):]; len(end) > 0 {
		m.until = int64(binary.BigEndian.Uint64(end)) //nolint:gosec // seal wrote it
	}
	return m, true
}
