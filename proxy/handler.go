package proxy

import (
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"runtime/debug"
	"strconv"
	"time"
)

// statusGone is logged when the caller left before its answer; nothing was sent. (499 is nginx's number for it.)
const statusGone = 499

// ServeHTTP is the walk of one request; see the package comment.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	e := p.current.Load()
	x := exchange{id: requestID(), grant: "none", app: e.apps[0].label, last: last(r) || inPassing(r.Context())}
	spans, r := p.carried.tracing.begin(e, r)
	x.serve(e, r, p.carried.log)
	if x.past != nil {
		end := spans.passed(r.Context(), &x)
		x.handOver(w, r)
		end()
	} else {
		x.answer(w)
	}
	spans.end(&x)
	p.carried.metrics.answered(&x, time.Since(start))
	x.log(e.lines, p.carried.log, time.Since(start))
	if x.gone || x.cut {
		// A caller that closed only its sending half still reads. Returning would send it an empty 200; this closes the connection.
		panic(http.ErrAbortHandler)
	}
}

// exchange is one request on its way through the steps, from the handler's view.
type exchange struct {
	id     string // X-Request-Id
	grant  string
	app    string
	result answer
	err    *GraphError // nil: result is a definite answer
	gone   bool        // the caller left
	flat   bool        // errors are in the shape of the code exchange
	last   bool        // the connection ends with the answer
	cut    bool        // the answer broke off on its way
	past   *passage    // the request goes past the steps
	status int
}

// serve runs the steps and keeps what came out. A panic of ours becomes a 500 in the envelope.
func (x *exchange) serve(e *engine, r *http.Request, log *slog.Logger) {
	defer func() {
		if v := recover(); v != nil {
			x.err = errInternal("panic: " + panicKind(v))
			log.Error("panic in a request", "request_id", x.id, "panic", panicKind(v), "stack", string(debug.Stack()))
		}
	}()
	if x.err = e.gate.check(r); x.err != nil {
		return
	}
	if x.err = e.trust.check(r); x.err != nil { // before decode: a stranger learns nothing about tokens
		return
	}
	t := e.route(r)
	if len(t.rows) == 0 {
		x.past, x.err = e.pass(r, t)
		return
	}
	c, refused := e.decode(r, t)
	x.flat = c.grant.form
	if refused != nil {
		x.err = refused
		return
	}
	x.grant, x.app = c.grant.name, c.app.label
	var err error
	x.result, err = e.first.Exchange(r.Context(), c)
	switch {
	case err == nil:
	case errors.Is(err, errCallerGone):
		x.gone = true
	case !errors.As(err, &x.err):
		x.err = errInternal("an error without an envelope")
	}
}

// What every answer carries, in lists that are made once and that nobody changes.
const (
	valueNoStore = "no-store"
	valueJSON    = "application/json; charset=UTF-8"
	valueNoSniff = "nosniff"
)

var (
	headerNoStore = []string{valueNoStore}
	headerJSON    = []string{valueJSON}
	headerNoSniff = []string{valueNoSniff}
)

// answer is the step "answer": the only place that writes to an app, but for what is passed through.
func (x *exchange) answer(w http.ResponseWriter) {
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
	if u := x.result.usage; u.app != "" {
		h["X-App-Usage"] = []string{u.app}
	}
	if u := x.result.usage; u.businessUseCase != "" {
		h["X-Business-Use-Case-Usage"] = []string{u.businessUseCase}
	}
	var body []byte
	if e := x.refusal(); e != nil {
		x.status, body = e.Status, e.encode()
		if e.RetryAt.After(now) {
			h["Retry-After"] = []string{strconv.Itoa(int((e.RetryAt.Sub(now) + time.Second - 1) / time.Second))}
		}
	} else {
		x.status, body = http.StatusOK, x.result.token.append(make([]byte, 0, 512), now)
	}
	if x.err == errStranger {
		h["Www-Authenticate"] = []string{challenge}
	}
	if x.last {
		h["Connection"] = []string{"close"}
	}
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	w.WriteHeader(x.status)
	_, _ = w.Write(body) // an error here is a caller that left
}

// refusal is the error the app gets, ours or Instagram's; nil when it gets a token.
func (x *exchange) refusal() *GraphError {
	if x.err != nil {
		return x.err.as(x.flat)
	}
	return x.result.refusal.as(x.flat)
}

// cacheStatus says how the cache took part, RFC 9211. A request that was never looked up has no such header.
func (x *exchange) cacheStatus() string {
	switch {
	case x.past != nil, x.err != nil && x.err.class == classRequest:
		return ""
	case x.err != nil && x.err.class == classHeld:
		return `igproxy; detail="` + x.err.cause + `"`
	case x.err != nil && x.err.repeated:
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

// appendHit writes the Cache-Status of a hit, RFC 9211.
func appendHit(to []byte, left time.Duration) []byte {
	return strconv.AppendInt(append(to, "igproxy; hit; ttl="...), int64(left/time.Second), 10)
}

// outcome is the fixed word for how a request ended; a metric label and a log field.
func (x *exchange) outcome() string {
	if x.gone {
		return "gone"
	}
	e := x.refusal()
	if e == nil && x.past != nil {
		return "passed"
	}
	if e == nil {
		return "token"
	}
	switch e.class {
	case classRequest:
		return "rejected"
	case classAppLimit, classUserLimit:
		return "limited"
	case classTimeout, classSilent:
		return "timeout"
	case classInternal:
		return "failed"
	case classTransient, classBroken, classUnreached, classHeld:
		return "unavailable"
	}
	return "refused"
}

// source is where the answer came from; callers who waited for another one's exchange are "joined".
func (x *exchange) source() string {
	switch {
	case x.err != nil || x.gone:
		return string(sourceNone)
	case x.past != nil:
		return string(sourceUpstream)
	case x.result.joined:
		return "joined"
	}
	return string(x.result.source)
}

const requestIDLength = 16

func newRequestID(b *[requestIDLength]byte) {
	const digits = "0123456789abcdef"
	for n, i := rand.Uint64(), 0; i < len(b); i++ {
		b[i] = digits[n&15]
		n >>= 4
	}
}

func requestID() string {
	var b [requestIDLength]byte
	newRequestID(&b)
	return string(b[:])
}
