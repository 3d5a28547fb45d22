package main

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/igproxy/igproxy/proxy"
)

// traces are the way of the spans from the proxy to a collector: into a queue that never makes a request wait, and from there in batches.
// What the queue does not take, and what the collector does not, is dropped and counted.
type traces struct {
	provider *sdktrace.TracerProvider // nil: traces are off
	tally    *spanTally
	exporter *exporter
}

// newTraces reads the rest of OTEL_* through the library: sampler, batches, resource. Nothing is dialled.
func newTraces(config Config, metrics *proxy.Metrics, log *slog.Logger) (*traces, error) {
	if config.Traces.URL == "" {
		return &traces{}, nil
	}
	t := &spanTally{most: int64(config.Traces.Queue), log: log.With("to", config.Traces.To)}
	otel.SetLogger(logr.Discard()) // it quotes variables, those with credentials, too
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(error) { t.tell("the library", 0) }))
	exporter, err := newExporter(config.Traces)
	if err != nil {
		return nil, err
	}
	about, err := resource.New(context.Background(), resource.WithTelemetrySDK(), resource.WithAttributes(attribute.String("service.name", "igproxy"),
		attribute.String("service.version", readBuild().version)), resource.WithFromEnv()) // what comes last wins
	if err != nil {
		t.tell("the library", 0)
	}
	queue := sdktrace.NewBatchSpanProcessor(&delivery{exporter, t}, sdktrace.WithMaxQueueSize(config.Traces.Queue))
	metrics.TraceSpans(t.sent.Load, t.failed.Load, t.dropped.Load)
	log.Info("traces", "to", config.Traces.To)
	return &traces{tally: t, exporter: exporter, provider: sdktrace.NewTracerProvider(sdktrace.WithResource(about), sdktrace.WithSpanProcessor(&admission{queue, t}),
		sdktrace.WithoutPanicRecording())}, nil // a panic's value may hold anything
}

// tracer is nil when traces are off.
func (t *traces) tracer() proxy.Tracer {
	if t.provider == nil {
		return nil
	}
	return t.provider.Tracer("github.com/igproxy/igproxy")
}

// lastSpans is how long a stop waits for a collector to take the last ones.
const lastSpans = 3 * time.Second

// close sends what waits, if the collector takes it in time.
func (t *traces) close(ctx context.Context) {
	if t == nil || t.provider == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, lastSpans)
	defer cancel()
	t.exporter.stop()
	_ = t.provider.Shutdown(ctx) // what was lost is counted and told
	t.tally.end()
}

// spanTally counts spans on both sides of the library's queue, which tells nobody what it drops. With no more in it than it holds, it drops
// none.
type spanTally struct {
	most                        int64
	held, sent, failed, dropped atomic.Int64
	log                         *slog.Logger

	mu     sync.Mutex // protects both below
	told   time.Time  // when the log heard of it last
	untold int        // spans that were lost since
}

// admission stands before the queue.
type admission struct {
	sdktrace.SpanProcessor
	tally *spanTally
}

// OnEnd never waits.
func (a *admission) OnEnd(s sdktrace.ReadOnlySpan) {
	switch {
	case !s.SpanContext().IsSampled():
	case a.tally.held.Add(1) > a.tally.most:
		a.tally.held.Add(-1)
		a.tally.dropped.Add(1)
	default:
		a.SpanProcessor.OnEnd(s)
	}
}

// delivery stands behind it.
type delivery struct {
	sdktrace.SpanExporter
	tally *spanTally
}

// ExportSpans handles its error itself: the library would hand on its text.
func (d *delivery) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	d.tally.delivered(len(spans), d.SpanExporter.ExportSpans(ctx, spans))
	return nil
}

func (t *spanTally) delivered(n int, err error) {
	t.held.Add(int64(-n))
	lost := n
	var part *partError
	if errors.As(err, &part) {
		lost = int(min(part.rejected, int64(n)))
	} else if err == nil {
		lost = 0
	}
	t.sent.Add(int64(n - lost))
	if lost > 0 {
		t.failed.Add(int64(lost))
		t.tell(failureOf(err), lost)
	}
}

// often is how often the log hears that spans are lost, at the most.
const often = time.Minute

// tell writes a line, or keeps count for the next one.
func (t *spanTally) tell(kind string, lost int) {
	t.mu.Lock()
	t.untold += lost
	now := time.Now()
	if !t.told.IsZero() && now.Sub(t.told) < often {
		t.mu.Unlock()
		return
	}
	lost, t.untold, t.told = t.untold, 0, now
	t.mu.Unlock()
	t.log.Warn("traces were not delivered; nothing else is touched by that", "kind", kind, "spans", lost)
}

// end counts what nobody took in time, and tells of all that the log has not heard of yet.
func (t *spanTally) end() {
	late := max(0, t.held.Swap(0))
	t.failed.Add(late)
	t.mu.Lock()
	lost := t.untold + int(late)
	t.untold = 0
	t.mu.Unlock()
	if lost > 0 {
		t.log.Warn("traces were not delivered before the end; nothing else is touched by that", "kind", "stopped", "spans", lost)
	}
}

// failureOf is the kind of an exporter's error. The text of one from net/http may hold anything.
func failureOf(err error) string {
	var timeout net.Error
	var name *net.DNSError
	var certificate *tls.CertificateVerificationError
	var status statusError
	var busy *busyError
	var part *partError
	switch {
	case errors.As(err, &status):
		return status.Error()
	case errors.As(err, &busy):
		return "busy"
	case errors.As(err, &part):
		return "taken in part"
	case errors.As(err, &name):
		return "no such host"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	case errors.As(err, &certificate):
		return "certificate"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "timeout"
	case errors.Is(err, context.Canceled):
		return "stopped"
	}
	return "other"
}
