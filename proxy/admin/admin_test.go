package admin_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/igproxy/igproxy/breaker"
	"github.com/igproxy/igproxy/proxy"
	"github.com/igproxy/igproxy/proxy/admin"
)

func TestNewNeedsAProxy(t *testing.T) {
	if _, err := admin.New(admin.Options{}); err == nil || !strings.Contains(err.Error(), "Proxy") {
		t.Errorf("got %v, want an error that names Proxy", err)
	}
}

func TestReadyzReportsEachState(t *testing.T) {
	_, base := newInstagram(t)
	o := optionsFor(t, base)
	o.Breaker.Failures = 2
	p := newProxy(t, o)
	h := handlerOf(t, p)
	want := proxy.Readiness{Ready: true, ClientSecret: "unproven", Breaker: breaker.Closed, Redis: "off"}
	check := func(when string, code int) {
		t.Helper()
		var got proxy.Readiness
		w := get(h, "/readyz")
		if decode(t, w, &got); w.Code != code || got != want {
			t.Errorf("%s: got %d %+v, want %d %+v", when, w.Code, got, code, want)
		}
	}
	check("at the start", 200)
	_ = get(p, exchange("IGAAshort"))
	want.Entries, want.ClientSecret = 1, "accepted"
	check("with an entry", 200)
	_ = get(p, exchange("down-1"))
	_ = get(p, exchange("down-2"))
	want.Breaker = breaker.Open
	check("with an open breaker", 200) // known tokens are still served
	p.Drain()
	want.Ready, want.Draining = false, true
	check("while draining", 503)
	if w := get(p, exchange("IGAAshort")); w.Code != 200 {
		t.Errorf("got %d for a known token while draining, want 200", w.Code)
	}

	wrong := optionsFor(t, base)
	wrong.Apps[0].Secret = proxy.NewSecret("canary-of-a-secret")
	p = newProxy(t, wrong)
	h = handlerOf(t, p)
	_ = get(p, exchange("IGAAshort"))
	want = proxy.Readiness{ClientSecret: "refused", Breaker: breaker.Closed, Redis: "off"}
	check("with a refused secret", 503)

	arrived, release := make(chan struct{}), make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(arrived)
		<-release
		_, _ = io.WriteString(w, `{"access_token":"IGAAlong","token_type":"bearer","expires_in":5183944}`)
	}))
	defer slow.Close()
	p = newProxy(t, optionsFor(t, slow.URL))
	h = handlerOf(t, p)
	answered := make(chan struct{})
	go func() { defer close(answered); _ = get(p, exchange("IGAAshort")) }() // ends once the upstream answers
	<-arrived
	want = proxy.Readiness{Ready: true, ClientSecret: "unproven", Breaker: breaker.Closed, Redis: "off", Flights: 1}
	check("with a flight", 200)
	close(release)
	<-answered
}

func TestTheHandlerServesItsPathsAndNothingElse(t *testing.T) {
	_, base := newInstagram(t)
	p := newProxy(t, optionsFor(t, base))
	_ = get(p, exchange("IGAAshort-canary"))
	p.Metrics().Reloaded(true)
	h := newHandler(t, admin.Options{Proxy: p, Hosts: []string{"ops.internal"}})
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
		{"GET", "/", 200, "<title>igproxy: ready</title>"},
		{"POST", "/", 405, ""},
		{"POST", "/status", 405, ""},
		{"POST", "/reload", 404, ""}, // this Handler has no such operation
		{"GET", "/status/", 404, ""},
		{"GET", "/page.js", 404, ""},
		{"GET", "/access_token", 404, ""},
		{"GET", "/debug/pprof/", 404, ""},
	} {
		w := send(h, httptest.NewRequest(c.method, c.path, nil))
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.text) {
			t.Errorf("%s %s: got %d %.100s, want %d with %q", c.method, c.path, w.Code, w.Body, c.status, c.text)
		}
		if h := w.Header(); h.Get("Cache-Control") != "no-store" || h.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s %s: got the headers %v, want no-store and nosniff", c.method, c.path, h)
		}
		if body := w.Body.String(); strings.Contains(body, "canary") || strings.Contains(body, appSecret) || strings.Contains(body, "IGAA") {
			t.Errorf("%s %s shows a secret", c.method, c.path)
		}
	}
}

// Without these checks, a web page that rebinds its name to loopback could read the status.
func TestTheHostNameIsCheckedAndRequestsFromWebPagesAreRefused(t *testing.T) {
	o := admin.Options{Proxy: newProxy(t, optionsFor(t, nowhere)), Hosts: []string{"ops.internal"}}
	listed := newHandler(t, o)
	o.Hosts, o.AnyHost = nil, true
	every := newHandler(t, o)
	for host, want := range map[string]int{"127.0.0.1:9090": 200, "[::1]:9090": 200, "ops.internal:9090": 200, "evil.example": 421, "igproxy.internal": 421} {
		r := httptest.NewRequest(http.MethodGet, "/healthz", nil)
		r.Host = host
		if w := send(listed, r); w.Code != want {
			t.Errorf("%s: got %d, want %d", host, w.Code, want)
		}
		if w := send(every, r); w.Code != 200 {
			t.Errorf("%s: got %d with every host allowed, want 200", host, w.Code)
		}
	}
	for _, path := range []string{"/metrics", "/status"} {
		for name, value := range map[string]string{"Origin": "null", "Sec-Fetch-Site": "cross-site"} {
			r := httptest.NewRequest(http.MethodGet, path, nil)
			r.Header.Set(name, value)
			if w := send(listed, r); w.Code != 403 || strings.Contains(w.Body.String(), "igproxy_") {
				t.Errorf("%s with %s: got %d %s, want 403", path, name, w.Code, w.Body)
			}
		}
	}
}

func TestAReloadChangesTheAllowedHostsAndTheShownVersion(t *testing.T) {
	o := admin.Options{Proxy: newProxy(t, optionsFor(t, nowhere)), About: admin.About{Version: "v1"}}
	h := newHandler(t, o)
	o.Hosts, o.About.Version = []string{"ops.internal"}, "v2"
	h.Reload(o)
	r := httptest.NewRequest(http.MethodGet, "/status", nil)
	r.Host = "ops.internal"
	if w := send(h, r); w.Code != 200 || !strings.Contains(w.Body.String(), `"version":"v2"`) {
		t.Errorf("got %d %.200s, want 200 with the version v2", w.Code, w.Body)
	}
}

// A client announces a body and does not send it. The response must not wait for the body.
func TestNoResponseWaitsForABody(t *testing.T) {
	s := httptest.NewServer(handlerOf(t, newProxy(t, optionsFor(t, nowhere))))
	defer s.Close()
	for head, status := range map[string]string{
		"GET /healthz HTTP/1.1\r\nHost: localhost":     "200",
		"POST /healthz HTTP/1.1\r\nHost: evil.example": "421",
	} {
		for _, framing := range []string{"Content-Length: 5", "Transfer-Encoding: chunked"} {
			conn, err := net.Dial("tcp", s.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			_ = conn.SetDeadline(time.Now().Add(20 * time.Second)) // reached only if the response waits for the body
			_, _ = io.WriteString(conn, head+"\r\n"+framing+"\r\n\r\n")
			if line, err := bufio.NewReader(conn).ReadString('\n'); !strings.HasPrefix(line, "HTTP/1.1 "+status) {
				t.Errorf("%s, %s: got the line %q, error %v, want status %s", head, framing, line, err, status)
			}
			_ = conn.Close()
		}
	}
}
