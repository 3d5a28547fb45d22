package lane_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/igproxy/igproxy/proxy/lane"
)

const (
	request = "GET /access_token?grant_type=ig_exchange_token&access_token=IGAA HTTP/1.1\r\nHost: localhost\r\n\r\n"

	headerTimeout = 5 * time.Second
	idleTimeout   = time.Minute
)

// echo is a Handler that answers with the Host and the token that it got. It panics if the token is
// "panic".
type echo struct {
	sent     *atomic.Int64 // calls of Sent
	declines bool          // Serve returns no answer
	last     bool          // the connection must be closed after each answer
	slow     time.Duration // how long Serve takes
}

func (e echo) Serve(b, host, token []byte, _ time.Time) ([]byte, bool) {
	time.Sleep(e.slow)
	switch {
	case e.declines:
		return nil, false
	case string(token) == "panic":
		panic("in the handler")
	}
	b = append(b, "HTTP/1.1 204 No Content\r\nHost: "...)
	b = append(b, host...)
	b = append(b, "\r\nToken: "...)
	b = append(b, token...)
	return append(b, "\r\n\r\n"...), e.last
}

func (e echo) Sent(time.Time, time.Duration) { e.sent.Add(1) }

// testLane is a lane with its listener, and the connections that the lane has handed over.
type testLane struct {
	*lane.Lane
	listener net.Listener
	handed   chan net.Conn
}

func open(t *testing.T, listener net.Listener, h echo) *testLane {
	t.Helper()
	if h.sent == nil {
		h.sent = new(atomic.Int64)
	}
	d := &testLane{listener: listener, handed: make(chan net.Conn, 1), Lane: lane.New(lane.Options{
		NewHandler: func() lane.Handler { return h }, HeaderTimeout: headerTimeout, IdleTimeout: idleTimeout,
		WriteTimeout: time.Minute, Logger: slog.New(slog.DiscardHandler)})}
	done := make(chan struct{}, 2)
	go func() { _ = d.Serve(listener); done <- struct{}{} }()
	go func() {
		defer func() { done <- struct{}{} }()
		for {
			c, err := d.Fallback().Accept()
			if err != nil {
				return
			}
			d.handed <- c
		}
	}()
	t.Cleanup(func() {
		_ = listener.Close()
		<-done
		_ = d.Shutdown(context.Background())
		<-done
	})
	return d
}

// pipes is a listener of connections in memory, for simulated time.
type pipes struct {
	dialed chan net.Conn
	closed chan struct{}
}

func newPipes() *pipes { return &pipes{make(chan net.Conn), make(chan struct{})} }

func (l *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-l.dialed:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipes) Close() error {
	select {
	case <-l.closed:
	default:
		close(l.closed)
	}
	return nil
}

func (l *pipes) Addr() net.Addr { return &net.TCPAddr{} }

func (l *pipes) dial(t *testing.T) net.Conn {
	t.Helper()
	here, there := net.Pipe()
	l.dialed <- there
	t.Cleanup(func() { _ = here.Close() })
	return here
}

