package proxy

import (
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/igproxy/igproxy/proxy/passthrough"
)

// PassthroughOptions configure the calls that are not token calls: reads, uploads, paging. New sets
// Transport, DropHeaders and MaxJSONBytes.
type PassthroughOptions = passthrough.Options

// passthroughGrant is used in logs and metrics instead of a grant's name.
const passthroughGrant = "passthrough"

// bypass passes calls through.
type bypass struct {
	*passthrough.Proxy
	out   *outbound
	hosts map[Service]*url.URL
}

func newBypass(o Options, metrics *Metrics) *bypass {
	out := newOutbound(o, metrics.silentPool("passthrough"))
	for _, t := range []*http.Transport{out.kept, out.single} {
		t.DisableCompression = true // otherwise the transport would add Accept-Encoding
		t.MaxConnsPerHost = o.MaxInFlight
	}
	stream := *o.Passthrough
	stream.Transport, stream.MaxJSONBytes = out, o.MaxResponseBytes
	stream.DropHeaders = append([]string{trustHeader}, traceHeaders...)
	return &bypass{passthrough.New(stream), out, map[Service]*url.URL{Instagram: o.UpstreamURL, Threads: o.ThreadsURL}}
}

// pass finds the app and the host of a call that is passed through, or sets the error.
func (x *reply) pass(e *engine, r *http.Request, t destination, metrics *Metrics) {
	a := t.app
	if a == nil {
		if a, x.err = e.likely(r); x.err != nil {
			return
		}
	}
	x.grant, x.app = passthroughGrant, a.Label
	x.passed = &passthrough.Call{Base: e.bypass.hosts[a.Service], Path: t.path,
		Own:      scheme(r) + "://" + r.Host + strings.TrimSuffix(r.URL.EscapedPath(), t.path),
		OnHeader: func(h http.Header) { metrics.limits.note(a.Label, h) }}
}

// stream passes the call through and keeps the outcome.
func (x *reply) stream(b *bypass, w http.ResponseWriter, r *http.Request) {
	if !r.ProtoAtLeast(1, 1) { // see last
		w.Header().Set("Connection", "close")
	}
	got := b.Serve(w, r, *x.passed)
	x.status, x.cut = got.Status, got.Cut
	switch {
	case got.Err == nil && !got.Cut:
		return
	case r.Context().Err() != nil:
		x.gone, x.status = true, statusGone
		return
	case got.Cut:
		x.err = errBadAnswer("cut short in passing")
		return
	case errors.Is(got.Err, passthrough.ErrBodyTooLarge):
		x.err = errTooLarge
	case errors.Is(got.Err, passthrough.ErrAnswerTooLong), errors.Is(got.Err, passthrough.ErrSwitching):
		x.err = errBadAnswer(got.Err.Error())
	default:
		x.err = noAnswer(r.Context(), got.Err).err
	}
	x.last = true // a part of the request may be unread
	x.answer(w)
}
