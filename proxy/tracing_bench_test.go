package proxy

import (
	"net/http"
	"testing"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// BenchmarkHitTraced runs BenchmarkHit with spans that are not exported, to show the cost of
// tracing.
func BenchmarkHitTraced(b *testing.B) {
	_, s := newInstagram(b, overTLS)
	for name, sampler := range map[string]sdktrace.Sampler{"sampled": sdktrace.AlwaysSample(), "not-sampled": sdktrace.NeverSample()} {
		b.Run(name, func(b *testing.B) {
			o := optionsFor(b, s.URL, s.CA())
			o.Tracer = sdktrace.NewTracerProvider(sdktrace.WithSampler(sampler)).Tracer("igproxy")
			p := newProxy(b, o)
			r := get(target("IGAAshort"))
			r.Host = "127.0.0.1:8080"
			mustServe(b, p, r)
			w := &statusWriter{header: http.Header{}}
			b.ReportAllocs()
			for b.Loop() {
				clear(w.header)
				p.ServeHTTP(w, r)
			}
		})
	}
}
