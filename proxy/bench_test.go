package proxy

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
)

// BenchmarkHit measures a hit through the whole handler, without net/http's reading and writing.
func BenchmarkHit(b *testing.B) {
	_, s := newInstagram(b, overTLS)
	p := newProxy(b, optionsFor(b, s.URL, s.CA()))
	r := get(target("IGAAshort"))
	r.Host = "127.0.0.1:8080"
	mustServe(b, p, r)
	w := &statusWriter{header: http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		clear(w.header)
		p.ServeHTTP(w, r)
	}
	if w.status != http.StatusOK {
		b.Fatalf("got %d, want 200", w.status)
	}
}

// BenchmarkMiss measures the exchange of a new token, including TLS on loopback and the work of the
// stand-in for Instagram.
func BenchmarkMiss(b *testing.B) {
	i, s := newInstagram(b, overTLS)
	p := newProxy(b, optionsFor(b, s.URL, s.CA()))
	mustServe(b, p, request(0)) // the handshake is not measured
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		n++
		mustServe(b, p, request(n))
	}
	if i.Calls() != n+1 {
		b.Fatalf("Meta was asked %d times for %d tokens, want once for each", i.Calls(), n+1)
	}
}

// BenchmarkBurst measures fifty concurrent callers that send the same new token. Together they
// cause one call to the stand-in.
func BenchmarkBurst(b *testing.B) {
	i, s := newInstagram(b, overTLS)
	p := newProxy(b, optionsFor(b, s.URL, s.CA()))
	mustServe(b, p, request(0))
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		n++
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() { mustServe(b, p, request(n)) })
		}
		wg.Wait()
	}
	if i.Calls() != n+1 {
		b.Fatalf("Meta was asked %d times for %d tokens, want once for each", i.Calls(), n+1)
	}
}

func request(n int) *http.Request {
	r := get(target(fmt.Sprintf("IGAAshort%d", n)))
	r.Host = "127.0.0.1:8080"
	return r
}

func mustServe(b *testing.B, h http.Handler, r *http.Request) {
	if got := serve(h, r); got != http.StatusOK {
		b.Errorf("got %d, want 200", got)
	}
}
