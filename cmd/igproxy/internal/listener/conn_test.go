package listener

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// tracked returns a conn on one end of a pipe, and the client's end. The test plays the server.
func tracked(t *testing.T, headerTimeout time.Duration) (c *conn, client net.Conn) {
	t.Helper()
	here, there := net.Pipe()
	c = &conn{Conn: here, open: newConnections(1, headerTimeout)}
	c.open.add(c)
	t.Cleanup(func() { _, _ = c.Close(), there.Close() })
	return c, there
}

// eventually waits until a condition holds, and ends the test if that takes 10 s.
func eventually(t *testing.T, condition string, holds func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if !poll(ctx.Done(), holds) {
		t.Fatalf("timed out waiting for: %s", condition)
	}
}

func (c *conn) isBusy() bool { s := c.state.Load(); return s > 0 && s < quiet }
func (c *conn) isIdle() bool { return c.state.Load() >= quiet && !c.listed.Load() }

func TestRequestsAfterAnEvictionAreNotServed(t *testing.T) {
	for name, prepare := range map[string]func(c *conn){
		"of an idle connection":                     func(c *conn) { c.begin(false); c.idleSince(time.Now()) },
		"of a connection whose header is half read": func(c *conn) { c.state.Store(reading) },
	} {
		t.Run(name, func(t *testing.T) {
			c, client := tracked(t, 0)
			prepare(c)
			go func() { _, _ = client.Write([]byte("GET")) }() // ends with the connection
			if state := c.state.Load(); !c.state.CompareAndSwap(state, evicted) {
				t.Fatal("the state changed before the test could evict the connection")
			}
			if n, err := c.Read(make([]byte, 4)); n != 0 || !errors.Is(err, net.ErrClosed) {
				t.Errorf("a read after the eviction: got %d bytes and the error %v, want 0 bytes and net.ErrClosed", n, err)
			}
			if c.begin(false) {
				t.Error("begin after the eviction: got true, want false")
			}
		})
	}
}

// The events occur in the order of a kept HTTP/1 connection with two pipelined requests.
func TestAConnectionIsBusyUntilTheServerReadsAgain(t *testing.T) {
	c, client := tracked(t, 0)
	wantIdle := func(what string, want bool) {
		t.Helper()
		if c.isIdle() != want {
			t.Errorf("%s: idle got %v, want %v", what, !want, want)
		}
	}
	wantIdle("a fresh connection", false)
	go func() { _, _ = client.Write([]byte("two requests")) }() // ends with the read
	_, _ = c.Read(make([]byte, 20))
	wantIdle("after the read", false)
	for _, request := range []string{"first", "second"} {
		c.begin(false)
		wantIdle(request+" begun", false)
		c.end()
		wantIdle(request+" ended", false)
	}
	read := make(chan struct{})
	go func() { defer close(read); _, _ = c.Read(make([]byte, 20)) }()
	eventually(t, "the connection is idle, because the server reads again", c.isIdle)
	_, _ = client.Write([]byte("GET"))
	<-read
	wantIdle("after more has arrived", false)
}

// A client that has read its response may begin the next request before net/http has finished the
// current one. net/http, which is watching for a disconnect, then reads the first byte of the next
// request. If net/http then reads again, the connection must not count as idle.
func TestARequestThatBeginsEarlyIsListedAsIncomplete(t *testing.T) {
	c, client := tracked(t, 0)
	c.begin(false)
	go func() { _, _ = client.Write([]byte("G")) }() // ends with the read
	_, _ = c.Read(make([]byte, 1))
	c.end()
	read := make(chan struct{})
	go func() { defer close(read); _, _ = c.Read(make([]byte, 20)) }()
	eventually(t, "the connection is listed as incomplete", c.listed.Load)
	_ = client.Close()
	<-read
}

// HTTP/2 clients send window updates and pings at any time, and streams overlap.
func TestAnHTTP2ConnectionIsBusyUntilAllItsStreamsEnd(t *testing.T) {
	c, client := tracked(t, 0)
	go func() { _, _ = io.Copy(client, strings.NewReader("frame")) }() // ends with the read
	c.begin(true)
	c.begin(true)
	c.end()
	if !c.isBusy() {
		t.Errorf("one of two streams has ended: state got %d, want 1 (busy)", c.state.Load())
	}
	c.end()
	if !c.isIdle() {
		t.Errorf("both streams have ended: state got %d, want %d or more (idle)", c.state.Load(), quiet)
	}
	if _, err := c.Read(make([]byte, 8)); err != nil || !c.isIdle() {
		t.Errorf("after a frame without a stream: state: got %d, want %d or more (idle); error: got %v, want none", c.state.Load(), quiet, err)
	}
}