func TestPlainRequestsAreAnsweredAndOthersHandedOver(t *testing.T) {
	for _, c := range []struct {
		name, old, new string
		plain          bool
	}{
		{"unchanged", "", "", true},
		{"another order, with a secret", "grant_type=ig_exchange_token&access_token=IGAA", "access_token=IGAA&client_secret=x&grant_type=ig_exchange_token", true},
		{"harmless headers", "Host: localhost\r\n", "Host: localhost\r\naccept: */*\r\nUser-Agent: a\r\nConnection: Keep-Alive\r\n", true},
		{"trace headers", "Host: localhost\r\n", "Host: localhost\r\nTraceparent: 00\r\ntracestate: a=b\r\nX-Request-ID: 1\r\n", true},
		{"a content type without a body", "Host: localhost\r\n", "Host: localhost\r\nContent-Type: application/json\r\n", true},
		{"another path", "/access_token", "/refresh_access_token", false},
		{"a version", "/access_token", "/v23.0/access_token", false},
		{"another method", "GET", "HEAD", false},
		{"HTTP/1.0", "HTTP/1.1", "HTTP/1.0", false},
		{"an escape", "IGAA", "IG%41A", false},
		{"no token", "IGAA", "", false},
		{"two tokens", "IGAA", "IGAA&access_token=IGAA", false},
		{"another parameter", "IGAA", "IGAA&x=y", false},
		{"a parameter without a value", "access_token=I", "access_token&access_token=I", false},
		{"no Host", "Host: localhost\r\n", "", false},
		{"two Hosts", "Host: localhost\r\n", "Host: localhost\r\nHost: localhost\r\n", false},
		{"a body", "Host: localhost\r\n", "Host: localhost\r\nContent-Length: 1\r\n", false},
		{"an unknown header", "Host: localhost\r\n", "Host: localhost\r\nOrigin: x\r\n", false},
		{"Connection: close", "Host: localhost\r\n", "Host: localhost\r\nConnection: close\r\n", false},
		{"a folded line", "Host: localhost\r\n", "Host: localhost\r\n x\r\n", false},
		{"a header without a name", "Host: localhost\r\n", "Host: localhost\r\n: x\r\n", false},
		{"bare line feeds", "\r\n", "\n", false},
		{"longer than 2 KiB", "IGAA", strings.Repeat("x", 2<<10), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var sent atomic.Int64
				l := newPipes()
				d := open(t, l, echo{sent: &sent})
				client := l.dial(t)
				asked := strings.ReplaceAll(request, c.old, c.new)
				if c.old == "" {
					asked = request
				}
				go func() { _, _ = io.WriteString(client, asked) }()
				if !c.plain {
					handed := <-d.handed
					defer handed.Close()
					got := make([]byte, len(asked))
					if _, err := io.ReadFull(handed, got); err != nil || string(got) != asked || sent.Load() != 0 {
						t.Errorf("handed over %q, error %v, want %q; %d requests were answered before, want 0", got, err, asked, sent.Load())
					}
					return
				}
				res, err := http.ReadResponse(bufio.NewReader(client), nil)
				if err != nil || res.Header.Get("Token") != "IGAA" || res.Header.Get("Host") != "localhost" {
					t.Fatalf("got %v, error %v; want an answer with the Host and the token", res, err)
				}
				if synctest.Wait(); sent.Load() != 1 {
					t.Errorf("Sent was called %d times, want once", sent.Load())
				}
			})
		})
	}
}

func TestRequestsThatTheHandlerDeclinesAreHandedOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newPipes()
		d := open(t, l, echo{declines: true})
		client := l.dial(t)
		go func() { _, _ = io.WriteString(client, request+request[:20]) }()
		handed := <-d.handed
		defer handed.Close()
		got := make([]byte, len(request)+20)
		if _, err := io.ReadFull(handed, got); err != nil || string(got) != request+request[:20] {
			t.Errorf("handed over %q, error %v; want the request and the 20 bytes after it", got, err)
		}
	})
}

// Connections share buffers, so the bytes of an incomplete request must stay with their connection.
func TestARequestThatArrivesByteByByteIsAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newPipes()
		open(t, l, echo{})
		for range 2 {
			one, two := l.dial(t), l.dial(t)
			other := strings.Replace(request, "IGAA", "IGBB", 1)
			go func() {
				for i := range request {
					_, _ = io.WriteString(one, request[i:i+1])
					_, _ = io.WriteString(two, other[i:i+1])
				}
			}()
			for c, want := range map[net.Conn]string{one: "IGAA", two: "IGBB"} {
				if res, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || res.Header.Get("Token") != want {
					t.Errorf("got %v, error %v; want an answer with the token %s", res, err, want)
				}
			}
		}
	})
}

func TestAnIdleOrIncompleteConnectionLeavesTheLaneAfterItsTimeout(t *testing.T) {
	for name, c := range map[string]struct {
		sent string
		want time.Duration
	}{
		"a new connection that sends nothing": {"", headerTimeout},
		"half a request":                      {request[:30], headerTimeout},
		"an idle connection":                  {request, idleTimeout},
		"half of the second request":          {request + request[:30], headerTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newPipes()
				d := open(t, l, echo{})
				client := l.dial(t)
				start := time.Now()
				go func() { _, _ = io.WriteString(client, c.sent) }()
				if strings.HasSuffix(c.sent, request[:30]) { // the test plays the part of net/http
					go func() { _ = (<-d.handed).Close() }()
				}
				if _, err := io.ReadAll(client); err != nil {
					t.Fatal(err)
				}
				if took := time.Since(start); took != c.want {
					t.Errorf("the connection ended after %s, want %s", took, c.want)
				}
			})
		})
	}
}

