// Package passthrough streams an app's calls to Meta, and the responses back. It handles all calls
// that are not token calls, such as reads and uploads. It removes headers that Meta must not get.
// It can add an appsecret_proof, and replace the token with its successor. If Meta refuses the
// successor, the call is sent again with the token that the app sent, unless the body of the call
// was streamed. The package remembers nothing, and never sees a client secret. Bodies have a
// maximum size and a minimum rate, and each call has a maximum duration.
package passthrough

import (
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptrace"
	"net/http/httputil"
	"net/textproto"
	"net/url"
	"strings"
	"time"
)

// Options configure a Proxy.
type Options struct {
	// Transport sends the calls. Required. It must not decompress responses.
	Transport http.RoundTripper
	// Timeout bounds one call, bodies included. Required.
	Timeout time.Duration
	// MaxBodyBytes bounds the body of a request, and the body of a response. Required.
	MaxBodyBytes int64
	// DropHeaders are the names of request headers that are not passed on.
	DropHeaders []string
	// IsOwnToken reports whether a bearer token is igproxy's own. Such a token is not passed on.
	// Required.
	IsOwnToken func(string) bool
	// RewritePaging makes paging.next and paging.previous in JSON responses of up to MaxJSONBytes
	// point at igproxy. Meta writes its own host into them, so an app that follows them would
	// bypass igproxy.
	RewritePaging bool
	// MaxJSONBytes is the size of the largest response that RewritePaging changes.
	MaxJSONBytes int64
}

// Proxy passes calls through. It is safe for concurrent use.
type Proxy struct{ options Options }

// New returns a Proxy.
func New(o Options) *Proxy { return &Proxy{o} }

// Call says where one request goes, and how its token and its proof are handled.
type Call struct {
	// Base is the URL of Meta's host.
	Base *url.URL
	// Path is the escaped path after Base, as the app sent it. Its escapes must be valid.
	Path string
	// Own is igproxy's base URL as the app sees it, for RewritePaging.
	Own string
	// DropAuthorization says that no Authorization header is passed on. Set it if the call has its
	// token in another place. A bearer token may then be meant for igproxy, even if IsOwnToken
	// reports false for it.
	DropAuthorization bool
	// Replace returns the token to send instead of the call's token. It may return the same token.
	// Nil: no token is replaced.
	Replace func(token string) string
	// Proof returns the appsecret_proof to add for the token that is sent. Nil: none is added.
	Proof func(token string) string
	// ProofOf returns the appsecret_proof of a token. Required with Replace. If Proof is nil and
	// the app's proof fits the app's token, the token and the proof are replaced together. If the
	// app's proof does not fit, neither is replaced.
	ProofOf func(token string) string
	// OnResponse is called with the status and the header of a response, before the response is
	// passed on. OnResponse and OnRefused are not called for HEAD requests. Required.
	OnResponse func(status int, header http.Header)
	// OnRefused is called for a response with status 400 or 401, when its whole body has been read.
	// It gets the token that was sent, the status and the body. The token is "" if the call has no
	// token, or different tokens. A gzip body is decompressed. OnRefused is not called for a body
	// of more than 64 KiB, or with an encoding other than gzip. It must return quickly, and may be
	// nil.
	OnRefused func(token string, status int, body []byte)
	// IsInvalid reports whether a response with status 400 or 401 means that the token from Replace
	// is invalid, while the call's original token may be valid. If so, the call is sent again with
	// the original token, and OnResponse and OnRefused get only the second response. IsInvalid is
	// not called for HEAD requests, or if the body of the call was streamed, because such a call
	// cannot be sent again. Required with Replace.
	IsInvalid func(status int, body []byte) bool
}

// Result is the outcome of a call.
type Result struct {
	// Status is the status sent to the app, or 0 if nothing was sent.
	Status int
	// Err says why the response is missing or incomplete. If Err is set and Cut is not, nothing was
	// sent to the app.
	Err error
	// Cut says that the response broke off after a part of it was sent. The caller must close the
	// connection to the app. Err may be nil.
	Cut bool
}

// The reasons for a missing response, besides ErrSlowRequest, ErrSlowResponse and the errors of the
// Transport.
var (
	// ErrBodyTooLarge means that the body of the request is larger than MaxBodyBytes.
	ErrBodyTooLarge = errors.New("a body longer than passthrough.max_body_bytes")
	// ErrResponseTooLong means that the body of the response is larger than MaxBodyBytes.
	ErrResponseTooLong = errors.New("a response longer than passthrough.max_body_bytes")
	// ErrInformational means that the 1xx responses before the response were too many or too long.
	ErrInformational = errors.New("too many informational responses")
	// ErrSwitching means that the response switches to another protocol.
	ErrSwitching = errors.New("a switch to another protocol")
)

