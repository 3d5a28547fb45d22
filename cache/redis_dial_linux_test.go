package cache

import (
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"
)

// losesSYNs returns a loopback listener with its queue already full, so that the kernel drops every
// SYN until the listener accepts a connection.
func losesSYNs(t *testing.T) net.Listener {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(fd), "listener")
	defer file.Close()
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	l, err := net.FileListener(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	for {
		c, err := net.DialTimeout("tcp", l.Addr().String(), 100*time.Millisecond)
		if err != nil {
			return l
		}
		t.Cleanup(func() { _ = c.Close() })
	}
}

// Regression test: the dial timeout was one second, but TCP resends a lost SYN only after a second.
func TestLostSYNDelaysButDoesNotFailTheConnection(t *testing.T) {
	l := losesSYNs(t)
	c, r := over(t, RedisOptions{Addrs: []string{l.Addr().String()}, Timeout: 50 * time.Millisecond, StoreTimeout: time.Second})
	if took := misses(t, c, "lost", 1); took > soon || r.of("fault claim timeout") != 1 {
		t.Errorf("the caller waited for %v, want at most %v; counted %v, want one timeout", took, soon, r.all())
	}
	var accepting sync.WaitGroup
	accepting.Go(func() { // ends when the listener is closed
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			defer conn.Close()
		}
	})
	defer accepting.Wait()
	defer l.Close()
	eventually(t, "the connection is established", func() bool { return c.redis.client.Load().PoolStats().IdleConns == 1 })
}
