package proxy

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/igproxy/igproxy/breaker"
)

// readyz asks for the status, strictly read.
func readyz(t *testing.T, h http.Handler) (int, Readiness) {
	t.Helper()
	w := ask(h, get("/readyz"))
	dec := json.NewDecoder(w.Body)
	dec.DisallowUnknownFields()
	var s Readiness
	if err := dec.Decode(&s); err != nil || w.Header().Get("Content-Type") != "application/json" {
		t.Fatalf("readyz: %v, %v", err, w.Header())
	}
	return w.Code, s
}

func TestReadyzTellsEachState(t *testing.T) {
	_, s := newInstagram(t, overTLS)
	o := optionsFor(t, s.URL, s.CA())
	o.Breaker.Failures = 2
	p := newProxy(t, o)
	admin := p.Admin(nil, false)
	want := Readiness{Ready: true, ClientSecret: "ok", Breaker: breaker.Closed, Redis: "off"}
	check := func(when string, code int) {
		t.Helper()
		if gotCode, got := readyz(t, admin); gotCode != code || got != want {
			t.Errorf("%s: %d %+v, want %d %+v", when, gotCode, got, code, want)
		}
	}
	check("at the start", 200)
	_ = ask(p, get(target("IGAAshort")))
	want.Entries = 1
	check("with an entry", 200)
	_ = ask(p, get(target("down-1")))
	_ = ask(p, get(target("down-2")))
	want.Breaker = breaker.Open
	check("with the breaker open: known tokens are still served", 200)
	p.Drain()
	want.Ready, want.Draining = false, true
	check("while draining", 503)
	if w := ask(p, get(target("IGAAshort"))); w.Code != 200 {
		t.Errorf("a known token while draining: %d", w.Code)
	}

	wrong := optionsFor(t, s.URL, s.CA())
	wrong.Apps[0].Secret = NewSecret("canary-of-a-secret")
	p = newProxy(t, wrong)
	admin = p.Admin(nil, false)
	_ = ask(p, get(target("IGAAshort")))
	want = Readiness{ClientSecret: "refused", Breaker: breaker.Closed, Redis: "off"}
	check("with a refused secret", 503)

	base, arrived, open := gated(t)
	defer open()
	p = newProxy(t, optionsFor(t, base, nil))
	admin = p.Admin(nil, false)
	done := make(chan struct{})
	go func() { defer close(done); _ = ask(p, get(target("IGAAshort"))) }()
	<-arrived
	want = Readiness{Ready: true, ClientSecret: "ok", Breaker: breaker.Closed, Redis: "off", Flights: 1}
	check("with a flight in the air", 200)
	open()
	<-done
}

func TestAdminServesItsPathsAndNothingElse(t *testing.T) {
	_, s := newInstagram(t, overTLS)
	o := optionsFor(t, s.URL, s.CA())
	o.Metrics = NewMetrics()
	p := newProxy(t, o)
	_ = ask(p, get(target("IGAAshort-canary")))
	admin := p.Admin([]string{"ops.internal"}, false)
	for _, c := range []struct {
		method, path string
		status       int
		text         string
	}{
		{"GET", "/healthz", 200, "ok\n"},
		{"HEAD", "/healthz", 200, ""},
		{"GET", "/readyz", 200, `"ready":true`},
		{"GET", "/metrics", 200, "igproxy_requests_total{"},
		{"POST", "/healthz", 405, ""},
		{"DELETE", "/readyz", 405, ""},
		{"PUT", "/metrics", 405, ""},
		{"GET", "/status", 200, `"outcomes":["token"`},
		{"GET", "/", 200, "<title>igproxy</title>"},
		{"POST", "/", 405, ""},
		{"POST", "/status", 405, ""},
		{"GET", "/status/", 404, ""},
		{"GET", "/status/page.js", 404, ""},
		{"GET", "/access_token", 404, ""},
		{"GET", "/debug/pprof/", 404, ""},
	} {
		r := get(c.path)
		r.Method = c.method
		w := ask(admin, r)
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.text) {
			t.Errorf("%s %s: %d %.100s, want %d with %q", c.method, c.path, w.Code, w.Body, c.status, c.text)
		}
		if h := w.Header(); h.Get("Cache-Control") != "no-store" || h.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s %s: headers %v", c.method, c.path, h)
		}
		if body := w.Body.String(); strings.Contains(body, "canary") || strings.Contains(body, testSecret) || strings.Contains(body, "IGAA") {
			t.Errorf("%s %s shows a secret", c.method, c.path)
		}
	}
}

// A web page that rebinds its name to loopback reads no status either.
func TestAdminChecksHostAndBrowser(t *testing.T) {
	p := newProxy(t, optionsFor(t, "https://127.0.0.1:1", nil))
	for host, want := range map[string]int{"127.0.0.1:9090": 200, "[::1]:9090": 200, "ops.internal:9090": 200, "evil.example": 421, "igproxy.internal": 421} {
		r := get("/healthz")
		r.Host = host
		w := httptest.NewRecorder()
		if p.Admin([]string{"ops.internal"}, false).ServeHTTP(w, r); w.Code != want {
			t.Errorf("%s: %d, want %d", host, w.Code, want)
		}
		w = httptest.NewRecorder()
		if p.Admin(nil, true).ServeHTTP(w, r); w.Code != 200 {
			t.Errorf("%s: %d with every host allowed, want 200", host, w.Code)
		}
	}
	if w := ask(p.Admin(nil, false), with(get("/metrics"), "Origin", "https://evil.example")); w.Code != 403 || strings.Contains(w.Body.String(), "igproxy_") {
		t.Errorf("to a web page: %d %s", w.Code, w.Body)
	}
}

func serve(h http.Handler, r *http.Request) int {
	w := &statusWriter{header: http.Header{}}
	h.ServeHTTP(w, r)
	return w.status
}

// statusWriter is the least a handler needs. It can be used again.
type statusWriter struct {
	header http.Header
	status int
}

func (w *statusWriter) Header() http.Header         { return w.header }
func (w *statusWriter) WriteHeader(status int)      { w.status = status }
func (w *statusWriter) Write(b []byte) (int, error) { return len(b), nil }
