package proxy

import (
	"bufio"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/igproxy/igproxy/breaker"
)

// gated starts an upstream whose answers wait until the test calls the function open. The channel
// arrived gets a value for each request.
func gated(t *testing.T) (base string, arrived <-chan struct{}, open func()) {
	came, gate := make(chan struct{}, 100), make(chan struct{})
	return rawUpstream(t, func(_ int, c net.Conn, r *bufio.Reader) {
		for {
			if _, err := http.ReadRequest(r); err != nil {
				return
			}
			came <- struct{}{}
			<-gate
			_, _ = io.WriteString(c, rawResponse(200, goodToken))
		}
	}), came, sync.OnceFunc(func() { close(gate) })
}

func TestReloadIsAtomic(t *testing.T) {
	i, s := newInstagram(t, overTLS)
	good := optionsFor(t, s.URL, s.CA())
	p := newProxy(t, good)
	before := p.current.Load()
	for name, spoil := range badOptions() {
		if strings.HasPrefix(name, "carried") {
			continue
		}
		o := good
		o.Apps = slices.Clone(good.Apps)
		spoil(&o)
		if err := p.Reload(o); err == nil {
			t.Errorf("%s: the reload succeeded, want an error", name)
		}
		if p.current.Load() != before {
			t.Fatalf("%s: the engine was replaced in spite of the error", name)
		}
	}
	if w := ask(p, get(target("IGAAshort"))); w.Code != 200 || i.Calls() != 1 {
		t.Errorf("after refused reloads: got %d after %d calls, want 200 after 1", w.Code, i.Calls())
	}
	hosts := good
	hosts.Hosts = []string{"new.example"}
	if err := p.Reload(hosts); err != nil {
		t.Fatal(err)
	}
	r := get(target("IGAAshort"))
	r.Host = "new.example"
	if got := p.current.Load().gate.check(r); got != nil {
		t.Errorf("the new Host name: got %v, want no refusal", got)
	}
}

func TestARequestFinishesOnTheEngineItBeganWith(t *testing.T) {
	old, arrived, open := gated(t)
	defer open()
	i, s := newInstagram(t, overTLS)
	o := optionsFor(t, old, nil)
	o.Cache = newCache(t)
	p := newProxy(t, o)
	done := make(chan int)
	go func() { done <- ask(p, get(target("IGAAold"))).Code }()
	<-arrived
	next := optionsFor(t, s.URL, s.CA())
	next.Cache = o.Cache
	if err := p.Reload(next); err != nil {
		t.Fatal(err)
	}
	if w := ask(p, get(target("IGAAnew"))); w.Code != 200 || i.CallsFor("IGAAnew") != 1 {
		t.Errorf("on the new engine: got %d after %d calls, want 200 after 1", w.Code, i.CallsFor("IGAAnew"))
	}
	if got := p.Readiness().Flights; got != 1 {
		t.Errorf("got %d flights, want 1, which began on the old engine", got)
	}
	open()
	if code := <-done; code != 200 || i.CallsFor("IGAAold") != 0 {
		t.Errorf("on the old engine: got %d, want 200; the new upstream was asked %d times, want 0", code, i.CallsFor("IGAAold"))
	}
}

// Two callers of a token share one exchange, even if a reload comes between them.
func TestCallersJoinATokensFlightFromBeforeTheReload(t *testing.T) {
	old, arrived, open := gated(t)
	defer open()
	o := optionsFor(t, old, nil)
	o.Metrics = NewMetrics()
	o.Cache = newCacheWatchedBy(t, o.Metrics)
	p := newProxy(t, o)
	codes := make(chan string, 2)
	call := func() { w := ask(p, get(target("IGAAshort"))); codes <- fmt.Sprint(w.Code, w.Body) }
	go call()
	<-arrived
	next := o // with the same upstream, because the key of a flight contains the upstream
	next.TTL = 2 * o.TTL
	if err := p.Reload(next); err != nil {
		t.Fatal(err)
	}
	go call()
	waitFor(t, "the second caller to be past recall", func() bool { return len(arrived) > 0 || counted(t, o.Metrics, "igproxy_cache_lookups_total") >= 2 })
	open()
	for range 2 {
		if got := <-codes; !strings.HasPrefix(got, "200") || !strings.Contains(got, "IGAAlong") {
			t.Errorf("got %s, want 200 with the token IGAAlong", got)
		}
	}
	if n := len(arrived); n != 0 {
		t.Errorf("the token was exchanged %d more times, want 0", n)
	}
}

