// Package tracing sends spans to an OpenTelemetry collector. The library's OTLP/HTTP exporter reads
// the standard OTEL_ variables itself; a wrong variable is a warning and never keeps igproxy from
// starting.
package tracing

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

const (
	stopTimeout  = 3 * time.Second // bounds how long a stop waits for the collector
	warnInterval = time.Minute     // the shortest time between two warnings about lost spans
)

// Start reads the environment and returns the tracer it asks for; nil means that tracing is off.
// The version becomes the resource attribute service.version. Warnings that are logged hold no
// variable's value and no error's text. stop sends what is queued, within ctx and three seconds; it
// may be called more than once. The library's error handler and logger are global, so a process
// starts tracing once.
func Start(version string, log *slog.Logger) (tracer trace.Tracer, stop func(context.Context)) {
	off := func(context.Context) {}
	collector := Collector(os.Getenv)
	if collector == "" {
		return nil, off
	}
	provider, err := newProvider(version, log)
	if err != nil {
		log.Warn("tracing", "problem", "a variable cannot be used, so tracing is off", "kind", kindOf(err))
		return nil, off
	}
	log.Info("tracing", "collector", collector)
	return provider.Tracer("github.com/igproxy/igproxy"), func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, stopTimeout)
		defer cancel()
		if err := provider.Shutdown(ctx); err != nil {
			log.Warn("spans lost at stop", "kind", kindOf(err))
		}
	}
}

// newProvider connects to nothing. It recovers because the library panics on a negative queue size.
func newProvider(version string, log *slog.Logger) (provider *sdktrace.TracerProvider, err error) {
	defer func() {
		if recover() != nil {
			err = errors.New("the library panicked")
		}
	}()
	otel.SetLogger(logr.New(messages{log}))
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		log.Warn("tracing", "problem", "a variable is invalid and ignored", "kind", kindOf(err))
	}))
	var destination []otlptracehttp.Option
	if endpointIn(os.Getenv) == "" { // the library's own default is https
		destination = append(destination, otlptracehttp.WithEndpointURL(defaultEndpoint+"/v1/traces"))
	}
	ctx := context.Background()
	exporter, err := otlptracehttp.New(ctx, destination...)
	if err != nil {
		return nil, err
	}
	attributes, err := resource.New(ctx, resource.WithTelemetrySDK(), resource.WithAttributes(attribute.String("service.name", "igproxy"),
		attribute.String("service.version", version)), resource.WithFromEnv()) // the last one wins
	if err != nil {
		otel.Handle(err)
	}
	provider = sdktrace.NewTracerProvider(sdktrace.WithResource(attributes), sdktrace.WithBatcher(exporter),
		sdktrace.WithoutPanicRecording()) // a panic's value may hold a secret
	otel.SetErrorHandler(&failures{log: log})
	return provider, nil
}

// failures logs that batches were not delivered.
type failures struct {
	log *slog.Logger

	mu   sync.Mutex // protects last
	last time.Time
}

// Handle implements otel.ErrorHandler. It never logs the error's text, which holds the collector's
// URL and reply.
func (f *failures) Handle(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if time.Since(f.last) >= warnInterval {
		f.last = time.Now()
		f.log.Warn("spans not delivered", "kind", kindOf(err))
	}
}

// kindOf classifies an error in one word.
func kindOf(err error) string {
	var timeout net.Error
	var name *net.DNSError
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.As(err, &name):
		return "dns"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	case errors.As(err, &certificate):
		return "certificate"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "timeout"
	}
	return "other"
}

// messages is a logr.LogSink that logs the library's fixed messages without their arguments, which
// hold the values of variables, credentials among them.
type messages struct{ log *slog.Logger }

func (messages) Init(logr.RuntimeInfo) {}

// Enabled admits errors and warnings.
func (messages) Enabled(level int) bool { return level <= 1 }

func (m messages) Info(_ int, message string, _ ...any) { m.log.Warn("tracing", "problem", message) }

func (m messages) Error(_ error, message string, _ ...any) {
	m.log.Warn("tracing", "problem", "an OTEL_ variable is ignored: "+message)
}

func (m messages) WithValues(...any) logr.LogSink { return m }

func (m messages) WithName(string) logr.LogSink { return m }