// Read may call list just after a handler has begun.
func TestARequestThatHasBegunIsNotListedAsIncomplete(t *testing.T) {
	c, _ := tracked(t, 0)
	c.begin(false)
	c.open.list(c)
	if c.listed.Load() || c.open.incomplete.Len() != 0 {
		t.Errorf("listed: got %v, want false; incomplete connections: got %d, want 0", c.listed.Load(), c.open.incomplete.Len())
	}
}

func TestAConnectionWithAnIncompleteHeaderIsClosedAfterItsTimeout(t *testing.T) {
	for name, prepare := range map[string]func(c *conn, client net.Conn){
		"on a fresh connection":                func(*conn, net.Conn) {},
		"on a kept connection, after one byte": func(c *conn, _ net.Conn) { c.begin(false); c.end(); c.state.Store(reading); c.open.list(c) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, client := tracked(t, 2*time.Second)
				prepare(c, client)
				start := time.Now()
				if _, err := client.Read(make([]byte, 1)); err != io.EOF {
					t.Errorf("the client's read: got %v, want io.EOF", err)
				}
				if took := time.Since(start); took < 2*time.Second || took > 2*time.Second+10*pollInterval {
					t.Errorf("the connection ended after %s, want 2s", took)
				}
			})
		})
	}
}

func TestARequestInProgressHasNoHeaderTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := tracked(t, time.Second)
		c.begin(false)
		time.Sleep(time.Minute)
		if c.state.Load() == evicted {
			t.Error("the connection of a request in progress: got it closed, want it open")
		}
	})
}

// Over each protocol, a connection is busy while a handler works, and idle once its client has the
// response.
func TestAConnectionIsBusyDuringARequestAndIdleAfterIt(t *testing.T) {
	for name, c := range map[string]struct{ secure, frames bool }{"HTTP/1.1": {}, "TLS": {secure: true}, "HTTP/2": {true, true}} {
		t.Run(name, func(t *testing.T) {
			s, client := serving(t, c.secure, c.frames, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if own := r.Context().Value(connKey{}).(*conn); !own.isBusy() || own.listed.Load() || own.frames.Load() != c.frames {
					t.Errorf("state: got %d, want busy (1 or more); listed as incomplete: got %v, want false; HTTP/2: got %v, want %v", own.state.Load(), own.listed.Load(), own.frames.Load(), c.frames)
				}
			}))
			for range 3 {
				res, err := client.Get(s.url())
				if err != nil {
					t.Fatal(err)
				}
				_ = res.Body.Close()
				all := s.bound.open.snapshot()
				eventually(t, "there is one connection, and it is idle", func() bool { return len(all) == 1 && all[0].isIdle() })
			}
		})
	}
}

// url returns a URL whose host is in the certificate of httptest.
func (s *Server) url() string {
	if s.Addr().Network() == "unix" {
		if s.secure {
			return "https://example.com"
		}
		return "http://example.com"
	}
	return s.URL()
}

// serving starts a Server on loopback and returns a client for it. The Server uses TLS if secure is
// set; the client uses HTTP/2 if frames is set.
func serving(t *testing.T, secure, frames bool, h http.Handler) (*Server, *http.Client) {
	t.Helper()
	return servingOn(t, loopback(t), secure, frames, h)
}

func servingOn(t *testing.T, l net.Listener, secure, frames bool, h http.Handler) (*Server, *http.Client) {
	t.Helper()
	template := httptest.NewUnstartedServer(nil)
	template.StartTLS()
	defer template.Close()
	o := Options{Listener: l, HTTP: &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second}, MaxConnections: 100, Logger: slog.New(slog.DiscardHandler)}
	if secure {
		o.HTTP.TLSConfig = &tls.Config{Certificates: template.TLS.Certificates, NextProtos: []string{"h2", "http/1.1"}}
	}
	s := New(o)
	failed := make(chan error, 1)
	s.Serve(failed)
	roots := template.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: frames}
	if !frames {
		transport.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
		transport.TLSClientConfig.NextProtos = []string{"http/1.1"}
	}
	var dialer net.Dialer
	transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		return dialer.DialContext(ctx, l.Addr().Network(), l.Addr().String())
	}
	t.Cleanup(func() { transport.CloseIdleConnections(); s.Close() })
	return s, &http.Client{Transport: transport}
}
