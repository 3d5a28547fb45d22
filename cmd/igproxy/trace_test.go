package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/igproxy/igproxy/proxy"
)

func TestTracesAreOnByTheStandardVariables(t *testing.T) {
	for variables, want := range map[string]string{
		"":                             "off",
		"OTEL_SERVICE_NAME=shop":       "off",
		"OTEL_TRACES_EXPORTER=otlp":    "on, to localhost:4318 by http://localhost:4318/v1/traces",
		"OTEL_EXPORTER_OTLP_ENDPOINT=": "off",
		"OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4318":                                                                            "on, to c:4318 by http://c:4318/v1/traces",
		"OTEL_EXPORTER_OTLP_ENDPOINT=https://c/at/":                                                                            "on, to c by https://c/at/v1/traces",
		"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=https://c/at":                                                                      "on, to c by https://c/at",
		"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=https://c":                                                                         "on, to c by https://c/",
		"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://t:1/x OTEL_EXPORTER_OTLP_ENDPOINT=http://c:2":                               "on, to t:1 by http://t:1/x",
		"OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4318 OTEL_TRACES_EXPORTER=none":                                                  "off",
		"OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4318 OTEL_SDK_DISABLED=TRUE":                                                     "off",
		"OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4318 OTEL_SDK_DISABLED=false OTEL_TRACES_EXPORTER=otlp":                          "on, to c:4318 by http://c:4318/v1/traces",
		"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT=http://c:4318":                                                                    "off",
		"OTEL_EXPORTER_OTLP_ENDPOINT=http://c:1 OTEL_EXPORTER_OTLP_PROTOCOL=grpc OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/json": "on, to c:1 by http://c:1/v1/traces",
	} {
		config, problems := loadConfig("", append(slices.Clone(withSecret), strings.Fields(variables)...))
		got := traceWords(config)
		if config.Traces.URL != "" {
			got += " by " + config.Traces.URL
		}
		if got != want || len(problems) > 0 {
			t.Errorf("%q: %s, want %s; %v", variables, got, want, problems)
		}
	}
}

