package proxy

// These helpers record and print the spans of a test.

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
)

// recording changes o so that a Proxy with these options records its spans. It returns the
// recorder.
func recording(o *Options) *tracetest.SpanRecorder {
	r := tracetest.NewSpanRecorder()
	o.Tracer = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(r)).Tracer("igproxy")
	return r
}

// tracedProxy returns a Proxy in front of a stand-in for Instagram, and the recorder of its spans.
func tracedProxy(t *testing.T) (*Proxy, *tracetest.SpanRecorder) {
	t.Helper()
	_, s := newInstagram(t, overTLS)
	o := optionsFor(t, s.URL, s.CA())
	o.Passthrough = passing(PassthroughOptions{})
	r := recording(&o)
	return newProxy(t, o), r
}

// servers returns the server spans, in the order in which they ended.
func servers(r *tracetest.SpanRecorder) (found []sdktrace.ReadOnlySpan) {
	for _, s := range r.Ended() {
		if s.SpanKind() == trace.SpanKindServer {
			found = append(found, s)
		}
	}
	return found
}

// under returns the spans below top, at any depth, in the order in which they began.
func under(r *tracetest.SpanRecorder, top sdktrace.ReadOnlySpan) (found []sdktrace.ReadOnlySpan) {
	ids := []trace.SpanID{top.SpanContext().SpanID()}
	for _, s := range r.Started() {
		if s.SpanContext().TraceID() == top.SpanContext().TraceID() && slices.Contains(ids, s.Parent().SpanID()) {
			ids, found = append(ids, s.SpanContext().SpanID()), append(found, s)
		}
	}
	return found
}

// lineOf returns a span as a line: its name, its status and its sorted attributes. It leaves out
// the attributes that differ from run to run.
func lineOf(s sdktrace.ReadOnlySpan) string {
	var attrs []string
	for _, kv := range s.Attributes() {
		switch kv.Key {
		case "server.port", "igproxy.request_id":
		default:
			attrs = append(attrs, string(kv.Key)+"="+kv.Value.String())
		}
	}
	slices.Sort(attrs)
	line := s.Name()
	if st := s.Status(); st.Code != codes.Unset {
		line += " " + st.Code.String() + ":" + st.Description
	}
	return strings.Join(append([]string{line}, attrs...), " ")
}

func linesOf(spans []sdktrace.ReadOnlySpan) (lines []string) {
	for _, s := range spans {
		lines = append(lines, lineOf(s))
	}
	return lines
}

// traceOf sends a request and returns the lines of its server span and of the spans below it.
func traceOf(t *testing.T, r *tracetest.SpanRecorder, h http.Handler, req *http.Request) []string {
	t.Helper()
	r.Reset()
	ask(h, req)
	s := servers(r)
	if len(s) != 1 {
		t.Fatalf("got %d server spans, want 1", len(s))
	}
	if started, ended := len(r.Started()), len(r.Ended()); started != ended {
		t.Errorf("%d spans began and %d ended, want the same number", started, ended)
	}
	return append([]string{lineOf(s[0])}, linesOf(under(r, s[0]))...)
}

func wantTrace(t *testing.T, name string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s:\ngot  %s\nwant %s", name, strings.Join(got, "\n     "), strings.Join(want, "\n     "))
	}
}

// dumped returns everything that the spans contain, as text.
func dumped(t *testing.T, r *tracetest.SpanRecorder) string {
	t.Helper()
	text, err := json.Marshal(tracetest.SpanStubsFromReadOnlySpans(r.Ended()))
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, s := range r.Ended() {
		fmt.Fprintf(&b, "%s %+v %+v %+v %v %v\n", s.Name(), s.Attributes(), s.Events(), s.Links(), s.Status(), s.SpanContext().TraceState())
	}
	return string(text) + b.String()
}
