package listener

import (
	"container/list"
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"
	"time"
)

// conn is a connection that counts towards the limit until it is closed or released. It tracks the
// bytes that arrive, and the handlers that begin and end, to know whether its client is waiting for
// a response.
type conn struct {
	net.Conn
	bound   *bound // of its listener
	open    *connections
	address netip.Prefix // see addressOf

	state   atomic.Int64 // see evicted
	listed  atomic.Bool  // it is in open.incomplete
	frames  atomic.Bool  // it is HTTP/2, where not everything that arrives belongs to a request
	closing atomic.Bool  // the response to its latest request says Connection: close
	freed   atomic.Bool  // a handler has taken it over; see Release
	early   atomic.Bool  // the next request began before the response to the current one was complete

	// open.mu protects the fields below.
	element  *list.Element // in open.incomplete; nil if it is not there
	listedAt int64         // when it joined open.incomplete, in Unix nanoseconds; postpone updates it
	index    int           // in open.all
	key      int64         // orders open.all, in Unix nanoseconds; an idle connection became idle at this time or later
}

// The states of a connection. A state from 1 to quiet-1 is the number of requests that handlers
// work on: at most one in HTTP/1, one for each stream in HTTP/2. A state of quiet or more is
// the time, in Unix nanoseconds, of the last event on a connection without a request. If such a
// connection is in open.incomplete, it is fresh: nothing has arrived since it was accepted. If not,
// it is idle.
const (
	evicted   int64 = -3 // it is being closed, and nothing that arrives is served
	answering int64 = -2 // the handler has ended, and its response may still be in a buffer
	reading   int64 = -1 // something has arrived, and no handler has begun yet
	quiet     int64 = 1 << 32
)

// Read updates the state before it reads and when something has arrived. After an eviction it
// discards what arrives, because no response could be sent.
//
// A server reads again when it has sent its response and has no further request in its buffer, or
// when the header that it reads is incomplete. A server that watches for the client to disconnect
// while a handler works may call Read shortly before the response is sent. Then the connection is
// recorded as idle too early. Therefore a connection is closed to make room only after it has been
// quiet for 250 ms, see moment.
func (c *conn) Read(p []byte) (int, error) {
	switch c.state.Load() {
	case answering:
		if next := time.Now().UnixNano(); !c.early.Swap(false) {
			c.state.CompareAndSwap(answering, next)
		} else if c.state.CompareAndSwap(answering, reading) {
			c.open.list(c)
		}
	case reading:
		if !c.listed.Load() {
			c.open.list(c)
		}
	}
	n, err := c.Conn.Read(p)
	if n > 0 && !c.arrived() {
		return 0, net.ErrClosed
	}
	if n > 0 && len(p) == 1 && c.state.Load() < quiet && c.state.Load() != reading {
		c.early.Store(true) // net/http reads one byte ahead to notice a disconnect; that byte begins the next request
	}
	return n, err
}

// arrived records that something has arrived. It reports false after an eviction.
func (c *conn) arrived() bool {
	for {
		state := c.state.Load()
		if state < quiet || c.frames.Load() || c.state.CompareAndSwap(state, reading) {
			return state != evicted
		}
	}
}

// Write restarts the time for which the connection has been quiet, because HTTP/2 may send the end
// of a response after its handler has ended.
func (c *conn) Write(p []byte) (int, error) {
	c.touch()
	return c.Conn.Write(p)
}

// touch restarts the time for which the connection has been quiet, if it is quiet.
func (c *conn) touch() {
	if state := c.state.Load(); state >= quiet {
		c.state.CompareAndSwap(state, time.Now().UnixNano())
	}
}

// begin records that the header of a request is complete. The parameter frames is true for HTTP/2.
// begin reports false after an eviction, because then no response can be sent.
func (c *conn) begin(frames bool) bool {
	for {
		state := c.state.Load()
		if state == evicted {
			return false
		}
		next := int64(1)
		if state > 0 && state < quiet {
			next = state + 1
		}
		if c.state.CompareAndSwap(state, next) {
			break
		}
	}
	c.early.Store(false)
	if frames {
		c.frames.Store(true)
	}
	if c.listed.Load() {
		c.open.unlist(c)
	}
	return true
}

// end records that a handler has ended.
func (c *conn) end() {
	if c.freed.Load() {
		return
	}
	for {
		state := c.state.Load()
		next := state - 1
		if next == 0 {
			next = answering
			if c.frames.Load() {
				next = time.Now().UnixNano() // an HTTP/2 server reads all the time, not only after a response
			}
		}
		if c.state.CompareAndSwap(state, next) {
			return
		}
	}
}

// Begin, Idle and Incomplete are for the fast lane, which reads the socket itself.

// Begin records that one or more complete requests have arrived. It reports false after an
// eviction, because then no response can be sent.
func (c *conn) Begin() bool { return c.begin(false) }

// Idle records that all requests since Begin are answered. The connection has been waiting for the
// next request since the given time.
func (c *conn) Idle(since time.Time) { c.state.CompareAndSwap(1, since.UnixNano()) }

// Incomplete records that a request is incomplete, or that net/http has to answer it.
func (c *conn) Incomplete() {
	c.state.CompareAndSwap(1, reading)
	if c.arrived() && !c.listed.Load() {
		c.open.list(c)
	}
}

// SyscallConn returns the socket, for the fast lane.
func (c *conn) SyscallConn() (syscall.RawConn, error) {
	socket, ok := c.Conn.(syscall.Conn)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	return socket.SyscallConn()
}

// Release tells the Server that a handler has taken over (hijacked) a connection. The connection no
// longer counts towards the limit, and the Server never closes it.
func Release(c net.Conn) {
	own := under(c)
	own.freed.Store(true)
	own.open.remove(own)
}

// evict closes the connection if its state is still the given one, and reports whether it did. The
// caller has found that closing the connection in this state loses no request.
func (c *conn) evict(state int64) bool {
	if !c.state.CompareAndSwap(state, evicted) {
		return false
	}
	_ = c.Close()
	return true
}

// Close closes the connection, which no longer counts towards the limit.
func (c *conn) Close() error {
	c.open.remove(c)
	return c.Conn.Close()
}

// CloseWrite closes the sending half, if c.Conn can do that, as TCP and Unix connections can.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// under returns the conn in c, which TLS or the fast lane may have wrapped.
func under(c net.Conn) *conn {
	for {
		if own, ok := c.(*conn); ok {
			return own
		}
		c = c.(interface{ NetConn() net.Conn }).NetConn()
	}
}

// addressOf returns what counts as the address of one client: an IPv4 address, or an IPv6 /64
// network. For clients on this machine, which share an address, it returns the zero Prefix.
func addressOf(c net.Conn) (p netip.Prefix) {
	tcp, ok := c.RemoteAddr().(*net.TCPAddr)
	if !ok || tcp.IP.IsLoopback() {
		return p
	}
	address := tcp.AddrPort().Addr().Unmap()
	p, _ = address.Prefix(min(address.BitLen(), 64))
	return p
}
