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

// conn is a connection in the lane. Its goroutine reads requests and answers them in turn. While it
// waits, it holds no buffer.
type conn struct {
	net.Conn
	lane      *Lane
	handler   Handler
	watcher   watcher         // Conn, if it implements watcher, otherwise blind
	socket    syscall.RawConn // the socket of Conn; nil if it has none
	begun     []byte          // the part of an incomplete request that has arrived
	deadlines deadlines
	readNow   func(descriptor uintptr) (done bool) // c.tryRead; made once, because each method value allocates
	got       *buffer                              // the result of tryRead
	gotLength int
	gotError  error
}

// buffer has one half for requests and one for answers.
type buffer [4 << 10]byte

// maxRequest bounds a plain request, in bytes. A larger request is left to net/http.
const maxRequest = 2 << 10

// shortest is the number of bytes from which on a request after the first is refused if it stays
// incomplete. After less, net/http closes the connection without an answer.
const shortest = len("GET ")

// buffers are shared: idle connections need none, and busy ones reuse memory that is still in the
// processor's cache.
var buffers = sync.Pool{New: func() any { return new(buffer) }}

// newConn adds a connection to the lane.
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
	l.mu.Lock()
	l.conns[c] = struct{}{}
	l.mu.Unlock()
	return c
}

// run serves the connection until it ends or is handed to net/http.
func (c *conn) run() {
	left := c.serve()
	c.lane.mu.Lock()
	delete(c.lane.conns, c)
	c.lane.mu.Unlock()
	if left == nil {
		_ = c.Conn.Close()
		return
	}
	_ = c.Conn.SetDeadline(time.Time{})
	c.lane.fallback.give(left)
}

// serve answers plain requests. It returns the connection for net/http, or nil if the connection
// must be closed.
func (c *conn) serve() (left *handed) {
	defer func() {
		if v := recover(); v != nil {
			c.lane.options.Logger.Error("panic on a connection", "stack", string(debug.Stack()))
			left = nil
		}
	}()
	for {
		c.await()
		b, n, err := c.read()
		if err != nil {
			if c.begun == nil || len(c.begun) < shortest && !c.deadlines.idleSince.IsZero() {
				return nil
			}
			return &handed{Conn: c.Conn, read: c.begun, err: err} // net/http refuses half a request
		}
		used, state := c.answer(b, n)
		rest := append([]byte(nil), b[used:n]...) // nil if nothing is left
		buffers.Put(b)
		switch state {
		case other:
			c.watcher.Incomplete()
			return &handed{Conn: c.Conn, read: rest}
		case ended:
			return nil
		}
		c.begun = rest
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

// await sets the deadline for the rest of a request, or for the next one, and notifies the watcher.
func (c *conn) await() {
	c.deadlines.await()
	if c.begun != nil {
		c.watcher.Incomplete()
	} else if !c.deadlines.idleSince.IsZero() {
		c.watcher.Idle(c.deadlines.idleSince)
	}
}

// read waits until something arrives. It returns a buffer with the incomplete request and the new
// bytes, and their total length.
func (c *conn) read() (*buffer, int, error) {
	if c.socket == nil {
		return c.fill(c.Conn.Read)
	}
	if err := c.socket.Read(c.readNow); err != nil {
		return nil, 0, err
	}
	return c.got, c.gotLength, c.gotError
}

// tryRead reads what has arrived at the socket. It reports false if there is nothing yet.
func (c *conn) tryRead(descriptor uintptr) bool {
	c.got, c.gotLength, c.gotError = c.fill(func(p []byte) (n int, err error) {
		for n, err = syscall.Read(int(descriptor), p); err == syscall.EINTR; {
			n, err = syscall.Read(int(descriptor), p)
		}
		if n == 0 && err == nil {
			err = io.EOF
		}
		return n, err
	})
	return !errors.Is(c.gotError, syscall.EAGAIN)
}

// fill reads into a buffer, after the incomplete request. It gives the buffer back on an error.
func (c *conn) fill(read func([]byte) (int, error)) (*buffer, int, error) {
	b := buffers.Get().(*buffer)
	begun := copy(b[:], c.begun)
	n, err := read(b[begun:maxRequest])
	if err != nil && n <= 0 {
		buffers.Put(b)
		return nil, 0, err
	}
	return b, begun + n, nil
}

// watcher is implemented by connections whose owner has to know whether the client waits for an
// answer, because the owner closes idle connections. The methods are called in the order of the
// events.
type watcher interface {
	// Begin is called when one or more requests have arrived. If it reports false, they are not
	// answered, because the connection is being closed.
	Begin() bool
	// Idle is called when all of these requests are answered and no part of another request has
	// arrived, with the time of the last answer.
	Idle(since time.Time)
	// Incomplete is called when a part of a request has arrived, or a request for net/http.
	Incomplete()
}

// blind is the watcher of a connection that does not implement watcher. It does nothing.
type blind struct{}

func (blind) Begin() bool    { return true }
func (blind) Idle(time.Time) {}
func (blind) Incomplete()    {}
