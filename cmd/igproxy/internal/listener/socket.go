package listener

import (
	"errors"
	"io/fs"
	"net"
	"syscall"
)

// withMode calls the function bind under a umask that gives a new socket the mode from the start.
// The umask belongs to the whole process, so withMode may be called only while the process starts,
// when nothing else creates files.
func withMode(mode fs.FileMode, bind func()) {
	previous := syscall.Umask(0o777 &^ int(mode.Perm()))
	defer syscall.Umask(previous)
	bind()
}

// withDescriptor calls f with the descriptor of a connection.
func withDescriptor(c net.Conn, f func(fd int)) error {
	socket, ok := c.(syscall.Conn)
	if !ok {
		return errors.ErrUnsupported
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return err
	}
	return raw.Control(func(fd uintptr) { f(int(fd)) })
}

// unread reports whether a connection has received bytes that nothing has read yet.
func unread(c net.Conn) bool {
	n := 0
	_ = withDescriptor(c, func(fd int) {
		var one [1]byte
		n, _, _ = syscall.Recvfrom(fd, one[:], syscall.MSG_PEEK) // never blocks, because Go's sockets are non-blocking
	})
	return n > 0
}
