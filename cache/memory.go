package cache

import (
	"context"
	"log/slog"
	"time"

	"github.com/maypok86/otter/v2"
)

// memory is the memory tier, bounded in entries. This file is the only home of otter.
type memory struct{ entries *otter.Cache[ID, Entry] }

func newMemory(maxEntries int, log *slog.Logger) (*memory, error) {
	entries, err := otter.New(&otter.Options[ID, Entry]{
		MaximumSize: maxEntries,
		ExpiryCalculator: otter.ExpiryWritingFunc(func(e otter.Entry[ID, Entry]) time.Duration {
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
func (m *memory) get(id ID) (Entry, bool) {
	e, ok := m.entries.GetIfPresent(id)
	if !ok || past(e.Expires, time.Now()) {
		return Entry{}, false
	}
	return e, true
}

// past goes by both clocks. The one that only goes on, which Before takes where it can, stands still while a machine sleeps, and does not
// see that the wall clock was set right.
func past(end, now time.Time) bool {
	return !now.Before(end) || !now.Round(0).Before(end.Round(0))
}

func (m *memory) put(id ID, e Entry) { m.entries.Set(id, e) }

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
