package tracing_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/igproxy/igproxy/cmd/igproxy/internal/tracing"
)

// environment returns a function that looks up a variable in "NAME=value NAME=value".
func environment(variables string) func(string) string {
	return func(name string) (value string) {
		for entry := range strings.FieldsSeq(variables) {
			if v, ok := strings.CutPrefix(entry, name+"="); ok {
				value = v
			}
		}
		return value
	}
}

func TestTheStandardVariablesTurnTracingOn(t *testing.T) {
	for variables, want := range map[string]string{
		"":                             "",
		"OTEL_SERVICE_NAME=shop":       "",
		"OTEL_TRACES_EXPORTER=otlp":    "localhost:4318",
		"OTEL_EXPORTER_OTLP_ENDPOINT=": "",
		"OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4318":                                                                              "c:4318",
		"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=https://t/at OTEL_EXPORTER_OTLP_ENDPOINT=http://c:2":                                 "t",
		"OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4318 OTEL_TRACES_EXPORTER=none":                                                    "",
		"OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4318 OTEL_TRACES_EXPORTER=console,otlp":                                            "c:4318",
		"OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4318 OTEL_SDK_DISABLED=TRUE":                                                       "",
		"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT=http://c:4318":                                                                      "",
		"OTEL_EXPORTER_OTLP_ENDPOINT=http://c:1 OTEL_EXPORTER_OTLP_PROTOCOL=grpc OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/json":   "c:1",
		"OTEL_EXPORTER_OTLP_ENDPOINT=http://u:CANARY@c:1 OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf OTEL_TRACES_SAMPLER=whatever": "c:1",
	} {
		if got := tracing.Collector(environment(variables)); got != want {
			t.Errorf("%q: got %q, want %q", variables, got, want)
		}
	}
}

// log is a buffer that goroutines may share.
type log struct {
	mu   sync.Mutex // protects text
	text bytes.Buffer
}

func (l *log) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(line)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// start sets the variables and starts tracing.
func start(t *testing.T, variables string) (trace.Tracer, func(context.Context), *log) {
	t.Helper()
	for entry := range strings.FieldsSeq(variables) {
		name, value, _ := strings.Cut(entry, "=")
		t.Setenv(name, value)
	}
	l := &log{}
	tracer, stop := tracing.Start("v1", slog.New(slog.NewTextHandler(l, nil)))
	return tracer, stop, l
}

func spans(tracer trace.Tracer, n int) {
	for range n {
		_, s := tracer.Start(context.Background(), "a span")
		s.End()
	}
}

func TestWithoutTheVariablesThereIsNoTracerAndStopIsHarmless(t *testing.T) {
	tracer, stop, l := start(t, "")
	stop(t.Context())
	if tracer != nil || l.String() != "" {
		t.Errorf("got the tracer %v and the log %s, want neither", tracer, l)
	}
}

// A platform sets OTEL_ variables for every program at once. A sidecar that refused to start
// because of one of them would take its app down.
func TestNoVariablePreventsTheStartAndNoValueIsLogged(t *testing.T) {
	for variables, traced := range map[string]bool{ // false: tracing is off, because the library panics
		"OTEL_EXPORTER_OTLP_PROTOCOL=grpc":                                                    true,
		"OTEL_TRACES_EXPORTER=CANARY":                                                         true,
		"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=CANARY:4317":                                      true,
		"OTEL_BSP_MAX_QUEUE_SIZE=-1":                                                          false,
		"OTEL_EXPORTER_OTLP_CERTIFICATE=/CANARY":                                              true,
		"OTEL_EXPORTER_OTLP_CLIENT_KEY=/CANARY OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE=/CANARY": true,
		"OTEL_EXPORTER_OTLP_HEADERS=CANARY":                                                   true,
		"OTEL_EXPORTER_OTLP_HEADERS=a=CANARY%":                                                true,
		"OTEL_EXPORTER_OTLP_TIMEOUT=CANARY":                                                   true,
		"OTEL_EXPORTER_OTLP_COMPRESSION=CANARY":                                               true,
		"OTEL_EXPORTER_OTLP_PROTOCOL=CANARY":                                                  true,
		"OTEL_BSP_SCHEDULE_DELAY=CANARY":                                                      true,
		"OTEL_RESOURCE_ATTRIBUTES=CANARY":                                                     true,
		"OTEL_TRACES_SAMPLER=CANARY":                                                          true,
		"OTEL_TRACES_SAMPLER=traceidratio OTEL_TRACES_SAMPLER_ARG=CANARY":                     true,
		"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT=CANARY OTEL_PROPAGATORS=CANARY,CANARY":               true,
	} {
		t.Run(variables, func(t *testing.T) {
			tracer, stop, l := start(t, "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:1 "+variables)
			if (tracer != nil) != traced || strings.Contains(l.String(), "CANARY") || !traced && !strings.Contains(l.String(), "tracing is off") {
				t.Errorf("got a tracer: %t, want %t; got the log %s, want no CANARY, and \"tracing is off\" if there is no tracer", tracer != nil, traced, l)
			}
			if n := strings.Count(l.String(), "level=WARN"); n != 1 {
				t.Errorf("got %d warnings, want 1: %s", n, l)
			}
			stop(t.Context())
		})
	}
}

