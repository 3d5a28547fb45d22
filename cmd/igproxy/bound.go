package main

import (
	"net"
	"sync"
)

// bounded lets at most cap(places) connections be open at once; further ones wait in the system's queue. golang.org/x/net/netutil has the
// like, but its connections hide CloseWrite, which net/http needs: without it an answer to a request that was not read to its end (431,
// a refused body) is lost in a reset.
type bounded struct {
	net.Listener
	places chan struct{}
	closed chan struct{}
	close  func()
}

func newBounded(l net.Listener, most int) *bounded {
	b := &bounded{Listener: l, places: make(chan struct{}, most), closed: make(chan struct{})}
	b.close = sync.OnceFunc(func() { close(b.closed) })
	return b
}

// Accept waits for a place, then for a connection.
func (b *bounded) Accept() (net.Conn, error) {
	select {
	case b.places <- struct{}{}:
	case <-b.closed:
		return nil, net.ErrClosed
	}
	c, err := b.Listener.Accept()
	if err != nil {
		<-b.places
		return nil, err
	}
	return &placed{Conn: c, leave: sync.OnceFunc(func() { <-b.places })}, nil
}

// Close ends an Accept that waits, too.
func (b *bounded) Close() error {
	b.close()
	return b.Listener.Close()
}

// placed is a connection that gives its place back when it is closed.
type placed struct {
	net.Conn
	leave func()
}

func (c *placed) Close() error {
	defer c.leave()
	return c.Conn.Close()
}

// CloseWrite ends our half: TCP and Unix connections have it.
func (c *placed) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}
