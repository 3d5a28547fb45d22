package listener

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// bound limits how many connections are open at once. At the limit, the connection that has been
// idle longest is closed: HTTP lets a server close a kept connection at any time, and clients
// expect it (RFC 9112, section 9.3.1). If none is idle, the next connection waits until one is
// closed, and the others behind it in the system's accept queue.
//
// golang.org/x/net/netutil has a limit, too, but its connections hide CloseWrite. Without
// CloseWrite net/http loses an answer to a request that was not read to its end (431, a refused
// body) in a reset.
type bound struct {
	net.Listener
	limit   int
	relieve func()                  // closes idle connections elsewhere
	wrap    func(net.Conn) net.Conn // wraps each accepted connection
	closed  chan struct{}
	close   func()

	mu   sync.Mutex // protects open
	open map[*conn]struct{}
}

const (
	// pollInterval is the time between two looks at a condition that is waited for.
	pollInterval = 5 * time.Millisecond
	// silence is how long a new connection may send nothing before it counts as idle.
	silence = time.Second
	// sendBuffer bounds what the system buffers, in bytes, of answers that a client does not read;
	// its own bound is megabytes for each connection. Answers are below 1 KiB, metrics about 10
	// KiB.
	sendBuffer = 64 << 10
	// searchLimit bounds the search for an idle connection.
	searchLimit = 2000
)

func newBound(l net.Listener, limit int) *bound {
	b := &bound{Listener: l, limit: limit, closed: make(chan struct{}), open: map[*conn]struct{}{},
		relieve: func() {}, wrap: func(c net.Conn) net.Conn { return c }}
	b.close = sync.OnceFunc(func() { close(b.closed) })
	return b
}

// Accept accepts a connection and waits until it is within the limit. It has one caller. The end of
// the server ends the wait: the connection is one too many then, but it is answered.
func (b *bound) Accept() (net.Conn, error) {
	accepted, err := b.accept()
	if err != nil {
		return nil, err // net/http tries again, more and more slowly
	}
	if buffered, ok := accepted.(interface{ SetWriteBuffer(bytes int) error }); ok {
		_ = buffered.SetWriteBuffer(sendBuffer)
	}
	c := &conn{Conn: accepted, bound: b}
	c.idle.Store(time.Now().Add(silence).UnixNano())
	poll(b.closed, func() bool { return b.free() || b.evict() })
	b.mu.Lock()
	b.open[c] = struct{}{}
	b.mu.Unlock()
	return b.wrap(c), nil
}

// accept accepts a connection. While the process has no descriptor left for it, it closes idle
// connections, first here and then elsewhere.
func (b *bound) accept() (net.Conn, error) {
	c, err := b.Listener.Accept()
	for relieved := false; errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE); c, err = b.Listener.Accept() {
		if b.evict() {
			continue
		}
		if relieved {
			break
		}
		relieved = true
		b.relieve() // connections to Instagram can hold all descriptors, and without a request nothing uses them
	}
	return c, err
}

// Close also ends an Accept that waits.
func (b *bound) Close() error {
	b.close()
	return b.Listener.Close()
}

// free reports whether another connection is within the limit.
func (b *bound) free() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.open) < b.limit
}

// longestIdle returns, of at most searchLimit connections, the one that has been idle longest, and
// since when; nil: none is idle.
func (b *bound) longestIdle() (longest *conn, since int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	since = time.Now().UnixNano() + 1
	seen := 0
	for c := range b.open {
		if idle := c.idle.Load(); idle > busy && idle < since {
			longest, since = c, idle
		}
		if seen++; seen == searchLimit {
			break
		}
	}
	return longest, since
}

// evict closes the connection that has been idle longest, and reports whether there was one.
func (b *bound) evict() bool {
	for {
		c, since := b.longestIdle()
		switch {
		case c == nil:
			return false
		case unread(c.Conn):
			c.idle.CompareAndSwap(since, busy) // a request has arrived that net/http has not read yet
		case c.idle.CompareAndSwap(since, evicted):
			_ = c.Close()
			return true
		}
	}
}

// quiet reports whether no connection has a request, or is still expected to send its first.
func (b *bound) quiet() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for c := range b.open {
		if c.idle.Load() == busy || !c.kept.Load() {
			return false
		}
	}
	return true
}

// conn is a connection that counts towards the limit until it is closed.
type conn struct {
	net.Conn
	bound  *bound
	idle   atomic.Int64 // since when it waits for a request, in Unix nanoseconds; or busy, or evicted
	kept   atomic.Bool  // it has had a request and was kept for the next one
	frames atomic.Bool  // it is HTTP/2, where not everything that arrives belongs to a request
}

const (
	busy    = 0
	evicted = -1
)

// Read ends the connection's idleness when something arrives. After an eviction it serves nothing
// that arrives: no answer could be sent.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n == 0 || c.frames.Load() {
		return n, err
	}
	if since := c.idle.Load(); since > busy {
		c.idle.CompareAndSwap(since, busy)
	}
	if c.idle.Load() == evicted {
		return 0, net.ErrClosed
	}
	return n, err
}

// Idle notes that the connection waits for its next request.
func (c *conn) Idle(since time.Time) { c.idle.Store(since.UnixNano()) }

// Close closes the connection, which no longer counts towards the limit.
func (c *conn) Close() error {
	c.bound.mu.Lock()
	delete(c.bound.open, c)
	c.bound.mu.Unlock()
	return c.Conn.Close()
}

// CloseWrite closes the sending half, which TCP and Unix connections have.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// under returns the conn that TLS or the lane may wrap.
func under(c net.Conn) *conn {
	for {
		if own, ok := c.(*conn); ok {
			return own
		}
		c = c.(interface{ NetConn() net.Conn }).NetConn()
	}
}

// poll waits until ok reports true, and returns true, or until done is closed, and returns false.
func poll(done <-chan struct{}, ok func() bool) bool {
	for !ok() {
		select {
		case <-time.After(pollInterval):
		case <-done:
			return false
		}
	}
	return true
}
