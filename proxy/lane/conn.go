package lane

import (
	"net"
	"os"
	"sync/atomic"
	"time"
)

// conn is a connection with the lane on it.
type conn struct {
	net.Conn
	below   idler // Conn, or nil
	options *Options
	answers Answerer

	waits  bool // net/http waits for a request
	fresh  bool // and was given nothing of it yet
	square bool // all it was given are whole requests

	armed, wrote time.Time    // when the timeouts were set
	last         time.Time    // when it began to wait
	state        atomic.Int32 // quiet, answering or closing

	early []byte        // the first byte of a request that came while net/http was busy with the previous one
	abort chan struct{} // net/http ends its read beside a handler
}

// Close while the lane answers leaves closing to the lane, so that no answer is cut.
const (
	quiet int32 = iota
	answering
	closing
)

// leastRead is the room a read must have for the lane: a request and its answer share it. net/http has 4 KiB.
const leastRead = 2 << 10

// Read gives net/http what comes, except plain hits while it waits for a request.
func (c *conn) Read(p []byte) (int, error) {
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

// serve answers plain hits until something else comes.
func (c *conn) serve(p []byte) (int, error) {
	for {
		c.awaitRequest()
		n, err := c.read(p)
		if n == 0 || err != nil {
			return c.give(p[:n]), err
		}
		if !c.state.CompareAndSwap(quiet, answering) {
			return 0, net.ErrClosed
		}
		used, err := c.answer(p, n)
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

// answer answers the plain hits that p[:n] begins with, and returns how many bytes they were. It writes the answers into the rest of p.
// After an error the connection is of no use.
func (c *conn) answer(p []byte, n int) (used int, err error) {
	for used < n && err == nil {
		start := time.Now()
		r, ok := readPlain(p[used:n])
		if !ok {
			return used, nil
		}
		answer := c.answers.Answer(p[n:n:len(p)], r.host, r.token, start)
		if answer == nil {
			return used, nil
		}
		used += r.length
		c.limitWrite(start)
		_, err = c.Conn.Write(answer)
		took := time.Since(start)
		c.answers.Sent(start, took)
		c.last = start.Add(took)
	}
	if c.below != nil {
		c.below.Idle(c.last)
	}
	return used, err
}

// read reads from the connection, the early byte first.
func (c *conn) read(p []byte) (int, error) {
	early := copy(p, c.early)
	c.early = c.early[:0]
	n, err := c.Conn.Read(p[early:])
	return early + n, err
}

// give notes what net/http is given.
func (c *conn) give(b []byte) int {
	if len(b) > 0 {
		c.square = c.fresh && whole(b)
		c.fresh = false
	}
	return len(b)
}

// aside is net/http's read beside a handler: one byte, to notice a client that leaves. If it is the first byte of the next request, which a
// client sends when it has read an answer before net/http has noticed that the answer is written, the lane keeps it: net/http would otherwise
// have half a request, and the lane would lose the connection. Like net/http, the lane then reads no more until net/http ends this read,
// which it does by a deadline in the past.
func (c *conn) aside(p []byte) (int, error) {
	select {
	case <-c.abort: // of an earlier read: one that ends this read has set the deadline before
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

func (c *conn) endAside() {
	select {
	case c.abort <- struct{}{}:
	default:
	}
}

// SetReadDeadline ends a read beside a handler if the deadline has passed.
func (c *conn) SetReadDeadline(t time.Time) error {
	err := c.Conn.SetReadDeadline(t)
	if !t.IsZero() && !t.After(time.Now()) {
		c.endAside()
	}
	return err
}

// Close closes the connection; when the lane is answering on it, as soon as the answer is written.
func (c *conn) Close() error {
	c.endAside()
	if c.state.Swap(closing) == answering {
		return nil
	}
	return c.Conn.Close()
}

// CloseWrite closes the sending half: TCP and Unix connections have it.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// NetConn returns the connection below, as tls.Conn does.
func (c *conn) NetConn() net.Conn { return c.Conn }

// awaitRequest gives the next request its time.
func (c *conn) awaitRequest() {
	if idle := c.options.IdleTimeout; idle > 0 && c.last.Sub(c.armed) >= precision(idle) {
		_ = c.Conn.SetReadDeadline(c.last.Add(idle))
		c.armed = c.last
	}
}

// limitWrite gives the answer its time.
func (c *conn) limitWrite(now time.Time) {
	if write := c.options.WriteTimeout; write > 0 && now.Sub(c.wrote) >= precision(write) {
		_ = c.Conn.SetWriteDeadline(now.Add(write))
		c.wrote = now
	}
}

// precision is how much too early a timeout may end. Setting it costs as much as finding a token, so it is not set for each request.
func precision(timeout time.Duration) time.Duration { return min(time.Second, timeout/16) }
