package proxy

import (
	"bytes"
	"crypto/sha256"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// A load balancer does not have igproxy's own token, sends an IP address as Host, and checks every
// few seconds. Its checks must not reach Meta, must not be refused, and must not appear in the log
// or in the count of requests.
func TestHealthChecksOnTheAppPortAreAnsweredByIgproxyItself(t *testing.T) {
	base, requests := saying(t, rawResponse(http.StatusOK, "{}"))
	var log bytes.Buffer
	o := optionsFor(t, base, nil)
	o.MaxPassedInFlight, o.Passthrough, o.Logger, o.LogLines = 1, passing(PassthroughOptions{}), textLogger(&log), 100
	o.Hosts, o.Bearers = []string{"igproxy.internal"}, func() [][sha256.Size]byte { return [][sha256.Size]byte{sha256.Sum256([]byte(ownToken))} }
	p := newProxy(t, o)
	check := func(method, target, body string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, target, strings.NewReader(body))
		r.Host = "10.1.2.3:8080"
		w := httptest.NewRecorder()
		p.ServeHTTP(w, r)
		return w
	}
	for _, target := range []string{"/healthz", "/healthz?from=balancer"} {
		if w := check(http.MethodGet, target, ""); w.Code != http.StatusOK || w.Body.String() != "ok\n" || w.Header().Get("Connection") != "" {
			t.Errorf("%s: got %d %q, want 200 \"ok\\n\"; Connection is %q, want no such header", target, w.Code, w.Body, w.Header()["Connection"])
		}
	}
	if w := check(http.MethodHead, "/healthz", ""); w.Code != http.StatusOK {
		t.Errorf("HEAD: got %d, want 200", w.Code)
	}
	if w := check(http.MethodGet, "/healthz", "x"); w.Code != http.StatusOK || w.Header().Get("Connection") != "close" {
		t.Errorf("with a body: got %d, want 200; Connection is %q, want close", w.Code, w.Header().Get("Connection"))
	}
	if n := requests.Load(); n != 0 || strings.Contains(log.String(), "msg=request") {
		t.Errorf("Meta got %d requests, want 0; the log must not have a line for a request:\n%s", n, log.String())
	}
	if n := counted(t, p.Metrics(), "igproxy_requests_total"); n != 0 {
		t.Errorf("%v health checks are counted as requests, want 0", n)
	}
	for _, c := range [][2]string{{http.MethodPost, "/healthz"}, {http.MethodGet, "/healthz/"}, {http.MethodGet, "/v1/healthz"}, {http.MethodGet, "http://evil.example/healthz"}} {
		if w := check(c[0], c[1], ""); w.Code < 400 {
			t.Errorf("%s %s: got %d, want a status of at least 400", c[0], c[1], w.Code)
		}
	}
	p.Drain()
	if w := check(http.MethodGet, "/healthz", ""); w.Code != http.StatusServiceUnavailable || w.Body.String() != "draining\n" {
		t.Errorf("while draining: got %d %q, want 503 \"draining\\n\"", w.Code, w.Body)
	}
}
