package listener

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func loopback(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func dial(t *testing.T, l net.Listener) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	return c
}

// Regression: the answer to a header that was too large was lost in a reset, because the bound's
// connections hid CloseWrite from net/http.
func TestA431IsAnsweredInFullThroughTheBound(t *testing.T) {
	l := loopback(t)
	server := &http.Server{MaxHeaderBytes: 4 << 10, Handler: http.NotFoundHandler()}
	served := make(chan struct{})
	go func() { defer close(served); _ = server.Serve(newBound(l, 4)) }() // ends with server.Close
	defer func() { _ = server.Close(); <-served }()
	c := dial(t, l)
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: localhost\r\nX: "+strings.Repeat("a", 256<<10)+"\r\n\r\n")
	}()
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	if body, err := io.ReadAll(res.Body); err != nil || res.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("got %d %q, %v", res.StatusCode, body, err)
	}
	_ = c.Close()
	<-sent
}

// accepting accepts in the background until the bound is closed.
func accepting(t *testing.T, b *bound) <-chan *conn {
	t.Helper()
	accepted := make(chan *conn)
	ended, stop := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := b.Accept()
			if err != nil {
				return
			}
			select {
			case accepted <- c.(*conn):
			case <-stop:
				_ = c.Close()
				return
			}
		}
	}()
	t.Cleanup(func() { close(stop); _ = b.Close(); <-ended }) // also ends an Accept that waits
	return accepted
}

// pair holds both ends of a connection.
type pair struct {
	client net.Conn
	server *conn
}

func next(t *testing.T, b *bound, accepted <-chan *conn) pair {
	t.Helper()
	client := dial(t, b)
	select {
	case c := <-accepted:
		t.Cleanup(func() { _ = c.Close() })
		return pair{client, c}
	case <-time.After(10 * time.Second):
		t.Fatal("a connection was not accepted")
		return pair{}
	}
}

// nextBusy accepts a connection on which a request has arrived.
func nextBusy(t *testing.T, b *bound, accepted <-chan *conn) pair {
	t.Helper()
	p := next(t, b, accepted)
	_, _ = io.WriteString(p.client, "G")
	if _, err := io.ReadFull(p.server, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	return p
}

// isClosed reports whether the bound closed the server's end.
func (p pair) isClosed() bool {
	_ = p.server.Conn.SetReadDeadline(time.Now().Add(time.Millisecond))
	_, err := p.server.Conn.Read(make([]byte, 1))
	return errors.Is(err, net.ErrClosed)
}

func noneIsAccepted(t *testing.T, accepted <-chan *conn) {
	t.Helper()
	select {
	case <-accepted:
		t.Error("a connection was accepted beyond the limit")
	case <-time.After(100 * time.Millisecond):
	}
}

func TestFullListenerWaitsUntilAConnectionIsClosed(t *testing.T) {
	b := newBound(loopback(t), 2)
	accepted := accepting(t, b)
	first := nextBusy(t, b, accepted)
	nextBusy(t, b, accepted)
	dial(t, b)
	dial(t, b)
	noneIsAccepted(t, accepted)
	_ = first.server.Close()
	_ = first.server.Close() // makes room for one, not two
	c := <-accepted
	defer c.Close()
	c.idle.Store(busy)
	noneIsAccepted(t, accepted)
}

func TestFullListenerWaitsUntilAConnectionIsIdle(t *testing.T) {
	b := newBound(loopback(t), 1)
	accepted := accepting(t, b)
	first := nextBusy(t, b, accepted)
	dial(t, b)
	noneIsAccepted(t, accepted)
	first.server.Idle(time.Now())
	_ = (<-accepted).Close()
	if !first.isClosed() {
		t.Error("the idle one is still open")
	}
}

func TestLongestIdleConnectionIsClosedFirst(t *testing.T) {
	b := newBound(loopback(t), 3)
	accepted := accepting(t, b)
	working, lately, longest := nextBusy(t, b, accepted), nextBusy(t, b, accepted), nextBusy(t, b, accepted)
	lately.server.Idle(time.Unix(2000, 0))
	longest.server.Idle(time.Unix(1000, 0))
	for _, want := range [][3]bool{{false, false, true}, {false, true, true}} {
		nextBusy(t, b, accepted)
		if got := [3]bool{working.isClosed(), lately.isClosed(), longest.isClosed()}; got != want {
			t.Errorf("closed: %v, want %v", got, want)
		}
	}
	dial(t, b)
	noneIsAccepted(t, accepted)
}

// Regression: a kept connection was closed although a request had arrived on it.
func TestConnectionWithAPartialRequestIsNotIdle(t *testing.T) {
	for name, read := range map[string]bool{"half of its header was read": true, "nothing of it was read": false} {
		t.Run(name, func(t *testing.T) {
			b := newBound(loopback(t), 1)
			accepted := accepting(t, b)
			first := nextBusy(t, b, accepted)
			first.server.Idle(time.Now())
			_, _ = io.WriteString(first.client, "GE")
			if read {
				_, _ = io.ReadFull(first.server, make([]byte, 2))
			} else {
				for start := time.Now(); !unread(first.server.Conn); time.Sleep(time.Millisecond) {
					if time.Since(start) > 10*time.Second {
						t.Fatal("it does not arrive")
					}
				}
			}
			dial(t, b)
			noneIsAccepted(t, accepted)
			if first.isClosed() {
				t.Error("it was closed")
			}
		})
	}
}

func TestRequestsAfterAnEvictionAreNotServed(t *testing.T) {
	here, there := net.Pipe()
	defer there.Close()
	b := newBound(loopback(t), 1)
	c := &conn{Conn: here, bound: b}
	b.open[c] = struct{}{}
	c.Idle(time.Now())
	go func() { _, _ = there.Write([]byte("GET")) }()
	c.idle.Store(evicted)
	if n, err := c.Read(make([]byte, 4)); n != 0 || !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %d bytes, %v", n, err)
	}
	_ = here.Close()
}

