// Package passthrough streams an app's call to Meta and the answer back, unchanged: reads, uploads, everything but the token calls. It adds
// nothing to a call, remembers nothing, and never sees a client secret. Bodies are bounded in bytes and each call in time.
package passthrough

import (
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"time"
)

// Options configure a Proxy.
type Options struct {
	// Transport sends the calls. Required. It must not inflate answers.
	Transport http.RoundTripper
	// Timeout bounds one call, bodies included. Zero: 1 min.
	Timeout time.Duration
	// MaxBodyBytes bounds a request's body and an answer's. Zero: 64 MiB.
	MaxBodyBytes int64
	// DropHeaders are the names of request headers that are not sent on.
	DropHeaders []string
	// RewritePaging makes paging.next and paging.previous of JSON answers up to MaxJSONBytes point at the sidecar. They carry the user's
	// token and name Meta's host, so an app that follows them would leave the sidecar.
	RewritePaging bool
	// MaxJSONBytes is the size of the largest answer that RewritePaging reads. A longer one is passed on as it is.
	MaxJSONBytes int64
}

// Proxy passes calls through. Safe for concurrent use.
type Proxy struct{ options Options }

// New builds a Proxy.
func New(o Options) *Proxy {
	if o.Timeout <= 0 {
		o.Timeout = time.Minute
	}
	if o.MaxBodyBytes <= 0 {
		o.MaxBodyBytes = 64 << 20
	}
	return &Proxy{o}
}

// Call says where one request goes.
type Call struct {
	// Base is the URL of Meta's host.
	Base *url.URL
	// Path is the escaped path behind Base, as the app sent it.
	Path string
	// Own is igproxy's base URL as the app sees it. It is for RewritePaging.
	Own string
	// OnHeader is called with the header of an answer before it is passed on. Nil: it is not.
	OnHeader func(http.Header)
}

// Result is what came of a call.
type Result struct {
	// Status was sent to the app, or is 0 if nothing was.
	Status int
	// Err is why there is no answer. Nothing was sent to the app then.
	Err error
	// Cut says that the answer broke off after a part of it was sent. The connection to the app must be closed.
	Cut bool
}

// The reasons for having no answer that are not errors of the Transport.
var (
	// ErrBodyTooLarge is a request whose body is larger than MaxBodyBytes.
	ErrBodyTooLarge = errors.New("a body longer than passthrough.max_body_bytes")
	// ErrAnswerTooLong is an answer whose body is larger than MaxBodyBytes.
	ErrAnswerTooLong = errors.New("an answer longer than passthrough.max_body_bytes")
	// ErrSwitching is an answer that switches to another protocol. Its body would be the bare connection.
	ErrSwitching = errors.New("another protocol")
)

// Serve streams one call, both ways. It sends nothing to the app if there is no answer.
func (p *Proxy) Serve(w http.ResponseWriter, r *http.Request, c Call) (result Result) {
	deadline := time.Now().Add(p.options.Timeout)
	control := http.NewResponseController(w)
	if r.ContentLength != 0 { // the server's own deadline is for small requests; later than the call's, which ends in an answer
		_ = control.SetReadDeadline(deadline.Add(time.Second))
	}
	_ = control.SetWriteDeadline(deadline.Add(2 * time.Second))
	ctx, cancel := context.WithDeadline(r.Context(), deadline)
	defer cancel()
	out := &statusRecorder{ResponseWriter: w}
	proxy := &httputil.ReverseProxy{
		Transport:      p.options.Transport,
		Rewrite:        func(pr *httputil.ProxyRequest) { p.rewrite(pr, c) },
		ModifyResponse: func(res *http.Response) error { return p.modify(res, c) },
		ErrorHandler:   func(_ http.ResponseWriter, _ *http.Request, err error) { result.Err = reason(err) },
		ErrorLog:       log.New(io.Discard, "", 0), // it would quote what was sent
		FlushInterval:  -1,
	}
	result.Cut = stream(proxy, out, p.incoming(w, r.WithContext(ctx)))
	result.Status = out.status
	return result
}

// incoming is the request without what must not be sent on, and with its body bounded.
func (p *Proxy) incoming(w http.ResponseWriter, r *http.Request) *http.Request {
	r.Header = r.Header.Clone()
	r.Header.Del("Upgrade") // no protocol other than HTTP is passed through
	for _, name := range p.options.DropHeaders {
		r.Header.Del(name)
	}
	if _, _, basic := r.BasicAuth(); basic { // the sidecar's own token, as the password of a base URL; Meta knows no Basic
		r.Header.Del("Authorization")
	}
	if r.ContentLength != 0 {
		r.Body = http.MaxBytesReader(w, r.Body, p.options.MaxBodyBytes)
	}
	return r
}

// stream reports whether the answer broke off after a part of it was sent. ReverseProxy panics then, so that net/http cuts the connection;
// the caller does that after it has counted and logged the request.
func stream(proxy http.Handler, w http.ResponseWriter, r *http.Request) (cut bool) {
	defer func() {
		if v := recover(); v != nil && v != http.ErrAbortHandler {
			panic(v)
		} else if v != nil {
			cut = true
		}
	}()
	proxy.ServeHTTP(w, r)
	return false
}

// reason turns an error of ReverseProxy into that of a Result.
func reason(err error) error {
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return ErrBodyTooLarge
	}
	return err
}

// rewrite makes the outgoing request the app's own: ReverseProxy has removed the hop-by-hop headers and what proxies add (Forwarded,
// X-Forwarded-*), and adds nothing. Path and query go out byte for byte.
func (p *Proxy) rewrite(pr *httputil.ProxyRequest, c Call) {
	target := *c.Base
	path := strings.TrimSuffix(target.EscapedPath(), "/") + c.Path
	target.Path, _ = url.PathUnescape(path) // whoever chose Path has unescaped it before
	target.RawPath = path
	target.RawQuery, target.ForceQuery = pr.In.URL.RawQuery, pr.In.URL.ForceQuery
	pr.Out.URL, pr.Out.Host = &target, target.Host
	if p.options.RewritePaging {
		pr.Out.Header.Set("Accept-Encoding", "identity") // a compressed answer cannot be rewritten
	}
}

// modify bounds the answer, and rewrites its paging URLs if that is wanted.
func (p *Proxy) modify(res *http.Response, c Call) error {
	switch {
	case res.StatusCode == http.StatusSwitchingProtocols:
		return ErrSwitching
	case res.Request.Method == http.MethodHead: // its length is that of a body which does not come
		return nil
	case res.ContentLength > p.options.MaxBodyBytes:
		return ErrAnswerTooLong
	}
	if c.OnHeader != nil {
		c.OnHeader(res.Header)
	}
	res.Body = &boundedBody{ReadCloser: res.Body, left: p.options.MaxBodyBytes}
	if p.options.RewritePaging && strings.HasPrefix(res.Header.Get("Content-Type"), "application/json") && res.Header.Get("Content-Encoding") == "" {
		return p.keepPaging(res, c)
	}
	return nil
}

// boundedBody ends with an error where the bound is passed. A part of the answer has been sent by then, so the connection is cut.
type boundedBody struct {
	io.ReadCloser
	left int64
}

func (b *boundedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, ErrAnswerTooLong
	}
	return n, err
}

// statusRecorder remembers the status that was sent.
type statusRecorder struct {
	http.ResponseWriter
	status int
}

func (w *statusRecorder) WriteHeader(status int) {
	if status >= 200 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap serves http.ResponseController.
func (w *statusRecorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }
