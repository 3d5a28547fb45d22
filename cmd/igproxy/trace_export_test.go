package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/igproxy/igproxy/proxy"
)

// wholeSpan has something in each field.
func wholeSpan() sdktrace.ReadOnlySpan {
	one := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{0x5b, 0x8e, 15: 1}, SpanID: trace.SpanID{0xee, 7: 1}, TraceFlags: trace.FlagsSampled})
	parent := one.WithSpanID(trace.SpanID{7: 2}).WithRemote(true)
	return tracetest.SpanStub{
		Name: "a <span>", SpanContext: one, Parent: parent, SpanKind: trace.SpanKindServer,
		StartTime: time.Unix(1544712660, 1), EndTime: time.Unix(1544712661, 0),
		Attributes: []attribute.KeyValue{attribute.String("s", "x"), attribute.Bool("b", false), attribute.Int64("i", math.MaxInt64), attribute.Float64("f", 0.5),
			attribute.Float64("nan", math.NaN()), attribute.StringSlice("ss", []string{"y"}), attribute.Int64Slice("is", []int64{1}), attribute.BoolSlice("none", nil)},
		Events: []sdktrace.Event{{Name: "e", Time: time.Unix(1544712660, 2)}},
		Links:  []sdktrace.Link{{SpanContext: parent, Attributes: []attribute.KeyValue{attribute.Bool("l", true)}}},
		Status: sdktrace.Status{Code: codes.Error, Description: "timeout"}, DroppedAttributes: 3,
		Resource: resource.NewSchemaless(attribute.String("service.name", "igproxy")), InstrumentationScope: instrumentation.Scope{Name: "igproxy"},
	}.Snapshot()
}

// The names, the hexadecimal ids, the quoted numbers of 64 bits and the numbers of enumerations are those of
// https://github.com/open-telemetry/opentelemetry-proto/blob/main/examples/trace.json and of opentelemetry/proto/trace/v1/trace.proto.
func TestABatchIsOTLPInJSON(t *testing.T) {
	const want = `{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"igproxy"}}]},
		"scopeSpans":[{"scope":{"name":"igproxy"},"spans":[{"traceId":"5b8e0000000000000000000000000001","spanId":"ee00000000000001","parentSpanId":"0000000000000002",
		"flags":769,"name":"a <span>","kind":2,"startTimeUnixNano":"1544712660000000001","endTimeUnixNano":"1544712661000000000",
		"attributes":[{"key":"s","value":{"stringValue":"x"}},{"key":"b","value":{"boolValue":false}},{"key":"i","value":{"intValue":"9223372036854775807"}},
		{"key":"f","value":{"doubleValue":0.5}},{"key":"nan","value":{"doubleValue":"NaN"}},{"key":"ss","value":{"arrayValue":{"values":[{"stringValue":"y"}]}}},
		{"key":"is","value":{"arrayValue":{"values":[{"intValue":"1"}]}}},{"key":"none","value":{"arrayValue":{"values":[]}}}],
		"events":[{"timeUnixNano":"1544712660000000002","name":"e"}],
		"links":[{"traceId":"5b8e0000000000000000000000000001","spanId":"0000000000000002","flags":769,"attributes":[{"key":"l","value":{"boolValue":true}}]}],
		"status":{"message":"timeout","code":2},"droppedAttributesCount":3}]}]}]}`
	body, err := (&exporter{}).encode([]sdktrace.ReadOnlySpan{wholeSpan()})
	if err != nil {
		t.Fatal(err)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, []byte(want)); err != nil {
		t.Fatal(err)
	}
	if got := strings.NewReplacer(`\u003c`, "<", `\u003e`, ">").Replace(string(body)); got != compact.String() {
		t.Errorf("got  %s\nwant %s", got, compact.String())
	}
	for code, want := range map[codes.Code]int{codes.Unset: 0, codes.Ok: 1, codes.Error: 2} {
		if got := statusOf(sdktrace.Status{Code: code}).Code; got != want {
			t.Errorf("status %s: %d, want %d", code, got, want)
		}
	}
}

func TestSpansOfAnotherPartOfTheProgramHaveAScopeOfTheirOwn(t *testing.T) {
	span := func(scope string) sdktrace.ReadOnlySpan {
		return tracetest.SpanStub{InstrumentationScope: instrumentation.Scope{Name: scope}}.Snapshot()
	}
	scopes := otlpOf([]sdktrace.ReadOnlySpan{span("a"), span("b"), span("a")}).ResourceSpans[0].ScopeSpans
	if len(scopes) != 2 || len(scopes[0].Spans) != 2 || scopes[0].Scope.Name != "a" || len(scopes[1].Spans) != 1 {
		t.Errorf("got %+v", scopes)
	}
}

