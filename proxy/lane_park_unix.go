//go:build unix

package proxy

import "syscall"

const canPeek = true

// awaitReadable waits until a socket has something to read, and reports whether it has: not when it is closed, by either side, or when
// its deadline comes.
func awaitReadable(socket syscall.RawConn) bool {
	var something bool
	err := socket.Read(func(fd uintptr) bool {
		n, err := peek(fd)
		something = n > 0
		return err != syscall.EAGAIN
	})
	return something && err == nil
}

// awaitEnd waits until the other side has closed a socket, however much there is to read before; an error is the deadline's, or our own
// side's end. Of one that closes behind something unread it does not hear, as net/http does not.
func awaitEnd(socket syscall.RawConn) error {
	return socket.Read(func(fd uintptr) bool {
		n, err := peek(fd)
		return n <= 0 && err != syscall.EAGAIN
	})
}

// peek looks at what there is and takes nothing. Readiness is told once, and may have been before a wait begins: so each wait looks first.
func peek(fd uintptr) (n int, err error) {
	var one [1]byte
	for {
		if n, _, err = syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK); err != syscall.EINTR {
			return n, err
		}
	}
}
