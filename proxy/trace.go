package proxy

import (
	"context"
	"net/http"
	"sync"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/igproxy/igproxy/cache"
)

// A trace tells one request: a server span, and a child for each of the eight steps it went through, one after the other. A flight outlives
// its caller, so claim to remember are children of the join of the caller who began it; the join of the others has a link to that one.
//
// Spans hold names and numbers, from fixed sets or from the configuration, and never a value that came from outside: no path or query as it
// was sent, no header, no token, no text of an error. Names are those of OpenTelemetry's semantic conventions for HTTP where these have one,
// and igproxy.* else. This file and its sibling are the only ones that know the library.

// Tracer is OpenTelemetry's.
type Tracer = trace.Tracer

// tracing makes the spans. Nil: there are none, the steps are not wrapped, and all that is left on a request's way is a look at nil.
type tracing struct {
	tracer  trace.Tracer
	flights sync.Map // of those in the air, by id: the span of the join that began it
}

func newTracing(t trace.Tracer) *tracing {
	if t == nil {
		return nil
	}
	return &tracing{tracer: t}
}

// walk is the spans of one request, or of one flight. It belongs to one goroutine.
type walk struct {
	tracer trace.Tracer
	ctx    context.Context // leads to the parent of all steps, and to the walk
	server trace.Span      // of a request
	name   string          // of the step under way; empty: none is
	span   trace.Span      // its span
	status int             // of the last answer of Instagram's, in the step ask
	before int             // requests sent with a client secret that was refused
	sent   int             // and since
}

type walkKey struct{}

// walkOf is nil where nothing is traced.
func walkOf(ctx context.Context) *walk {
	w, _ := ctx.Value(walkKey{}).(*walk)
	return w
}

func (t *tracing) walk(parent context.Context, server trace.Span) (context.Context, *walk) {
	w := &walk{tracer: t.tracer, server: server}
	w.ctx = context.WithValue(parent, walkKey{}, w)
	return w.ctx, w
}

// traceparent is the only header read of what the app's own trace says: https://www.w3.org/TR/trace-context. Its tracestate is free text,
// which would end up in our spans, and baggage more so.
type traceparent struct{ propagation.HeaderCarrier }

func (h traceparent) Get(name string) string {
	if name != "traceparent" {
		return ""
	}
	return h.HeaderCarrier.Get(name)
}

// traceHeaders are never passed on: they say what goes on behind the sidecar.
var traceHeaders = []string{"Traceparent", "Tracestate", "Baggage"}

// begin starts the server span and the first step. The name is made of fixed words, before anything is decided, because samplers see it.
func (t *tracing) begin(e *engine, r *http.Request) (*walk, *http.Request) {
	method, name := "_OTHER", "HTTP"
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions, http.MethodTrace, http.MethodConnect:
		method, name = r.Method, r.Method
	}
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	attrs := []attribute.KeyValue{attribute.String("http.request.method", method), attribute.String("url.scheme", scheme)}
	if rows := e.route(r).rows; len(rows) > 0 {
		name += " " + rows[0].path
		attrs = append(attrs, attribute.String("http.route", rows[0].path))
	}
	ctx := propagation.TraceContext{}.Extract(r.Context(), traceparent{propagation.HeaderCarrier(r.Header)})
	ctx, server := t.tracer.Start(ctx, name, trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(attrs...))
	ctx, w := t.walk(ctx, server)
	w.step(ctx, "decode")
	return w, r.WithContext(ctx)
}

// step ends the one before and starts the next, to which the context returned leads.
func (w *walk) step(ctx context.Context, name string, o ...trace.SpanStartOption) context.Context {
	w.end()
	ctx, span := w.tracer.Start(ctx, name, o...)
	w.name, w.span = name, span
	return ctx
}

// end ends the step under way, if one is.
func (w *walk) end() {
	if w.name != "" {
		w.span.End()
		w.name = ""
	}
}

// note adds to the step under way.
func (w *walk) note(attrs ...attribute.KeyValue) {
	if w.name != "" {
		w.span.SetAttributes(attrs...)
	}
}

// fail says that the step under way ended with this error, by the word of its class; nil is none.
func (w *walk) fail(e *GraphError) {
	if e != nil && w.name != "" {
		markError(w.span, e.class)
	}
}

func markError(span trace.Span, c class) {
	span.SetAttributes(attribute.String("error.type", string(c)))
	span.SetStatus(codes.Error, string(c))
}

// decided is between the steps and the answer. A request that is passed on has its call to Instagram in the place of an answer of ours.
func (w *walk) decided(x *exchange) {
	if w != nil {
		w.afterSteps(x)
	}
}

func (w *walk) afterSteps(x *exchange) {
	w.fail(x.err) // of decode: any other step has ended
	if x.past != nil {
		w.step(w.ctx, "ask", asClient(x.past.through.bases[x.past.app.Service])...)
		return
	}
	w.step(w.ctx, "answer")
}

// finish ends the request's spans.
func (w *walk) finish(x *exchange) {
	if w != nil {
		w.afterAnswer(x)
	}
}

func (w *walk) afterAnswer(x *exchange) {
	attrs := []attribute.KeyValue{attribute.String("igproxy.outcome", x.outcome()), attribute.String("igproxy.source", x.source()),
		attribute.String("igproxy.app", x.app), attribute.String("igproxy.grant", x.grant), attribute.String("igproxy.request_id", x.id)}
	e := x.refusal()
	if x.past != nil {
		w.fail(e)
	}
	if !x.gone {
		status := attribute.Int("http.response.status_code", x.status)
		attrs = append(attrs, status)
		if x.past != nil && e == nil {
			w.note(status)
		}
	}
	w.end()
	switch {
	case x.gone || e == nil:
	case x.status >= 500:
		markError(w.server, e.class)
	default: // the app's fault or the token's: for a server that is no error of its own
		attrs = append(attrs, attribute.String("error.type", string(e.class)))
	}
	w.server.SetAttributes(attrs...)
	w.server.End()
}

// flightSpan is the join that began a flight.
type flightSpan struct{ trace.SpanContext }

// began notes that the join in ctx has begun the flight of a token, until land.
func (t *tracing) began(ctx context.Context, k cache.Key) (join *flightSpan, land func()) {
	join, id := &flightSpan{trace.SpanContextFromContext(ctx)}, k.ID()
	t.flights.Store(id, join)
	return join, func() { t.flights.CompareAndDelete(id, join) }
}

// flight is the join that began the flight of a token; nil: it is not in the air.
func (t *tracing) flight(k cache.Key) *flightSpan {
	found, _ := t.flights.Load(k.ID())
	join, _ := found.(*flightSpan)
	return join
}
