package proxy

import (
	"net"
	"os"
	"syscall"
	"testing"
)

func TestOurOwnLackOfDescriptorsIsNoFailureOfInstagrams(t *testing.T) {
	for _, err := range []error{
		&net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("socket", syscall.EMFILE)},
		&net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("socket", syscall.ENFILE)},
		&net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "dial udp 127.0.0.53:53: socket: too many open files", Name: "graph.instagram.com"}},
	} {
		f := noAnswer(t.Context(), err)
		if f.err.Class.IsFailure() || f.err.Status != 503 || f.err.RetryAt.IsZero() || f.repeatable {
			t.Errorf("%v: %v, repeatable %v", err, f.err, f.repeatable)
		}
	}
	refused := &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	if f := noAnswer(t.Context(), refused); !f.err.Class.IsFailure() {
		t.Errorf("a refused connection is not a failure: %v", f.err)
	}
}
