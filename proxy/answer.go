package proxy

import (
	"net/http"
	"strconv"
	"time"

	"github.com/igproxy/igproxy/proxy/graph"
)

// answer writes the response. It ignores write errors, because they only mean that the caller has
// disconnected or reads too slowly.
func (x *requestState) answer(w http.ResponseWriter) {
	r := x.response(time.Now())
	r.writeTo(w)
}

// response builds the response that the app receives, and stores its status in x.
func (x *requestState) response(now time.Time) response {
	r := response{id: x.id, usage: x.result.usage, challenge: x.err == errUntrusted, last: x.last}
	r.cacheStatus = x.appendCacheStatus(make([]byte, 0, 32))
	if e := x.refusal(); e != nil {
		r.status, r.head = e.Status, e.Encode()
		if e.RetryAt.After(now) {
			r.retryAfter = int((e.RetryAt.Sub(now) + time.Second - 1) / time.Second)
		}
	} else if x.signed != nil {
		r.status, r.head = x.signed.status, x.signed.payload
	} else {
		r.status = http.StatusOK
		r.head, r.tail = x.result.token.Parts()
		if len(r.tail) > 0 { // not every answer has an expires_in
			r.digits = appendExpiresIn(make([]byte, 0, 20), x.result.token.Expires, now)
		}
	}
	x.status = r.status
	return r
}

// appendExpiresIn appends the value of expires_in: the number of whole seconds until the token
// expires.
func appendExpiresIn(to []byte, end, now time.Time) []byte {
	return strconv.AppendInt(to, int64(end.Sub(now)/time.Second), 10)
}

// refusal returns the error that the app receives, whether it comes from igproxy or from Meta. It
// returns nil if the request succeeded.
func (x *requestState) refusal() *graph.Error {
	if x.err != nil {
		return x.err.InShape(x.flat)
	}
	return x.result.refusal.InShape(x.flat)
}

// appendCacheStatus appends the value of Cache-Status (RFC 9211). It appends nothing for a request
// that igproxy does not accept (ClassRequest), for a passed-through call, and for a call whose
// signature has been checked.
func (x *requestState) appendCacheStatus(to []byte) []byte {
	switch {
	case x.passed != nil, x.signed != nil, x.err != nil && (x.err.Class == graph.ClassRequest || x.err.Class == graph.ClassSignature):
		return to
	case x.err != nil && x.err.Class == graph.ClassHeld:
		return append(to, `igproxy; detail="`+x.err.Cause+`"`...)
	case x.err != nil && x.err.Repeated:
		return append(to, `igproxy; detail="failed a moment ago"`...)
	case x.err != nil:
		return append(to, "igproxy; fwd=miss"...)
	case x.result.source == sourceHold:
		return append(to, `igproxy; detail="hold"`...)
	case x.result.joined, x.result.source == sourceFleet:
		return append(to, "igproxy; fwd=miss; collapsed"...)
	case x.result.source != sourceUpstream:
		return appendHit(to, x.result.left)
	case x.result.stored:
		return append(to, "igproxy; fwd=miss; stored"...)
	}
	return append(to, "igproxy; fwd=miss"...)
}

// appendHit appends the value of Cache-Status for a hit. left is the time until the entry expires.
func appendHit(to []byte, left time.Duration) []byte {
	return strconv.AppendInt(append(to, "igproxy; hit; ttl="...), int64(left/time.Second), 10)
}

// outcome returns how a request ended, for metrics and the log.
func (x *requestState) outcome() string {
	e := x.refusal()
	switch {
	case x.gone:
		return "gone"
	case e == nil && x.passed != nil:
		return "passed"
	case e == nil && x.signed != nil:
		return "verified"
	case e == nil:
		return "token"
	}
	switch e.Class {
	case graph.ClassRequest:
		return "rejected"
	case graph.ClassSignature:
		return "unverified"
	case graph.ClassAppLimit, graph.ClassUserLimit:
		return "limited"
	case graph.ClassTimeout, graph.ClassSilent:
		return "timeout"
	case graph.ClassInternal:
		return "failed"
	case graph.ClassTransient, graph.ClassBroken, graph.ClassUnreached, graph.ClassHeld:
		return "unavailable"
	}
	return "refused"
}

// source returns where the answer came from, for metrics and the log.
func (x *requestState) source() string {
	switch {
	case x.err != nil || x.gone || x.signed != nil:
		return string(sourceNone)
	case x.passed != nil:
		return string(sourceUpstream)
	case x.result.joined:
		return "joined"
	}
	return string(x.result.source)
}
