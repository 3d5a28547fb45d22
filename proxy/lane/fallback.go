package lane

import (
	"context"
	"net"
)

// fallback is the listener of the connections that net/http serves.
type fallback struct {
	handed chan net.Conn
	closed context.Context
	close  func()
}

func newFallback() *fallback {
	closed, cancel := context.WithCancel(context.Background())
	return &fallback{make(chan net.Conn), closed, cancel}
}

// Accept returns the next connection, or net.ErrClosed.
func (f *fallback) Accept() (net.Conn, error) {
	select {
	case c := <-f.handed:
		return c, nil
	case <-f.closed.Done():
		return nil, net.ErrClosed
	}
}

// Close ends Accept. Connections that are handed over later are closed.
func (f *fallback) Close() error {
	f.close()
	return nil
}

// Addr returns an address without a name. Each connection has the address at which it was accepted.
func (f *fallback) Addr() net.Addr { return &net.UnixAddr{} }

// give hands a connection over.
func (f *fallback) give(c *handed) {
	select {
	case f.handed <- c:
	case <-f.closed.Done():
		_ = c.Close()
	}
}

// handed is a connection that was handed to net/http. The lane has read its first bytes.
type handed struct {
	net.Conn
	read []byte // what net/http has to read first
	err  error  // what comes after them, if the lane could not read more
}

// Read implements net.Conn.
func (c *handed) Read(p []byte) (int, error) {
	switch {
	case len(c.read) > 0:
		n := copy(p, c.read)
		c.read = c.read[n:]
		return n, nil
	case c.err != nil:
		return 0, c.err
	}
	c.read = nil // frees it
	return c.Conn.Read(p)
}

// CloseWrite closes the sending half of a TCP or Unix connection.
func (c *handed) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// NetConn returns the connection below, as tls.Conn does.
func (c *handed) NetConn() net.Conn { return c.Conn }
