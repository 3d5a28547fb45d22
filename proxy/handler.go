package proxy

import (
	"errors"
	"math/rand/v2"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/igproxy/igproxy/proxy/graph"
)

// statusGone is logged when the caller left before its answer; nothing was sent. (499 is nginx's number for it.)
const statusGone = 499

// ServeHTTP is the walk of one request; see the package comment.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	e := p.current.Load()
	x := reply{id: requestID(), grant: "none", app: e.apps[0].label, last: last(r)}
	spans, r := p.carried.tracing.begin(e, r)
	x.serve(e, r, &p.carried)
	if x.passed != nil {
		end := spans.passed(r.Context(), &x)
		x.stream(w, r)
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

// reply is one request on its way through the steps, from the handler's view.
type reply struct {
	id     string // X-Request-Id
	grant  string
	app    string
	result answer
	err    *graph.Error // nil: result is a definite answer
	gone   bool         // the caller left
	flat   bool         // errors are in the shape of the code exchange
	last   bool         // the connection ends with the answer
	cut    bool         // the answer broke off on its way
	passed *passed      // the request goes around the steps
	status int
}

// serve runs the steps and keeps what came out. A panic of ours becomes a 500 in the envelope.
func (x *reply) serve(e *engine, r *http.Request, shared *carried) {
	defer func() {
		if v := recover(); v != nil {
			x.err = errInternal("panic: " + panicKind(v))
			shared.log.Error("panic in a request", "request_id", x.id, "panic", panicKind(v), "stack", string(debug.Stack()))
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
		x.passed, x.err = e.pass(r, t, shared.metrics)
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
