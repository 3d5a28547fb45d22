package proxy

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// listening reads the events of a stream.
type listening struct {
	t    *testing.T
	res  *http.Response
	scan *bufio.Scanner
}

// streamOf opens /status/events.
func streamOf(t *testing.T, s *httptest.Server) *listening {
	t.Helper()
	r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+"/status/events", nil)
	res, err := s.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = res.Body.Close() })
	scan := bufio.NewScanner(res.Body)
	scan.Buffer(nil, 1<<20)
	return &listening{t, res, scan}
}

// next is the next event; false at the end.
func (r *listening) next() (p Picture, ok bool) {
	for r.scan.Scan() {
		if text, found := strings.CutPrefix(r.scan.Text(), "data: "); found {
			if err := json.Unmarshal([]byte(text), &p); err != nil {
				r.t.Fatal(err)
			}
			return p, true
		}
	}
	return p, false
}

// adminServer serves the admin handlers, with time-outs as long as this; 0: without.
func adminServer(t *testing.T, p *Proxy, timeout time.Duration) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(p.Admin(nil, false))
	s.Config.ReadTimeout, s.Config.WriteTimeout = timeout, timeout
	s.Start()
	t.Cleanup(s.Close)
	return s
}

func TestAStreamSendsThePictureThenItsNewsAndEndsWithTheServer(t *testing.T) {
	const timeout = 1500 * time.Millisecond // the server's, which a stream outlives
	p := newProxy(t, optionsFor(t, "https://127.0.0.1:1", nil))
	p.Describe(About{Configuration: [][2]string{{"cache.ttl", "1h"}}})
	end := p.Watch()
	defer end()
	s := adminServer(t, p, timeout)
	s.Config.RegisterOnShutdown(end)
	p.board.turn(time.Now())
	p.board.turn(time.Now())
	r := streamOf(t, s)
	if got := r.res.Header; got.Get("Content-Type") != "text/event-stream" || got.Get("Cache-Control") != "no-store" {
		t.Errorf("headers %v", got)
	}
	first, ok := r.next()
	if !ok || len(first.Buckets) != 2 || len(first.Configuration) != 1 {
		t.Fatalf("%v, %d buckets, %v first", ok, len(first.Buckets), first.Configuration)
	}
	for last := first; last.Now.Sub(first.Now) < 2*timeout; {
		news, ok := r.next()
		if last = news; !ok || len(news.Buckets) != 1 || news.Configuration != nil || !news.Now.After(first.Now) {
			t.Fatalf("%v, %d buckets, %v as news", ok, len(news.Buckets), news.Configuration)
		}
	}
	done := make(chan error, 1)
	go func() { done <- s.Config.Shutdown(context.Background()) }()
	for ok {
		_, ok = r.next()
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestAStreamTellsTheConfigurationAgainAfterAReload(t *testing.T) {
	p := newProxy(t, optionsFor(t, "https://127.0.0.1:1", nil))
	p.Describe(About{Configuration: [][2]string{{"cache.ttl", "1h"}}})
	r := streamOf(t, adminServer(t, p, 0))
	defer func() { _ = r.res.Body.Close() }()
	if first, ok := r.next(); !ok || first.Configuration[0][1] != "1h" {
		t.Fatalf("%v, %v first", ok, first.Configuration)
	}
	p.Describe(About{Configuration: [][2]string{{"cache.ttl", "2h"}}})
	for { // one picture may have been on its way
		news, ok := r.next()
		if !ok {
			t.Fatal("the stream ended")
		}
		if news.Configuration != nil {
			if got := news.Configuration[0][1]; got != "2h" {
				t.Errorf("got %s", got)
			}
			break
		}
	}
	if news, ok := r.next(); !ok || news.Configuration != nil {
		t.Errorf("%v, told once more: %v", ok, news.Configuration)
	}
}

func TestAHeadOfTheStreamEnds(t *testing.T) {
	p := newProxy(t, optionsFor(t, "https://127.0.0.1:1", nil))
	s := adminServer(t, p, 0)
	for range maxStreams + 1 {
		res, err := s.Client().Head(s.URL + "/status/events")
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != 200 || res.Header.Get("Content-Type") != "text/event-stream" {
			t.Fatalf("got %d %v", res.StatusCode, res.Header)
		}
	}
	for start := time.Now(); len(p.board.streams) > 0; time.Sleep(10 * time.Millisecond) {
		if time.Since(start) > 20*time.Second {
			t.Fatalf("%d streams are open", len(p.board.streams))
		}
	}
}

func TestStreamsAreFewAndTheirPlacesAreGivenBack(t *testing.T) {
	p := newProxy(t, optionsFor(t, "https://127.0.0.1:1", nil))
	s := adminServer(t, p, 0)
	var open []*listening
	for range maxStreams {
		open = append(open, streamOf(t, s))
	}
	if r := streamOf(t, s); r.res.StatusCode != 503 || r.res.Header.Get("Retry-After") == "" {
		t.Errorf("one too many: %d", r.res.StatusCode)
	}
	_ = open[0].res.Body.Close()
	for start := time.Now(); streamOf(t, s).res.StatusCode != 200; time.Sleep(10 * time.Millisecond) {
		if time.Since(start) > 20*time.Second {
			t.Fatal("the place of a reader that left is not given back")
		}
	}
	for _, r := range open[1:] {
		_ = r.res.Body.Close()
	}
	s.CloseClientConnections()
	if err := s.Config.Shutdown(t.Context()); err != nil && !errors.Is(err, http.ErrServerClosed) {
		t.Error(err)
	}
}

// A web page elsewhere reads neither.
func TestThePictureIsForNoOtherSite(t *testing.T) {
	p := newProxy(t, optionsFor(t, "https://127.0.0.1:1", nil))
	for _, path := range []string{"/status", "/status/events"} {
		for name, value := range map[string]string{"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site", "Host": "evil.example"} {
			ended, cancel := context.WithCancel(t.Context())
			cancel() // should it be served, it ends
			r := with(get(path), name, value).WithContext(ended)
			if name == "Host" {
				r.Host = value
			}
			if got := serve(p.Admin(nil, false), r); got != 403 && got != 421 {
				t.Errorf("%s with %s: %d", path, name, got)
			}
		}
	}
}
