package lane

import (
	"errors"
	"io"
	"net"
	"syscall"
)

// socket reads and writes what is possible without waiting, and otherwise returns syscall.EAGAIN.
type socket interface {
	io.ReadWriter
	// wait calls work at once, and again each time that something may have arrived, until work
	// reports true. It returns an error when the read deadline passes or the connection is closed.
	wait(work func() (finished bool)) error
}

// socketOf returns the socket of a connection.
func socketOf(c net.Conn) socket {
	if s, ok := c.(syscall.Conn); ok {
		if raw, err := s.SyscallConn(); err == nil {
			return &rawSocket{raw: raw}
		}
	}
	return blocking{c}
}

// rawSocket is a TCP or Unix socket.
type rawSocket struct {
	raw        syscall.RawConn
	descriptor int
}

// wait runs within one call of RawConn.Read, because each call begins by dropping the kernel's
// earlier reports. Each arrival is reported once: what work leaves unread is not reported again.
func (s *rawSocket) wait(work func() bool) error {
	return s.raw.Read(func(descriptor uintptr) bool {
		s.descriptor = int(descriptor)
		return work()
	})
}

func (s *rawSocket) Read(p []byte) (n int, err error) {
	if n, err = again(syscall.Read, s.descriptor, p); n == 0 && err == nil {
		err = io.EOF
	}
	return n, err
}

func (s *rawSocket) Write(p []byte) (n int, err error) { return again(syscall.Write, s.descriptor, p) }

// again repeats a call that a signal has interrupted.
func again(call func(int, []byte) (int, error), descriptor int, p []byte) (n int, err error) {
	for n, err = call(descriptor, p); errors.Is(err, syscall.EINTR); {
		n, err = call(descriptor, p)
	}
	return n, err
}

// blocking is a connection without a socket. Read waits, and Write leaves it to net.Conn to write.
type blocking struct{ net.Conn }

func (blocking) Write([]byte) (int, error) { return 0, syscall.EAGAIN }

func (b blocking) wait(work func() bool) error {
	for !work() {
	}
	return nil
}
