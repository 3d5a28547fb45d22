package lane

import (
	"errors"
	"io"
	"net"
	"syscall"
)

// socket reads and writes a connection without waiting. A Read or Write that would have to wait
// returns syscall.EAGAIN. The type blocking is for connections that cannot do this.
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
	descriptor int // set by wait, for Read and Write
}

// wait calls work within a single call of RawConn.Read, because each new call would first discard
// the kernel's earlier reports of arrived data. The kernel reports each arrival only once, so what
// work leaves unread is not reported again.
func (s *rawSocket) wait(work func() bool) error {
	return s.raw.Read(func(descriptor uintptr) bool {
		s.descriptor = int(descriptor)
		return work()
	})
}

func (s *rawSocket) Read(p []byte) (n int, err error) {
	if n, err = retry(syscall.Read, s.descriptor, p); n == 0 && err == nil {
		err = io.EOF
	}
	return n, err
}

func (s *rawSocket) Write(p []byte) (n int, err error) { return retry(syscall.Write, s.descriptor, p) }

// retry makes a system call, and makes it again if a signal has interrupted it.
func retry(call func(int, []byte) (int, error), descriptor int, p []byte) (n int, err error) {
	for n, err = call(descriptor, p); errors.Is(err, syscall.EINTR); {
		n, err = call(descriptor, p)
	}
	return n, err
}

// blocking is a connection that is not a TCP or Unix socket, such as net.Pipe in tests. Its Read
// waits. Its Write writes nothing, so that conn.write writes to the net.Conn.
type blocking struct{ net.Conn }

func (blocking) Write([]byte) (int, error) { return 0, syscall.EAGAIN }

func (b blocking) wait(work func() bool) error {
	for !work() {
	}
	return nil
}
