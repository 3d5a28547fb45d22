package proxy

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/igproxy/igproxy/proxy/passthrough"
)

// PassthroughOptions configure the calls that are not token calls, such as reads, uploads and
// paging. New and Reload set Transport, DropHeaders, MaxJSONBytes and IsOwnToken.
type PassthroughOptions = passthrough.Options

// passthroughGrant is used in logs and metrics instead of a grant's name.
const passthroughGrant = "passthrough"

// bypass passes calls through to Meta.
type bypass struct {
	*passthrough.Proxy
	out   *outbound
	hosts map[Service]*url.URL
	login *url.URL // for calls whose Host is loginHost
}

func newBypass(o Options, metrics *Metrics) *bypass {
	out := newOutbound(o, metrics.silentPool("passthrough"))
	for _, t := range []*http.Transport{out.kept, out.single} {
		t.DisableCompression = true // otherwise the transport would add Accept-Encoding
	}
	stream := *o.Passthrough
	stream.Transport, stream.MaxJSONBytes = out, o.MaxResponseBytes
	stream.DropHeaders = append([]string{trustHeader}, traceHeaders...)
	stream.IsOwnToken = trust{digests: o.Bearers}.owns
	return &bypass{passthrough.New(stream), out, baseURLs(o), o.LoginURL}
}

// passedQueue is the longest time that a call waits for a slot. After that the app gets an error
// and can retry, instead of keeping a connection open.
const passedQueue = time.Second

// passingSlots returns the app's slots for passed-through calls. If n has not changed, these are
// the slots that the app had before the reload.
func passingSlots(n int, before *app) *slots {
	if before != nil && before.passing != nil && cap(before.passing.inFlight) == n {
		return before.passing
	}
	return newSlots(n)
}

// pass finds the app and the host of a call that is passed through, and stores the call in
// x.passed. If no app can be chosen, it sets x.err instead.
func (x *requestState) pass(e *engine, r *http.Request, t destination, shared *carried) {
	a := t.app
	if a == nil {
		if a, x.err = e.likelyApp(r, t); x.err != nil {
			return
		}
	}
	base := e.bypass.hosts[a.Service]
	if name, _ := hostName(r.Host); name == loginHost && a.Service == Instagram {
		base = e.bypass.login
	}
	x.grant, x.app, x.slots = passthroughGrant, a.Label, a.passing
	c := &passedCall{engine: e, app: a, ctx: r.Context(), shared: shared}
	x.passed = &passthrough.Call{DropAuthorization: !mayHoldMetasToken(r, t), Base: base, Path: t.path,
		Own:        scheme(r) + "://" + r.Host + strings.TrimSuffix(r.URL.EscapedPath(), t.path),
		OnResponse: c.answered, OnRefused: c.refused}
	if a.AppSecretProof {
		x.passed.Proof = a.proof
	}
	if e.keep != nil {
		x.passed.Replace, x.passed.IsInvalid, x.passed.ProofOf = c.replace, c.successorRefused, a.proof
	}
}

// statusGone is logged as the status if the caller of a passed-through call disconnected before it
// had the whole response. nginx uses the same number.
const statusGone = 499

// stream passes the call through once it has a slot, and stores the outcome in x.
func (x *requestState) stream(b *bypass, w http.ResponseWriter, r *http.Request) {
	queued, cancel := context.WithTimeout(r.Context(), passedQueue)
	ok := x.slots.take(queued)
	cancel()
	if !ok {
		if r.Context().Err() != nil {
			x.gone, x.status = true, statusGone
			return
		}
		x.err = errPassedOverload()
		x.answer(w)
		return
	}
	defer x.slots.give()
	if !r.ProtoAtLeast(1, 1) { // see func last in edge_host.go
		w.Header().Set("Connection", "close")
	}
	got := b.Serve(w, r, *x.passed)
	x.status, x.cut = got.Status, got.Cut
	switch {
	case got.Err == nil && !got.Cut:
		return
	case errors.Is(got.Err, passthrough.ErrSlowReader):
		x.err = errSlowReader()
		return
	case errors.Is(got.Err, passthrough.ErrSlowRequest):
		x.err = errSlowRequest
	case errors.Is(got.Err, passthrough.ErrSlowResponse):
		x.err = errTimeout()
		x.err.Cause = got.Err.Error()
	case errors.Is(got.Err, context.DeadlineExceeded): // the call took too long
		x.err = noAnswer(r.Context(), got.Err).err
	case r.Context().Err() != nil:
		// The caller has disconnected. The cases ErrSlowRequest and DeadlineExceeded come first,
		// because with these errors the server may end the context of a caller that is still there.
		x.gone, x.status = true, statusGone
		return
	case got.Cut:
		x.err = errBadAnswer("cut short")
	case errors.Is(got.Err, passthrough.ErrBodyTooLarge):
		x.err = errTooLarge
	case errors.Is(got.Err, passthrough.ErrResponseTooLong), errors.Is(got.Err, passthrough.ErrSwitching),
		errors.Is(got.Err, passthrough.ErrInformational):
		x.err = errBadAnswer(got.Err.Error())
	default:
		x.err = noAnswer(r.Context(), got.Err).err
	}
	if got.Cut { // a part of the response has been sent
		return
	}
	x.last = true // a part of the request may be unread
	x.answer(w)
}
