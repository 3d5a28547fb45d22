package config

import (
	"io/fs"
	"os"
	"slices"
	"time"
)

// Stamps identify what files held at one moment, by their inode, modification time and size.
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

// Settled reports whether every file exists and is old enough for its time to distinguish it from a
// later write.
func (s Stamps) Settled() bool {
	return !slices.ContainsFunc(s, func(info fs.FileInfo) bool { return info == nil || time.Since(info.ModTime()) <= settleTime })
}

// Same reports whether no file has changed between the two.
func (s Stamps) Same(other Stamps) bool {
	return slices.EqualFunc(s, other, func(a, b fs.FileInfo) bool {
		if a == nil || b == nil {
			return a == nil && b == nil
		}
		return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
	})
}
