package main

import (
	"math"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// The messages of opentelemetry-proto as JSON: https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding. Ids are hexadecimal, numbers of
// 64 bits are in quotes, enumerations are numbers, and what is zero is left out.
type (
	otlpRequest struct {
		ResourceSpans []*otlpResourceSpans `json:"resourceSpans"`
	}
	otlpResourceSpans struct {
		Resource   otlpResource      `json:"resource"`
		ScopeSpans []*otlpScopeSpans `json:"scopeSpans"`
		SchemaURL  string            `json:"schemaUrl,omitempty"`
	}
	otlpResource struct {
		Attributes []otlpAttribute `json:"attributes,omitempty"`
	}
	otlpScopeSpans struct {
		Scope     otlpScope   `json:"scope"`
		Spans     []*otlpSpan `json:"spans"`
		SchemaURL string      `json:"schemaUrl,omitempty"`

		of instrumentation.Scope
	}
	otlpScope struct {
		Name       string          `json:"name"`
		Version    string          `json:"version,omitempty"`
		Attributes []otlpAttribute `json:"attributes,omitempty"`
	}
	otlpSpan struct {
		TraceID      string          `json:"traceId"`
		SpanID       string          `json:"spanId"`
		TraceState   string          `json:"traceState,omitempty"`
		ParentSpanID string          `json:"parentSpanId,omitempty"`
		Flags        uint32          `json:"flags"`
		Name         string          `json:"name"`
		Kind         trace.SpanKind  `json:"kind"` // the library's numbers are the protocol's
		Start        int64           `json:"startTimeUnixNano,string"`
		End          int64           `json:"endTimeUnixNano,string"`
		Attributes   []otlpAttribute `json:"attributes,omitempty"`
		Events       []otlpEvent     `json:"events,omitempty"`
		Links        []otlpLink      `json:"links,omitempty"`
		Status       otlpStatus      `json:"status"`

		DroppedAttributes int `json:"droppedAttributesCount,omitempty"`
		DroppedEvents     int `json:"droppedEventsCount,omitempty"`
		DroppedLinks      int `json:"droppedLinksCount,omitempty"`
	}
	otlpEvent struct {
		Time              int64           `json:"timeUnixNano,string"`
		Name              string          `json:"name"`
		Attributes        []otlpAttribute `json:"attributes,omitempty"`
		DroppedAttributes int             `json:"droppedAttributesCount,omitempty"`
	}
	otlpLink struct {
		TraceID           string          `json:"traceId"`
		SpanID            string          `json:"spanId"`
		TraceState        string          `json:"traceState,omitempty"`
		Flags             uint32          `json:"flags"`
		Attributes        []otlpAttribute `json:"attributes,omitempty"`
		DroppedAttributes int             `json:"droppedAttributesCount,omitempty"`
	}
	otlpStatus struct {
		Message string `json:"message,omitempty"`
		Code    int    `json:"code,omitempty"`
	}
	otlpAttribute struct {
		Key   string    `json:"key"`
		Value otlpValue `json:"value"`
	}
	otlpValue map[string]any // of one entry, named by its type
)

// otlpOf is a batch of one provider's spans, so they have one resource.
func otlpOf(spans []sdktrace.ReadOnlySpan) otlpRequest {
	if len(spans) == 0 {
		return otlpRequest{}
	}
	about := spans[0].Resource()
	all := &otlpResourceSpans{Resource: otlpResource{attributesOf(about.Attributes())}, SchemaURL: about.SchemaURL()}
	for _, s := range spans {
		scope := all.scope(s.InstrumentationScope())
		scope.Spans = append(scope.Spans, spanOf(s))
	}
	return otlpRequest{[]*otlpResourceSpans{all}}
}

// scope is the list of the spans that this part of the program made.
func (all *otlpResourceSpans) scope(of instrumentation.Scope) *otlpScopeSpans {
	for _, known := range all.ScopeSpans {
		if known.of == of {
			return known
		}
	}
	scope := &otlpScopeSpans{of: of, Scope: otlpScope{of.Name, of.Version, attributesOf(of.Attributes.ToSlice())}, SchemaURL: of.SchemaURL}
	all.ScopeSpans = append(all.ScopeSpans, scope)
	return scope
}

func spanOf(s sdktrace.ReadOnlySpan) *otlpSpan {
	c, parent := s.SpanContext(), s.Parent()
	out := &otlpSpan{TraceID: c.TraceID().String(), SpanID: c.SpanID().String(), TraceState: c.TraceState().String(), Flags: flagsOf(c.TraceFlags(), parent),
		Name: s.Name(), Kind: s.SpanKind(), Start: nanoseconds(s.StartTime()), End: nanoseconds(s.EndTime()), Attributes: attributesOf(s.Attributes()),
		Status: statusOf(s.Status()), DroppedAttributes: s.DroppedAttributes(), DroppedEvents: s.DroppedEvents(), DroppedLinks: s.DroppedLinks()}
	if parent.HasSpanID() {
		out.ParentSpanID = parent.SpanID().String()
	}
	for _, e := range s.Events() {
		out.Events = append(out.Events, otlpEvent{nanoseconds(e.Time), e.Name, attributesOf(e.Attributes), e.DroppedAttributeCount})
	}
	for _, l := range s.Links() {
		to := l.SpanContext
		out.Links = append(out.Links, otlpLink{to.TraceID().String(), to.SpanID().String(), to.TraceState().String(), flagsOf(to.TraceFlags(), to),
			attributesOf(l.Attributes), l.DroppedAttributeCount})
	}
	return out
}

// flagsOf says, beside the flags of the trace, that it is known whether other came from another process, and whether it did.
func flagsOf(f trace.TraceFlags, other trace.SpanContext) uint32 {
	flags := uint32(f) | 0x100
	if other.IsRemote() {
		flags |= 0x200
	}
	return flags
}

// nanoseconds are unsigned in the protocol.
func nanoseconds(t time.Time) int64 { return max(0, t.UnixNano()) }

// statusOf swaps two numbers: the library has Error before Ok, the protocol has them the other way.
func statusOf(s sdktrace.Status) otlpStatus {
	switch s.Code {
	case codes.Ok:
		return otlpStatus{s.Description, 1}
	case codes.Error:
		return otlpStatus{s.Description, 2}
	}
	return otlpStatus{s.Description, 0}
}

func attributesOf(list []attribute.KeyValue) (out []otlpAttribute) {
	for _, kv := range list {
		out = append(out, otlpAttribute{string(kv.Key), valueOf(kv.Value)})
	}
	return out
}

func valueOf(v attribute.Value) otlpValue {
	switch v.Type() {
	case attribute.STRING:
		return otlpValue{"stringValue": v.AsString()}
	case attribute.BOOL:
		return otlpValue{"boolValue": v.AsBool()}
	case attribute.INT64:
		return otlpValue{"intValue": strconv.FormatInt(v.AsInt64(), 10)}
	case attribute.FLOAT64:
		return otlpValue{"doubleValue": doubleOf(v.AsFloat64())}
	case attribute.BYTESLICE:
		return otlpValue{"bytesValue": v.AsByteSlice()}
	case attribute.STRINGSLICE:
		return arrayOf(v.AsStringSlice(), attribute.StringValue)
	case attribute.BOOLSLICE:
		return arrayOf(v.AsBoolSlice(), attribute.BoolValue)
	case attribute.INT64SLICE:
		return arrayOf(v.AsInt64Slice(), attribute.Int64Value)
	case attribute.FLOAT64SLICE:
		return arrayOf(v.AsFloat64Slice(), attribute.Float64Value)
	case attribute.SLICE:
		return arrayOf(v.AsSlice(), func(v attribute.Value) attribute.Value { return v })
	case attribute.MAP:
		return otlpValue{"kvlistValue": map[string]any{"values": attributesOf(v.AsMap())}}
	}
	return otlpValue{} // empty
}

func arrayOf[T any](list []T, value func(T) attribute.Value) otlpValue {
	values := make([]otlpValue, 0, len(list))
	for _, v := range list {
		values = append(values, valueOf(value(v)))
	}
	return otlpValue{"arrayValue": map[string]any{"values": values}}
}

// doubleOf is a number, or the word for what JSON has no number for.
func doubleOf(f float64) any {
	switch {
	case math.IsNaN(f):
		return "NaN"
	case math.IsInf(f, 1):
		return "Infinity"
	case math.IsInf(f, -1):
		return "-Infinity"
	}
	return f
}