func TestSilentConnectionIsIdleAfterASecond(t *testing.T) {
	b := newBound(loopback(t), 1)
	accepted := accepting(t, b)
	start := time.Now()
	silent := next(t, b, accepted)
	next(t, b, accepted)
	if took := time.Since(start); took < silence || !silent.isClosed() {
		t.Errorf("after %s the silent one is closed: %v", took, silent.isClosed())
	}
}

func TestConnectionStatesAreTrackedThroughTLS(t *testing.T) {
	for name, wrap := range map[string]func(net.Conn) net.Conn{
		"plain": func(c net.Conn) net.Conn { return c },
		"TLS":   func(c net.Conn) net.Conn { return tls.Server(c, &tls.Config{}) }, // without a handshake
	} {
		server := New(Options{Listener: loopback(t), HTTP: &http.Server{}, MaxConnections: 1, Logger: slog.New(slog.DiscardHandler)}).http
		a, z := net.Pipe()
		own := &conn{Conn: a}
		c := wrap(own)
		server.ConnState(c, http.StateIdle)
		if own.idle.Load() <= busy {
			t.Errorf("%s: idle was not noted", name)
		}
		server.ConnState(c, http.StateActive)
		if own.idle.Load() != busy {
			t.Errorf("%s: busy was not noted", name)
		}
		_, _ = a.Close(), z.Close()
	}
}

// Clients send window updates and pings at any time, and no StateIdle follows.
func TestAnHTTP2FrameIsNotARequest(t *testing.T) {
	here, there := net.Pipe()
	defer here.Close()
	defer there.Close()
	c := &conn{Conn: here}
	c.frames.Store(true)
	c.Idle(time.Now())
	go func() { _, _ = there.Write([]byte("ping")) }()
	if _, err := c.Read(make([]byte, 4)); err != nil || c.idle.Load() <= busy {
		t.Errorf("%v, idle since %d", err, c.idle.Load())
	}
}

// To net/http a connection is idle while the lane answers on it, so its Shutdown does not wait for
// it.
func TestDrainWaitsForAnswersOfTheFastLane(t *testing.T) {
	l := loopback(t)
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{Listener: l, HTTP: &http.Server{}, MaxConnections: 1, Logger: slog.New(slog.DiscardHandler)})
		s.bound.open[&conn{}] = struct{}{} // busy
		close(s.accepted)                  // nothing accepts
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		start := time.Now()
		if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 20*time.Second {
			t.Errorf("it ended with %v after %s, want the drain's timeout", err, time.Since(start))
		}
	})
}

// A connection that waits for room when a drain begins is served, even beyond the limit.
func TestADrainServesAConnectionThatWaitsForTheLimit(t *testing.T) {
	b := newBound(loopback(t), 1)
	c := &conn{Conn: nil, bound: b}
	b.open[c] = struct{}{}
	c.Idle(time.Now()) // it could make room
	got := make(chan error, 1)
	go func() {
		accepted, err := b.Accept()
		if err == nil {
			_ = accepted.Close()
		}
		got <- err
	}()
	time.Sleep(20 * time.Millisecond)
	c.idle.Store(busy)
	dial(t, b)
	select {
	case err := <-got:
		t.Fatalf("it did not wait for the limit: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	_ = b.Close()
	if err := <-got; err != nil {
		t.Errorf("it was dropped: %v", err)
	}
}

// short is a listener that fails for lack of descriptors while out is set.
type short struct {
	net.Listener
	out bool
}

func (l *short) Accept() (net.Conn, error) {
	if l.out {
		return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
	}
	return l.Listener.Accept()
}

// Regression: kept connections to Instagram held the last descriptors for 90 s, and no request
// could come in to use them.
func TestOutOfDescriptorsOtherConnectionsAreClosed(t *testing.T) {
	l := &short{Listener: loopback(t), out: true}
	b := newBound(l, 4)
	if _, err := b.Accept(); !errors.Is(err, syscall.EMFILE) {
		t.Errorf("with nothing to end: %v", err)
	}
	b.relieve = func() { l.out = false }
	dial(t, l)
	c, err := b.Accept()
	if err != nil {
		t.Fatalf("after the others were ended: %v", err)
	}
	_ = c.Close()
}
