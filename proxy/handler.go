package proxy

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/igproxy/igproxy/proxy/graph"
	"github.com/igproxy/igproxy/proxy/passthrough"
)

// ServeHTTP takes one request through all steps; see the package comment.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) { p.serveHTTP(w, r, entrance{}) }

// OnLoopback returns the handler for a listener on loopback. The handler checks the Host name even
// if AnyHost is set, because a web page can rebind its DNS name to loopback.
func (p *Proxy) OnLoopback() http.Handler { return loopbackHandler{p} }

type loopbackHandler struct{ proxy *Proxy }

func (h loopbackHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.proxy.serveHTTP(w, r, entrance{onLoopback: true})
}

// entrance says which listener a request came from.
type entrance struct {
	onLoopback  bool
	intercepted bool // the client is authenticated, and believes that it is connected to Meta
}

func (p *Proxy) serveHTTP(w http.ResponseWriter, r *http.Request, from entrance) {
	if !from.intercepted && p.serveHealth(w, r) {
		return
	}
	start := time.Now()
	e := p.current.Load()
	x := requestState{id: newRequestID(), grant: "none", app: noApp, last: last(r)}
	server, r := beginTrace(p.carried.tracer, e, r)
	x.serve(e, w, r, from, &p.carried)
	if x.passed != nil {
		x.stream(e.bypass, w, r)
	} else {
		x.answer(w)
	}
	x.endTrace(server)
	p.carried.metrics.answered(&x, time.Since(start))
	x.log(p.carried.lines, p.carried.log, time.Since(start))
	if x.gone || x.cut {
		// If the handler returned normally, a response that broke off could look complete. If
		// nothing was sent yet, net/http would send an empty 200, which a caller that has closed
		// only its sending half would still read. The panic closes the connection instead.
		panic(http.ErrAbortHandler)
	}
	if x.passed == nil {
		linger(w, r, x.last)
	}
}

// noApp is the label of requests that are refused before their app is known. No app has this name.
const noApp = "none"

// requestState is what the handler knows about one request and its outcome.
type requestState struct {
	id     requestID
	grant  string
	app    string
	result answer
	err    *graph.Error      // nil: the outcome is in result, passed or signed
	gone   bool              // the caller of a passed-through call disconnected before the whole response was sent
	flat   bool              // errors have the flat shape of the code exchange
	last   bool              // the connection is closed after the response
	cut    bool              // the response broke off after a part of it was sent
	passed *passthrough.Call // a call that is passed through; nil for any other call
	signed *verified         // the answer to a call below ownPrefix; nil for any other call
	slots  *slots            // for the app's passed-through calls
	status int
}

// serve runs all steps except the step answer, and stores the outcome in x.
func (x *requestState) serve(e *engine, w http.ResponseWriter, r *http.Request, from entrance, shared *carried) {
	defer x.recover(shared.log)
	// These checks come before decode, whose errors reveal something about the token.
	t := e.route(r)
	if x.err = e.admit(r, t, from); x.err != nil {
		return
	}
	if t.app != nil {
		x.app = t.app.Label
	}
	if t.own {
		x.verify(e, w, r, t)
		return
	}
	if len(t.rows) == 0 {
		if !e.mayPass(t) {
			x.err = errPath
			return
		}
		x.pass(e, r, t, shared)
		return
	}
	if r.Method == http.MethodGet && announcesBody(r) {
		if x.err = dropBody(w, r); x.err != nil {
			p, _ := readQuery(r.URL.RawQuery)
			x.flat = e.likelyRow(r, t.rows, &p).flat
			return
		}
		x.last = lastAfterDrop(r)
	}
	c, refused := e.decode(r, t)
	x.flat = c.grant.flat
	if c.app != nil {
		x.app = c.app.Label
	}
	if refused != nil {
		x.err = refused
		return
	}
	x.last = lastAfterDrop(r) // the whole body was read
	x.exchange(r.Context(), e, c)
}

// exchange runs the steps between decode and answer.
func (x *requestState) exchange(ctx context.Context, e *engine, c call) {
	x.grant, x.app = c.grant.name, c.app.Label
	var err error
	x.result, err = e.first.Exchange(ctx, c)
	if err != nil && !errors.As(err, &x.err) {
		x.err = errInternal("an error of an unexpected type")
	}
}

// recover, which must be deferred, turns a panic into an error with status 500.
func (x *requestState) recover(log *slog.Logger) {
	if v := recover(); v != nil {
		x.err = errInternal("panic: " + panicKind(v))
		log.Error("panic in a request",
			"request_id", x.id.String(), "panic", panicKind(v), "stack", string(debug.Stack()))
	}
}

// requestID is the value of X-Request-Id: 64 random bits in hexadecimal.
type requestID [16]byte

func newRequestID() (id requestID) {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], rand.Uint64())
	hex.Encode(id[:], b[:])
	return id
}

// String returns the ID as igproxy sends it.
func (id requestID) String() string { return string(id[:]) }
