package proxy

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/igproxy/igproxy/proxy/graph"
	"github.com/igproxy/igproxy/proxy/passthrough"
)

// PassthroughOptions say how every call that is not a token call goes to its service: reads, uploads, paging.
type PassthroughOptions struct {
	// Timeout bounds one call, bodies included. Zero: 1 min.
	Timeout time.Duration
	// MaxBodyBytes bounds a request's body and an answer's. Zero: 64 MiB.
	MaxBodyBytes int64
	// RewritePaging makes the paging.next and paging.previous of JSON answers point at the sidecar, in answers up to MaxResponseBytes.
	RewritePaging bool
}

// bypass is the way around the steps, for every call that is not a token call.
type bypass struct {
	stream *passthrough.Proxy
	out    *outbound
	hosts  map[Service]metaHost
}

// metaHost is the host of a service: the URL that is called, and the one in Meta's documentation.
type metaHost struct {
	base     *url.URL
	official string
}

// passthroughGrant stands in logs and metrics where a token call has its grant's name.
const passthroughGrant = "passthrough"

func newBypass(o Options, metrics *Metrics) *bypass {
	out := newOutbound(o, metrics.silentPassthrough)
	out.configure(func(t *http.Transport) {
		t.DisableCompression = true // nothing is added that the app did not ask for
		t.MaxConnsPerHost = o.MaxInFlight
	})
	return &bypass{
		out: out,
		hosts: map[Service]metaHost{
			Instagram: {o.UpstreamURL, "https://graph.instagram.com"},
			Threads:   {o.ThreadsURL, "https://graph.threads.net"},
		},
		stream: passthrough.New(passthrough.Options{Transport: out, Timeout: o.Passthrough.Timeout, MaxBodyBytes: o.Passthrough.MaxBodyBytes,
			RewritePaging: o.Passthrough.RewritePaging, MaxJSONBytes: o.MaxResponseBytes, DropHeaders: append([]string{trustHeader}, traceHeaders...)}),
	}
}

// passed is a request that goes around the steps.
type passed struct {
	bypass *bypass
	app    *app
	call   passthrough.Call
}

// pass decides whether a request may go around the steps.
func (e *engine) pass(r *http.Request, t destination, metrics *Metrics) (*passed, *graph.Error) {
	if e.bypass == nil || t.unknown || !reachable(t.path) {
		return nil, errPath
	}
	a := t.named
	if a == nil {
		a = e.likely(r)
	}
	scheme := "http://"
	if r.TLS != nil {
		scheme = "https://"
	}
	host := e.bypass.hosts[a.Service]
	return &passed{e.bypass, a, passthrough.Call{Base: host.base, Official: host.official, Path: t.path,
		Own:      scheme + r.Host + strings.TrimSuffix(r.URL.EscapedPath(), t.path),
		OnHeader: func(h http.Header) { metrics.limits(a.label, h) }}}, nil
}

// reachable reports whether a path may be passed on: not if any reader could take it for one of the token calls, whatever it makes of
// encodings, dot segments, double slashes, letter case and version prefixes. Without the client secret such a call could do no harm, but
// an app that does send its own would bypass the sidecar without anyone noticing.
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

// stream passes the request on and keeps what came of it.
func (x *reply) stream(w http.ResponseWriter, r *http.Request) {
	x.grant, x.app = passthroughGrant, x.passed.app.label
	if !r.ProtoAtLeast(1, 1) { // see last: what follows such a request may not be a request
		w.Header().Set("Connection", "close")
	}
	got := x.passed.bypass.stream.Serve(w, r, x.passed.call)
	x.status, x.cut = got.Status, got.Cut
	switch {
	case (got.Cut || got.Err != nil) && r.Context().Err() != nil:
		x.gone, x.status = true, statusGone
	case got.Cut:
		x.err = errBadAnswer("cut short in passing")
	case got.Err != nil:
		x.err = passError(r, got.Err)
		if got.Status == 0 {
			x.last = true
			x.answer(w)
		}
	}
}

// passError is the error for an app whose call has no answer.
func passError(r *http.Request, err error) *graph.Error {
	switch {
	case errors.Is(err, passthrough.ErrBodyTooLarge):
		return errTooLarge
	case errors.Is(err, passthrough.ErrAnswerTooLong):
		return errBadAnswer(passthrough.ErrAnswerTooLong.Error())
	case errors.Is(err, passthrough.ErrSwitching):
		return errBadAnswer(passthrough.ErrSwitching.Error())
	}
	return noAnswer(r.Context(), err).err
}