func TestCloseWaitsForFlightsFromBeforeTheReload(t *testing.T) {
	old, arrived, open := gated(t)
	defer open()
	o := optionsFor(t, old, nil)
	o.Cache = newCache(t)
	p := newProxy(t, o)
	answered := make(chan int, 1)
	go func() { answered <- ask(p, get(target("IGAAshort"))).Code }()
	<-arrived
	if err := p.Reload(o); err != nil {
		t.Fatal(err)
	}
	ended, cancel := withEnded(t)
	defer cancel()
	if err := p.Close(ended); err == nil || !strings.Contains(err.Error(), "1 flights") {
		t.Errorf("Close with an ended context: got %v, want an error with \"1 flights\"", err)
	}
	open()
	if err := p.Close(t.Context()); err != nil || p.carried.circuits.inFlight("") != 0 {
		t.Errorf("Close: got %v, want no error; %d slots are taken, want 0", err, p.carried.circuits.inFlight(""))
	}
	if code := <-answered; code != 200 {
		t.Errorf("the caller got %d, want 200", code)
	}
}

// The connections of the old engine are closed: idle connections at once, and a connection in use
// when its call ends. net/http would not close an HTTP/2 connection that is in use. So igproxy must
// use HTTP/1.1 even if the upstream offers HTTP/2.
func TestTheOldEnginesConnectionsAreClosed(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		var open atomic.Int32
		came, gate := make(chan struct{}, 1), make(chan struct{})
		old := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Get("access_token") == "IGAAslow" {
				came <- struct{}{}
				<-gate
			}
			_, _ = io.WriteString(w, goodToken)
		}))
		old.Config.ConnState = func(_ net.Conn, s http.ConnState) {
			switch s {
			case http.StateNew:
				open.Add(1)
			case http.StateClosed:
				open.Add(-1)
			}
		}
		old.EnableHTTP2 = http2
		old.StartTLS()
		ca := x509.NewCertPool()
		ca.AddCert(old.Certificate())
		_, s := newInstagram(t, overTLS)
		o := optionsFor(t, old.URL, ca)
		o.Cache = newCache(t)
		p := newProxy(t, o)
		slow := make(chan int)
		go func() { slow <- ask(p, get(target("IGAAslow"))).Code }()
		<-came
		if w := ask(p, get(target("IGAAquick"))); w.Code != 200 {
			t.Fatalf("HTTP/2 %v: the quick call got %d, want 200", http2, w.Code)
		}
		next := optionsFor(t, s.URL, s.CA())
		next.Cache = o.Cache
		if err := p.Reload(next); err != nil {
			t.Fatal(err)
		}
		close(gate)
		if code := <-slow; code != 200 {
			t.Errorf("HTTP/2 %v: the slow call got %d, want 200", http2, code)
		}
		waitFor(t, "the old engine's connections to close", func() bool { return open.Load() == 0 })
		old.Close()
	}
}

func TestPausesBreakersAndTheCacheSurviveAReload(t *testing.T) {
	i, s := newInstagram(t, overTLS)
	o := optionsFor(t, s.URL, s.CA())
	o.Cache, o.Metrics = newCache(t), NewMetrics()
	o.Breaker.Failures = 1
	p := newProxy(t, o)
	_ = ask(p, get(target("IGAAknown")))
	_ = ask(p, get(target("limit4-1")))
	if err := p.Reload(o); err != nil {
		t.Fatal(err)
	}
	if w := ask(p, get(target("IGAAknown"))); w.Code != 200 || !strings.Contains(w.Header().Get("Cache-Status"), "hit") {
		t.Errorf("a known token: got %d, want 200; got the Cache-Status %q, want a hit", w.Code, w.Header().Get("Cache-Status"))
	}
	if w := ask(p, get(target("IGAAcold"))); w.Code != 429 || i.CallsFor("IGAAcold") != 0 {
		t.Errorf("a cold token during the app's pause: got %d after %d calls to Meta, want 429 after 0", w.Code, i.CallsFor("IGAAcold"))
	}
	if n := counted(t, o.Metrics, "igproxy_upstream_requests_total"); n != 2 {
		t.Errorf("igproxy_upstream_requests_total is %v, want 2", n)
	}
	if _, err := p.Resume(""); err != nil {
		t.Fatal(err)
	}
	if w := ask(p, get(target("down-1"))); w.Code != 502 || p.Readiness().Breaker != breaker.Open {
		t.Fatalf("a call that fails: got %d, want 502; the breaker is %s, want open", w.Code, p.Readiness().Breaker)
	}
	if err := p.Reload(o); err != nil || p.Readiness().Breaker != breaker.Open {
		t.Errorf("after the reload, the breaker is %s, want open; error: %v, want nil", p.Readiness().Breaker, err)
	}
}

