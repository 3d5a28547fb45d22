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
)

// A trace shows one request: a server span, and below it the steps from recall to ask, nested as they call each other. A flight belongs to the trace of the caller who began it; the join span of every other caller has a link to it.
//
// Spans hold names and numbers from fixed sets or from the configuration, and never a value that was sent: no path, query, header, token
// or text of an error. Names are those of OpenTelemetry's semantic conventions for HTTP where they exist, and igproxy.* otherwise. This
// file is the only one that knows the library.

// Tracer is OpenTelemetry's.
type Tracer = trace.Tracer

// tracing makes the spans. A nil *tracing makes none and wraps no step.
type tracing struct{ tracer trace.Tracer }

func newTracing(t trace.Tracer) *tracing {
	if t == nil {
		return nil
	}
	return &tracing{t}
}

// step returns next with a span around each call.
func (t *tracing) step(name string, next exchanger) exchanger {
	if t == nil {
		return next
	}
	return &tracedStep{name, t.tracer, next}
}

// tracedStep is a step and its span.
type tracedStep struct {
	name   string
	tracer trace.Tracer
	next   exchanger
}

func (s *tracedStep) Exchange(ctx context.Context, c call) (a answer, err error) {
	caller := trace.SpanContextFromContext(ctx)
	ctx, span := s.tracer.Start(ctx, s.name, s.options(c)...)
	// Also if next panics. Deferred directly, End would recover the panic's value and record it, whatever it holds.
	defer func() { span.End() }()
	a, err = s.next.Exchange(ctx, c)
	switch s.name {
	case "claim":
		a.flight = caller // the join span that began the flight
	case "join":
		if flight := a.flight; flight.IsValid() && !flight.Equal(span.SpanContext()) {
			span.AddLink(trace.Link{SpanContext: flight})
		}
		span.SetAttributes(attribute.Bool("igproxy.joined", a.joined))
	}
	if a.source != "" {
		span.SetAttributes(attribute.String("igproxy.source", string(a.source)))
	}
	var e *graph.Error
	if errors.As(err, &e) {
		markError(span, e.Class)
	} else if a.refusal != nil {
		markError(span, a.refusal.Class)
	}
	return a, err
}

// options of a step's span. That of ask says which server is called.
func (s *tracedStep) options(c call) []trace.SpanStartOption {
	attrs := []attribute.KeyValue{attribute.String("igproxy.app", c.app.label), attribute.String("igproxy.grant", c.grant.name)}
	if s.name != "ask" {
		return []trace.SpanStartOption{trace.WithAttributes(attrs...)}
	}
	attrs = append(attrs, attribute.String("http.request.method", c.grant.method))
	return append(asClient(c.grant.base), trace.WithAttributes(attrs...))
}

// asClient returns the options of a span for a call to the server of this base URL, which the configuration names.
func asClient(base *url.URL) []trace.SpanStartOption {
	port, err := strconv.Atoi(base.Port())
	if err != nil {
		if port = 443; base.Scheme == "http" {
			port = 80
		}
	}
	return []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindClient),
		trace.WithAttributes(attribute.String("server.address", base.Hostname()), attribute.Int("server.port", port))}
}

// noteReply adds to the span of ask what came back to the call's nth request: res is nil if nothing did.
func noteReply(ctx context.Context, res *http.Response, n int) {
	span := trace.SpanFromContext(ctx)
	if !span.IsRecording() {
		return
	}
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

// traceparent reads no header but that one: https://www.w3.org/TR/trace-context. tracestate and baggage are free text, which would end up
// in our spans.
type traceparent struct{ propagation.HeaderCarrier }

func (h traceparent) Get(name string) string {
	if name != "traceparent" {
		return ""
	}
	return h.HeaderCarrier.Get(name)
}

// traceHeaders are never passed on: they describe what is behind the sidecar.
var traceHeaders = []string{"Traceparent", "Tracestate", "Baggage"}

// requestSpans are those of a request that are not of a step. A nil *requestSpans does nothing.
type requestSpans struct {
	tracer trace.Tracer
	server trace.Span
}

// begin starts the server span. Its name is made of fixed words, before anything is decided, because samplers see it.
func (t *tracing) begin(e *engine, r *http.Request) (*requestSpans, *http.Request) {
	if t == nil {
		return nil, r
	}
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
	return &requestSpans{t.tracer, server}, r.WithContext(ctx)
}

// passed starts the span of a call that is passed through, whose end is returned.
func (s *requestSpans) passed(ctx context.Context, x *reply) (end func()) {
	if s == nil {
		return func() {}
	}
	_, span := s.tracer.Start(ctx, "ask", asClient(x.passed.call.Base)...)
	return func() {
		if e := x.refusal(); e != nil {
			markError(span, e.Class)
		} else if !x.gone {
			span.SetAttributes(attribute.Int("http.response.status_code", x.status))
		}
		span.End()
	}
}

// end ends the server span of a request.
func (s *requestSpans) end(x *reply) {
	if s == nil {
		return
	}
	defer func() { s.server.End() }()
	s.server.SetAttributes(attribute.String("igproxy.outcome", x.outcome()), attribute.String("igproxy.source", x.source()),
		attribute.String("igproxy.app", x.app), attribute.String("igproxy.grant", x.grant), attribute.String("igproxy.request_id", x.id))
	if x.gone {
		return
	}
	s.server.SetAttributes(attribute.Int("http.response.status_code", x.status))
	switch e := x.refusal(); {
	case e == nil:
	case x.status >= http.StatusInternalServerError:
		markError(s.server, e.Class)
	default: // the app's fault or the token's: HTTP's conventions do not call that an error of the server
		s.server.SetAttributes(attribute.String("error.type", string(e.Class)))
	}
}

// flightID identifies the span that began a flight; the zero value stands for no span.
type flightID = trace.SpanContext
