// Package loglimit limits the log lines that clients and servers can cause. It bounds how many
// lines of each kind are written per second. The first lines of a kind in each second are always
// written, and the next line after a gap says how many were left out.
package loglimit

import (
	"sync"
	"sync/atomic"
	"time"
)

// Attribute is the log attribute with the number of lines of the same kind that were left out
// before this line.
const Attribute = "not_logged"

// maxKinds bounds the kinds that have their own Limit. All other kinds share one Limit.
const maxKinds = 64

// Limits are the limits of all kinds of lines. They are safe for concurrent use.
type Limits[K comparable] struct {
	most   atomic.Int64 // lines of each kind per second; zero: no limit
	others Limit

	mu    sync.Mutex // protects kinds
	kinds map[K]*Limit
}

// New returns Limits. The argument is the number of lines per second that each kind may have; zero
// means no limit.
func New[K comparable](most int) *Limits[K] {
	l := &Limits[K]{kinds: map[K]*Limit{}}
	l.others.most = &l.most
	l.Set(most)
	return l
}

// Set changes the number of lines per second that each kind may have. Zero means no limit.
func (l *Limits[K]) Set(most int) { l.most.Store(int64(most)) }

// Of returns the limit of a kind. The caller may keep it.
func (l *Limits[K]) Of(kind K) *Limit {
	l.mu.Lock()
	defer l.mu.Unlock()
	if known, ok := l.kinds[kind]; ok {
		return known
	}
	if len(l.kinds) == maxKinds {
		return &l.others
	}
	l.kinds[kind] = &Limit{most: &l.most}
	return l.kinds[kind]
}

// Limit bounds the lines of one kind. It allocates nothing and takes no lock, because it is used
// for every hit, and a hit must stay cheap.
type Limit struct {
	most    *atomic.Int64 // Limits.most
	second  atomic.Int64  // the current second, in Unix time
	lines   atomic.Int64  // in that second, including the lines that were left out
	skipped atomic.Int64  // lines left out since the last one that was written
}

// Next reports whether the next line may be written. If so, it also returns how many lines were
// left out before it.
func (l *Limit) Next(now time.Time) (skipped int64, ok bool) {
	second, old := now.Unix(), l.second.Load()
	// If now is up to a minute before the current second, the line is late, and starts no new
	// second. If now is earlier than that, the clock was set back, and a new second starts.
	if (second > old || second < old-60) && l.second.CompareAndSwap(old, second) {
		l.lines.Store(0)
	}
	if most := l.most.Load(); l.lines.Add(1) > most && most > 0 {
		l.skipped.Add(1)
		return 0, false
	}
	return l.skipped.Swap(0), true
}