// Serve streams one call to Meta and its response to the app. If there is no response to pass on,
// Serve sends nothing, so that the caller can send an error.
func (p *Proxy) Serve(w http.ResponseWriter, r *http.Request, c Call) (result Result) {
	deadline := time.Now().Add(p.options.Timeout)
	ctx, cancel := context.WithDeadline(r.Context(), deadline)
	defer cancel()
	s := &sides{control: http.NewResponseController(w), end: deadline, stop: cancel}
	_ = s.control.SetWriteDeadline(s.writeEnd()) // the server's own deadline is for small requests
	ctx = httptrace.WithClientTrace(ctx, boundInformational())
	defer func() {
		// ReverseProxy panics if a response breaks off. Serve returns instead, so that the caller
		// can count and log the request before it panics itself.
		if v := recover(); v != nil && v != http.ErrAbortHandler {
			panic(v)
		} else if v != nil {
			result.Cut = true
		}
		s.explain(&result)
	}()
	sent := &sending{transport: p.options.Transport, call: c, sides: s}
	proxy := &httputil.ReverseProxy{
		Transport: sent,
		Rewrite:   func(pr *httputil.ProxyRequest) { p.rewrite(pr, c) },
		ModifyResponse: func(res *http.Response) error {
			err := p.modify(res, sent)
			if err == nil {
				result.Status = res.StatusCode // ReverseProxy sends it next
			}
			return err
		},
		ErrorHandler: func(_ http.ResponseWriter, _ *http.Request, err error) {
			result.Err = err
			if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
				result.Err = ErrBodyTooLarge
			}
		},
		ErrorLog:      log.New(io.Discard, "", 0), // its lines would quote what was sent
		FlushInterval: -1,
	}
	proxy.ServeHTTP(&writer{w, s}, p.incoming(ctx, w, r, sent))
	return result
}

// The limits for 1xx responses. A 1xx response is a hint for a browser: Meta sends none, and apps
// need none.
const (
	maxInformational      = 4
	maxInformationalBytes = 16 << 10 // of all headers
)

// boundInformational returns a trace that ends a call whose 1xx responses exceed the limits.
// ReverseProxy has then already passed on the 1xx response that exceeds them.
func boundInformational() *httptrace.ClientTrace {
	count, size := 0, 0
	return &httptrace.ClientTrace{Got1xxResponse: func(_ int, header textproto.MIMEHeader) error {
		count++
		for name, values := range header {
			for _, value := range values {
				size += len(name) + len(value)
			}
		}
		if count > maxInformational || size > maxInformationalBytes {
			return ErrInformational
		}
		return nil
	}}
}

// incoming returns the request with a bounded body and without the headers that must not be passed
// on.
func (p *Proxy) incoming(ctx context.Context, w http.ResponseWriter, r *http.Request, sent *sending) *http.Request {
	r = r.Clone(ctx)
	r.Header.Del("Upgrade") // only HTTP is passed through
	for _, name := range p.options.DropHeaders {
		r.Header.Del(name)
	}
	token := BearerToken(r.Header["Authorization"])
	r.Header.Del("Authorization")
	if token != "" && !sent.call.DropAuthorization && !p.options.IsOwnToken(token) {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	if r.ContentLength != 0 {
		body := &pacedBody{ReadCloser: r.Body, sides: sent.sides, pace: newPace()}
		r.Body = http.MaxBytesReader(w, body, p.options.MaxBodyBytes)
	}
	sent.prepare(r)
	return r
}

// BearerToken returns the token of a single Authorization field "Bearer TOKEN". It returns "" if
// there are no fields, several fields, or one field of another form. Meta uses no other scheme. A
// Basic credential is igproxy's own token, which an app has in its base URL. A list or a second
// field could carry a credential that igproxy has not checked.
func BearerToken(fields []string) string {
	if len(fields) != 1 {
		return ""
	}
	scheme, token, _ := strings.Cut(fields[0], " ")
	token = strings.Trim(token, " ")
	if !strings.EqualFold(scheme, "Bearer") || strings.ContainsFunc(token, func(c rune) bool {
		return c <= ' ' || c > '~' || c == ',' || c == '"'
	}) {
		return ""
	}
	return token
}

// rewrite directs the request to Meta. ReverseProxy has removed hop-by-hop headers, Forwarded,
// X-Forwarded-For, X-Forwarded-Host and X-Forwarded-Proto. Path and query are sent byte for byte.
func (p *Proxy) rewrite(pr *httputil.ProxyRequest, c Call) {
	target := *c.Base
	target.RawPath = strings.TrimSuffix(target.EscapedPath(), "/") + c.Path
	target.Path, _ = url.PathUnescape(target.RawPath)
	target.RawQuery, target.ForceQuery = pr.In.URL.RawQuery, pr.In.URL.ForceQuery
	pr.Out.URL, pr.Out.Host = &target, target.Host
	if p.options.RewritePaging {
		pr.Out.Header.Set("Accept-Encoding", "identity") // a compressed response cannot be rewritten
	}
}

// modify refuses a response that switches protocols or announces a body that is too long. It
// reports any other response to OnResponse, bounds and watches the body, and rewrites the paging
// URLs. A response to HEAD stays as it is.
func (p *Proxy) modify(res *http.Response, sent *sending) error {
	c := sent.call
	switch {
	case res.StatusCode == http.StatusSwitchingProtocols: // the body would be the connection itself
		return ErrSwitching
	case res.Request.Method == http.MethodHead: // the response has no body, whatever Content-Length says
		return nil
	case res.ContentLength > p.options.MaxBodyBytes:
		return ErrResponseTooLong
	}
	c.OnResponse(res.StatusCode, res.Header)
	res.Body = &boundedBody{ReadCloser: &pacedResponse{ReadCloser: res.Body, sides: sent.sides, pace: newPace()}, left: p.options.MaxBodyBytes}
	if p.options.RewritePaging && res.Header.Get("Content-Encoding") == "" &&
		strings.HasPrefix(res.Header.Get("Content-Type"), "application/json") {
		if err := p.rewritePaging(res, c); err != nil {
			return err
		}
	}
	sent.watch(res)
	return nil
}

// boundedBody is the body of a response. Read fails beyond the limit. http.MaxBytesReader is not
// used, because Serve would report its error as ErrBodyTooLarge.
type boundedBody struct {
	io.ReadCloser
	left int64
}

func (b *boundedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, ErrResponseTooLong
	}
	return n, err
}
