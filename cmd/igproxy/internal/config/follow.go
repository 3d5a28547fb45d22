package config

import (
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// LookEvery is the shortest time between two looks at files for changes.
const LookEvery = time.Second

// settleTime is the age from which a file's modification time can be trusted. A younger file may be
// written again within the same tick of the file system's clock. Then its modification time does
// not change, and its size may be the same too. (Git's documentation calls this problem racy Git.)
const settleTime = 2 * time.Second

// followed is a value made from files. It is made again when a file is written or replaced, or when
// a symbolic link leads to another file. Kubernetes updates a mounted secret by changing a link.
type followed[T any] struct {
	key   string // for the log
	paths []string
	read  func() (T, error)
	log   *slog.Logger
	began time.Time

	value atomic.Pointer[T]
	next  atomic.Int64 // when to look again, as a time.Duration since began

	looking sync.Mutex // protects the fields below
	seen    Stamps     // of the files, from just before the last successful read
	settled bool       // the result of seen.Settled() at that read
	faults  int        // failed reads in a row
}

// Follow calls read, which makes a value from the files at paths. Follow returns a function that
// returns the current value. At most once every LookEvery, that function looks at the files, and
// calls read again if the files may have changed or the last read failed. A failed read leaves the
// previous value in use; the second failure in a row is logged. Pipes are never looked at again,
// because they can be read only once. If the first read fails, Follow returns its error.
func Follow[T any](key string, log *slog.Logger, read func() (T, error), paths ...string) (func() T, error) {
	f := &followed[T]{key: key, paths: watchable(paths), read: read, log: log, began: time.Now()}
	seen := Stamp(f.paths)
	value, err := read()
	if err != nil {
		return nil, err
	}
	f.store(value, seen)
	f.next.Store(int64(LookEvery))
	return f.get, nil
}

// get returns the current value. The one caller that looks at the files may have to wait for the
// file system; all others get the last value without waiting.
func (f *followed[T]) get() T {
	now := int64(time.Since(f.began))
	if next := f.next.Load(); now >= next && f.next.CompareAndSwap(next, now+int64(LookEvery)) && f.looking.TryLock() {
		f.look()
		f.looking.Unlock()
	}
	return *f.value.Load()
}

// look reads the files if they may have changed since the last successful read, or if the last read
// failed. It stamps them before it reads them, so that the next look finds a change made during the
// read.
//
// A fault is logged only when it persists: a certificate and its key are written one after the
// other, and do not match in between.
func (f *followed[T]) look() {
	seen := Stamp(f.paths)
	changed := !seen.Same(f.seen)
	if !changed && f.settled && f.faults == 0 {
		return
	}
	value, err := f.read()
	if err != nil {
		if f.faults++; f.faults == 2 {
			f.log.Warn("changed file rejected", "key", f.key, "error", err.Error())
		}
		return
	}
	f.store(value, seen)
	f.faults = 0
	if changed {
		f.log.Info("changed file loaded", "key", f.key)
	}
}

func (f *followed[T]) store(value T, seen Stamps) {
	f.value.Store(&value)
	f.seen, f.settled = seen, seen.Settled()
}

// Stamps identify the contents of files at one moment, by inode, modification time and size.
type Stamps []fs.FileInfo

// Stamp looks at each file, following symbolic links. A missing file has a nil stamp.
func Stamp(paths []string) Stamps {
	seen := make(Stamps, len(paths))
	for i, path := range paths {
		if info, err := os.Stat(path); err == nil {
			seen[i] = info
		}
	}
	return seen
}

// Settled reports whether every file exists and is so old that a later write would change its
// modification time.
func (s Stamps) Settled() bool {
	return !slices.ContainsFunc(s, func(info fs.FileInfo) bool { return info == nil || time.Since(info.ModTime()) <= settleTime })
}

// Same reports whether each file has the same inode, modification time and size in s and in other,
// or is missing in both.
func (s Stamps) Same(other Stamps) bool {
	return slices.EqualFunc(s, other, func(a, b fs.FileInfo) bool {
		if a == nil || b == nil {
			return a == nil && b == nil
		}
		return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
	})
}