// A new secret replaces a refused one. The refusal of the old secret says nothing about the new
// one.
func TestNewSecretIsNotConsideredRefused(t *testing.T) {
	i, s := newInstagram(t, overTLS)
	o := optionsFor(t, s.URL, s.CA())
	o.Cache, o.Apps[0].Secret = newCache(t), NewSecret("a-secret-that-is-wrong")
	p := newProxy(t, o)
	if w := ask(p, get(target("IGAAshort"))); w.Code != 400 || p.Readiness().Ready {
		t.Fatalf("the wrong secret: got %d, want 400; ready: %v, want false", w.Code, p.Readiness().Ready)
	}
	if err := p.Reload(o); err != nil || p.Readiness().Ready {
		t.Errorf("the same secret again: got %v, want no error; ready: %v, want false", err, p.Readiness().Ready)
	}
	o.Apps[0].Secret = NewSecret(testSecret)
	if err := p.Reload(o); err != nil || !p.Readiness().Ready {
		t.Errorf("the right secret: got %v, want no error; ready: %v, want true", err, p.Readiness().Ready)
	}
	if w := ask(p, get(target("IGAAshort"))); w.Code != 200 || i.Calls() != 2 {
		t.Errorf("a call with the right secret: got %d after %d calls, want 200 after 2", w.Code, i.Calls())
	}
}

func TestANewSecretDoesNotEndARateLimit(t *testing.T) {
	var a app
	a.state = &appState{}
	a.state.secrets.use([]Secret{NewSecret("old")})
	now := time.Now()
	limit := refusalAnswer(4, 0, "m").refusal
	limit.RetryAt = now.Add(time.Hour)
	a.state.limit.begin(limit, now)
	a.state.secrets.note(refusalAnswer(100, 0, "Error validating client secret."), now)
	if e := a.paused(now.Add(refusedPause)); e == nil || e.Code != 4 {
		t.Errorf("after a refused secret: got the pause %v, want the rate limit's (code 4)", e)
	}
	a.state.secrets.use([]Secret{NewSecret("new")})
	if e := a.paused(now.Add(time.Minute)); e == nil || e.Code != 4 || a.state.secrets.standing() != secretUnproven {
		t.Errorf("with the new secret: got the pause %v, want the rate limit's (code 4); the state of the secret is %s, want %s", e, a.state.secrets.standing(), secretUnproven)
	}
}

// A reload must not double the number of passed-through calls that an app may have in flight. But a
// new limit takes effect.
func TestSlotsOfPassedThroughCallsSurviveAReload(t *testing.T) {
	o := optionsFor(t, deadURL(t), nil)
	o.Cache, o.Passthrough, o.MaxPassedInFlight = newCache(t), passing(PassthroughOptions{}), 1
	p := newProxy(t, o)
	held := p.current.Load().apps[0].passing
	if !held.take(t.Context()) {
		t.Fatal("the app has no free slot, want one")
	}
	defer held.give()
	// 990027: no slot is free. 990023: igproxy cannot connect to Meta.
	for _, c := range []struct{ slots, subcode int }{{1, 990027}, {2, 990023}} {
		o.MaxPassedInFlight = c.slots
		if err := p.Reload(o); err != nil {
			t.Fatal(err)
		}
		r := ask(p, get("/me"))
		if e := errorIn(t, r.Body.Bytes()); r.Code != 503 || e.Subcode != c.subcode {
			t.Errorf("%d slots, one of them taken before the reload: got status %d, want 503; got subcode %d, want %d", c.slots, r.Code, e.Subcode, c.subcode)
		}
	}
}
