package cache

import (
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"
)

// losesSYNs listens on loopback and loses every SYN, because its queue is full, until it accepts.
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

// The first SYN of a connection is lost. TCP sends it again after a second, which is when the connection was given up.
func TestALostSYNCostsItsRetransmissionAndNotTheConnection(t *testing.T) {
	l := losesSYNs(t)
	c, r := over(t, RedisOptions{Addrs: []string{l.Addr().String()}, Timeout: 50 * time.Millisecond, StoreTimeout: time.Second})
	if took := misses(t, c, "lost", 1); took > soon || r.of("fault claim timeout") != 1 {
		t.Errorf("the caller waited for %v: %v", took, r.all())
	}
	var accepting sync.WaitGroup
	accepting.Go(func() { // ends with the listener
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
	eventually(t, "the connection is there", func() bool { return c.redis.client.Load().PoolStats().IdleConns == 1 })
}