func TestAWrongTraceVariableIsToldWithoutItsValue(t *testing.T) {
	const on = "OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4318"
	for variables, want := range map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT=CANARY:4318":                                    "environment: OTEL_EXPORTER_OTLP_ENDPOINT: not an http or https URL; write the collector's, such as http://localhost:4318",
		"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=unix:///CANARY":                          "environment: OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: not an http or https URL; write the collector's, such as http://localhost:4318",
		"OTEL_EXPORTER_OTLP_ENDPOINT=http://u:CANARY@c":                              "environment: OTEL_EXPORTER_OTLP_ENDPOINT: it has a user, a query or a fragment; write credentials in OTEL_EXPORTER_OTLP_HEADERS",
		on + " OTEL_EXPORTER_OTLP_PROTOCOL=grpc":                                     "environment: OTEL_EXPORTER_OTLP_PROTOCOL: igproxy speaks http/json only; write http/json, and the collector's port for HTTP, which mostly is 4318",
		on + " OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/protobuf":                     "environment: OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: igproxy speaks http/json only; write http/json, and the collector's port for HTTP, which mostly is 4318",
		on + " OTEL_EXPORTER_OTLP_COMPRESSION=CANARY":                                "environment: OTEL_EXPORTER_OTLP_COMPRESSION: not a compression; write gzip or none",
		on + " OTEL_EXPORTER_OTLP_HEADERS=CANARY":                                    "environment: OTEL_EXPORTER_OTLP_HEADERS: not a list of name=value; write name=value,name=value; in values, write a comma as %2C and a % as %25",
		on + " OTEL_EXPORTER_OTLP_HEADERS=a=CANARY%":                                 "environment: OTEL_EXPORTER_OTLP_HEADERS: not a list of name=value; write name=value,name=value; in values, write a comma as %2C and a % as %25",
		on + " OTEL_EXPORTER_OTLP_HEADERS=a=CANARY%0a":                               "environment: OTEL_EXPORTER_OTLP_HEADERS: not a list of name=value; write name=value,name=value; in values, write a comma as %2C and a % as %25",
		on + " OTEL_EXPORTER_OTLP_HEADERS=a=CANARY":                                  "warning: environment: OTEL_EXPORTER_OTLP_HEADERS: a credential in it would travel unencrypted; use a collector at https://, or one on this machine",
		on + " OTEL_EXPORTER_OTLP_CERTIFICATE=/none":                                 "environment: OTEL_EXPORTER_OTLP_CERTIFICATE: set, but the collector is not asked over TLS; write https:// in its URL, or remove this",
		on + " OTEL_EXPORTER_OTLP_CLIENT_KEY=/none":                                  "environment: OTEL_EXPORTER_OTLP_CLIENT_KEY: set without its certificate; set OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE too",
		on + " OTEL_BSP_MAX_QUEUE_SIZE=-1":                                           "environment: OTEL_BSP_MAX_QUEUE_SIZE: not a whole number between 1 and 100000; write one, without a unit, or remove it",
		on + " OTEL_EXPORTER_OTLP_TIMEOUT=10s":                                       "environment: OTEL_EXPORTER_OTLP_TIMEOUT: not a whole number between 1 and 3600000; write one, without a unit, or remove it",
		on + " OTEL_TRACES_SAMPLER=CANARY":                                           "environment: OTEL_TRACES_SAMPLER: not a sampler; write always_on, always_off, traceidratio, or one of these with parentbased_ in front",
		on + " OTEL_TRACES_SAMPLER=traceidratio OTEL_TRACES_SAMPLER_ARG=NaN":         "environment: OTEL_TRACES_SAMPLER_ARG: not a fraction; write the share of requests to trace, from 0 to 1",
		on + " OTEL_RESOURCE_ATTRIBUTES=CANARY":                                      "warning: environment: OTEL_RESOURCE_ATTRIBUTES: not a list of name=value; write name=value,name=value; in values, write a comma as %2C and a % as %25",
		on + " OTEL_TRACES_EXPORTER=console":                                         "warning: environment: OTEL_TRACES_EXPORTER: igproxy sends traces by otlp only, so they are off; write otlp or none",
		"OTEL_EXPORTER_OTLP_ENDPOINT=https://c OTEL_EXPORTER_OTLP_CERTIFICATE=/none": "environment: OTEL_EXPORTER_OTLP_CERTIFICATE: /none does not exist; ",
	} {
		_, problems := loadConfig("", append(slices.Clone(withSecret), strings.Fields(variables)...))
		if len(problems) != 1 {
			t.Errorf("%s: %d problems: %v", variables, len(problems), problems)
			continue
		}
		got := problems[0].String()
		if problems[0].Warning {
			got = "warning: " + got
		}
		if !strings.HasPrefix(got, want) || strings.Contains(got, "CANARY") {
			t.Errorf("%s:\ngot  %s\nwant %s", variables, got, want)
		}
	}
	code, _, stderr := command(t, append(slices.Clone(withSecret), on, "OTEL_EXPORTER_OTLP_PROTOCOL=grpc"), "serve")
	if code != exitUsage || !strings.Contains(stderr, "http/json only") {
		t.Errorf("serve with grpc: %d %s", code, stderr)
	}
}

// tracesTo builds the way to a collector as serve does, for spans with a log.
func tracesTo(t *testing.T, log io.Writer, variables ...string) *traces {
	t.Helper()
	for _, entry := range variables { // the library reads them itself
		name, value, _ := strings.Cut(entry, "=")
		t.Setenv(name, value)
	}
	config, problems := loadConfig("", append(slices.Clone(withSecret), variables...))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	tr, err := newTraces(config, proxy.NewMetrics(), slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func spans(tr *traces, n int) {
	for range n {
		_, s := tr.tracer().Start(context.Background(), "a span")
		s.End()
	}
}

func TestWithTracesOffThereIsNoTracer(t *testing.T) {
	tr, err := newTraces(Config{}, proxy.NewMetrics(), slog.New(slog.DiscardHandler))
	if err != nil || tr.tracer() != nil {
		t.Errorf("%v, %v", tr.tracer(), err)
	}
	tr.close(t.Context())
}

func TestWhatACollectorDoesNotTakeIsCountedAndToldByItsKind(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a redirect was followed") }))
	defer elsewhere.Close()
	for want, answer := range map[string]http.HandlerFunc{
		`"status 401"`: func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "CANARY", http.StatusUnauthorized) },
		`"status 307"`: func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL+"/CANARY", http.StatusTemporaryRedirect)
		},
		"busy": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "3600")
			http.Error(w, "CANARY", http.StatusServiceUnavailable)
		},
	} {
		collector := httptest.NewServer(answer)
		var log bytes.Buffer
		tr := tracesTo(t, &log, "OTEL_EXPORTER_OTLP_ENDPOINT="+collector.URL, "OTEL_EXPORTER_OTLP_HEADERS=api-key=CANARY")
		spans(tr, 3)
		tr.close(t.Context())
		if text := log.String(); !strings.Contains(text, "kind="+want+" spans=3") || strings.Contains(text, "CANARY") || tr.tally.failed.Load() != 3 {
			t.Errorf("%d failed, want 3 of kind %s: %s", tr.tally.failed.Load(), want, text)
		}
		collector.Close()
	}
	for want, err := range map[string]error{
		"no such host":  fmt.Errorf("x: %w", &net.DNSError{Name: "CANARY", IsNotFound: true}),
		"refused":       fmt.Errorf("x: %w", &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}),
		"certificate":   fmt.Errorf("x: %w", &tls.CertificateVerificationError{Err: errors.New("CANARY")}),
		"timeout":       fmt.Errorf("x: %w", context.DeadlineExceeded),
		"stopped":       fmt.Errorf("x: %w", context.Canceled),
		"taken in part": &partError{1},
		"other":         errors.New("CANARY"),
	} {
		if got := failureOf(err); got != want {
			t.Errorf("%v: %s, want %s", err, got, want)
		}
	}
}

func TestLostSpansAreToldOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		tally := &spanTally{most: 10, log: slog.New(slog.NewTextHandler(&log, nil))}
		for range 60 { // one each 2 s
			tally.delivered(5, context.DeadlineExceeded)
			time.Sleep(2 * time.Second)
		}
		if text := log.String(); strings.Count(text, "\n") != 2 || !strings.Contains(text, "spans=5") || !strings.Contains(text, "spans=150") {
			t.Errorf("in two minutes: %s", text)
		}
	})
}

// blocked takes no spans until it is released.
type blocked struct{ release chan struct{} }

func (b *blocked) ExportSpans(context.Context, []sdktrace.ReadOnlySpan) error {
	<-b.release
	return nil
}
func (b *blocked) Shutdown(context.Context) error { return nil }

func TestSpansBeyondTheQueueAreDroppedAndCountedAndNobodyWaits(t *testing.T) {
	const most = 20
	tally := &spanTally{most: most, log: slog.New(slog.DiscardHandler)}
	b := &blocked{make(chan struct{})}
	queue := sdktrace.NewBatchSpanProcessor(&delivery{b, tally}, sdktrace.WithMaxQueueSize(most), sdktrace.WithMaxExportBatchSize(3))
	tr := &traces{tally: tally, exporter: &exporter{stop: func() {}}, provider: sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(&admission{queue, tally}))}
	spans(tr, 100)
	if tally.dropped.Load() != 80 || tally.sent.Load() != 0 {
		t.Errorf("%d dropped and %d sent, want 80 and 0", tally.dropped.Load(), tally.sent.Load())
	}
	close(b.release)
	tr.close(t.Context())
	if tally.sent.Load() != most || tally.failed.Load() != 0 || tally.held.Load() != 0 {
		t.Errorf("%d sent, %d failed, %d held, want 20, 0, 0", tally.sent.Load(), tally.failed.Load(), tally.held.Load())
	}
}

func TestSpansThatAreLostAtAStopAreCountedAndTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		tally := &spanTally{most: 20, log: slog.New(slog.NewTextHandler(&log, nil))}
		b := &blocked{make(chan struct{})}
		queue := sdktrace.NewBatchSpanProcessor(&delivery{b, tally}, sdktrace.WithMaxExportBatchSize(3))
		tr := &traces{tally: tally, exporter: &exporter{stop: func() {}}, provider: sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(&admission{queue, tally}))}
		spans(tr, 5)
		start := time.Now()
		tr.close(t.Context())
		if text := log.String(); time.Since(start) != lastSpans || tally.failed.Load() != 5 || strings.Count(text, "\n") != 1 || !strings.Contains(text, "kind=stopped spans=5") {
			t.Errorf("after %s: %d failed: %s", time.Since(start), tally.failed.Load(), text)
		}
		close(b.release)
	})
}

func TestAStopTellsOfTheSpansThatWaitedForTheirMinute(t *testing.T) {
	var log bytes.Buffer
	tally := &spanTally{most: 10, log: slog.New(slog.NewTextHandler(&log, nil))}
	for range 3 {
		tally.delivered(2, context.DeadlineExceeded)
	}
	tally.end()
	tally.end()
	if text := log.String(); strings.Count(text, "\n") != 2 || !strings.Contains(text, "kind=timeout spans=2") || !strings.Contains(text, "kind=stopped spans=4") {
		t.Errorf("got %s", text)
	}
}
