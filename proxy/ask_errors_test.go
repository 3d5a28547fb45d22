package proxy

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/igproxy/igproxy/proxy/graph"
	"github.com/igproxy/igproxy/proxy/mock"
)

// deadURL returns a URL where nothing listens.
func deadURL(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return "http://" + l.Addr().String()
}

// oldTLS returns the URL of a server that speaks only TLS 1.0 and 1.1. igproxy requires TLS 1.2, so
// the server answers the handshake with an alert.
func oldTLS(t *testing.T) string {
	t.Helper()
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.TLS = &tls.Config{MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}
	s.Config.ErrorLog = discardLog()
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.URL
}

// hangingUp returns the URL of a server that closes each connection after it has read a request:
// with RST if linger is 0, and otherwise with FIN.
func hangingUp(t *testing.T, linger int) string {
	return rawUpstream(t, func(_ int, c net.Conn, r *bufio.Reader) {
		_, _ = http.ReadRequest(r)
		_ = c.(*net.TCPConn).SetLinger(linger)
	})
}

func TestEachTransportErrorHasItsKind(t *testing.T) {
	_, good := newInstagram(t, overTLS)
	_, expired := newInstagram(t, mock.ServerOptions{TLS: true, Expired: true})
	_, elsewhere := newInstagram(t, mock.ServerOptions{TLS: true, WrongName: true})
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	said := func(text string) string { base, _ := saying(t, text); return base }
	for name, c := range map[string]struct {
		base string
		ca   *mock.Server
		want string
	}{
		"unknown authority":          {good.URL, expired, "tls: unknown authority"},
		"expired certificate":        {expired.URL, expired, "tls: invalid certificate"},
		"another host's certificate": {elsewhere.URL, elsewhere, "tls: wrong name"},
		"a server without TLS":       {"https" + strings.TrimPrefix(plain.URL, "http"), nil, "tls"},
		"an old TLS version":         {oldTLS(t), nil, "tls"},
		"nothing listens":            {deadURL(t), nil, "refused"},
		"reset":                      {hangingUp(t, 0), nil, "reset"},
		"closed":                     {hangingUp(t, 1), nil, "closed"},
		"no status line":             {said("SORRY\r\n\r\n"), nil, "malformed"},
		"a status in letters":        {said("HTTP/1.1 abc\r\n\r\n"), nil, "malformed"},
		"a header without colon":     {said("HTTP/1.1 200 OK\r\nno colon\r\n\r\n"), nil, "malformed"},
		"a length in letters":        {said("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"), nil, "malformed"},
		"a header of 1 MiB":          {said("HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 1<<20) + "\r\n\r\n"), nil, "malformed"},
	} {
		o := optionsFor(t, c.base, nil)
		if c.ca != nil {
			o.UpstreamCAs = c.ca.CA()
		}
		out := newOutbound(o, func() {})
		defer out.CloseIdleConnections()
		u, _ := url.Parse(c.base + "/")
		res, err := out.RoundTrip(&http.Request{Method: http.MethodGet, URL: u, Header: http.Header{}})
		if err == nil {
			res.Body.Close()
			t.Errorf("%s: got a response, want the failure %q", name, c.want)
			continue
		}
		if got := failureKind(err); got != c.want {
			t.Errorf("%s: the error %v has the kind %q, want %q", name, err, got, c.want)
		}
	}
	if got := failureKind(&net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", IsNotFound: true}}); got != "resolve" {
		t.Errorf("a failed name lookup has the kind %q, want resolve", got)
	}
	if got := failureKind(errors.New("canary")); got != "other" {
		t.Errorf("an unknown error has the kind %q, want other", got)
	}
}

// Only the kind of an error is shown, never its text, which can contain what the other side sent.
func TestErrorTextsAreNotExposed(t *testing.T) {
	const canary = "canary-of-the-other-side"
	base, _ := saying(t, canary+" "+testSecret+"\r\n\r\n")
	var log strings.Builder
	o := optionsFor(t, base, nil)
	o.Logger = textLogger(&log)
	w := ask(newProxy(t, o), get(target("IGAAshort")))
	all := w.Body.String() + log.String()
	if w.Code != 502 || strings.Contains(all, "canary") || strings.Contains(all, testSecret) || !strings.Contains(log.String(), "malformed") {
		t.Errorf("got %d, want 502; want \"malformed\" in the log, and no canary or secret anywhere:\n%s", w.Code, all)
	}
}

// An invalid certificate is still invalid a second later, so the call is not retried. A call whose
// connection was closed is retried, because it may succeed on another connection.
func TestOnlyTemporaryFailuresAreRetried(t *testing.T) {
	_, expired := newInstagram(t, mock.ServerOptions{TLS: true, Expired: true})
	var handshakes, connections atomic.Int32
	counting := rawUpstream(t, func(n int, c net.Conn, r *bufio.Reader) {
		handshakes.Store(int32(n))
		_, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n") // the answer of a server without TLS
	})
	closing := rawUpstream(t, func(n int, _ net.Conn, r *bufio.Reader) {
		connections.Store(int32(n))
		_, _ = http.ReadRequest(r)
	})
	for base, want := range map[string]string{expired.URL: "tls: invalid certificate", "https" + strings.TrimPrefix(counting, "http"): "tls", closing: "closed"} {
		o := optionsFor(t, base, expired.CA())
		o.Timeout = 20 * time.Second
		p := newProxy(t, o)
		c, _ := decoded(p.current.Load(), get(target("IGAAshort")))
		_, err := p.current.Load().first.Exchange(t.Context(), c)
		var e *graph.Error
		if !errors.As(err, &e) || e.Status != 503 || e.Cause != want || e.RetryAt.IsZero() {
			t.Errorf("got %v, want 503 with the cause %q and a Retry-After", err, want)
		}
	}
	if handshakes.Load() != 1 || connections.Load() != 2 {
		t.Errorf("%d handshakes with the server without TLS, want 1; %d connections to the server that closes them, want 2", handshakes.Load(), connections.Load())
	}
}

func TestALackOfDescriptorsIsNotAFailureOfMeta(t *testing.T) {
	for _, err := range []error{
		&net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("socket", syscall.EMFILE)},
		&net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("socket", syscall.ENFILE)},
		&net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "dial udp 127.0.0.53:53: socket: too many open files", Name: "graph.instagram.com"}},
	} {
		f := noAnswer(t.Context(), err)
		if f.err.Class.IsFailure() || f.err.Status != 503 || f.err.RetryAt.IsZero() || f.repeatable {
			t.Errorf("%v: got %v, want a 503 that is not a failure of Meta; repeatable: %v, want false", err, f.err, f.repeatable)
		}
	}
	refused := &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	if f := noAnswer(t.Context(), refused); !f.err.Class.IsFailure() {
		t.Errorf("a refused connection: got %v, want an error that counts as a failure of Meta", f.err)
	}
}
