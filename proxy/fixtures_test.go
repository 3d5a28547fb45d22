package proxy

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/igproxy/igproxy/breaker"
	"github.com/igproxy/igproxy/cache"
	"github.com/igproxy/igproxy/proxy/graph"
	"github.com/igproxy/igproxy/proxy/mock"
)

// exchangeFunc is a function used as a step.
type exchangeFunc func(context.Context, call) (answer, error)

func (f exchangeFunc) Exchange(ctx context.Context, c call) (answer, error) { return f(ctx, c) }

// callFor returns a call that exchanges a token.
func callFor(t testing.TB, token string) call {
	t.Helper()
	e := testEngine(t)
	return call{grant: e.grants[0], app: e.apps[0], token: NewSecret(token), key: e.apps[0].keys["exchange"].Derive(token),
		mayRetry: func() bool { return true }}
}

func tokenAnswer(t testing.TB, long string, life time.Duration) answer {
	t.Helper()
	tok, err := graph.ReadToken(fmt.Appendf(nil, `{"access_token":%q,"token_type":"bearer","expires_in":%d}`, long, int(life.Seconds())), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return answer{token: tok, source: sourceUpstream}
}

func refusalAnswer(code, subcode int, message string) answer {
	e := &graph.Error{Status: 400, Type: "OAuthException", Code: code, Subcode: subcode, Message: message}
	read, _ := graph.ReadError(e.Status, e.Encode(), func(s string) string { return s }) // ReadError sets the class
	return answer{refusal: read, source: sourceUpstream}
}

func newCache(t testing.TB) *cache.Cache {
	t.Helper()
	return newCacheWatchedBy(t, nil)
}

func newCacheWatchedBy(t testing.TB, o cache.Observer) *cache.Cache {
	t.Helper()
	c, err := cache.New(cache.Options{MaxBytes: 8 << 20, Observer: o})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(context.Background()); err != nil {
			t.Errorf("closing the cache: %v", err)
		}
	})
	return c
}

// newInstagram starts the stand-in for Instagram on a real socket and stops it after the test.
func newInstagram(t testing.TB, o mock.ServerOptions) (*mock.Instagram, *mock.Server) {
	t.Helper()
	i := mock.New(mock.Options{Secret: testSecret})
	s, err := mock.Start(i, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		i.Close()
		s.Close()
	})
	return i, s
}

var overTLS = mock.ServerOptions{TLS: true}

// optionsFor returns valid Options for the upstream whose URL is base. The timeout is long enough
// for a busy machine; tests of timeouts set their own.
func optionsFor(t testing.TB, base string, ca *x509.CertPool) Options {
	t.Helper()
	u, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	return Options{Apps: []App{{Secret: NewSecret(testSecret)}}, UpstreamURL: u, LoginURL: u, ThreadsURL: u, FacebookURL: u, UpstreamCAs: ca,
		Timeout: 30 * time.Second, MaxResponseBytes: 64 << 10, MaxInFlight: 64, MaxPassedInFlight: 64, Retries: 1, TTL: time.Hour,
		RefreshTTL: 5 * time.Minute, CodeTTL: 2 * time.Minute, NegativeTTL: time.Minute,
		Breaker: breaker.Options{Failures: 1000, Ratio: 1, MinRequests: 1000, Interval: 2 * time.Minute, Open: 10 * time.Second, Probes: 1}}
}

// newProxy builds a Proxy and closes it after the test. If o has no cache, the Proxy gets a new
// one.
func newProxy(t testing.TB, o Options) *Proxy {
	t.Helper()
	if o.Cache == nil {
		o.Cache = newCache(t)
	}
	p, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(context.Background()); err != nil {
			t.Errorf("closing the proxy: %v", err)
		}
	})
	return p
}

// target returns the request target of an exchange.
func target(short string) string {
	return "/access_token?grant_type=ig_exchange_token&access_token=" + url.QueryEscape(short)
}

