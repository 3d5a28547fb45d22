package proxy

import (
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/igproxy/igproxy/proxy/graph"
	"github.com/igproxy/igproxy/proxy/passthrough"
)

// ServeHTTP runs the walk of one request; see the package comment.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	e := p.current.Load()
	id := newRequestID()
	x := reply{id: string(id[:]), grant: "none", app: e.apps[0].Label, last: last(r)}
	server, r := beginTrace(p.carried.tracer, e, r)
	x.serve(e, r, &p.carried)
	if x.passed != nil {
		x.stream(e.bypass, w, r)
	} else {
		x.answer(w)
	}
	x.endTrace(server)
	p.carried.metrics.answered(&x, time.Since(start))
	x.log(p.carried.lines, p.carried.log, time.Since(start))
	if x.gone || x.cut {
		// A caller that closed only its sending half still reads. If the handler returned, net/http
		// would send an empty 200; the panic closes the connection instead.
		panic(http.ErrAbortHandler)
	}
}

// reply is what the handler knows about one request and its outcome.
type reply struct {
	id     string // X-Request-Id
	grant  string
	app    string
	result answer
	err    *graph.Error      // nil: result is the answer
	gone   bool              // the caller left
	flat   bool              // errors have the shape of the code exchange
	last   bool              // the connection is closed after the answer
	cut    bool              // the answer broke off after a part of it was sent
	passed *passthrough.Call // a call that is passed through; nil for a token call
	places *places           // of the app's passed-through calls
	status int
}

// serve runs the steps up to answer and keeps the outcome. A panic becomes a 500 in the envelope.
func (x *reply) serve(e *engine, r *http.Request, shared *carried) {
	defer func() {
		if v := recover(); v != nil {
			x.err = errInternal("panic: " + panicKind(v))
			shared.log.Error("panic in a request",
				"request_id", x.id, "panic", panicKind(v), "stack", string(debug.Stack()))
		}
	}()
	// These come before decode, whose errors say something about the token.
	if x.err = cmp.Or(e.gate.check(r), e.trust.check(r)); x.err != nil {
		return
	}
	t := e.route(r)
	if len(t.rows) == 0 {
		if !e.mayPass(t) {
			x.err = errPath
			return
		}
		x.pass(e, r, t, shared.metrics)
		return
	}
	x.flat = t.rows[0].form
	var c call
	if c, x.err = e.decode(r, t); x.err != nil {
		return
	}
	x.grant, x.app = c.grant.name, c.app.Label
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

// newRequestID returns a random id, in hexadecimal.
func newRequestID() (id [16]byte) {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], rand.Uint64())
	hex.Encode(id[:], b[:])
	return id
}
