package intercept

import (
	"net"
	"sync"
	"time"
)

// queue is a net.Listener: its Accept returns the intercepted connections that are given to put.
// The listener of CONNECT requests has already accepted them.
type queue struct {
	addr    net.Addr
	release func(net.Conn) // called before Accept returns a connection
	conns   chan net.Conn
	closed  chan struct{}
	close   func()
}

func newQueue(addr net.Addr, release func(net.Conn)) *queue {
	q := &queue{addr: addr, release: release, conns: make(chan net.Conn), closed: make(chan struct{})}
	q.close = sync.OnceFunc(func() { close(q.closed) })
	return q
}

// queueTimeout bounds how long a connection waits to be accepted. A connection waits while the
// server that accepts from the queue has its maximum number of connections, and can close none of
// them to make room.
const queueTimeout = 10 * time.Second

// put waits until the connection is accepted. It reports false if that does not happen within
// queueTimeout, or if the queue is closed.
func (q *queue) put(c net.Conn) bool {
	timeout := time.NewTimer(queueTimeout)
	defer timeout.Stop()
	select {
	case q.conns <- c:
		return true
	case <-q.closed:
	case <-timeout.C:
	}
	return false
}

// Accept implements net.Listener. Until Accept returns a connection, the connection counts towards
// the limit of the listener of CONNECT requests. So this limit bounds the waiting connections too.
func (q *queue) Accept() (net.Conn, error) {
	select {
	case c := <-q.conns:
		q.release(c)
		return c, nil
	case <-q.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (q *queue) Close() error {
	q.close()
	return nil
}

// Addr implements net.Listener.
func (q *queue) Addr() net.Addr { return q.addr }
