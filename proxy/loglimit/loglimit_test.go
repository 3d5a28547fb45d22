package loglimit_test

import (
	"testing"
	"time"

	"github.com/igproxy/igproxy/proxy/loglimit"
)

// burst asks for n lines at one time. It returns how many lines were allowed, and how many skipped
// lines were reported with them.
func burst(l *loglimit.Limit, n int, now time.Time) (lines int, skipped int64) {
	for range n {
		if left, ok := l.Next(now); ok {
			lines++
			skipped += left
		}
	}
	return lines, skipped
}

func TestEachKindOfLogLineHasItsOwnLimit(t *testing.T) {
	limits, now := loglimit.New[string](3), time.Unix(1000, 0)
	for _, c := range []struct {
		kind    string
		after   time.Duration
		n       int
		lines   int
		skipped int64
	}{
		{"a", 0, 10, 3, 0}, {"b", 0, 2, 2, 0}, // a flood of one kind takes nothing from another
		{"a", time.Second, 2, 2, 7}, {"a", 2 * time.Second, 4, 3, 0}, {"b", 2 * time.Second, 1, 1, 0},
	} {
		lines, skipped := burst(limits.Of(c.kind), c.n, now.Add(c.after))
		if lines != c.lines || skipped != c.skipped {
			t.Errorf("%d lines of kind %s at %s: %d were allowed, want %d; they reported %d skipped lines, want %d", c.n, c.kind, c.after, lines, c.lines, skipped, c.skipped)
		}
	}
	limits.Set(5)
	if lines, _ := burst(limits.Of("b"), 10, now.Add(3*time.Second)); lines != 5 {
		t.Errorf("after the change: %d lines were allowed, want 5", lines)
	}
	limits.Set(0)
	if lines, skipped := burst(limits.Of("b"), 100, now.Add(4*time.Second)); lines != 100 || skipped != 5 {
		t.Errorf("without a limit: %d lines were allowed, want 100; they reported %d skipped lines, want 5", lines, skipped)
	}
}

// The number of kinds may depend on what an upstream sends, so it must be bounded.
func TestTheNumberOfKindsIsBounded(t *testing.T) {
	limits, now, lines := loglimit.New[int](1), time.Unix(1000, 0), 0
	for kind := range 1000 {
		n, _ := burst(limits.Of(kind), 10, now)
		lines += n
	}
	if lines != 65 {
		t.Errorf("%d lines of 1,000 kinds were allowed, want 65: one for each of 64 kinds and one for the others", lines)
	}
}

// A line whose time was taken in the previous second must not start that second again.
func TestLateLineDoesNotRestartItsSecond(t *testing.T) {
	limit, now := loglimit.New[string](1).Of("a"), time.Unix(1000, 0)
	for i, c := range []struct {
		at   time.Duration
		want bool
	}{
		{0, true}, {time.Second, true}, {0, false}, {time.Second, false}, {2 * time.Second, true},
		{-time.Hour, true}, {-time.Hour, false}, // a clock that was set back starts a new second, too
	} {
		if _, ok := limit.Next(now.Add(c.at)); ok != c.want {
			t.Errorf("line %d, at %s: allowed is %v, want %v", i, c.at, ok, c.want)
		}
	}
}
