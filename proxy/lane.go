package proxy

import (
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
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
//
// A connection on which nothing comes for a while is taken from net/http and parked (lane_park.go), because there it costs four times the
// memory. It comes back by Accept: a Lane is a listener, too, and its server serves both.
type Lane struct {
	proxy       *Proxy
	idle, write time.Duration
	patience    time.Duration // how long a connection waits before it is parked
	date        atomic.Pointer[date]
	parked      atomic.Int64 // connections
	tidied      atomic.Int64 // how many of them memory was given back for
	tidying     atomic.Bool
	back        chan *LaneConn
	closed      chan struct{}
	close       func()
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
	l := &Lane{proxy: p, idle: o.IdleTimeout, write: o.WriteTimeout, patience: patience, back: make(chan *LaneConn), closed: make(chan struct{})}
	l.close = sync.OnceFunc(func() { close(l.closed) })
	return l
}

// LaneConn is a connection with the lane on it. An http.Server reads from it, and tells it each http.ConnState.
type LaneConn struct {
	net.Conn
	lane *Lane

	waits  bool // net/http waits for a request
	fresh  bool // and was given nothing of it yet
	square bool // all it was given are whole requests
	known  host // the Host that was served last

	armed, wrote time.Time       // when the time-outs were set
	last         time.Time       // when it began to wait
	socket       syscall.RawConn // nil: it cannot be parked
	state        atomic.Int32
}

// Who may close the connection below: whoever gets state from quiet to closing, or from parked. Close while the lane answers leaves it to
// the lane, so that no answer is cut; net/http's Close of one that leaves it parks it.
const (
	quiet int32 = iota
	answering
	leaving
	parked
	closing
)

// Conn puts the lane on a connection.
func (l *Lane) Conn(c net.Conn) *LaneConn {
	return &LaneConn{Conn: c, lane: l, fresh: true, square: true, socket: socketOf(c)}
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
		c.last, c.armed, c.wrote = time.Now(), time.Time{}, time.Time{}
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
	case !c.fresh && c.socket != nil:
		return c.aside(p)
	}
	n, err := c.Conn.Read(p)
	return c.give(p[:n]), err
}

// aside is the read that net/http does beside a handler, to learn of a client that leaves. It takes nothing of a request that comes early,
// as one does when an answer is read before net/http has noticed that it is written: with one byte of it there, the connection would be lost
// for the lane. It ends with the connection, or when net/http sets a deadline in the past, which it does before it waits for a request.
func (c *LaneConn) aside(p []byte) (int, error) {
	if err := awaitEnd(c.socket); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}

// give notes what net/http is given.
func (c *LaneConn) give(b []byte) int {
	if len(b) > 0 {
		c.square = c.fresh && whole(b)
		c.fresh = false
	}
	return len(b)
}

// firstRead is how many bytes net/http waits for while it lets a connection be idle.
const firstRead = 4

// end is when the connection has been idle for too long; the zero time: never.
func (c *LaneConn) end() time.Time {
	if c.lane.idle <= 0 {
		return time.Time{}
	}
	return c.last.Add(c.lane.idle)
}

// serve answers plain hits until something else comes.
func (c *LaneConn) serve(p []byte) (int, error) {
	for {
		c.await()
		n, err := c.Conn.Read(p)
		if n == 0 || err != nil {
			if c.leaves(err) {
				err = io.EOF
			}
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
			if n-used < firstRead && c.socket != nil {
				_ = c.Conn.SetReadDeadline(c.end())
			}
			return c.give(p[:copy(p, p[used:n])]), nil
		}
	}
}

// Close ends the connection; when the lane is answering on it, as soon as it has; when net/http lets one go that is to be parked, not at all.
func (c *LaneConn) Close() error {
	if c.state.CompareAndSwap(leaving, parked) {
		go c.park() // ends with the time-out or the next request
		return nil
	}
	if s := c.state.Swap(closing); s != quiet && s != parked {
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

// idler is a connection that wants to know since when it waits; the zero time: it does not.
type idler interface{ Idle(since time.Time) }

// tell passes that on.
func (c *LaneConn) tell(since time.Time) {
	if i, ok := c.Conn.(idler); ok {
		i.Idle(since)
	}
}

// often is how often a time-out is set anew: that costs as much as looking a token up, so it is done once a second at the most, and for short
// time-outs once in a sixteenth of them.
func often(timeout time.Duration) time.Duration { return min(time.Second, timeout/16) }

// await gives the next request its time.
func (c *LaneConn) await() {
	wait := c.lane.idle
	if c.socket != nil && (wait == 0 || c.lane.patience < wait) {
		wait = c.lane.patience
	}
	if wait > 0 && c.last.Sub(c.armed) >= often(wait) {
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
