package admin_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/igproxy/igproxy/breaker"
	"github.com/igproxy/igproxy/cache"
	"github.com/igproxy/igproxy/proxy"
	"github.com/igproxy/igproxy/proxy/admin"
	"github.com/igproxy/igproxy/proxy/mock"
)

const appSecret = "0123456789abcdef0123456789abcdef"

// nowhere is an upstream that refuses every connection.
const nowhere = "http://127.0.0.1:1"

// newInstagram starts the stand-in for Instagram, which stops when the test ends.
func newInstagram(t *testing.T) (i *mock.Instagram, base string) {
	t.Helper()
	i = mock.New(mock.Options{Secret: appSecret})
	s, err := mock.Start(i, mock.ServerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		i.Close()
		s.Close()
	})
	return i, s.URL
}

// optionsFor returns valid Options for the upstream at base.
func optionsFor(t *testing.T, base string) proxy.Options {
	t.Helper()
	u, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	return proxy.Options{Apps: []proxy.App{{Secret: proxy.NewSecret(appSecret)}}, UpstreamURL: u, LoginURL: u, ThreadsURL: u, FacebookURL: u, RefreshTTL: time.Minute, CodeTTL: time.Minute, Timeout: 30 * time.Second, MaxResponseBytes: 64 << 10,
		MaxInFlight: 64, TTL: time.Hour, NegativeTTL: time.Minute,
		Breaker: breaker.Options{Failures: 1000, Ratio: 1, MinRequests: 1000, Interval: 2 * time.Minute, Open: 10 * time.Second, Probes: 1}}
}

// newProxy builds a Proxy with its own cache; both are closed when the test ends.
func newProxy(t *testing.T, o proxy.Options) *proxy.Proxy {
	t.Helper()
	c, err := cache.New(cache.Options{MaxBytes: 8 << 20})
	if err != nil {
		t.Fatal(err)
	}
	o.Cache = c
	p, err := proxy.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(context.Background()); err != nil {
			t.Errorf("closing the proxy: %v", err)
		}
		if err := c.Close(context.Background()); err != nil {
			t.Errorf("closing the cache: %v", err)
		}
	})
	return p
}

// newHandler builds a Handler, which is closed when the test ends.
func newHandler(t *testing.T, o admin.Options) *admin.Handler {
	t.Helper()
	h, err := admin.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	return h
}

// handlerOf returns a Handler for a Proxy, with default options.
func handlerOf(t *testing.T, p *proxy.Proxy) *admin.Handler {
	t.Helper()
	return newHandler(t, admin.Options{Proxy: p})
}

// exchange returns the path and query of a request that exchanges a token.
func exchange(token string) string {
	return "/access_token?grant_type=ig_exchange_token&access_token=" + url.QueryEscape(token)
}

// get sends a GET to a handler. The Host is a loopback address.
func get(h http.Handler, target string) *httptest.ResponseRecorder {
	return send(h, httptest.NewRequest(http.MethodGet, target, nil))
}

func send(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	if r.Host == "example.com" { // the default of httptest
		r.Host = "127.0.0.1:8080"
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// byOperator makes a request look as if root had sent it over a Unix socket.
func byOperator(r *http.Request) *http.Request {
	r.Host, r.RemoteAddr = "localhost", "@"
	return r.WithContext(admin.WithPeer(r.Context(), 0))
}

// decode reads a JSON response; unknown fields fail the test.
func decode(t *testing.T, w *httptest.ResponseRecorder, into any) {
	t.Helper()
	d := json.NewDecoder(w.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil || w.Header().Get("Content-Type") != "application/json" {
		t.Fatalf("got status %d, headers %v, error %v; want a JSON response", w.Code, w.Header(), err)
	}
}
