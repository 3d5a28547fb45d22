package proxy

import (
	"net"
	"net/http"
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
// cannot have a body, and nothing came while one was served; after anything else the connection is net/http's for good.
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

// LaneConn is a connection with the lane on it. An http.Server reads from it, and tells it each http.ConnState, from the same goroutine.
type LaneConn struct {
	net.Conn
	lane *Lane

	waits  bool // net/http waits for a request
	fresh  bool // and was given nothing of it yet
	square bool // all it was given are whole requests
	known  host // the Host that was served last

	armed, wrote time.Time // when the time-outs were set
	ending       atomic.Int32
}

// Who ends a connection: Close while the lane answers leaves it to the lane, so that no answer is cut.
const (
	quiet int32 = iota
	answering
	closing
)

// Conn puts the lane on a connection.
func (l *Lane) Conn(c net.Conn) *LaneConn {
	return &LaneConn{Conn: c, lane: l, fresh: true, square: true}
}

// NetConn is the connection below, as tls.Conn has it.
func (c *LaneConn) NetConn() net.Conn { return c.Conn }

// State is what the server's ConnState hook was told. When net/http says that it waits or works, nothing else reads: there are no bodies on
// a square connection, and a read on the side has ended.
func (c *LaneConn) State(s http.ConnState) {
	switch {
	case !c.square, s > http.StateIdle:
		return
	case s == http.StateIdle:
		c.armed, c.wrote = time.Now(), time.Time{} // net/http sets the one itself, and left the other as it was
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
	}
	n, err := c.Conn.Read(p)
	return c.give(p[:n]), err
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
		n, err := c.Conn.Read(p)
		if n == 0 || err != nil {
			return c.give(p[:n]), err
		}
		if !c.ending.CompareAndSwap(quiet, answering) {
			return 0, net.ErrClosed
		}
		used, err := c.lane.answer(c, p, n)
		if !c.ending.CompareAndSwap(answering, quiet) {
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

// Close ends the connection; when the lane is answering on it, as soon as it has.
func (c *LaneConn) Close() error {
	if c.ending.Swap(closing) != quiet {
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

// idler is a connection that wants to know since when it waits.
type idler interface{ Idle(since time.Time) }

// rest notes that an answer is written, and gives the next request its time. Setting a time-out costs as much as looking a token up; so it is done
// once a second at the most, and for short time-outs once in a sixteenth of them.
func (c *LaneConn) rest(now time.Time) {
	if i, ok := c.Conn.(idler); ok {
		i.Idle(now)
	}
	if idle := c.lane.idle; idle > 0 && now.Sub(c.armed) >= min(time.Second, idle/16) {
		_ = c.Conn.SetReadDeadline(now.Add(idle))
		c.armed = now
	}
}

// hurry gives the answer its time.
func (c *LaneConn) hurry(now time.Time) {
	if write := c.lane.write; write > 0 && now.Sub(c.wrote) >= min(time.Second, write/16) {
		_ = c.Conn.SetWriteDeadline(now.Add(write))
		c.wrote = now
	}
}
