//go:build unix

package listener

import (
	"io/fs"
	"syscall"
)

// withMode runs bind so that a socket made in it has the mode from its first moment on, and not
// only from the chmod that follows. The umask is the whole process's: this is for its start, when
// nothing else makes files.
func withMode(mode fs.FileMode, bind func()) {
	before := syscall.Umask(0o777 &^ int(mode.Perm()))
	defer syscall.Umask(before)
	bind()
}
