package config

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// LookEvery is how often files are looked at, at the most, and only while somebody asks for what
// they hold.
const LookEvery = time.Second

// settleTime is how old a file must be for its time to tell it from a later one: a second write
// within the same tick of the file system's clock changes neither time nor size. (Git calls such
// entries racy.)
const settleTime = 2 * time.Second

// Followed is a value made of files, and made anew when they change: written in place, replaced, or
// swapped behind a link, as Kubernetes does with a mounted secret. What cannot be read leaves the
// value of before.
type Followed[T any] struct {
	key   string // for the log
	paths []string
	read  func() (T, error)
	log   *slog.Logger
	began time.Time

	value atomic.Pointer[T]
	next  atomic.Int64 // when to look again, since began

	looking sync.Mutex // protects what follows
	seen    Stamps
	settled bool
	faults  int // reads in a row that failed
}

// Follow reads the files for the first time. Its error is read's.
func Follow[T any](key string, log *slog.Logger, read func() (T, error), paths ...string) (*Followed[T], error) {
	f := &Followed[T]{key: key, paths: paths, read: read, log: log, began: time.Now()}
	seen := Stamp(f.paths)
	value, err := read()
	if err != nil {
		return nil, err
	}
	f.value.Store(&value)
	f.keep(seen)
	f.next.Store(int64(LookEvery))
	return f, nil
}

// Get returns the value of now. One caller a second looks at the files; the others don't wait for
// it.
func (f *Followed[T]) Get() T {
	now := int64(time.Since(f.began))
	if next := f.next.Load(); now >= next && f.next.CompareAndSwap(next, now+int64(LookEvery)) && f.looking.TryLock() {
		f.look()
		f.looking.Unlock()
	}
	return *f.value.Load()
}

// look reads the files if they have changed since they were read. They are stamped first: what
// changes meanwhile is found the next time.
//
// A fault is told when it is there the second time: between a certificate and its key, written one
// after the other, there is always a moment when they don't fit.
func (f *Followed[T]) look() {
	seen := Stamp(f.paths)
	changed := !seen.Same(f.seen)
	if !changed && f.settled && f.faults == 0 {
		return
	}
	value, err := f.read()
	if err != nil {
		if f.faults++; f.faults == 2 {
			f.log.Warn("a changed file cannot be used; what it held before goes on", "key", f.key, "error", err.Error())
		}
		return
	}
	f.value.Store(&value)
	f.keep(seen)
	f.faults = 0
	if changed {
		f.log.Info("a changed file was read", "key", f.key)
	}
}

func (f *Followed[T]) keep(seen Stamps) { f.seen, f.settled = seen, seen.Settled() }
