package proxy

import (
	"context"
	"net/url"
	"strings"
	"testing"
	"time"
)

// badOptions returns, by name, changes that make valid Options invalid. A name has the words that
// the error must contain; words after a comma only tell names apart. The prefix "carried: " marks
// an option that a Reload carries over from New, so TestReloadIsAtomic skips it.
func badOptions() map[string]func(*Options) {
	return map[string]func(*Options){
		"carried: Cache":                  func(o *Options) { o.Cache = nil },
		"carried: max_in_flight":          func(o *Options) { o.MaxInFlight = 0 },
		"carried: breaker, failures":      func(o *Options) { o.Breaker.Failures = 0 },
		"carried: breaker, interval":      func(o *Options) { o.Breaker.Interval = 0 },
		"client secret":                   func(o *Options) { o.Apps[0].Secret = Secret{} },
		"client secret, short":            func(o *Options) { o.Apps[0].Secret = NewSecret("canary1") },
		"webhook secret":                  func(o *Options) { o.Apps[0].WebhookSecrets = []Secret{{}} },
		"webhook secret, short":           func(o *Options) { o.Apps[0].WebhookSecrets = []Secret{NewSecret("canary1")} },
		"upstream url":                    func(o *Options) { o.UpstreamURL = nil },
		"upstream url, without a host":    func(o *Options) { o.UpstreamURL = &url.URL{Scheme: "https", Path: "/canary"} },
		"upstream url, of another scheme": func(o *Options) { o.UpstreamURL = &url.URL{Scheme: "ftp", Host: "canary.example"} },
		"upstream url, without a scheme":  func(o *Options) { o.UpstreamURL = &url.URL{Host: "canary.example"} },
		"upstream timeout":                func(o *Options) { o.Timeout = 0 },
		"upstream timeout, negative":      func(o *Options) { o.Timeout = -time.Second },
		"max_response_bytes":              func(o *Options) { o.MaxResponseBytes = 0 },
		"retries":                         func(o *Options) { o.Retries = -1 },
		"retries, many":                   func(o *Options) { o.Retries = 2 },
		"cache ttl":                       func(o *Options) { o.TTL = 0 },
		"keep refresh_before":             func(o *Options) { o.Keep = &KeepOptions{CheckEvery: 1, MaxPerMinute: 1} },
		"check_every":                     func(o *Options) { o.Keep = &KeepOptions{RefreshBefore: 1, CheckEvery: -1, MaxPerMinute: 1} },
		"max_per_minute":                  func(o *Options) { o.Keep = &KeepOptions{RefreshBefore: 1, CheckEvery: 1} },
	}
}

func TestNewRefusesEachBadOptionAndNamesIt(t *testing.T) {
	for name, spoil := range badOptions() {
		o := optionsFor(t, "https://127.0.0.1:1", nil)
		o.Cache = newCache(t)
		spoil(&o)
		_, err := New(o)
		word, _, _ := strings.Cut(strings.TrimPrefix(name, "carried: "), ",")
		if err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%s: got %v, want an error with the words %q", name, err, word)
		}
		if err != nil && strings.Contains(err.Error(), "canary1") {
			t.Errorf("%s: got the error %v, want an error without the secret canary1", name, err)
		}
	}
}

// Metrics cannot tell two Proxies apart, so New returns an error if a second Proxy gets the same
// Metrics. New must not panic.
func TestMetricsBelongToOneProxy(t *testing.T) {
	o := optionsFor(t, "https://127.0.0.1:1", nil)
	o.Cache, o.Metrics = newCache(t), NewMetrics()
	newProxy(t, o)
	if _, err := New(o); err == nil || !strings.Contains(err.Error(), "Metrics") {
		t.Errorf("got %v, want an error that names Metrics", err)
	}
}

func TestTheBudgetIsTheSumOfItsParts(t *testing.T) {
	o := Options{ClaimBudget: 50 * time.Millisecond, Timeout: 10 * time.Second}
	if got := o.Budget(); got != 10150*time.Millisecond {
		t.Errorf("got %s, want 10.15s", got)
	}
}

func TestCloseWaitsForFlights(t *testing.T) {
	base, arrived, open := gated(t)
	defer open()
	o := optionsFor(t, base, nil)
	o.Cache = newCache(t)
	p := newProxy(t, o)
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		c, _ := decoded(p.current.Load(), get(target("IGAAshort")))
		_, _ = p.current.Load().first.Exchange(t.Context(), c)
	}()
	defer func() { <-answered }()
	<-arrived
	ended, cancel := withEnded(t)
	defer cancel()
	if err := p.Close(ended); err == nil || p.Readiness().Ready {
		t.Errorf("Close with an ended context: got %v, want an error; ready: %v, want false", err, p.Readiness().Ready)
	}
	open()
	if err := p.Close(t.Context()); err != nil {
		t.Errorf("Close: got %v, want no error", err)
	}
	if o.Cache.Len() != 1 {
		t.Errorf("the cache has %d entries, want 1 with the flight's answer", o.Cache.Len())
	}
}

// withEnded returns a context that has ended.
func withEnded(t testing.TB) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx, cancel
}

// waitFor polls until done returns true. It is for events that a test cannot wait for in another
// way.
func waitFor(t testing.TB, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("timed out waiting for %s", what)
		}
	}
}
