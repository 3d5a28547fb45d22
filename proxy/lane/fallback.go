package lane

import (
	"net"
	"sync"
	"sync/atomic"
)

// fallback is the listener from which net/http accepts what the lane hands over.
type fallback struct {
	handed  chan net.Conn
	closed  chan struct{}
	once    sync.Once
	address atomic.Value // the net.Addr of the lane's listener
}

// Accept returns the next connection, or net.ErrClosed after Close.
func (f *fallback) Accept() (net.Conn, error) {
	select {
	case c := <-f.handed:
		return c, nil
	case <-f.closed:
		return nil, net.ErrClosed
	}
}

// Close ends Accept. Connections that are handed over later are closed.
func (f *fallback) Close() error {
	f.once.Do(func() { close(f.closed) })
	return nil
}

// Addr returns the address of the lane's listener, or nil before Lane.Serve.
func (f *fallback) Addr() net.Addr {
	address, _ := f.address.Load().(net.Addr)
	return address
}

// give hands over a connection and the bytes that the lane has read from it.
func (f *fallback) give(c net.Conn, read []byte) {
	select {
	case f.handed <- &handed{Conn: c, unread: read}:
	case <-f.closed:
		_ = c.Close()
	}
}

// handed is a connection for net/http. It first returns the bytes that the lane has read.
type handed struct {
	net.Conn
	unread []byte // read by the lane, but not yet by net/http
}

// Read implements net.Conn.
func (c *handed) Read(p []byte) (int, error) {
	if len(c.unread) == 0 {
		return c.Conn.Read(p)
	}
	n := copy(p, c.unread)
	if c.unread = c.unread[n:]; len(c.unread) == 0 {
		c.unread = nil // frees it
	}
	return n, nil
}

// CloseWrite closes the sending half of a TCP or Unix connection.
func (c *handed) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// NetConn returns the underlying connection, as that of tls.Conn does.
func (c *handed) NetConn() net.Conn { return c.Conn }
