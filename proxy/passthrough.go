package proxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/igproxy/igproxy/proxy/graph"
)

// PassthroughOptions say how every other call of an app goes to its service: reads, uploads, paging. Nothing of ours is added to them, and
// nothing is remembered.
type PassthroughOptions struct {
	// Timeout bounds one call, bodies included. Zero: 1 min.
	Timeout time.Duration
	// MaxBodyBytes bounds a request's body and an answer's. Zero: 64 MiB.
	MaxBodyBytes int64
	// RewritePaging makes the paging.next and paging.previous of JSON answers point at the sidecar, in answers up to
	// upstream.max_response_bytes. They carry the user's token and name Instagram's host; an app that follows them leaves the sidecar.
	RewritePaging bool
}

// passthrough is the way past the steps: a reverse proxy that streams. The token calls can't be reached on it.
type passthrough struct {
	options PassthroughOptions
	bases   map[Service]*url.URL
	proxy   *httputil.ReverseProxy
	out     *outbound
	maxJSON int64
	metrics *Metrics
	paging  map[Service]*regexp.Regexp // the name and the base of a paging URL
}

// passage is one request on that way.
type passage struct {
	through *passthrough
	app     *app
	path    string // escaped, behind /apps/NAME
	base    string // the sidecar's own, as the app sees it
	failed  *graph.Error
}

type passageKey struct{}

// passthroughGrant stands in logs and metrics where a token call has its grant's name.
const passthroughGrant = "passthrough"

func newPassthrough(o Options, metrics *Metrics) *passthrough {
	past := &passthrough{metrics: metrics, options: *o.Passthrough, bases: map[Service]*url.URL{Instagram: o.UpstreamURL, Threads: o.ThreadsURL}, maxJSON: o.MaxResponseBytes}
	if past.options.Timeout <= 0 {
		past.options.Timeout = time.Minute
	}
	if past.options.MaxBodyBytes <= 0 {
		past.options.MaxBodyBytes = 64 << 20
	}
	past.paging = map[Service]*regexp.Regexp{
		Instagram: pagingOf(past.bases[Instagram], "https://graph.instagram.com"),
		Threads:   pagingOf(past.bases[Threads], "https://graph.threads.net"),
	}
	past.out = newOutbound(o, metrics.silentPassthrough)
	past.out.configure(func(t *http.Transport) { t.DisableCompression = true }) // what the app did not ask for is not added
	past.proxy = &httputil.ReverseProxy{
		Transport:      past.out,
		Rewrite:        past.rewrite,
		ModifyResponse: past.modify,
		ErrorHandler:   func(_ http.ResponseWriter, r *http.Request, err error) { past.fail(r, err) },
		ErrorLog:       log.New(io.Discard, "", 0), // the request's own line tells it, without quoting a trailer that is none
		FlushInterval:  -1,
	}
	return past
}

// pagingOf finds "next":"https://graph.instagram.com in JSON, with slashes escaped or not.
func pagingOf(base *url.URL, canonical string) *regexp.Regexp {
	either := regexp.QuoteMeta(strings.TrimSuffix(base.String(), "/")) + "|" + regexp.QuoteMeta(canonical)
	return regexp.MustCompile(`"(?:next|previous)"\s*:\s*"(?:` + strings.ReplaceAll(either, "/", `\\?/`) + `)`)
}

// pass decides whether a request may go past the steps.
func (e *engine) pass(r *http.Request, t destination) (*passage, *graph.Error) {
	if e.past == nil || t.unknown || !reachable(t.path) {
		return nil, errPath
	}
	a := t.named
	if a == nil {
		a = e.likely(r)
	}
	base := "http://" + r.Host
	if r.TLS != nil {
		base = "https://" + r.Host
	}
	return &passage{through: e.past, app: a, path: t.path, base: base + strings.TrimSuffix(r.URL.EscapedPath(), t.path)}, nil
}

// reachable reports whether a path may be passed on: not if any reader could take it for one of the token calls, whatever it makes of
// encodings, dot segments, double slashes, letters and version prefixes. With the secret in nobody's hands such a call could do no harm,
// but an app that does send its own would bypass the sidecar without anybody noticing.
func reachable(escaped string) bool {
	path := strings.ToLower(escaped)
	for range graph.MaxLayers {
		plain, err := url.PathUnescape(path)
		if err != nil {
			return false
		}
		if plain == path {
			break
		}
		path = strings.ToLower(plain)
	}
	for _, segment := range strings.FieldsFunc(path, func(c rune) bool { return c == '/' || c == '\\' }) {
		name, _, _ := strings.Cut(segment, ";")
		switch strings.TrimFunc(name, func(c rune) bool { return c <= ' ' || c == '.' || c == 0x7f }) {
		case "access_token", "refresh_access_token":
			return false
		}
	}
	return !strings.ContainsAny(path, "%\x00")
}

