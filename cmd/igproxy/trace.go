package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/igproxy/igproxy/proxy"
)

// traces are the way of the spans from the proxy to a collector: into a queue that never makes a request wait, and from there in batches.
// What the queue does not take, and what the collector does not, is dropped and counted.
type traces struct {
	provider *sdktrace.TracerProvider // nil: traces are off
	tally    *spanTally
	client   *http.Client
}

// newTraces reads the rest of OTEL_* through the library: sampler, batches, headers, resource. Nothing is dialled.
func newTraces(config Config, metrics *proxy.Metrics, log *slog.Logger) (*traces, error) {
	if config.Traces.URL == "" {
		return &traces{}, nil
	}
	t := &spanTally{most: int64(config.Traces.Queue), log: log.With("to", config.Traces.To)}
	otel.SetLogger(logr.Discard()) // it quotes variables, those with credentials, too
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(error) { t.tell("the library", 0) }))
	client, err := collectorClient(config.Traces)
	if err != nil {
		return nil, err
	}
	ctx := context.Background()
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(config.Traces.URL), otlptracehttp.WithHTTPClient(client))
	if err != nil { // its text may hold what the variables do
		return nil, errors.New("traces: the OTEL_EXPORTER_OTLP_ variables contradict each other; compare them with docs/tracing.md")
	}
	about, err := resource.New(ctx, resource.WithTelemetrySDK(), resource.WithAttributes(attribute.String("service.name", "igproxy"),
		attribute.String("service.version", readBuild().version)), resource.WithFromEnv()) // what comes last wins
	if err != nil {
		t.tell("the library", 0)
	}
	queue := sdktrace.NewBatchSpanProcessor(&delivery{exporter, t}, sdktrace.WithMaxQueueSize(config.Traces.Queue))
	metrics.TraceSpans(t.sent.Load, t.failed.Load, t.dropped.Load)
	log.Info("traces", "to", config.Traces.To)
	return &traces{tally: t, client: client, provider: sdktrace.NewTracerProvider(sdktrace.WithResource(about), sdktrace.WithSpanProcessor(&admission{queue, t}),
		sdktrace.WithoutPanicRecording())}, nil // a panic's value may hold anything
}

// collectorClient follows no redirect: the exporter's own client would, with the headers of the variables.
func collectorClient(c TraceConfig) (*http.Client, error) {
	secure := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CAFile != "" {
		pool, err := readCertPool(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("traces: the collector's authorities: %w", err)
		}
		secure.RootCAs = pool
	}
	if c.CertFile != "" {
		pair, err := readKeyPair(c.CertFile, c.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("traces: the certificate for the collector: %w", err)
		}
		secure.Certificates = []tls.Certificate{*pair}
	}
	return &http.Client{Timeout: c.Timeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: secure, ForceAttemptHTTP2: true, MaxIdleConns: 1, IdleConnTimeout: 90 * time.Second}}, nil
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
	_ = t.provider.Shutdown(ctx) // what was lost is counted and told
	t.client.CloseIdleConnections()
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
	if err == nil {
		t.sent.Add(int64(n))
		return
	}
	t.failed.Add(int64(n))
	t.tell(failureOf(err), n)
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

// statusIn finds the status in the exporter's error, which has no type and quotes the collector's answer.
var statusIn = regexp.MustCompile(`failed to send to \S+: ([1-5][0-9][0-9]) `)

// failureOf is the kind of an exporter's error. Its text may hold a URL, a header, or what the collector said.
func failureOf(err error) string {
	var timeout net.Error
	var name *net.DNSError
	var certificate *tls.CertificateVerificationError
	switch text := err.Error(); {
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
	case statusIn.MatchString(text):
		return "status " + statusIn.FindStringSubmatch(text)[1]
	case strings.Contains(text, "retry-able"):
		return "busy"
	case strings.Contains(text, "partial success"):
		return "taken in part"
	}
	return "other"
}