func TestTheCollectorGetsTheHeadersAndTheCompressionOfTheVariables(t *testing.T) {
	for compression, want := range map[string]string{"": "", "none": "", "gzip": "gzip"} {
		got := make(chan *http.Request, 1)
		var spansIn int
		collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body := io.Reader(r.Body)
			if r.Header.Get("Content-Encoding") == "gzip" {
				body, _ = gzip.NewReader(r.Body)
			}
			var batch otlpRequest
			if err := json.NewDecoder(body).Decode(&batch); err == nil {
				spansIn = len(batch.ResourceSpans[0].ScopeSpans[0].Spans)
			}
			got <- r
		}))
		tr := tracesTo(t, io.Discard, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT="+collector.URL+"/own", "OTEL_EXPORTER_OTLP_COMPRESSION="+compression,
			"OTEL_EXPORTER_OTLP_HEADERS=all=no", "OTEL_EXPORTER_OTLP_TRACES_HEADERS=api-key=a%2Cb%20c, x-scope = 1 ,content-type=text/plain")
		spans(tr, 3)
		tr.close(t.Context())
		r := <-got
		h := r.Header
		if r.Method != "POST" || r.URL.Path != "/own" || h.Get("Api-Key") != "a,b c" || h.Get("X-Scope") != "1" || h.Get("All") != "" || h.Get("Content-Encoding") != want ||
			h.Get("Content-Type") != "application/json" || !strings.HasPrefix(h.Get("User-Agent"), "igproxy/") || spansIn != 3 || tr.tally.sent.Load() != 3 {
			t.Errorf("%q: %s %s, %v, %d spans in it, %d sent", compression, r.Method, r.URL, h, spansIn, tr.tally.sent.Load())
		}
		collector.Close()
	}
}

func TestACollectorOverTLSIsVerifiedAndMayAskForACertificate(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	server, own, other := newPair(t, "collector"), newPair(t, "igproxy"), newPair(t, "other")
	clients := x509.NewCertPool()
	clients.AppendCertsFromPEM([]byte(own.cert))
	collector := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	collector.TLS = &tls.Config{Certificates: []tls.Certificate{server.certificate(t)}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients}
	collector.Config.ErrorLog = log.New(io.Discard, "", 0)
	collector.StartTLS()
	defer collector.Close()
	cert, key := "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE="+file("own", own.cert), "OTEL_EXPORTER_OTLP_CLIENT_KEY="+file("key", own.key)
	for _, c := range []struct {
		name, authority string
		sent            int64
		told            string
	}{{"its authority", server.cert, 1, ""}, {"another authority", other.cert, 0, "kind=certificate spans=1"}} {
		var told bytes.Buffer
		tr := tracesTo(t, &told, "OTEL_EXPORTER_OTLP_ENDPOINT="+strings.Replace(collector.URL, "127.0.0.1", "localhost", 1), "OTEL_EXPORTER_OTLP_CERTIFICATE="+file("ca", c.authority), cert, key)
		spans(tr, 1)
		tr.close(t.Context())
		if tr.tally.sent.Load() != c.sent || !strings.Contains(told.String(), c.told) {
			t.Errorf("%s: %d sent, want %d: %s", c.name, tr.tally.sent.Load(), c.sent, told.String())
		}
	}
}

// simulated is a collector in simulated time: it answers so, then with 200.
type simulated struct {
	with   []int
	header http.Header
	at     []time.Duration // when it was asked
	begun  time.Time
}

func (a *simulated) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	if body, err := io.ReadAll(r.Body); err != nil || !bytes.HasPrefix(body, []byte(`{"resourceSpans":[{`)) {
		return nil, fmt.Errorf("not a batch: %s, %w", body, err)
	}
	status := http.StatusOK
	if n := len(a.at); n < len(a.with) {
		status = a.with[n]
	}
	a.at = append(a.at, time.Since(a.begun))
	return &http.Response{StatusCode: status, Header: a.header, Body: io.NopCloser(strings.NewReader("CANARY"))}, nil
}

// exporterTo is an exporter whose collector this is.
func exporterTo(t *testing.T, a *simulated) *exporter {
	t.Helper()
	e, err := newExporter(TraceConfig{URL: "simulated://collector/v1/traces", Timeout: defaultTimeout, Headers: proxy.NewSecret("")})
	if err != nil {
		t.Fatal(err)
	}
	e.transport.RegisterProtocol("simulated", a)
	a.begun = time.Now()
	return e
}

