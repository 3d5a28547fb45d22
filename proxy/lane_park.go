package proxy

import (
	"errors"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"syscall"
	"time"
)

// patience is how long a connection waits in net/http, ready, before it is parked. An app that is busy never notices.
const patience = 5 * time.Second

// A parked connection is a goroutine that waits for the socket to have something, and reads nothing. net/http's own, with its buffers and its
// deep stack, takes 20 KiB; this one takes 4. With the next request, net/http gets the connection as a new one.

// socketOf is the socket under a connection; nil: there is none to wait for.
func socketOf(c net.Conn) syscall.RawConn {
	for {
		if s, ok := c.(syscall.Conn); ok {
			if raw, err := s.SyscallConn(); err == nil && canPeek {
				return raw
			}
			return nil
		}
		below, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			return nil
		}
		c = below.NetConn()
	}
}

// leaves reports whether a read ended because the connection is to be parked.
func (c *LaneConn) leaves(err error) bool {
	if c.socket == nil || !errors.Is(err, os.ErrDeadlineExceeded) || c.lane.proxy.draining.Load() {
		return false
	}
	if idle := c.lane.idle; idle > 0 && time.Since(c.last) >= idle {
		return false
	}
	return c.state.CompareAndSwap(quiet, leaving)
}

// park waits for the next request, then hands the connection back.
func (c *LaneConn) park() {
	_ = c.Conn.SetReadDeadline(c.end())
	c.lane.arrived()
	defer c.lane.departed()
	if c.lane.proxy.draining.Load() || !awaitReadable(c.socket) || !c.state.CompareAndSwap(parked, quiet) {
		_ = c.Close()
		return
	}
	c.tell(time.Time{}) // a drain waits for it from now on, and the bound does not choose it
	select {
	case c.lane.back <- c:
	case <-c.lane.closed:
		_ = c.Close()
	}
}

// Parked connections leave buffers and stacks behind. Go would find them with its next collection, which in a process that rests comes within
// two minutes, and two more until the system has the memory back; for a crowd that is asked sooner.
const crowd = 512

// arrived counts a parked connection. After a crowd memory is given back, a little later, when the rest of the crowd is here.
func (l *Lane) arrived() {
	if n := l.parked.Add(1); n < l.tidied.Load()+crowd || !l.tidying.CompareAndSwap(false, true) {
		return
	}
	time.AfterFunc(patience, func() {
		l.tidied.Store(l.parked.Load())
		l.tidying.Store(false)
		runtime.GC() // net/http's buffers are in a pool, which gives up what was there at the last collection, too
		debug.FreeOSMemory()
	})
}

// departed counts it out.
func (l *Lane) departed() {
	if n := l.parked.Add(-1); n < l.tidied.Load()-crowd {
		l.tidied.Store(n) // they leave buffers behind once more when they come back
	}
}

// Accept gives a connection that was parked and has something to read.
func (l *Lane) Accept() (net.Conn, error) {
	select {
	case c := <-l.back:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close ends Accept. Connections that are parked end when something comes on them, or when their time is over.
func (l *Lane) Close() error {
	l.close()
	return nil
}

// Addr is nobody's.
func (l *Lane) Addr() net.Addr { return &net.UnixAddr{Name: "parked", Net: "unix"} }
