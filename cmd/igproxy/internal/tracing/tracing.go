// Package tracing sends spans to an OpenTelemetry collector. The library's OTLP/HTTP exporter reads
// the standard OTEL_ variables itself; a wrong variable never keeps igproxy from starting.
package tracing

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"sync"
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
	defaultEndpoint = "http://localhost:4318" // as in OpenTelemetry's specification
	stopTimeout     = 3 * time.Second         // bounds how long a stop waits for the collector
	warnInterval    = time.Minute             // the shortest time between two warnings about lost spans
)

// Collector returns the host that spans are sent to, "" if tracing is off, or "an endpoint that is
// not a URL".
func Collector(getenv func(string) string) string {
	exporter, endpoint := getenv("OTEL_TRACES_EXPORTER"), endpointIn(getenv)
	if strings.EqualFold(getenv("OTEL_SDK_DISABLED"), "true") || exporter == "none" || exporter+endpoint == "" {
		return ""
	}
	u, err := url.Parse(cmp.Or(endpoint, defaultEndpoint))
	if err != nil || u.Host == "" {
		return "an endpoint that is not a URL"
	}
	return u.Host
}

// Misfits returns a problem for each variable that asks for something that igproxy does not do. A
// platform may set these variables for every program, so igproxy starts in spite of them. Problems
// contain no values. If tracing is off, Misfits returns none.
func Misfits(getenv func(string) string) (problems []string) {
	if Collector(getenv) == "" {
		return nil
	}
	if u, err := url.Parse(endpointIn(getenv)); endpointIn(getenv) != "" && (err != nil || u.Scheme != "http" && u.Scheme != "https") {
		name, example := "OTEL_EXPORTER_OTLP_ENDPOINT", "http://HOST:4318"
		if getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") != "" {
			name, example = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://HOST:4318/v1/traces"
		}
		problems = append(problems, name+" is not a URL with http:// or https://, so no spans arrive; write "+example)
	}
	protocol := "OTEL_EXPORTER_OTLP_PROTOCOL"
	if getenv("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") != "" {
		protocol = "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"
	}
	switch getenv(protocol) {
	case "", "http/protobuf", "http/json":
	default:
		problems = append(problems, protocol+" is not http/protobuf or http/json; spans are sent over HTTP, usually to port 4318")
	}
	if exporter := getenv("OTEL_TRACES_EXPORTER"); exporter != "" && !strings.Contains(exporter, "otlp") {
		problems = append(problems, "OTEL_TRACES_EXPORTER is not otlp or none; spans are sent over OTLP")
	}
	compression := "OTEL_EXPORTER_OTLP_COMPRESSION"
	if getenv("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION") != "" {
		compression = "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION"
	}
	switch getenv(compression) {
	case "", "gzip", "none":
	default:
		problems = append(problems, compression+" is not gzip or none; spans are not compressed")
	}
	return problems
}

func endpointIn(getenv func(string) string) string {
	return cmp.Or(getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"), getenv("OTEL_EXPORTER_OTLP_ENDPOINT"))
}

// Start returns the tracer that the environment asks for, or nil if tracing is off. The version
// becomes the resource attribute service.version. Start never logs the value of a variable, except
// for the host of the collector, and never the text of an error. stop sends what is queued, for at
// most three seconds and only until ctx ends. stop may be called more than once. The library's
// error handler and logger are global, so call Start only once in a process.
func Start(version string, log *slog.Logger) (tracer trace.Tracer, stop func(context.Context)) {
	off := func(context.Context) {}
	collector := Collector(os.Getenv)
	if collector == "" {
		return nil, off
	}
	for _, problem := range Misfits(os.Getenv) {
		log.Warn("tracing", "problem", problem)
	}
	provider, err := newProvider(version, &failures{log: log, collector: collector})
	if err != nil {
		log.Warn("tracing", "problem", "an OTEL_ variable cannot be used, so tracing is off")
		return nil, off
	}
	log.Info("tracing", "collector", collector)
	return provider.Tracer("github.com/igproxy/igproxy"), func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, stopTimeout)
		defer cancel()
		if provider.Shutdown(ctx) != nil {
			log.Warn("spans lost at stop", "collector", collector)
		}
	}
}

// newProvider returns a provider without connecting to anything. It recovers from panics, because
// the library panics on a negative queue size.
func newProvider(version string, lost *failures) (provider *sdktrace.TracerProvider, err error) {
	defer func() {
		if recover() != nil {
			err = errors.New("the library panicked")
		}
	}()
	warn := sync.OnceFunc(func() { lost.log.Warn("tracing", "problem", "an OTEL_ variable is invalid and ignored") })
	otel.SetLogger(logr.New(invalid{warn}))
	defer otel.SetLogger(logr.Discard()) // messages that come later are not about variables
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(error) { warn() }))
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
		attribute.String("service.version", version)), resource.WithFromEnv()) // the last option takes precedence
	if err != nil {
		otel.Handle(err)
	}
	provider = sdktrace.NewTracerProvider(sdktrace.WithResource(attributes), sdktrace.WithBatcher(exporter),
		sdktrace.WithoutPanicRecording()) // a panic's value may hold a secret
	otel.SetErrorHandler(lost)
	return provider, nil
}

// invalid is a logr.LogSink that warns when the library logs that it ignores a variable. The sink
// drops the library's message, which contains the value of the variable.
type invalid struct{ warn func() }

// Init implements logr.LogSink.
func (s invalid) Init(logr.RuntimeInfo) {}

// Enabled implements logr.LogSink.
func (s invalid) Enabled(int) bool { return true }

// Info implements logr.LogSink.
func (s invalid) Info(_ int, message string, _ ...any) {
	if strings.HasPrefix(message, "Got invalid value") {
		s.warn()
	}
}

// Error implements logr.LogSink. It ignores the message about an invalid URL, because Misfits
// reports that.
func (s invalid) Error(_ error, message string, _ ...any) {
	if message != "parse url" {
		s.warn()
	}
}

// WithValues implements logr.LogSink.
func (s invalid) WithValues(...any) logr.LogSink { return s }

// WithName implements logr.LogSink.
func (s invalid) WithName(string) logr.LogSink { return s }

// failures logs, at most once every warnInterval, that batches of spans were not delivered.
type failures struct {
	log       *slog.Logger
	collector string

	mu   sync.Mutex // protects last
	last time.Time
}

// Handle implements otel.ErrorHandler. It never logs the error's text, which holds the collector's
// URL and response.
func (f *failures) Handle(error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if time.Since(f.last) >= warnInterval {
		f.last = time.Now()
		f.log.Warn("spans not delivered", "collector", f.collector)
	}
}
