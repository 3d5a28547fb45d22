package proxy

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"

	"github.com/igproxy/igproxy/proxy/graph"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// A trace shows one request: a server span, and below it the steps from recall to ask, nested as
// they call each other. The spans of a flight belong to the trace of the caller that began the
// flight. A call that is passed through has only the server span.
//
// Spans contain the request's ID, status codes, counts, and names that are fixed or come from the
// configuration. They contain no path, query, token, error message or other text that a client or
// Meta sent, except the IDs in the header Traceparent. Attribute names come from OpenTelemetry's
// semantic conventions for HTTP. Attributes that these conventions do not define are named
// igproxy.*. In this package, only this file uses OpenTelemetry's library.

// Tracer is OpenTelemetry's tracer. A nil Tracer makes no spans.
type Tracer = trace.Tracer

// traced returns next with a span around each call. If t is nil, traced returns next itself.
func traced(t Tracer, name string, next exchanger) exchanger {
	if t == nil {
		return next
	}
	return &tracedStep{name, t, next}
}

type tracedStep struct {
	name   string
	tracer Tracer
	next   exchanger
}

func (s *tracedStep) Exchange(ctx context.Context, c call) (answer, error) {
	kind := trace.SpanKindInternal
	attrs := []attribute.KeyValue{attribute.String("igproxy.app", c.app.Label), attribute.String("igproxy.grant", c.grant.name)}
	if s.name == "ask" {
		kind = trace.SpanKindClient
		attrs = append(attrs, attribute.String("http.request.method", c.grant.method()),
			attribute.String("server.address", c.grant.base.Hostname()), attribute.Int("server.port", portOf(c.grant.base)))
	}
	ctx, span := s.tracer.Start(ctx, s.name, trace.WithSpanKind(kind), trace.WithAttributes(attrs...))
	// The span must end even if next panics. End is called in a closure, because "defer span.End()"
	// would recover the panic and record its value.
	defer func() { span.End() }()
	a, err := s.next.Exchange(ctx, c)
	if s.name == "join" {
		span.SetAttributes(attribute.Bool("igproxy.joined", a.joined))
	}
	if a.source != "" {
		span.SetAttributes(attribute.String("igproxy.source", string(a.source)))
	}
	e := a.refusal
	if errors.As(err, &e) || e != nil {
		markError(span, e.Class)
	}
	return a, err
}

// portOf returns the port of a URL, or the default port of its scheme.
func portOf(u *url.URL) int {
	if port, err := strconv.Atoi(u.Port()); err == nil {
		return port
	}
	return map[string]int{"http": 80, "https": 443}[u.Scheme]
}

// noteResponse records the response to the call's nth request in the span of ask. res is nil if
// there was no response.
func noteResponse(ctx context.Context, res *http.Response, n int) {
	span := trace.SpanFromContext(ctx)
	if res != nil {
		span.SetAttributes(attribute.Int("http.response.status_code", res.StatusCode))
	}
	if n > 1 {
		span.SetAttributes(attribute.Int("http.request.resend_count", n-1))
	}
}

func markError(span trace.Span, c graph.Class) {
	span.SetAttributes(attribute.String("error.type", string(c)))
	span.SetStatus(codes.Error, string(c))
}

// traceHeaders are never sent to Meta, because they describe the app's own traces.
var traceHeaders = []string{"Traceparent", "Tracestate", "Baggage"}

// beginTrace starts the server span of a request. The span's name consists of fixed words.
func beginTrace(t Tracer, e *engine, r *http.Request) (trace.Span, *http.Request) {
	if t == nil {
		return noop.Span{}, r
	}
	method, name := "_OTHER", "HTTP"
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete,
		http.MethodOptions, http.MethodTrace, http.MethodConnect:
		method, name = r.Method, r.Method
	}
	attrs := []attribute.KeyValue{attribute.String("http.request.method", method), attribute.String("url.scheme", scheme(r))}
	if route := e.route(r).fixedPath(); route != "" {
		name += " " + route
		attrs = append(attrs, attribute.String("http.route", route))
	}
	// Only traceparent is read, because tracestate and baggage are free text that would end up in
	// the spans.
	parent := propagation.MapCarrier{"traceparent": r.Header.Get("Traceparent")}
	ctx := propagation.TraceContext{}.Extract(r.Context(), parent)
	ctx, server := t.Start(ctx, name, trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(attrs...))
	return server, r.WithContext(ctx)
}

// endTrace adds the outcome to the request's server span and ends it.
func (x *requestState) endTrace(server trace.Span) {
	if !server.IsRecording() {
		return
	}
	defer server.End()
	server.SetAttributes(attribute.String("igproxy.outcome", x.outcome()), attribute.String("igproxy.source", x.source()),
		attribute.String("igproxy.app", x.app), attribute.String("igproxy.grant", x.grant), attribute.String("igproxy.request_id", x.id.String()))
	if x.gone {
		return
	}
	server.SetAttributes(attribute.Int("http.response.status_code", x.status))
	switch e := x.refusal(); {
	case e == nil:
	case x.status >= http.StatusInternalServerError:
		markError(server, e.Class)
	default: // OpenTelemetry's conventions do not count a 4xx as an error of the server
		server.SetAttributes(attribute.String("error.type", string(e.Class)))
	}
}
