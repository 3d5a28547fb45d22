package proxy

import (
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"
)

// Lane is a short cut below net/http for the plainest hit: a GET /access_token of a token that memory knows, in nothing but the form that
// common clients write (lane_request.go). It is no server. net/http owns each connection, its time-outs, its place and its drain; it reads
// through a LaneConn, and where it waits for the next request, the LaneConn answers plain hits itself and hands on the first bytes that
// are anything else, untouched: a miss, another path, a header that is not among the harmless, half a request. So nothing is decided
// twice. What the lane answers is, byte for byte but for Date and request id, what net/http would have: FuzzLane holds it to that.
//
// The lane must know that it stands between two requests. It does as long as all that net/http was ever given are whole requests that
// cannot have a body, one by one; after anything else the connection is net/http's for good.
type Lane struct {
	proxy       *Proxy
	idle, write time.Duration
	date        atomic.Pointer[date]
}

// LaneOptions are the time-outs of the http.Server whose connections the lane serves.
type LaneOptions struct {
	// IdleTimeout is how long a connection may wait for its next request. Zero: for ever.
	IdleTimeout time.Duration
	// WriteTimeout is how long an answer may take to be written. Zero: for ever.
	WriteTimeout time.Duration
}

// NewLane builds the lane of a proxy.
func (p *Proxy) NewLane(o LaneOptions) *Lane {
	return &Lane{proxy: p, idle: o.IdleTimeout, write: o.WriteTimeout}
}

// LaneConn is a connection with the lane on it. An http.Server reads from it, and tells it each http.ConnState.
type LaneConn struct {
	net.Conn
	lane  *Lane
	below idler // Conn, or nil

	waits  bool // net/http waits for a request
	fresh  bool // and was given nothing of it yet
	square bool // all it was given are whole requests
	known  host // the Host that was served last

	armed, wrote time.Time // when the timeouts were set
	last         time.Time // when it began to wait
	state        atomic.Int32

	early []byte        // the first byte of a request that came while net/http was busy with the previous one
	abort chan struct{} // net/http ends its read beside a handler
}

// Close while the lane answers leaves closing to the lane, so that no answer is cut.
const (
	quiet int32 = iota
	answering
	closing
)

// Conn puts the lane on a connection.
func (l *Lane) Conn(c net.Conn) *LaneConn {
	below, _ := c.(idler)
	return &LaneConn{Conn: c, lane: l, below: below, fresh: true, square: true, abort: make(chan struct{}, 1)}
}

// NetConn is the connection below, as tls.Conn has it.
func (c *LaneConn) NetConn() net.Conn { return c.Conn }

// State is what the server's ConnState hook was told. When net/http says that it waits or works, nothing else reads: there are no bodies on
// a square connection, and a read on the side has ended.
func (c *LaneConn) State(s http.ConnState) {
	switch {
	case s > http.StateIdle, !c.square:
		return
	case s == http.StateIdle:
		c.last = time.Now()
		c.armed, c.wrote = c.last, time.Time{} // net/http sets the read deadline now, and removes the write deadline
	}
	c.waits, c.fresh = s == http.StateIdle, s != http.StateActive
}

// leastRead is the room a read must have for the lane: a request and its answer share it. net/http has 4 KiB.
const leastRead = 2 << 10

// Read gives net/http what comes, but for plain hits while it waits for a request.
func (c *LaneConn) Read(p []byte) (int, error) {
	switch {
	case !c.square:
		return c.Conn.Read(p)
	case c.waits && c.fresh && len(p) >= leastRead:
		return c.serve(p)
	case !c.fresh:
		return c.aside(p)
	}
	n, err := c.read(p)
	return c.give(p[:n]), err
}

// read reads from the connection, the early byte first.
func (c *LaneConn) read(p []byte) (int, error) {
	early := copy(p, c.early)
	c.early = c.early[early:]
	n, err := c.Conn.Read(p[early:])
	return early + n, err
}

// aside is net/http's read beside a handler: one byte, to notice a client that leaves. If it is the first byte of the next request, which a
// client sends when it has read an answer before net/http has noticed that the answer is written, the lane keeps it: net/http would otherwise
// have half a request, and the lane would lose the connection. Like net/http, the lane then reads no more until net/http ends this read, which
// it does by a deadline in the past.
func (c *LaneConn) aside(p []byte) (int, error) {
	select {
	case <-c.abort: // of an earlier read; one of this read has set the deadline, too
	default:
	}
	n, err := c.Conn.Read(p[:1])
	if n == 0 {
		return 0, err
	}
	c.early = append(c.early, p[0])
	<-c.abort
	return 0, os.ErrDeadlineExceeded
}

// SetReadDeadline ends a read beside a handler if the deadline has passed.
func (c *LaneConn) SetReadDeadline(t time.Time) error {
	err := c.Conn.SetReadDeadline(t)
	if !t.IsZero() && !t.After(time.Now()) {
		c.endAside()
	}
	return err
}

func (c *LaneConn) endAside() {
	select {
	case c.abort <- struct{}{}:
	default:
	}
}

// give notes what net/http is given.
func (c *LaneConn) give(b []byte) int {
	if len(b) > 0 {
		c.square = c.fresh && whole(b)
		c.fresh = false
	}
	return len(b)
}

// serve answers plain hits until something else comes.
func (c *LaneConn) serve(p []byte) (int, error) {
	for {
		c.await()
		n, err := c.read(p)
		if n == 0 || err != nil {
			return c.give(p[:n]), err
		}
		if !c.state.CompareAndSwap(quiet, answering) {
			return 0, net.ErrClosed
		}
		used, err := c.lane.answer(c, p, n)
		if !c.state.CompareAndSwap(answering, quiet) {
			_ = c.Conn.Close()
			return 0, net.ErrClosed
		}
		if err != nil {
			return 0, err // net/http ends the connection
		}
		if used < n {
			return c.give(p[:copy(p, p[used:n])]), nil
		}
	}
}

// Close ends the connection; when the lane is answering on it, as soon as the answer is written.
func (c *LaneConn) Close() error {
	c.endAside()
	if c.state.Swap(closing) == answering {
		return nil
	}
	return c.Conn.Close()
}

// CloseWrite ends our half: TCP and Unix connections have it.
func (c *LaneConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// idler is a connection that notes when it begins to wait for a request. What it reads ends that.
type idler interface{ Idle(since time.Time) }

// often is how often a time-out is set anew: that costs as much as looking a token up, so it is done once a second at the most, and for short
// time-outs once in a sixteenth of them.
func often(timeout time.Duration) time.Duration { return min(time.Second, timeout/16) }

// await gives the next request its time.
func (c *LaneConn) await() {
	if wait := c.lane.idle; wait > 0 && c.last.Sub(c.armed) >= often(wait) {
		_ = c.Conn.SetReadDeadline(c.last.Add(wait))
		c.armed = c.last
	}
}

// hurry gives the answer its time.
func (c *LaneConn) hurry(now time.Time) {
	if write := c.lane.write; write > 0 && now.Sub(c.wrote) >= often(write) {
		_ = c.Conn.SetWriteDeadline(now.Add(write))
		c.wrote = now
	}
}
