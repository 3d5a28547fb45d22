package intercept_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/igproxy/igproxy/cmd/igproxy/internal/intercept"
)

const meta = "graph.facebook.com"

// proxy is a Handler with its server. It records what the Handler logs, counts and releases.
type proxy struct {
	*intercept.Handler
	dial   func() net.Conn // opens a client's connection
	server *http.Server

	mu       sync.Mutex // protects the fields below
	log      bytes.Buffer
	counts   map[string]int // by "HOST RESULT"
	released int            // how often Release was called
}

// start serves a Handler that intercepts connections to graph.facebook.com. The function change,
// which may be nil, changes the Options of the Handler.
func start(t *testing.T, l net.Listener, dial func() net.Conn, change func(*intercept.Options)) *proxy {
	t.Helper()
	p := &proxy{counts: map[string]int{}, dial: dial}
	o := intercept.Options{
		Hosts: func() []string { return []string{meta} }, Addr: l.Addr(), Bearers: func() [][sha256.Size]byte { return nil },
		Release: func(net.Conn) { p.mu.Lock(); defer p.mu.Unlock(); p.released++ },
		Count:   func(host, result string) { p.mu.Lock(); defer p.mu.Unlock(); p.counts[host+" "+result]++ },
		Logger:  slog.New(slog.NewTextHandler(p, nil)),
	}
	if change != nil {
		change(&o)
	}
	p.Handler = intercept.New(o)
	p.server = &http.Server{Handler: p.Handler, ErrorLog: slog.NewLogLogger(o.Logger.Handler(), slog.LevelError)}
	done := make(chan struct{})
	go func() { _ = p.server.Serve(l); close(done) }() // ends with the server
	t.Cleanup(func() { _ = p.server.Close(); p.Close(); _ = p.Listener().Close(); <-done })
	return p
}

// serve serves a Handler on loopback.
func serve(t *testing.T, change func(*intercept.Options)) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return start(t, l, func() net.Conn {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		t.Cleanup(func() { _ = c.Close() })
		return c
	}, change)
}

// Write implements io.Writer, for the log.
func (p *proxy) Write(line []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.Write(line)
}

func (p *proxy) logged() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

func (p *proxy) counted(host, result string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.counts[host+" "+result]
}

// client is a connection to a proxy.
type client struct {
	net.Conn
	r *bufio.Reader
}

func (p *proxy) client() *client {
	c := p.dial()
	return &client{c, bufio.NewReader(c)}
}

func (c *client) Read(b []byte) (int, error) { return c.r.Read(b) }

// connect sends a CONNECT with the given header lines and, right after it, the text in the
// parameter further. It returns the response and, unless the status is 200, the text of its body.
func (c *client) connect(t *testing.T, target, header, further string) (*http.Response, string) {
	t.Helper()
	return c.send(t, fmt.Sprintf("CONNECT %s HTTP/1.1\r\nHost: x\r\n%s\r\n%s", target, header, further))
}

func (c *client) send(t *testing.T, text string) (*http.Response, string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	method, _, _ := strings.Cut(text, " ")
	res, err := http.ReadResponse(c.r, &http.Request{Method: method})
	if err != nil {
		t.Fatalf("reading the response to %.60q: %v", text, err)
	}
	if res.StatusCode == http.StatusOK {
		return res, ""
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(body)
}

// accept returns the next intercepted connection.
func (p *proxy) accept(t *testing.T) net.Conn {
	t.Helper()
	c, err := p.Listener().Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// acceptAll accepts all intercepted connections and closes each at once.
func (p *proxy) acceptAll(t *testing.T) {
	ended := make(chan struct{})
	go func() { // ends with the listener
		defer close(ended)
		for c, err := p.Listener().Accept(); err == nil; c, err = p.Listener().Accept() {
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = p.Listener().Close(); <-ended })
}

// tunnelling returns the argument change of start and serve that allows limit tunnels at once.
func tunnelling(limit int) func(*intercept.Options) {
	return func(o *intercept.Options) {
		o.Tunnels = intercept.TunnelOptions{MaxTunnels: limit, IdleTimeout: time.Minute}
	}
}

// leadTo makes all tunnels lead to l.
func (p *proxy) leadTo(l net.Listener) {
	p.DialWith(func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", l.Addr().String())
	})
}

func loopback(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// eventually waits until ok returns true.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("timed out waiting for: %s", what)
		}
	}
}
