package admin_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/igproxy/igproxy/proxy/admin"
)

// maxStreams is how many streams may be open at once.
const maxStreams = 8

// stream reads the events of an open stream.
type stream struct {
	t    *testing.T
	res  *http.Response
	scan *bufio.Scanner
}

func openStream(t *testing.T, s *httptest.Server) *stream {
	t.Helper()
	r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+"/status/events", nil)
	res, err := s.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = res.Body.Close() })
	scan := bufio.NewScanner(res.Body)
	scan.Buffer(nil, 1<<20)
	return &stream{t, res, scan}
}

// next returns the next event; not ok: the stream ended.
func (s *stream) next() (p admin.Status, ok bool) {
	for s.scan.Scan() {
		if text, found := strings.CutPrefix(s.scan.Text(), "data: "); found {
			if err := json.Unmarshal([]byte(text), &p); err != nil {
				s.t.Fatal(err)
			}
			return p, true
		}
	}
	return p, false
}

// serve serves a Handler, with timeouts of this length; 0: without.
func serve(t *testing.T, h *admin.Handler, timeout time.Duration) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.ReadTimeout, s.Config.WriteTimeout = timeout, timeout
	s.Start()
	t.Cleanup(s.Close)
	return s
}

func about(ttl string) admin.About {
	return admin.About{Configuration: [][2]string{{"cache.ttl", ttl}}}
}

func TestAStreamOutlivesTheServersTimeoutsAndEndsWithClose(t *testing.T) {
	const timeout = 1500 * time.Millisecond
	h := handlerOf(t, newProxy(t, optionsFor(t, nowhere)))
	s := serve(t, h, timeout)
	s.Config.RegisterOnShutdown(h.Close)
	r := openStream(t, s)
	if got := r.res.Header; got.Get("Content-Type") != "text/event-stream" || got.Get("Cache-Control") != "no-store" {
		t.Errorf("headers %v", got)
	}
	first, ok := r.next()
	for last := first; ok && last.Now.Sub(first.Now) < 2*timeout; {
		last, ok = r.next()
	}
	if !ok {
		t.Fatal("the stream ended with the server's timeout")
	}
	done := make(chan error, 1)
	go func() { done <- s.Config.Shutdown(context.Background()) }() // ends with the stream
	for ok {
		_, ok = r.next()
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestAStreamSendsTheWholeStatusFirstAndThenWhatChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHandler(t, admin.Options{Proxy: newProxy(t, optionsFor(t, nowhere)), About: about("1h")})
		h.Start()
		time.Sleep(11 * time.Second)
		ctx, leave := context.WithTimeout(t.Context(), 3500*time.Millisecond)
		defer leave()
		w := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/status/events", nil)
		r.Host = "localhost"
		h.ServeHTTP(w, r) // ends with ctx
		events := &stream{t: t, scan: bufio.NewScanner(bytes.NewReader(w.Body.Bytes()))}
		first, ok := events.next()
		if !ok || len(first.Buckets) != 2 || len(first.Configuration) != 1 {
			t.Fatalf("%v, %d buckets, %v first", ok, len(first.Buckets), first.Configuration)
		}
		for i := 1; i <= 3; i++ {
			next, ok := events.next()
			if !ok || len(next.Buckets) != 1 || next.Configuration != nil || next.Now.Sub(first.Now) != time.Duration(i)*time.Second {
				t.Errorf("event %d: %v, %d buckets, %v, after %s", i, ok, len(next.Buckets), next.Configuration, next.Now.Sub(first.Now))
			}
		}
		if _, ok := events.next(); ok {
			t.Error("there is an event after its reader left")
		}
	})
}

func TestAStreamSendsTheConfigurationAgainAfterAReload(t *testing.T) {
	o := admin.Options{Proxy: newProxy(t, optionsFor(t, nowhere)), About: about("1h")}
	h := newHandler(t, o)
	r := openStream(t, serve(t, h, 0))
	defer func() { _ = r.res.Body.Close() }()
	if first, ok := r.next(); !ok || first.Configuration[0][1] != "1h" {
		t.Fatalf("%v, %v first", ok, first.Configuration)
	}
	o.About = about("2h")
	h.Reload(o)
	for { // one event may have been on its way
		next, ok := r.next()
		if !ok {
			t.Fatal("the stream ended")
		}
		if next.Configuration != nil {
			if got := next.Configuration[0][1]; got != "2h" {
				t.Errorf("got %s", got)
			}
			break
		}
	}
	if next, ok := r.next(); !ok || next.Configuration != nil {
		t.Errorf("%v, sent again: %v", ok, next.Configuration)
	}
}

func TestAHeadOfTheStreamEnds(t *testing.T) {
	h := handlerOf(t, newProxy(t, optionsFor(t, nowhere)))
	for range maxStreams + 1 {
		if w := send(h, httptest.NewRequest(http.MethodHead, "/status/events", nil)); w.Code != 200 || w.Header().Get("Content-Type") != "text/event-stream" {
			t.Fatalf("got %d %v", w.Code, w.Header())
		}
	}
}

func TestStreamsAreFewAndTheirPlacesAreGivenBack(t *testing.T) {
	s := serve(t, handlerOf(t, newProxy(t, optionsFor(t, nowhere))), 0)
	var open []*stream
	for range maxStreams {
		open = append(open, openStream(t, s))
	}
	if r := openStream(t, s); r.res.StatusCode != 503 || r.res.Header.Get("Retry-After") == "" {
		t.Errorf("one too many: %d", r.res.StatusCode)
	}
	_ = open[0].res.Body.Close()
	for start := time.Now(); openStream(t, s).res.StatusCode != 200; time.Sleep(10 * time.Millisecond) {
		if time.Since(start) > 20*time.Second {
			t.Fatal("the place of a reader that left is not given back")
		}
	}
	for _, r := range open[1:] {
		_ = r.res.Body.Close()
	}
	s.CloseClientConnections()
}

// A web page elsewhere reads neither.
func TestTheStatusIsForNoOtherSite(t *testing.T) {
	h := handlerOf(t, newProxy(t, optionsFor(t, nowhere)))
	gone, leave := context.WithCancel(t.Context()) // should a stream be served, it ends
	leave()
	for _, path := range []string{"/status", "/status/events"} {
		for name, value := range map[string]string{"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site", "Host": "evil.example"} {
			r := httptest.NewRequestWithContext(gone, http.MethodGet, path, nil)
			if r.Header.Set(name, value); name == "Host" {
				r.Host = value
			}
			if w := send(h, r); w.Code != 403 && w.Code != 421 {
				t.Errorf("%s with %s: %d", path, name, w.Code)
			}
		}
	}
}
