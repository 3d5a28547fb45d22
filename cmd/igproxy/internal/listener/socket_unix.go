//go:build unix

package listener

import (
	"io/fs"
	"net"
	"syscall"
)

// withMode runs bind so that a socket made in it has the mode from its first moment on, and not only from the chmod that follows. The
// umask is the whole process's: this is for its start, when nothing else makes files.
func withMode(mode fs.FileMode, bind func()) {
	before := syscall.Umask(0o777 &^ int(mode.Perm()))
	defer syscall.Umask(before)
	bind()
}

// unread reports whether something has arrived on a connection that nothing has read yet.
func unread(c net.Conn) bool {
	socket, ok := c.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return false
	}
	n := 0
	_ = raw.Control(func(fd uintptr) {
		var one [1]byte
		n, _, _ = syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK) // it does not block: Go's sockets never do
	})
	return n > 0
}
