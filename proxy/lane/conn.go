package lane

import (
	"errors"
	"io"
	"net"
	"runtime/debug"
	"sync"
	"syscall"
	"time"
)

// conn is a connection in the lane. Its goroutine reads a request, has it answered, and so on.
// While it waits it holds no buffer.
type conn struct {
	net.Conn
	lane    *Lane
	handler Handler
	watcher watcher         // Conn, if it wants to know
	socket  syscall.RawConn // of Conn; nil if it has none

	begun []byte // the beginning of a request, the rest of which is awaited

	deadlines deadlines
	got       struct { // by readNow
		buffer *buffer
		n      int
		err    error
	}
	readNow func(descriptor uintptr) (done bool) // the method tryRead, which allocates only once this way
}

// A buffer has a part for requests and a part for answers. The system's buffer of a connection is
// larger than either.
type buffer [4 << 10]byte

// maxRequest bounds a plain request, in bytes; any larger one is left to net/http.
const maxRequest = 2 << 10

// buffers are shared, so that idle connections need none and busy ones find theirs in the
// processor's cache.
var buffers = sync.Pool{New: func() any { return new(buffer) }}

func newConn(l *Lane, accepted net.Conn) *conn {
	c := &conn{Conn: accepted, lane: l, handler: l.options.NewHandler(), watcher: blind{}}
	c.deadlines.of = c
	c.readNow = c.tryRead
	if s, ok := accepted.(syscall.Conn); ok {
		c.socket, _ = s.SyscallConn()
	}
	if w, ok := accepted.(watcher); ok {
		c.watcher = w
	}
	return c
}

// run serves the connection until it ends or goes to net/http.
func (c *conn) run() {
	read := c.serve()
	c.lane.forget(c)
	if read == nil {
		_ = c.Conn.Close()
		return
	}
	_ = c.Conn.SetDeadline(time.Time{})
	c.lane.fallback.give(c.Conn, read)
}

// serve answers plain requests. It returns what net/http has to read, or nil if the connection
// must be closed.
func (c *conn) serve() (read []byte) {
	defer func() {
		if v := recover(); v != nil {
			c.lane.options.Logger.Error("panic on a connection", "stack", string(debug.Stack()))
			read = nil
		}
	}()
	c.deadlines.begin()
	for {
		b, n, err := c.read()
		switch {
		case err == nil:
		case errors.Is(err, io.EOF): // net/http refuses half a request
			return c.begun
		default:
			return nil
		}
		used, state := c.answer(b, n)
		switch rest := b[used:n]; state {
		case other:
			c.watcher.Incomplete()
			read = append(read, rest...)
			fallthrough
		case ended:
			buffers.Put(b)
			return read
		case incomplete:
			c.begun = append([]byte(nil), rest...) // nil if there is none
		}
		buffers.Put(b)
		c.await()
	}
}

// state is how the bytes continue that were read from a connection.
type state int

const (
	incomplete state = iota // with a plain request of which more is to come, or with nothing yet
	plain                   // with a plain request
	other                   // with something else
	ended                   // not at all: the connection must be closed
)

// answer answers the plain requests at the start of b[:n]. It returns their length and the state
// after them.
func (c *conn) answer(b *buffer, n int) (used int, next state) {
	for used < n {
		start := time.Now()
		r, next := recognise(b[used:n])
		if next == incomplete && n-used == maxRequest {
			next = other
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
		c.deadlines.write(start)
		_, err := c.Conn.Write(answer)
		took := time.Since(start)
		c.handler.Sent(start, took)
		c.deadlines.idleSince = start.Add(took)
		if err != nil || last {
			return used, ended
		}
	}
	return used, incomplete
}

// await prepares for what comes next: the rest of a request, or another one.
func (c *conn) await() {
	c.deadlines.await()
	if c.begun != nil {
		c.watcher.Incomplete()
	} else if !c.deadlines.idleSince.IsZero() {
		c.watcher.Idle(c.deadlines.idleSince)
	}
}

// read waits until something arrives, and returns it after what has begun, in a buffer that it
// takes only then.
func (c *conn) read() (*buffer, int, error) {
	if c.socket == nil {
		b := buffers.Get().(*buffer)
		begun := copy(b[:], c.begun)
		n, err := c.Conn.Read(b[begun:maxRequest])
		c.received(b, begun, n, err)
	} else if err := c.socket.Read(c.readNow); err != nil {
		return nil, 0, err
	}
	return c.got.buffer, c.got.n, c.got.err
}

// tryRead reads what has arrived. It reports false if there is nothing yet.
func (c *conn) tryRead(descriptor uintptr) bool {
	b := buffers.Get().(*buffer)
	begun := copy(b[:], c.begun)
	for {
		n, err := syscall.Read(int(descriptor), b[begun:maxRequest])
		switch {
		case err == syscall.EINTR:
		case err == syscall.EAGAIN:
			buffers.Put(b)
			return false
		default:
			if n == 0 && err == nil {
				err = io.EOF
			}
			c.received(b, begun, n, err)
			return true
		}
	}
}

// received keeps the outcome of a read.
func (c *conn) received(b *buffer, begun, n int, err error) {
	c.got.buffer, c.got.n, c.got.err = b, begun+n, nil
	if err != nil && n <= 0 {
		buffers.Put(b)
		c.got.buffer, c.got.n, c.got.err = nil, 0, err
	}
}

// watcher is implemented by connections that want to know what their client waits for, so that an
// idle one can be closed. Its methods are called in the order in which things happen.
type watcher interface {
	// Begin is called when one or more requests have arrived. If it reports false, they are not
	// answered, because the connection is being closed.
	Begin() bool
	// Idle is called when all of them are answered, with the time of the last answer.
	Idle(since time.Time)
	// Incomplete is called when a part of a request has arrived, or one for net/http.
	Incomplete()
}

// blind is the watcher of a connection that does not want to know.
type blind struct{}

func (blind) Begin() bool    { return true }
func (blind) Idle(time.Time) {}
func (blind) Incomplete()    {}
