package proxy

import (
	"net"
	"os"
	"syscall"
	"testing"

	"github.com/igproxy/igproxy/breaker"
)

func TestOurOwnLackOfDescriptorsIsNoFailureOfInstagrams(t *testing.T) {
	for _, err := range []error{
		&net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("socket", syscall.EMFILE)},
		&net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("socket", syscall.ENFILE)},
		&net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "dial udp 127.0.0.53:53: socket: too many open files", Name: "graph.instagram.com"}},
	} {
		f := noAnswer(t.Context(), err)
		if got := verdict(f.err, false); got != breaker.Ignored || f.err.Status != 503 || f.err.RetryAt.IsZero() || f.repeatable {
			t.Errorf("%v: verdict %v, %v, repeatable %v", err, got, f.err, f.repeatable)
		}
	}
	if f := noAnswer(t.Context(), &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}); verdict(f.err, false) != breaker.Failure {
		t.Errorf("a refused connection is no failure: %v", f.err)
	}
}
