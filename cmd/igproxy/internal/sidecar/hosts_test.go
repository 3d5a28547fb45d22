package sidecar

import (
	"net"
	"testing"
)

func loopback(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// addressed is a listener that reports another address.
type addressed struct {
	net.Listener
	addr net.Addr
}

func (a *addressed) Addr() net.Addr { return a.addr }
