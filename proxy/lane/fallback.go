package lane

import (
	"context"
	"io"
	"net"
)

// fallback is the listener that gives net/http the connections that leave the lane.
type fallback struct {
	handed chan net.Conn
	closed context.Context // ends when the listener is closed
	close  context.CancelFunc
}

func (f *fallback) Accept() (net.Conn, error) {
	select {
	case c := <-f.handed:
		return c, nil
	case <-f.closed.Done():
		return nil, net.ErrClosed
	}
}

// give hands a connection to net/http, or closes it if the listener is closed.
func (f *fallback) give(c net.Conn) {
	select {
	case f.handed <- c:
	case <-f.closed.Done():
		_ = c.Close()
	}
}

func (f *fallback) Close() error { f.close(); return nil }

// Addr returns an empty address. Each connection has the address of the listener that accepted it.
func (f *fallback) Addr() net.Addr { return &net.UnixAddr{} }

// handed is a connection for net/http. Its reader begins with the bytes that the lane has read but
// not answered.
type handed struct {
	net.Conn
	reader io.Reader
}

func (c *handed) Read(p []byte) (int, error) { return c.reader.Read(p) }

// CloseWrite closes the sending half of a TCP or Unix connection.
func (c *handed) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

func (c *handed) NetConn() net.Conn { return c.Conn }

// failed is a reader that returns the error with which reading from a connection ended.
type failed struct{ error }

func (f failed) Read([]byte) (int, error) { return 0, f.error }
