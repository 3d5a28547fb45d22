package listener

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// bounded bounds the connections that are open at once. Whoever comes when all places are taken is not left to wait in the system's queue,
// where nothing tells them why. In order:
//
//  1. A kept connection on which nothing happens is ended, and its place is free: HTTP lets a server end one at any time, and clients
//     expect it (RFC 9112, section 9.3.1). nginx does the same.
//  2. Else the connection gets one of a few spare places, and is served in passing: one request, whose header must come within
//     passing, and which is answered with what memory knows, or else with 503 and Retry-After.
//  3. Else it waits in the system's queue, and soon gets one: those of spare are given back after passing at the latest.
//
// net/http serves the spare ones too, rather than a few lines of ours that write 503 into the socket: it reads a request before it answers,
// ends a connection without losing the answer in a reset, and speaks TLS where that is spoken.
//
// golang.org/x/net/netutil has a bound, but its connections hide CloseWrite, which net/http needs: without it an answer to a request that
// was not read to its end (431, a refused body) is lost in a reset.
type bounded struct {
	net.Listener
	slots, spare chan struct{}
	closed       chan struct{}
	close        func()
	relieve      func()                  // ends idle connections elsewhere
	wrap         func(net.Conn) net.Conn // what a seated connection is served through

	mu   sync.Mutex          // protects open
	open map[*boundConn]bool // those on places
}

// passingTimeout is how long a connection on a spare place may take for its one request.
const passingTimeout = time.Second

// sendBuffer bounds what the system keeps of answers that a client does not read, in bytes; its own bound is megabytes for each. Answers are
// below one KiB, the metrics some ten.
const sendBuffer = 64 << 10

// spareSlots is how many spare places go with so many places.
func spareSlots(most int) int { return max(16, most/8) }

func newBounded(l net.Listener, most int) *bounded {
	b := &bounded{Listener: l, slots: make(chan struct{}, most), spare: make(chan struct{}, spareSlots(most)), closed: make(chan struct{}),
		open: map[*boundConn]bool{}, relieve: func() {}, wrap: func(c net.Conn) net.Conn { return c }}
	b.close = sync.OnceFunc(func() { close(b.closed) })
	return b
}

// Accept waits for a connection, then finds it a place.
func (b *bounded) Accept() (net.Conn, error) {
	c, err := b.Listener.Accept()
	for relieved := false; errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE); c, err = b.Listener.Accept() {
		if b.endIdle() { // out of descriptors, but for that one's
			continue
		}
		if relieved {
			break
		}
		relieved = true
		b.relieve() // those to Instagram can be all there are, and nobody's request would ever use them
	}
	if err != nil {
		return nil, err // net/http tries again, more and more slowly
	}
	if buffered, ok := c.(interface{ SetWriteBuffer(bytes int) error }); ok {
		_ = buffered.SetWriteBuffer(sendBuffer)
	}
	for {
		select {
		case b.slots <- struct{}{}:
			return b.admit(c), nil
		default:
		}
		if !b.endIdle() {
			break
		}
	}
	select {
	case b.slots <- struct{}{}:
		return b.admit(c), nil
	case b.spare <- struct{}{}:
		return &boundConn{Conn: c, end: time.Now().Add(passingTimeout), leave: sync.OnceFunc(func() { <-b.spare })}, nil
	case <-b.closed:
		_ = c.Close()
		return nil, net.ErrClosed
	}
}

func (b *bounded) admit(c net.Conn) net.Conn {
	p := &boundConn{Conn: c}
	p.top = b.wrap(p)
	p.leave = sync.OnceFunc(func() {
		b.mu.Lock()
		delete(b.open, p)
		b.mu.Unlock()
		<-b.slots
	})
	b.mu.Lock()
	b.open[p] = true
	b.mu.Unlock()
	return p.top
}

// idleSearchLimit bounds the search for an idle connection.
const idleSearchLimit = 1000

// endIdle ends the one of a sample of kept connections that has been idle for longest, and reports whether there was one. A request that
// comes on it at this very moment is lost, as when server.idle_timeout ends it; clients ask again.
func (b *bounded) endIdle() bool {
	var longest *boundConn
	var since int64
	b.mu.Lock()
	seen := 0
	for p := range b.open {
		if idle := p.idle.Load(); idle != 0 && (longest == nil || idle < since) {
			longest, since = p, idle
		}
		if seen++; seen == idleSearchLimit {
			break
		}
	}
	b.mu.Unlock()
	if longest == nil {
		return false
	}
	longest.idle.Store(0) // not found again while it ends
	_ = longest.top.Close()
	return true
}

// Close ends an Accept that waits, too.
func (b *bounded) Close() error {
	b.close()
	return b.Listener.Close()
}

// boundConn is a connection that gives its place back when it is closed.
type boundConn struct {
	net.Conn
	top   net.Conn // what is over it, or itself; nil in passing
	leave func()
	idle  atomic.Int64 // since when it is kept for a next request, in Unix nanoseconds; 0: it is not
	end   time.Time    // of a connection in passing; zero: it may stay
}

func (c *boundConn) Close() error {
	defer c.leave()
	return c.Conn.Close()
}

// NetConn is the connection below, as tls.Conn has it.
func (c *boundConn) NetConn() net.Conn { return c.Conn }

// CloseWrite ends our half: TCP and Unix connections have it.
func (c *boundConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// SetReadDeadline and SetDeadline leave a connection in passing no longer than it has.
func (c *boundConn) SetReadDeadline(t time.Time) error { return c.Conn.SetReadDeadline(c.atMost(t)) }

// SetDeadline is for both directions.
func (c *boundConn) SetDeadline(t time.Time) error { return c.Conn.SetDeadline(c.atMost(t)) }

func (c *boundConn) atMost(t time.Time) time.Time {
	if !c.end.IsZero() && (t.IsZero() || t.After(c.end)) {
		return c.end
	}
	return t
}

// Idle notes since when the connection waits for its next request; the zero time: it does not.
func (c *boundConn) Idle(since time.Time) {
	if since.IsZero() {
		c.idle.Store(0)
		return
	}
	c.idle.Store(since.UnixNano())
}

// boundConnUnder is the bound's connection under what net/http was given.
func boundConnUnder(c net.Conn) *boundConn {
	for {
		if p, ok := c.(*boundConn); ok {
			return p
		}
		outer, ok := c.(interface{ NetConn() net.Conn }) // TLS, or the lane
		if !ok {
			return nil
		}
		c = outer.NetConn()
	}
}
