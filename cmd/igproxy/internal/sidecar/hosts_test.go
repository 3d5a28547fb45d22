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

func TestHostNamesAreCheckedOnLoopbackAlways(t *testing.T) {
	tcp := loopback(t)
	every, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer every.Close()
	beyond := &addressed{every, &net.TCPAddr{IP: net.IPv4zero, Port: 80}}
	socket := &addressed{every, &net.UnixAddr{Name: "/s", Net: "unix"}}
	for _, c := range []struct {
		l       net.Listener
		allowed []string
		any     bool
	}{
		{tcp, nil, false}, {tcp, []string{"a"}, false},
		{beyond, nil, true}, {beyond, []string{"a"}, false},
		{socket, nil, true}, {socket, []string{"a"}, false},
	} {
		if got := anyHost(c.l, c.allowed); got != c.any {
			t.Errorf("%v with %v: any host %v, want %v", c.l.Addr(), c.allowed, got, c.any)
		}
	}
}

// addressed is a listener that claims another address.
type addressed struct {
	net.Listener
	addr net.Addr
}

func (a *addressed) Addr() net.Addr { return a.addr }