func TestAWrongVariableIsReportedByName(t *testing.T) {
	for _, name := range []string{"OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
		"OTEL_EXPORTER_OTLP_COMPRESSION", "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"} {
		variables := map[string]string{"OTEL_TRACES_EXPORTER": "otlp", name: "CANARY"}
		got := tracing.Misfits(func(name string) string { return variables[name] })
		if len(got) != 1 || !strings.HasPrefix(got[0], name+" ") {
			t.Errorf("got %q, want one problem that begins with %s", got, name)
		}
	}
}

func TestExporterFollowsTheVariables(t *testing.T) {
	for protocol, contentType := range map[string]string{"": "application/x-protobuf", "http/json": "application/json"} {
		var got *http.Request
		var body []byte
		collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			got = r
			body, _ = io.ReadAll(r.Body)
		}))
		tracer, stop, _ := start(t, "OTEL_EXPORTER_OTLP_ENDPOINT="+collector.URL+" OTEL_EXPORTER_OTLP_HEADERS=api-key=a%2Cb OTEL_RESOURCE_ATTRIBUTES=zone=x OTEL_EXPORTER_OTLP_PROTOCOL="+protocol)
		spans(tracer, 1)
		stop(t.Context())
		stop(t.Context())
		collector.Close()
		if got == nil || got.URL.Path != "/v1/traces" || got.Header.Get("Api-Key") != "a,b" || got.Header.Get("Content-Type") != contentType {
			t.Errorf("protocol %q: got %+v, want /v1/traces with the Api-Key a,b and the content type %s", protocol, got, contentType)
		}
		for _, want := range []string{"a span", "igproxy", "v1", "zone"} {
			if !bytes.Contains(body, []byte(want)) {
				t.Errorf("protocol %q: got the body %q, want %s in it", protocol, body, want)
			}
		}
	}
}

func TestManyLostSpansCauseOneLogLine(t *testing.T) {
	refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "CANARY", http.StatusForbidden) }))
	defer refusing.Close()
	for _, endpoint := range []string{"http://127.0.0.1:1/CANARY", refusing.URL + "/CANARY"} {
		tracer, stop, l := start(t, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE=1 OTEL_EXPORTER_OTLP_HEADERS=api-key=CANARY OTEL_EXPORTER_OTLP_TRACES_ENDPOINT="+endpoint)
		spans(tracer, 5)
		stop(t.Context())
		if text := l.String(); strings.Count(text, `msg="spans not delivered" collector=127.0.0.1:`) != 1 || strings.Contains(text, "CANARY") {
			t.Errorf("%s: got the log %s, want one line about lost spans, and no CANARY", endpoint, text)
		}
	}
}

func TestAHungCollectorDelaysAStopOnlyUntilTheDeadline(t *testing.T) {
	release := make(chan struct{})
	hung := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer hung.Close()
	defer close(release)
	tracer, stop, l := start(t, "OTEL_EXPORTER_OTLP_ENDPOINT="+hung.URL)
	spans(tracer, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	begun := time.Now()
	stop(ctx)
	if took := time.Since(begun); took > 2*time.Second || !strings.Contains(l.String(), `msg="spans lost at stop"`) {
		t.Errorf("the stop took %s, want at most 2s; the log must have a line about lost spans: %s", took, l)
	}
}

func TestUnusableVariablesCauseOnlyAWarning(t *testing.T) {
	for _, variables := range []string{
		"OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:1 OTEL_EXPORTER_OTLP_PROTOCOL=grpc",
		"OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:1 OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=grpc",
		"OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:1 OTEL_TRACES_SAMPLER=xray OTEL_TRACES_SAMPLER_ARG=endpoint=http://127.0.0.1:2000",
		"OTEL_EXPORTER_OTLP_ENDPOINT=collector:4317",
		"OTEL_EXPORTER_OTLP_ENDPOINT=127.0.0.1:4317",
		"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=collector",
		"OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:1 OTEL_TRACES_EXPORTER=jaeger",
	} {
		t.Run(variables, func(t *testing.T) {
			_, stop, l := start(t, variables)
			if text := l.String(); strings.Count(text, "level=WARN") != 1 || !strings.Contains(text, "problem=") {
				t.Errorf("got the log\n%s\nwant one warning, with a problem", text)
			}
			stop(t.Context())
		})
	}
}
