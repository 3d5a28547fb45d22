package lane

import (
	"bytes"
	"cmp"
	"errors"
	"io"
	"net"
	"os"
	"runtime/debug"
	"sync"
	"syscall"
	"time"
)

// conn is a connection in the lane. Its goroutine reads requests and answers them in turn. While it
// waits for data from a TCP or Unix socket, it holds no buffer.
type conn struct {
	net.Conn
	lane      *Lane
	handler   Handler
	watcher   watcher   // Conn if it implements watcher, or else blind
	socket    socket    // reads and writes Conn
	begun     []byte    // the part of an incomplete request that has arrived
	answered  int       // the number of answers, up to busyAfter
	idleSince time.Time // when the last answer was written; zero: no answer yet
	deadline  purpose   // what the read deadline is for; zero: no deadline was set yet
	next      state     // the state of the bytes that work has left unanswered
	err       error     // the error of the last read in work
}

// buffer has one half for requests and one for answers.
type buffer [4 << 10]byte

const (
	maxRequest = 2 << 10 // in bytes; a larger request is left to net/http
	busyAfter  = 8       // a connection counts as busy after this number of answers

	// shortest is the smallest number of bytes after an answer that count as the start of a
	// request. If fewer bytes have arrived when reading fails, the connection is closed without an
	// answer, as net/http would do.
	shortest = 4
)

// buffers are shared by all connections. An idle connection needs no buffer, and a busy connection
// reuses memory that is still in the processor's cache.
var buffers = sync.Pool{New: func() any { return new(buffer) }}

func newConn(l *Lane, accepted net.Conn) *conn {
	c := &conn{Conn: accepted, lane: l, handler: l.options.NewHandler(), watcher: blind{}, socket: socketOf(accepted)}
	if w, ok := accepted.(watcher); ok {
		c.watcher = w
	}
	return c
}

// run serves the connection until it ends or is handed to net/http.
func (c *conn) run() {
	defer func() {
		if v := recover(); v != nil {
			c.lane.options.Logger.Error("panic on a connection", "stack", string(debug.Stack()))
			_ = c.Conn.Close()
		}
	}()
	if rest := c.serve(); rest == nil {
		_ = c.Conn.Close()
	} else {
		_ = c.Conn.SetDeadline(time.Time{})
		c.lane.fallback.give(&handed{c.Conn, io.MultiReader(bytes.NewReader(c.begun), rest)})
	}
}

// serve answers plain requests. It returns what net/http has to read after c.begun, or nil if the
// connection must be closed.
func (c *conn) serve() (rest io.Reader) {
	c.await()
	for {
		err := cmp.Or(c.socket.wait(c.work), c.err)
		switch {
		case c.next == ended:
			return nil
		case c.next == other:
			c.watcher.Incomplete()
			return c.Conn
		case c.deadline == look && errors.Is(err, os.ErrDeadlineExceeded):
			c.setDeadline(idle, c.idleSince, c.lane.options.IdleTimeout)
		case c.begun == nil || c.isTooShort(c.begun):
			return nil
		default:
			return failed{err} // net/http decides whether half a request gets an answer
		}
	}
}

// work reads and answers what has arrived. If it returns true, serve has to act on c.next or c.err.
// If it returns false, work has to be called again when more arrives.
func (c *conn) work() (finished bool) {
	for {
		b := buffers.Get().(*buffer)
		n := copy(b[:], c.begun)
		read, err := c.socket.Read(b[n:maxRequest])
		if read <= 0 && err != nil {
			buffers.Put(b)
			c.err = err
			return !errors.Is(err, syscall.EAGAIN)
		}
		isBusy, used := c.answered == busyAfter, 0
		n += read
		used, c.next = c.answer(b, n)
		c.begun = append([]byte(nil), b[used:n]...) // nil if nothing is left
		buffers.Put(b)
		if c.next != incomplete {
			return true
		}
		c.await()
		// A busy connection is not read again now, because the read would almost always find
		// nothing. If the client has closed its sending half right after the request, serve notices
		// the end of the stream at the deadline called look.
		if isBusy && c.begun == nil && n < maxRequest {
			return false
		}
	}
}

// state says what the next bytes from a connection are.
type state int

const (
	incomplete state = iota // the start of a plain request, or nothing yet
	plain                   // a plain request
	other                   // anything else
	ended                   // the connection must be closed
)

// answer answers the plain requests at the start of b[:n]. It returns their total length, and the
// state of the bytes after them.
func (c *conn) answer(b *buffer, n int) (used int, next state) {
	for used < n {
		start := time.Now()
		r, next := recognise(b[used:n])
		switch {
		case next == incomplete && n-used == maxRequest:
			next = other
		case c.isTooShort(b[used:n]):
			next = incomplete
		}
		if next != plain {
			return used, next
		}
		if used == 0 && !c.watcher.Begin() {
			return 0, ended
		}
		answer, last := c.handler.Serve(b[maxRequest:maxRequest], r.host, r.token, start)
		if answer == nil {
			return used, other
		}
		used += r.length
		err := c.write(answer, start)
		took := time.Since(start)
		c.handler.Sent(start, took)
		c.idleSince = start.Add(took)
		c.answered = min(c.answered+1, busyAfter)
		if err != nil || last {
			return used, ended
		}
	}
	return used, incomplete
}

// isTooShort reports whether b follows an answer and is too short to begin another request.
func (c *conn) isTooShort(b []byte) bool { return c.answered > 0 && len(b) < shortest }

// write sends an answer. It sets a deadline only if the socket does not take the whole answer at
// once.
func (c *conn) write(answer []byte, start time.Time) error {
	n, err := c.socket.Write(answer)
	if n == len(answer) || err != nil && !errors.Is(err, syscall.EAGAIN) {
		return err
	}
	if timeout := c.lane.options.WriteTimeout; timeout > 0 {
		_ = c.SetWriteDeadline(start.Add(timeout))
	}
	_, err = c.Conn.Write(answer[max(n, 0):])
	return err
}

// watcher is implemented by connections whose owner has to know whether the client waits for an
// answer, because the owner closes idle connections. The methods are called in the order of the
// events.
type watcher interface {
	// Begin is called when one or more requests have arrived. If it reports false, they are not
	// answered, because the connection is being closed.
	Begin() bool
	// Idle is called when the requests that Begin announced are answered, and no part of another
	// request has been read. since is the time of the last answer.
	Idle(since time.Time)
	// Incomplete is called when a part of a request has arrived, or a request for net/http.
	Incomplete()
}

// blind is the watcher of a connection that does not implement watcher. It does nothing.
type blind struct{}

func (blind) Begin() bool    { return true }
func (blind) Idle(time.Time) {}
func (blind) Incomplete()    {}
