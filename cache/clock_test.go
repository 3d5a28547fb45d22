package cache

// The wall clock can jump when an administrator sets it, and the monotonic clock stands still while
// the machine sleeps. An entry expires as soon as either clock reaches the entry's end.

import (
	"log/slog"
	"testing"
	"time"
	"unsafe"
)

// jumped returns t with its wall clock moved ahead by d, and its monotonic clock unchanged. Package
// time cannot make such a value, because its operations move both clocks.
func jumped(t time.Time, d time.Duration) time.Time {
	inside := (*struct {
		wall uint64 // a flag, 33 bits of seconds, 30 of nanoseconds
		ext  int64  // the monotonic clock
	})(unsafe.Pointer(&t))
	inside.wall += uint64(d/time.Second) << 30
	return t
}

func TestFunctionJumpedMovesOnlyTheWallClock(t *testing.T) {
	now := time.Now()
	later := jumped(now, time.Hour)
	if got := later.Sub(now); got != 0 {
		t.Errorf("by the monotonic clock: %s later, want 0", got)
	}
	if got := later.Round(0).Sub(now.Round(0)); got != time.Hour {
		t.Errorf("by the wall clock: %s later, want 1h", got)
	}
}

func TestNoExpiredEntryIsServedAfterAClockJump(t *testing.T) {
	m, err := newMemory(1<<20, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer m.close()
	now := time.Now()
	// A jump of the wall clock is simulated by moving the expiry in the opposite direction.
	for name, c := range map[string]struct {
		expires time.Time
		want    bool
	}{
		"no jump": {now.Add(time.Hour), true},
		"a jump ahead (or a sleep of the machine), past the end": {jumped(now.Add(time.Hour), -2*time.Hour), false},
		"a jump back, but past the end by the monotonic clock":   {jumped(now.Add(-time.Second), 24*time.Hour), false},
		"a jump ahead, but not past the end":                     {jumped(now.Add(2*time.Hour), -time.Hour), true},
		"an entry from Redis, with the wall clock only":          {now.Add(time.Hour).Round(0), true},
	} {
		k := keyOf(t, name)
		m.put(k, Entry{Value: []byte("v"), Expires: c.expires}, 0)
		if _, got := m.get(k); got != c.want {
			t.Errorf("%s: served %v, want %v", name, got, c.want)
		}
	}
}