// ask sends one request to a handler, with a loopback Host.
func ask(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	r.Host = "127.0.0.1:8080"
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// graphBody is the error object inside Meta's JSON envelope {"error": ...}.
type graphBody struct {
	Message   string `json:"message"`
	Type      string `json:"type"`
	Code      *int   `json:"code"`
	Subcode   int    `json:"error_subcode"`
	Transient *bool  `json:"is_transient"`
	UserTitle string `json:"error_user_title"`
	UserMsg   string `json:"error_user_msg"`
	TraceID   string `json:"fbtrace_id"`
}

// errorIn returns the error object in body. It fails the test if the object has unknown members, or
// no code, message or type.
func errorIn(t testing.TB, body []byte) graphBody {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	var e struct {
		Error graphBody `json:"error"`
	}
	if err := dec.Decode(&e); err != nil || e.Error.Code == nil || e.Error.Message == "" || e.Error.Type == "" {
		t.Fatalf("got %s (%v), want an error envelope with a code, a message and a type", body, err)
	}
	return e.Error
}

// rawUpstream starts an upstream without TLS and returns its base URL. For each connection,
// numbered from 1, it calls serve, which reads the requests and writes the raw bytes of the
// responses. Then it closes the connection.
func rawUpstream(t testing.TB, serve func(n int, c net.Conn, r *bufio.Reader)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		for n := 1; ; n++ {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer context.AfterFunc(ctx, func() { _ = c.Close() })()
				defer c.Close()
				serve(n, c, bufio.NewReader(c))
			})
		}
	})
	t.Cleanup(func() {
		cancel()
		_ = l.Close()
		wg.Wait()
	})
	return "http://" + l.Addr().String()
}

// saying starts an upstream that counts its requests. To each, it sends the parameter response: a
// complete HTTP response, as from rawResponse.
func saying(t testing.TB, response string) (base string, requests *atomic.Int32) {
	t.Helper()
	requests = new(atomic.Int32)
	return rawUpstream(t, func(_ int, c net.Conn, r *bufio.Reader) {
		for {
			if _, err := http.ReadRequest(r); err != nil {
				return
			}
			requests.Add(1)
			if _, err := io.WriteString(c, response); err != nil {
				return
			}
		}
	}), requests
}

// rawResponse returns a complete HTTP/1.1 response. headers are complete lines, without CRLF.
func rawResponse(status int, body string, headers ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "HTTP/1.1 %d X\r\nContent-Length: %d\r\n", status, len(body))
	for _, h := range headers {
		b.WriteString(h + "\r\n")
	}
	return b.String() + "\r\n" + body
}

const goodToken = `{"access_token":"IGAAlong","token_type":"bearer","expires_in":5183944}`

func textLogger(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }

func discardLog() *log.Logger { return slog.NewLogLogger(slog.DiscardHandler, slog.LevelError) }

func serve(h http.Handler, r *http.Request) int {
	w := &statusWriter{header: http.Header{}}
	h.ServeHTTP(w, r)
	return w.status
}

// statusWriter is a minimal http.ResponseWriter that can be reused.
type statusWriter struct {
	header http.Header
	status int
}

func (w *statusWriter) Header() http.Header         { return w.header }
func (w *statusWriter) WriteHeader(status int)      { w.status = status }
func (w *statusWriter) Write(b []byte) (int, error) { return len(b), nil }

// passing returns a copy of o. A zero Timeout or MaxBodyBytes becomes a limit that no test reaches.
func passing(o PassthroughOptions) *PassthroughOptions {
	o.Timeout, o.MaxBodyBytes = cmp.Or(o.Timeout, time.Minute), cmp.Or(o.MaxBodyBytes, 64<<20)
	return &o
}

// bodyOf returns the body of the response with this token.
func bodyOf(t graph.Token, now time.Time) string {
	x := requestState{result: answer{token: t}}
	r := x.response(now)
	return string(r.head) + string(r.digits) + string(r.tail)
}
