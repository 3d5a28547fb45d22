package cache

import (
	"context"
	"log/slog"
	"time"

	"github.com/maypok86/otter/v2"
)

// memory is the memory tier, bounded in entries. This file is the only home of otter.
type memory struct{ entries *otter.Cache[ID, kept] }

// kept is an entry, and whose it is.
type kept struct {
	Entry
	of     *Epoch
	number uint64
}

func newMemory(maxEntries int, log *slog.Logger) (*memory, error) {
	entries, err := otter.New(&otter.Options[ID, kept]{
		MaximumSize: maxEntries,
		ExpiryCalculator: otter.ExpiryWritingFunc(func(e otter.Entry[ID, kept]) time.Duration {
			return time.Until(e.Value.Expires)
		}),
		Logger: otterLog{log}, // otter's own default is slog's global one
	})
	if err != nil {
		return nil, err
	}
	return &memory{entries: entries}, nil
}

// get checks the end itself too: a clock that jumps, or a timer that is coarse, must not serve a past entry.
func (m *memory) get(k Key) (Entry, bool) {
	e, ok := m.entries.GetIfPresent(k.id)
	if !ok || k.over() || past(e.Expires, time.Now()) {
		return Entry{}, false
	}
	return e.Entry, true
}

// past goes by both clocks. The one that only goes on, which Before takes where it can, stands still while a machine sleeps, and does not
// see that the wall clock was set right.
func past(end, now time.Time) bool {
	return !now.Before(end) || !now.Round(0).Before(end.Round(0))
}

// put keeps nothing of an epoch that has ended. One that ends at this moment leaves an entry that nobody finds.
func (m *memory) put(k Key, e Entry) {
	if !k.over() {
		m.entries.Set(k.id, kept{e, k.of, k.number})
	}
}

// drop gives the room of what an epoch's end has made unknown back.
func (m *memory) drop(e *Epoch) {
	now := e.number.Load()
	for id, entry := range m.entries.All() {
		if entry.of == e && entry.number != now {
			m.entries.Invalidate(id)
		}
	}
}

func (m *memory) len() int { return m.entries.EstimatedSize() }

func (m *memory) close() {
	m.entries.InvalidateAll()
	m.entries.StopAllGoroutines()
}

// otterLog routes otter's rare warnings (a panic in a callback of ours) to our logger.
type otterLog struct{ log *slog.Logger }

func (l otterLog) Warn(ctx context.Context, msg string, err error) {
	l.log.WarnContext(ctx, "memory tier", "what", msg, "error", err)
}

func (l otterLog) Error(ctx context.Context, msg string, err error) {
	l.log.ErrorContext(ctx, "memory tier", "what", msg, "error", err)
}
