package proxy

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/igproxy/igproxy/cache"
)

// The steps from recall to ask are wrapped: each one's span begins as it is entered and ends as the next one is, or with its answer.
// remember is behind the next step, so claimed says itself when it begins.

func (t *tracing) recalled(next exchanger) exchanger { return t.wrap(next, recallSpan) }
func (t *tracing) deduped(next exchanger) exchanger  { return t.wrap(next, t.joinSpan) }
func (t *tracing) claimed(next exchanger) exchanger  { return t.wrap(next, t.claimSpan) }
func (t *tracing) guarded(next exchanger) exchanger  { return t.wrap(next, guardSpan) }
func (t *tracing) asked(next exchanger) exchanger    { return t.wrap(next, askSpan) }

// traced is a step with its span.
type traced struct {
	next exchanger
	span func(context.Context, *walk, call, exchanger) (answer, error)
}

func (t *tracing) wrap(next exchanger, span func(context.Context, *walk, call, exchanger) (answer, error)) exchanger {
	if t == nil {
		return next
	}
	return &traced{next, span}
}

func (s *traced) Exchange(ctx context.Context, c call) (answer, error) {
	w := walkOf(ctx)
	if w == nil { // nobody has begun
		return s.next.Exchange(ctx, c)
	}
	return s.span(ctx, w, c, s.next)
}

func recallSpan(ctx context.Context, w *walk, c call, next exchanger) (answer, error) {
	w.step(ctx, "recall", trace.WithAttributes(attribute.String("igproxy.tier", string(cache.TierMemory))))
	a, err := next.Exchange(ctx, c)
	if w.name == "recall" { // it went no further
		w.note(attribute.Bool("igproxy.hit", err == nil))
		w.fail(envelopeOf(err))
		w.end()
	}
	return a, err
}

func (t *tracing) joinSpan(ctx context.Context, w *walk, c call, next exchanger) (answer, error) {
	w.note(attribute.Bool("igproxy.hit", false)) // of recall
	a, err := next.Exchange(w.step(ctx, "join"), c)
	flight, joined := a.flight, a.joined
	if flight == nil { // the caller left before it landed
		flight = t.flight(c.key)
		joined = joined || flight != nil && !flight.Equal(w.span.SpanContext())
	}
	if joined && flight != nil {
		w.span.AddLink(trace.Link{SpanContext: flight.SpanContext})
	}
	w.note(attribute.Bool("igproxy.joined", joined))
	w.fail(envelopeOf(err))
	w.end()
	return a, err
}

// claimSpan begins the walk of a flight, whose steps are children of the join that began it.
func (t *tracing) claimSpan(ctx context.Context, _ *walk, c call, next exchanger) (a answer, err error) {
	join, land := t.began(ctx, c.key)
	defer land()
	ctx, w := t.walk(ctx, nil)
	w.step(ctx, "claim", trace.WithAttributes(ofCall(c)...))
	whole := false
	defer func() {
		if !whole { // a panic; who recovers it says more
			w.fail(&GraphError{class: classInternal})
			w.end()
		}
	}()
	a, err = next.Exchange(ctx, c)
	whole = true
	switch w.name {
	case "claim":
		w.fail(envelopeOf(err))
	case "remember":
		w.note(attribute.Bool("igproxy.stored", a.stored))
	}
	w.end()
	a.flight = join
	return a, err
}

// claimed notes how the claim came out.
func (w *walk) claimed(claim *cache.Claim) {
	if w == nil {
		return
	}
	w.note(attribute.String("igproxy.claim", string(claim.Outcome)))
	if claim.Tier != "" {
		w.note(attribute.String("igproxy.tier", string(claim.Tier)))
	}
}

func guardSpan(ctx context.Context, w *walk, c call, next exchanger) (answer, error) {
	w.step(ctx, "guard", trace.WithAttributes(attribute.String("igproxy.upstream", c.grant.upstream)))
	a, err := next.Exchange(ctx, c)
	if w.name == "guard" { // Instagram was not asked
		w.refused(a, err)
		w.end()
	}
	return a, err
}

func askSpan(ctx context.Context, w *walk, c call, next exchanger) (answer, error) {
	attrs := append(ofCall(c), attribute.String("http.request.method", c.grant.method))
	w.step(ctx, "ask", append(asClient(c.grant.base), trace.WithAttributes(attrs...))...)
	a, err := next.Exchange(ctx, c)
	if w.status > 0 {
		w.note(attribute.Int("http.response.status_code", w.status))
	}
	w.refused(a, err)
	w.end()
	return a, err
}

// heard notes one try: what came back, if anything did, and how many requests were sent so far; the count begins again with another secret.
func (w *walk) heard(res *http.Response, sent int) {
	if w == nil {
		return
	}
	w.status = 0
	if res != nil {
		w.status = res.StatusCode
	}
	if sent <= w.sent {
		w.before += w.sent
	}
	w.sent = sent
	if n := w.before + w.sent; n > 1 {
		w.note(attribute.Int("http.request.resend_count", n-1))
	}
}

// remembering begins the step remember.
func (w *walk) remembering() {
	if w != nil {
		w.step(w.ctx, "remember")
	}
}

// refused says what kept the step from bringing a token.
func (w *walk) refused(a answer, err error) {
	w.fail(envelopeOf(err))
	w.fail(a.refusal)
}

func envelopeOf(err error) (e *GraphError) {
	errors.As(err, &e)
	return e
}

// ofCall is what the spans of a flight say of its call.
func ofCall(c call) []attribute.KeyValue {
	return []attribute.KeyValue{attribute.String("igproxy.app", c.app.label), attribute.String("igproxy.grant", c.grant.name)}
}

// asClient is for a call to the server of this base URL, which is the configuration's.
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