func TestHalfARequestBeforeTheConnectionEndsIsHandedOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newPipes()
		d := open(t, l, echo{})
		client := l.dial(t)
		_, _ = io.WriteString(client, request[:30])
		_ = client.Close()
		handed := <-d.handed
		defer handed.Close()
		if got, err := io.ReadAll(handed); err != nil || string(got) != request[:30] {
			t.Errorf("handed over %q, error %v; want the half request and the end of the connection", got, err)
		}
	})
}

func TestAPanicEndsOneConnectionOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newPipes()
		open(t, l, echo{})
		bad, good := l.dial(t), l.dial(t)
		_, _ = io.WriteString(bad, strings.Replace(request, "IGAA", "panic", 1))
		if got, err := io.ReadAll(bad); err != nil || len(got) > 0 {
			t.Errorf("got %q, error %v; want nothing and the end of the connection", got, err)
		}
		go func() { _, _ = io.WriteString(good, request) }()
		if res, err := http.ReadResponse(bufio.NewReader(good), nil); err != nil || res.StatusCode != http.StatusNoContent {
			t.Errorf("the other connection: got %v, error %v; want its answer", res, err)
		}
	})
}

func TestShutdownWaitsForAnswersAndForIdleConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newPipes()
		d := open(t, l, echo{slow: 10 * time.Second, last: true})
		busy, idle := l.dial(t), l.dial(t)
		_, _ = io.WriteString(busy, request)
		synctest.Wait()
		_ = l.Close()
		go func() {
			time.Sleep(time.Second)
			_ = idle.Close() // as the owner of an idle connection does during a drain
		}()
		go func() {
			if got, err := io.ReadAll(busy); err != nil || !strings.HasPrefix(string(got), "HTTP/1.1 204") {
				t.Errorf("got %q, error %v; want the answer and the end of the connection", got, err)
			}
		}()
		start := time.Now()
		if err := d.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took < 10*time.Second || took > 10*time.Second+50*time.Millisecond {
			t.Errorf("Shutdown took %s, want 10s", took)
		}
	})
}

// watched records which of its methods are called.
type watched struct {
	net.Conn
	calls   *strings.Builder
	closing bool // Begin reports false, as for a connection that is being closed
}

func (c *watched) Begin() bool    { c.calls.WriteString("begin "); return !c.closing }
func (c *watched) Idle(time.Time) { c.calls.WriteString("idle ") }
func (c *watched) Incomplete()    { c.calls.WriteString("incomplete ") }

func TestTheOwnerOfAConnectionIsNotifiedOfItsState(t *testing.T) {
	for name, c := range map[string]struct {
		sent    string
		closing bool
		want    string
	}{
		"nothing":                                {"", false, ""},
		"two requests at once":                   {request + request, false, "begin idle "},
		"half a request":                         {request[:30], false, "incomplete "},
		"one and a half requests":                {request + request[:30], false, "begin incomplete "},
		"a request for net/http":                 {"POST", false, "incomplete "},
		"a plain request, then one for net/http": {request + "POST", false, "begin incomplete "},
		"a request on a closing connection":      {request, true, "begin "},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newPipes()
				d := open(t, l, echo{})
				here, there := net.Pipe()
				defer here.Close()
				below := &watched{Conn: there, calls: new(strings.Builder), closing: c.closing}
				l.dialed <- below
				go func() { _, _ = io.Copy(io.Discard, here) }() // ends with the connection
				_, _ = io.WriteString(here, c.sent)
				synctest.Wait()
				if got := below.calls.String(); got != c.want {
					t.Errorf("got the calls %q, want %q", got, c.want)
				}
				if strings.HasSuffix(c.sent, "POST") {
					_ = (<-d.handed).Close()
				}
			})
		})
	}
}

func TestShutdownEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newPipes()
		d := open(t, l, echo{slow: time.Minute})
		_, _ = io.WriteString(l.dial(t), request)
		_ = l.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := d.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want context.DeadlineExceeded", err)
		}
	})
}
