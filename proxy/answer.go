package proxy

import (
	"maps"
	"net/http"
	"strconv"
	"time"

	"github.com/igproxy/igproxy/proxy/graph"
)

// Values of headers, shared so that a hit allocates less. Nothing modifies them.
var (
	headerNoStore = []string{"no-store"}
	headerJSON    = []string{"application/json; charset=UTF-8"}
	headerNoSniff = []string{"nosniff"}
)

// statusGone is logged when the caller left before its answer, so that nothing was sent. nginx uses
// the same number.
const statusGone = 499

// answer writes everything that an app receives, headers and body, except for what is passed
// through and for hits in the lane (answer_lane.go).
func (x *reply) answer(w http.ResponseWriter) {
	if x.gone {
		x.status = statusGone
		return
	}
	now := time.Now()
	h := w.Header()
	h["Cache-Control"], h["Content-Type"], h["X-Content-Type-Options"] = headerNoStore, headerJSON, headerNoSniff
	h["X-Request-Id"] = []string{x.id}
	if status := x.cacheStatus(); status != "" {
		h["Cache-Status"] = []string{status}
	}
	maps.Copy(h, x.result.usage)
	var body []byte
	if e := x.refusal(); e != nil {
		x.status, body = e.Status, e.Encode()
		if e.RetryAt.After(now) {
			h["Retry-After"] = []string{strconv.Itoa(int((e.RetryAt.Sub(now) + time.Second - 1) / time.Second))}
		}
	} else {
		x.status, body = http.StatusOK, appendToken(make([]byte, 0, 512), x.result.token, now)
	}
	if x.err == errUntrusted {
		h["Www-Authenticate"] = []string{challenge}
	}
	if x.last {
		h["Connection"] = []string{"close"}
	}
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	w.WriteHeader(x.status)
	_, _ = w.Write(body) // an error means that the caller left
}

// appendToken appends the body of an answer with a token.
func appendToken(to []byte, t graph.Token, now time.Time) []byte {
	head, tail := t.Parts()
	to = append(to, head...)
	if len(tail) == 0 { // the response to a code exchange has no expires_in
		return to
	}
	return append(appendExpiresIn(to, t.Expires, now), tail...)
}

// appendExpiresIn appends the value of expires_in: the seconds that a token really has left.
func appendExpiresIn(to []byte, end, now time.Time) []byte {
	return strconv.AppendInt(to, int64(end.Sub(now)/time.Second), 10)
}

// refusal returns the error that the app receives, from igproxy or Meta, or nil.
func (x *reply) refusal() *graph.Error {
	if x.err != nil {
		return x.err.InShape(x.flat)
	}
	return x.result.refusal.InShape(x.flat)
}

// cacheStatus returns the Cache-Status header (RFC 9211), which is empty for a request that was not
// looked up.
func (x *reply) cacheStatus() string {
	switch {
	case x.passed != nil, x.err != nil && x.err.Class == graph.ClassRequest:
		return ""
	case x.err != nil && x.err.Class == graph.ClassHeld:
		return `igproxy; detail="` + x.err.Cause + `"`
	case x.err != nil && x.err.Repeated:
		return `igproxy; detail="failed a moment ago"`
	case x.err != nil:
		return "igproxy; fwd=miss"
	case x.result.source == sourceHold:
		return `igproxy; detail="hold"`
	case x.result.joined, x.result.source == sourceFleet:
		return "igproxy; fwd=miss; collapsed"
	case x.result.source != sourceUpstream:
		return string(appendHit(make([]byte, 0, 32), x.result.left))
	case x.result.stored:
		return "igproxy; fwd=miss; stored"
	}
	return "igproxy; fwd=miss"
}

// appendHit appends the Cache-Status of a hit.
func appendHit(to []byte, left time.Duration) []byte {
	return strconv.AppendInt(append(to, "igproxy; hit; ttl="...), int64(left/time.Second), 10)
}

// outcome returns the word for how a request ended; a metric label and a log field.
func (x *reply) outcome() string {
	e := x.refusal()
	switch {
	case x.gone:
		return "gone"
	case e == nil && x.passed != nil:
		return "passed"
	case e == nil:
		return "token"
	}
	switch e.Class {
	case graph.ClassRequest:
		return "rejected"
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

// source returns where the answer came from; a metric label and a log field.
func (x *reply) source() string {
	switch {
	case x.err != nil || x.gone:
		return string(sourceNone)
	case x.passed != nil:
		return string(sourceUpstream)
	case x.result.joined:
		return "joined"
	}
	return string(x.result.source)
}
