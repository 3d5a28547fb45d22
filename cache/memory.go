package cache

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/maypok86/otter/v2"
)

const (
	// maxKept bounds the value of an entry in memory, in bytes. Meta's answers have a few hundred
	// bytes. An answer with the longest token that igproxy accepts, 4 KiB, still fits. Larger
	// values are stored in Redis only.
	maxKept = 8 << 10

	// entryOverhead is how many bytes an entry takes in memory in addition to its value: for its
	// ID, the library's node and tables, and the rounding of the allocator.
	// TestWeightOfAnEntryIsCloseToItsSizeInMemory measures it.
	entryOverhead = 250
)

// memory is the memory tier, bounded in bytes.
type memory struct {
	entries *otter.Cache[ID, kept]
	tags    tags
}

// kept is an entry, with the fields that the methods drop, indexedBy and lenOf need.
type kept struct {
	Entry
	purges *Purges
	all    int64   // the number of the last purge of everything, as known when the entry's key was derived
	tag    tag     // zero: the entry has no tag
	purged *purged // nil: no purge of this single token was known when the entry's key was derived
}

// purged describes the last purge of a single token, as known when the key of the token's entry was
// derived.
type purged struct {
	token  ID
	number int64
}

func newMemory(maxBytes int64, log *slog.Logger) (*memory, error) {
	m := &memory{}
	entries, err := otter.New(&otter.Options[ID, kept]{
		MaximumWeight: uint64(maxBytes), //nolint:gosec // New has checked that it is positive
		Weigher:       weight,
		ExpiryCalculator: otter.ExpiryWritingFunc(func(e otter.Entry[ID, kept]) time.Duration {
			return time.Until(e.Value.Expires)
		}),
		OnAtomicDeletion: func(e otter.DeletionEvent[ID, kept]) { m.tags.remove(e.Value.tag) },
		Logger:           otterLog{log}, // otter's default is slog's global logger
	})
	m.entries = entries
	return m, err
}

// weight returns the bytes that an entry takes.
func weight(_ ID, e kept) uint32 {
	return uint32(entryOverhead + len(e.Value)) //nolint:gosec // put has bounded it
}

// get returns the entry of a key, unless it was purged or has expired. It checks the expiry itself,
// because the clock may jump and the library's timer may be late.
func (m *memory) get(k Key) (Entry, bool) {
	e, ok := m.entries.GetIfPresent(k.id)
	if !ok || k.purged() || expired(e.Expires, time.Now()) {
		return Entry{}, false
	}
	return e.Entry, true
}

// expired reports whether the time end has been reached, according to the monotonic clock or to the
// wall clock. The method Before uses only the monotonic clock if both times have it. That clock
// stands still while the machine sleeps, and does not follow corrections of the wall clock.
func expired(end, now time.Time) bool {
	return !now.Before(end) || !now.Round(0).Before(end.Round(0))
}

// put stores an entry, unless its token was purged after the key was derived, or its value is
// larger than maxKept. If a purge comes right after this check, the entry is stored, but no call
// finds it: keys derived after the purge have another ID.
func (m *memory) put(k Key, e Entry, index tag) {
	switch {
	case k.purged():
	case len(e.Value) > maxKept:
		m.entries.Invalidate(k.id) // Recall must not find an earlier, outdated entry
	default:
		one := kept{Entry: e, purges: k.purges, all: k.marks.all, tag: index}
		if number := k.number(); number > 0 {
			one.purged = &purged{k.token, number}
		}
		m.tags.add(index) // before Set, because the entry may be removed at any moment after Set
		m.entries.Set(k.id, one)
	}
}

// indexedBy returns the app's entries that are in the index under one of these keys. It visits all
// entries.
func (m *memory) indexedBy(p *Purges, index []Key) (found []indexed) {
	all := p.current().all
	for id, entry := range m.entries.All() {
		at := slices.IndexFunc(index, func(k Key) bool { return k.tag() == entry.tag })
		if at < 0 || entry.purges != p || entry.all != all {
			continue
		}
		one := indexed{id: id, token: id, expires: entry.Expires, key: index[at]}
		if entry.purged != nil {
			one.token, one.number = entry.purged.token, entry.purged.number
		}
		found = append(found, one)
	}
	return found
}

// drop removes the entries of an app whose keys were derived before the app's last purge of
// everything.
func (m *memory) drop(p *Purges) {
	all := p.current().all
	for id, entry := range m.entries.All() {
		if entry.purges == p && entry.all != all {
			m.entries.Invalidate(id)
		}
	}
}

// lenOf counts the entries of one app. It visits all entries.
func (m *memory) lenOf(p *Purges) (n int) {
	all, now := p.current().all, time.Now()
	for _, entry := range m.entries.All() {
		if entry.purges == p && entry.all == all && !expired(entry.Expires, now) {
			n++
		}
	}
	return n
}

func (m *memory) len() int { return m.entries.EstimatedSize() }

func (m *memory) bytes() int64 { return int64(m.entries.WeightedSize()) } //nolint:gosec // it is about MaxBytes or less

func (m *memory) close() {
	m.entries.InvalidateAll()
	m.entries.StopAllGoroutines()
}

// otterLog routes otter's warnings, such as a panic in a callback, to the cache's logger.
type otterLog struct{ log *slog.Logger }

func (l otterLog) Warn(ctx context.Context, msg string, err error) {
	l.log.WarnContext(ctx, "memory tier", "what", msg, "error", err)
}

func (l otterLog) Error(ctx context.Context, msg string, err error) {
	l.log.ErrorContext(ctx, "memory tier", "what", msg, "error", err)
}
