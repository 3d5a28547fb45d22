package listener

import (
	"errors"
	"net"
	"sync"
	"syscall"
	"time"
)

// bound limits how many connections are open at once. At the limit it closes a connection to make
// room: first one whose request header is incomplete, then the one that has been idle longest. HTTP
// lets a server close a kept connection at any time, and clients expect it (RFC 9112, section
// 9.3.1). While no connection can be closed, for example because all of them are waiting for a
// response, the next connection waits, and further ones wait in the system's accept queue. Several
// listeners can share one limit. Then a connection of one listener may be closed to make room for a
// connection of another.
//
// golang.org/x/net/netutil has a limit, too, but its connections hide CloseWrite. Without
// CloseWrite, the response of net/http to a request that it has not read to the end (431, a refused
// body) can be lost in a connection reset.
type bound struct {
	net.Listener
	open    *connections // perhaps shared with other listeners
	relieve func()       // see Options.Relieve; never nil
	closed  chan struct{}
	close   func()
}

const (
	// pollInterval is the time between two checks of a condition that poll waits for.
	pollInterval = 5 * time.Millisecond
	// sendBuffer bounds the bytes of unread responses that the system buffers for a connection. The
	// system's own bound is megabytes. Token responses are below 1 KiB, metrics are about 10 KiB.
	sendBuffer = 64 << 10
	// evictTries bounds how many connections one call of evict tries to close.
	evictTries = 64
)

func newBound(l net.Listener, open *connections) *bound {
	b := &bound{Listener: l, open: open, closed: make(chan struct{}), relieve: func() {}}
	b.close = sync.OnceFunc(func() { close(b.closed) })
	return b
}

// Accept accepts a connection and waits until it is within the limit. It must not be called
// concurrently. Close ends the wait: the connection then exceeds the limit, but is served.
func (b *bound) Accept() (net.Conn, error) {
	accepted, err := b.accept()
	if err != nil {
		return nil, err // after a temporary error, net/http or the lane tries again, with growing delays
	}
	if buffered, ok := accepted.(interface{ SetWriteBuffer(bytes int) error }); ok {
		_ = buffered.SetWriteBuffer(sendBuffer)
	}
	c := &conn{Conn: accepted, bound: b, open: b.open, address: addressOf(accepted)}
	if !poll(b.closed, func() bool { return b.open.addWithin(c) || b.evict() && b.open.addWithin(c) }) {
		b.open.add(c)
	}
	return c, nil
}

// accept accepts a connection. While no file descriptor is left, it closes other connections to
// make room: first connections of clients and, if none of these can be closed, idle
// connections to Meta.
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
		b.relieve() // idle connections to Meta can hold all descriptors until their idle timeout
	}
	return c, err
}

// Close closes the listener, and ends an Accept that waits.
func (b *bound) Close() error {
	b.close()
	return b.Listener.Close()
}

// evict closes a connection to make room, and reports whether it closed one. It looks for unread
// bytes first, because a request may have arrived that the server has not read yet.
func (b *bound) evict() bool {
	for range evictTries {
		c, state := b.open.victim()
		switch {
		case c == nil:
			return false
		case unread(c.Conn):
			b.open.postpone(c)
		case c.evict(state):
			return true
		}
	}
	return false
}

// endQuiet closes the HTTP/1 connections of this listener that have been quiet for quietFor, not
// counting the time before start. It returns the number of HTTP/1 connections on which a further
// request may arrive: they are open, and no response on them has said Connection: close. HTTP/2 has
// its own way to end a connection (GOAWAY).
func (b *bound) endQuiet(start time.Time, quietFor time.Duration) (left int) {
	now := time.Now()
	for _, c := range b.open.snapshot() {
		state := c.state.Load()
		switch {
		case c.bound != b || c.frames.Load() || c.closing.Load():
		case state < quiet || now.Sub(start) < quietFor || now.UnixNano()-state < int64(quietFor):
			left++
		case unread(c.Conn):
			c.touch()
			left++
		case !c.evict(state):
			left++
		}
	}
	return left
}

// poll waits until ok returns true, and returns true. It returns false if done is closed first.
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
