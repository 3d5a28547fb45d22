package lane

import (
	"net"
	"os"
	"sync/atomic"
	"time"
)

// conn is a connection that the lane reads first.
type conn struct {
	net.Conn
	below    idler // Conn, or nil
	options  *Options
	draining *atomic.Bool
	answers  Answerer

	waiting bool // net/http waits for a request
	fresh   bool // net/http has nothing of that request yet
	aligned bool // net/http was given only whole requests

	readSet, writeSet time.Time    // when the deadlines were set
	last              time.Time    // when the connection began to wait
	state             atomic.Int32 // quiet, answering or closing

	early []byte        // the first byte of a request, read while net/http was busy with the previous one
	abort chan struct{} // gets a value when net/http ends its read during a handler
}

// A Close while the lane answers is left to the lane, so that no answer is cut.
const (
	quiet int32 = iota
	answering
	closing
)

// leastRead is the smallest buffer that the lane uses. A request and its answer share it; net/http
// has one of 4 KiB.
const leastRead = 2 << 10

// Read returns what net/http is to read: everything but plain hits while it waits for a request.
func (c *conn) Read(p []byte) (int, error) {
	switch {
	case !c.aligned:
		return c.Conn.Read(p)
	case c.waiting && c.fresh && len(p) >= leastRead:
		return c.serve(p)
	case !c.fresh:
		return c.readDuringHandler(p)
	}
	n, err := c.read(p)
	return c.deliver(p[:n]), err
}

// serve answers plain hits until something else arrives.
func (c *conn) serve(p []byte) (int, error) {
	for {
		c.setReadDeadline()
		n, err := c.read(p)
		if n == 0 || err != nil || c.draining.Load() {
			return c.deliver(p[:n]), err
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
			return 0, err // net/http closes the connection
		}
		if used < n {
			return c.deliver(p[:copy(p, p[used:n])]), nil
		}
	}
}

// answer answers the plain hits at the start of p[:n] and returns their length. It writes the
// answers into the rest of p. The connection is unusable after an error.
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
		c.setWriteDeadline(start)
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

// deliver notes what net/http is given, and returns its length.
func (c *conn) deliver(b []byte) int {
	if len(b) > 0 {
		c.aligned = c.fresh && isWhole(b)
		c.fresh = false
	}
	return len(b)
}

// readDuringHandler serves net/http's read of one byte during a handler, which notices a client
// that leaves. A client may have read its answer and sent the next request before net/http notices
// that the answer is written. The lane keeps the first byte of such a request: otherwise net/http
// would have half a request, and the lane would lose the connection. Like net/http, it then reads
// no more until net/http ends this read with a deadline in the past.
func (c *conn) readDuringHandler(p []byte) (int, error) {
	select {
	case <-c.abort: // left from an earlier read; one for this read has set its deadline already
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

func (c *conn) abortRead() {
	select {
	case c.abort <- struct{}{}:
	default:
	}
}

// SetReadDeadline ends a read during a handler if the deadline has passed.
func (c *conn) SetReadDeadline(t time.Time) error {
	err := c.Conn.SetReadDeadline(t)
	if !t.IsZero() && !t.After(time.Now()) {
		c.abortRead()
	}
	return err
}

// Close closes the connection, or if the lane is answering on it, has the lane close it after that.
func (c *conn) Close() error {
	c.abortRead()
	if c.state.Swap(closing) == answering {
		return nil
	}
	return c.Conn.Close()
}

// CloseWrite closes the sending half of a TCP or Unix connection.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// NetConn returns the connection below, as tls.Conn does.
func (c *conn) NetConn() net.Conn { return c.Conn }

func (c *conn) setReadDeadline() {
	if idle := c.options.IdleTimeout; isDue(idle, c.readSet, c.last) {
		_ = c.Conn.SetReadDeadline(c.last.Add(idle))
		c.readSet = c.last
	}
}

func (c *conn) setWriteDeadline(now time.Time) {
	if write := c.options.WriteTimeout; isDue(write, c.writeSet, now) {
		_ = c.Conn.SetWriteDeadline(now.Add(write))
		c.writeSet = now
	}
}

// isDue reports whether the deadline of a timeout, last set at set, must be set again. Setting it
// costs as much as finding a token, so a timeout may end a second, or a sixteenth of it, early.
func isDue(timeout time.Duration, set, now time.Time) bool {
	return timeout > 0 && now.Sub(set) >= min(time.Second, timeout/16)
}