func TestABusyCollectorIsAskedAgainWithinTheTimeout(t *testing.T) {
	batch := []sdktrace.ReadOnlySpan{wholeSpan()}
	inSeconds := func(n string) http.Header { return http.Header{"Retry-After": {n}} }
	for name, c := range map[string]struct {
		simulated
		want  error
		tries int
		least time.Duration // from the first to the second
		most  time.Duration // of all
	}{
		"taken at once":         {simulated{}, nil, 1, 0, 0},
		"429":                   {simulated{with: []int{429}}, nil, 2, time.Second / 2, time.Second},
		"each that may be":      {simulated{with: []int{502, 503, 504}}, nil, 4, time.Second / 2, 7 * time.Second},
		"when it says":          {simulated{with: []int{503}, header: inSeconds("4")}, nil, 2, 4 * time.Second, 4 * time.Second},
		"not at once":           {simulated{with: []int{503}, header: inSeconds("0")}, nil, 2, time.Second / 2, time.Second},
		"too late":              {simulated{with: []int{503}, header: inSeconds("3600")}, &busyError{}, 1, 0, 0},
		"much too late":         {simulated{with: []int{503}, header: inSeconds("99999999999999999999")}, &busyError{}, 1, 0, 0},
		"busy all the time":     {simulated{with: []int{503, 503, 503, 503, 503, 503, 503, 503}}, &busyError{}, 4, time.Second / 2, 10 * time.Second},
		"not what is repeated":  {simulated{with: []int{500}}, statusError(500), 1, 0, 0},
		"refused, and for good": {simulated{with: []int{400}, header: inSeconds("1")}, statusError(400), 1, 0, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			a := &c.simulated
			e := exporterTo(t, a)
			err := e.ExportSpans(t.Context(), batch)
			took := time.Since(a.begun)
			if fmt.Sprint(err) != fmt.Sprint(c.want) || took > c.most || len(a.at) < min(c.tries, 2) || len(a.at) > c.tries+2 || c.want == nil && len(a.at) != c.tries {
				t.Errorf("%s: %v after %v, %d tries; want %v, %d tries", name, err, took, len(a.at), c.want, c.tries)
			} else if len(a.at) > 1 && a.at[1] < c.least {
				t.Errorf("%s: asked again after %v, want %v", name, a.at[1], c.least)
			}
		})
	}
}

func TestAStopRepeatsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &simulated{with: []int{503}, header: http.Header{"Retry-After": {"5"}}}
		e := exporterTo(t, a)
		time.AfterFunc(time.Second, e.stop)
		var busy *busyError
		if err := e.ExportSpans(t.Context(), []sdktrace.ReadOnlySpan{wholeSpan()}); !errors.As(err, &busy) || time.Since(a.begun) != time.Second || len(a.at) != 1 {
			t.Errorf("%v after %v, %d tries", err, time.Since(a.begun), len(a.at))
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if err := e.ExportSpans(gone, []sdktrace.ReadOnlySpan{wholeSpan()}); failureOf(err) != "stopped" {
			t.Errorf("nobody waits any more: %v", err)
		}
	})
}

func TestWhatACollectorTakesInPartIsCountedSpanBySpan(t *testing.T) {
	for reply, lost := range map[string]int64{
		`{"partialSuccess":{"rejectedSpans":"2","errorMessage":"CANARY"}}`: 2,
		`{"partialSuccess":{"rejectedSpans":2}}`:                           2,
		`{"partialSuccess":{"rejectedSpans":"99"}}`:                        5,
		`{"partialSuccess":{"rejectedSpans":"-1"}}`:                        0,
		`{"partialSuccess":{"errorMessage":"CANARY"}}`:                     0,
		`{"partialSuccess":{"rejectedSpans":"many"}}`:                      0,
		`{}`: 0, "": 0, "CANARY": 0, "\n\x00": 0,
	} {
		collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, reply) }))
		var told bytes.Buffer
		tr := tracesTo(t, &told, "OTEL_EXPORTER_OTLP_ENDPOINT="+collector.URL)
		spans(tr, 5)
		tr.close(t.Context())
		tells := strings.Contains(told.String(), fmt.Sprintf(`kind="taken in part" spans=%d`, lost))
		if sent, failed := tr.tally.sent.Load(), tr.tally.failed.Load(); sent != 5-lost || failed != lost || tells != (lost > 0) || strings.Contains(told.String(), "CANARY") {
			t.Errorf("%s: %d sent and %d failed, want %d and %d: %s", reply, sent, failed, 5-lost, lost, told.String())
		}
		collector.Close()
	}
}
