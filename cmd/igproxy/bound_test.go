package main

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
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

func TestTheBoundLetsTheNextInWhenOneLeaves(t *testing.T) {
	b := newBounded(loopback(t), 1)
	accepted := make(chan net.Conn, 2)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := b.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	}()
	dial(t, b)
	first := <-accepted
	dial(t, b)
	select {
	case <-accepted:
		t.Error("a second connection was let in beyond the bound of 1")
	case <-time.After(50 * time.Millisecond):
	}
	_ = first.Close()
	_ = first.Close() // gives one place back, not two
	second := <-accepted
	if got := len(b.places); got != 1 && got != 2 { // the second's, and perhaps that of the Accept that waits
		t.Errorf("%d places taken", got)
	}
	_ = b.Close() // an Accept that waits for a place ends
	<-ended
	_ = second.Close()
}
