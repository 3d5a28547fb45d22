package listener

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
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

// The answer to a header that was too large was lost in a reset, because the bound's connections hid CloseWrite from net/http.
func TestA431IsAnsweredInFullThroughTheBound(t *testing.T) {
	l := loopback(t)
	server := &http.Server{MaxHeaderBytes: 4 << 10, Handler: http.NotFoundHandler()}
	served := make(chan struct{})
	go func() { defer close(served); _ = server.Serve(newBounded(l, 4)) }() // ends with server.Close
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
func accepting(t *testing.T, b *bounded) <-chan *boundConn {
	t.Helper()
	accepted := make(chan *boundConn)
	ended, stop := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := b.Accept()
			if err != nil {
				return
			}
			select {
			case accepted <- c.(*boundConn):
			case <-stop:
				_ = c.Close()
				return
			}
		}
	}()
	t.Cleanup(func() { close(stop); _ = b.Close(); <-ended }) // ends an Accept that waits for a place, too
	return accepted
}

func next(t *testing.T, b *bounded, accepted <-chan *boundConn) *boundConn {
	t.Helper()
	dial(t, b)
	select {
	case p := <-accepted:
		t.Cleanup(func() { _ = p.Close() })
		return p
	case <-time.After(10 * time.Second):
		t.Fatal("a connection was not accepted")
		return nil
	}
}

func TestBeyondTheBoundThereIsASpareConnectionInPassing(t *testing.T) {
	b := newBounded(loopback(t), 2)
	accepted := accepting(t, b)
	first, second, third := next(t, b, accepted), next(t, b, accepted), next(t, b, accepted)
	if !first.end.IsZero() || !second.end.IsZero() || third.end.IsZero() {
		t.Errorf("in passing: %v %v %v, want the third only", first.end, second.end, third.end)
	}
	_ = first.Close()
	_ = first.Close() // gives one place back, not two
	if fourth, fifth := next(t, b, accepted), next(t, b, accepted); !fourth.end.IsZero() || fifth.end.IsZero() {
		t.Error("one left, so the fourth stays and the fifth is in passing")
	}
	if len(b.slots) != 2 || len(b.spare) != 2 || len(b.open) != 2 {
		t.Errorf("%d places, %d spare, %d watched", len(b.slots), len(b.spare), len(b.open))
	}
}

func TestBeyondTheSpareConnectionsTheNextWaitsUntilOneLeaves(t *testing.T) {
	b := newBounded(loopback(t), 1)
	accepted := accepting(t, b)
	next(t, b, accepted)
	var last *boundConn
	for range spareSlots(1) {
		last = next(t, b, accepted)
	}
	dial(t, b)
	select {
	case <-accepted:
		t.Error("one was let in beyond all bounds")
	case <-time.After(50 * time.Millisecond):
	}
	_ = last.Close()
	(<-accepted).leave()
}

func TestAnIdleConnectionMakesRoomAndTheLongestIdleFirst(t *testing.T) {
	b := newBounded(loopback(t), 3)
	accepted := accepting(t, b)
	busy, lately, longest := next(t, b, accepted), next(t, b, accepted), next(t, b, accepted)
	lately.idle.Store(2000)
	longest.idle.Store(1000)
	closed := func(p *boundConn) bool {
		_ = p.Conn.SetReadDeadline(time.Now().Add(time.Millisecond)) // below the bound
		_, err := p.Conn.Read(make([]byte, 1))
		return errors.Is(err, net.ErrClosed)
	}
	for i, want := range [][3]bool{{false, false, true}, {false, true, true}, {false, true, true}} {
		p := next(t, b, accepted)
		if got := [3]bool{closed(busy), closed(lately), closed(longest)}; got != want || p.end.IsZero() == (i == 2) {
			t.Errorf("connection %d: closed %v, want %v; in passing: %v", 4+i, got, want, !p.end.IsZero())
		}
	}
}

func TestAConnectionInPassingIsNotWaitedForLong(t *testing.T) {
	l := loopback(t)
	b := newBounded(l, 1)
	server := &http.Server{Handler: http.NotFoundHandler(), ReadHeaderTimeout: time.Hour}
	watch(server, nil, nil)
	served := make(chan struct{})
	go func() { defer close(served); _ = server.Serve(b) }() // ends with server.Close
	defer func() { _ = server.Close(); <-served }()
	dial(t, l)
	silent := dial(t, l)
	if n, err := silent.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("got %d bytes, %v; want an end", n, err)
	}
}

func TestTheServersStatesReachTheBoundThroughTLSToo(t *testing.T) {
	marked := context.WithValue(t.Context(), http.ServerContextKey, "marked")
	for _, wrap := range []func(net.Conn) net.Conn{
		func(c net.Conn) net.Conn { return c },
		func(c net.Conn) net.Conn { return tls.Server(c, &tls.Config{}) }, // never shaken hands with
	} {
		server := &http.Server{}
		watch(server, nil, func(context.Context) context.Context { return marked })
		a, z := net.Pipe()
		p := &boundConn{Conn: a, leave: func() {}}
		c := wrap(p)
		server.ConnState(c, http.StateIdle)
		if p.idle.Load() == 0 {
			t.Error("idle is not noted")
		}
		server.ConnState(c, http.StateActive)
		if p.idle.Load() != 0 {
			t.Error("not idle is not noted")
		}
		if server.ConnContext(t.Context(), c) != t.Context() {
			t.Error("a connection on a place was marked")
		}
		p.end = time.Now()
		if server.ConnContext(t.Context(), c) != marked {
			t.Error("a connection in passing was not marked")
		}
		_, _ = a.Close(), z.Close()
	}
}

// short is a listener of a process that is out of descriptors until somebody ends a connection.
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

// Kept connections to Instagram held the last descriptors for 90 s, and nobody could come in to use them.
func TestOutOfDescriptorsConnectionsElsewhereAreEnded(t *testing.T) {
	l := &short{Listener: loopback(t), out: true}
	b := newBounded(l, 4)
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