// handOver streams the call, both ways.
func (x *exchange) handOver(w http.ResponseWriter, r *http.Request) {
	past := x.past.through
	x.grant, x.app = passthroughGrant, x.past.app.label
	deadline := time.Now().Add(past.options.Timeout)
	control := http.NewResponseController(w)
	if r.ContentLength != 0 { // the server's own is for small requests; later than the call's, which ends in an answer
		_ = control.SetReadDeadline(deadline.Add(time.Second))
	}
	_ = control.SetWriteDeadline(deadline.Add(2 * time.Second))
	ctx, cancel := context.WithDeadline(context.WithValue(r.Context(), passageKey{}, x.past), deadline)
	defer cancel()
	out := r.WithContext(ctx)
	out.Header = r.Header.Clone()
	out.Header.Del("Upgrade") // no other protocol than HTTP goes through
	out.Header.Del(trustHeader)
	for _, name := range traceHeaders {
		out.Header.Del(name)
	}
	if _, _, basic := r.BasicAuth(); basic { // the sidecar's own token, as the password of a base URL; Instagram knows no Basic
		out.Header.Del("Authorization")
	}
	if !r.ProtoAtLeast(1, 1) { // see last: what follows such a request may be no request
		w.Header().Set("Connection", "close")
	}
	if r.ContentLength != 0 {
		out.Body = http.MaxBytesReader(w, r.Body, past.options.MaxBodyBytes)
	}
	recorded := &notedStatus{ResponseWriter: w}
	x.cut = past.stream(recorded, out)
	x.status = recorded.status
	switch x.err = x.past.failed; {
	case (x.cut || x.err != nil) && r.Context().Err() != nil:
		x.err, x.gone, x.status = nil, true, statusGone
	case x.cut:
		x.err = errBadAnswer("cut short in passing")
	case x.err != nil && recorded.status == 0:
		x.last = true
		x.answer(w)
	}
}

// stream reports whether the answer broke off when a part of it was out already. ReverseProxy then panics, so that net/http cuts the
// connection; ServeHTTP does that when the request is counted and logged.
func (past *passthrough) stream(w http.ResponseWriter, r *http.Request) (cut bool) {
	defer func() {
		if v := recover(); v != nil && v != http.ErrAbortHandler {
			panic(v)
		} else if v != nil {
			cut = true
		}
	}()
	past.proxy.ServeHTTP(w, r)
	return false
}

// notedStatus notes the status.
type notedStatus struct {
	http.ResponseWriter
	status int
}

func (w *notedStatus) WriteHeader(status int) {
	if status >= 200 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap serves http.ResponseController.
func (w *notedStatus) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// rewrite makes the outgoing request the app's own: ReverseProxy has taken away the hop-by-hop headers and what proxies add (Forwarded,
// X-Forwarded-*), and adds nothing. Path and query go out byte for byte.
func (past *passthrough) rewrite(p *httputil.ProxyRequest) {
	on := p.In.Context().Value(passageKey{}).(*passage)
	target := *past.bases[on.app.Service]
	path := strings.TrimSuffix(target.EscapedPath(), "/") + on.path
	target.Path, _ = url.PathUnescape(path) // reachable has unescaped it before
	target.RawPath = path
	target.RawQuery, target.ForceQuery = p.In.URL.RawQuery, p.In.URL.ForceQuery
	p.Out.URL, p.Out.Host = &target, target.Host
	if past.options.RewritePaging {
		p.Out.Header.Set("Accept-Encoding", "identity") // a compressed answer can't be rewritten
	}
}

// modify bounds the answer, and lets paging stay here if that is wanted.
func (past *passthrough) modify(res *http.Response) error {
	switch {
	case res.StatusCode == http.StatusSwitchingProtocols: // nobody asked for it, and its body is the bare connection
		return errSwitching
	case res.Request.Method == http.MethodHead: // its length is that of a body which does not come
		return nil
	case res.ContentLength > past.options.MaxBodyBytes:
		return errTooLong
	}
	past.metrics.limits(res.Request.Context().Value(passageKey{}).(*passage).app.label, res.Header)
	res.Body = &boundedBody{ReadCloser: res.Body, left: past.options.MaxBodyBytes}
	if past.options.RewritePaging && strings.HasPrefix(res.Header.Get("Content-Type"), "application/json") && res.Header.Get("Content-Encoding") == "" {
		return past.keepPaging(res)
	}
	return nil
}

// Answers that are not handed on.
var (
	errTooLong   = errors.New("an answer longer than passthrough.max_body_bytes")
	errSwitching = errors.New("another protocol")
)

// boundedBody ends with an error where the bound is passed; a header is out by then, so the connection is cut.
type boundedBody struct {
	io.ReadCloser
	left int64
}

func (b *boundedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, errTooLong
	}
	return n, err
}

// keepPaging replaces the upstream's base in an answer's URLs. The whole answer is held for that, so a longer one is left as it is.
func (past *passthrough) keepPaging(res *http.Response) error {
	on := res.Request.Context().Value(passageKey{}).(*passage)
	text, err := io.ReadAll(io.LimitReader(res.Body, past.maxJSON+1))
	if err != nil {
		return err
	}
	if int64(len(text)) > past.maxJSON {
		res.Body = struct {
			io.Reader
			io.Closer
		}{io.MultiReader(bytes.NewReader(text), res.Body), res.Body}
		return nil
	}
	text = past.paging[on.app.Service].ReplaceAllFunc(text, func(found []byte) []byte {
		name, _, _ := bytes.Cut(found, []byte("http"))
		base := on.base
		if bytes.Contains(found, []byte(`\/`)) { // as PHP writes JSON
			base = strings.ReplaceAll(base, "/", `\/`)
		}
		return append(slices.Clone(name), base...)
	})
	_ = res.Body.Close()
	res.Body, res.ContentLength = io.NopCloser(bytes.NewReader(text)), int64(len(text))
	res.Header.Del("Content-Length")
	return nil
}

// fail notes why there is no answer; handOver tells it.
func (past *passthrough) fail(r *http.Request, err error) {
	on := r.Context().Value(passageKey{}).(*passage)
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		on.failed = errTooLarge
	case errors.Is(err, errTooLong), errors.Is(err, errSwitching):
		on.failed = errBadAnswer(err.Error())
	default:
		on.failed = noAnswer(r.Context(), err).err
	}
}
