// Package proxy is the token calls of Instagram and Threads as igproxy answers them. It holds the client secret, asks once however many ask
// at the same time, remembers the answer, and goes on answering what it knows when Redis or Instagram fail. A token call forwards nothing
// of what an app sent but the token or the code; every other call is passed through as it came (passthrough.go). It never follows a
// redirect, and never prints a secret or a token. It knows neither Redis nor YAML.
//
// # The walk of one request
//
// Eight words, the same in code, comments, logs and metrics:
//
//		decode   -> recall    -> join      -> claim     -> guard    -> ask         -> remember    -> answer
//		decode.go   recall.go    join.go      remember.go  guard.go    ask.go         remember.go    handler.go
//
//	  - decode: the row of the table (grant.go) and the app are found; grant_type and the token or code are read, strictly; all else is
//	    dropped. What is wrong is said in Instagram's style, and Instagram is not asked.
//	  - recall: the memory tier, without waiting. A hit goes straight to answer.
//	  - join: one flight per token in this process. It is detached from its caller, has its own budget and recovers its own panics.
//	  - claim: memory again, then Redis, where one sidecar of a fleet gets the lease and the others wait. Any fault of Redis: go on alone.
//	  - guard: a place among the calls under way, the app's hold (rate limit, refused secret), the breaker.
//	  - ask: the query is built from nothing; the secret is added here and only here. Bounded in time, bytes and tries.
//	  - remember: tokens for cache.ttl, definite refusals about a token for cache.negative_ttl, nothing doubtful.
//	  - answer: the one encoder. expires_in is the time really left.
//
// HTTP lives at the two ends. Between them there is one verb, Exchange, wrapped as
//
//	recalled(deduped(claimed(guarded(upstream))))
//
// The flight is outside the shared cache: claim, ask and remember happen as one unit.
package proxy

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"slices"
	"sync/atomic"
	"time"

	"github.com/igproxy/igproxy/breaker"
	"github.com/igproxy/igproxy/cache"
)

// Options configure a Proxy. Cache, Breaker, MaxInFlight, Metrics, Logger and Tracer are carried over by Reload; everything else may change.
type Options struct {
	// Apps are those whose secrets are held; at least one. Labels are unique, and so are ids among apps of one service.
	Apps []App
	// UpstreamURL is Instagram's base URL, https://graph.instagram.com. Required.
	UpstreamURL *url.URL
	// LoginURL is where Instagram's codes are exchanged. Nil: https://api.instagram.com.
	LoginURL *url.URL
	// ThreadsURL is the base URL of Threads. Nil: https://graph.threads.net.
	ThreadsURL *url.URL
	// UpstreamCAs are the only authorities believed for the upstream. Nil: the system's.
	UpstreamCAs *x509.CertPool
	// Timeout bounds asking Instagram, all tries and the body together. Required.
	Timeout time.Duration
	// MaxResponseBytes bounds an answer of Instagram's, after inflating. Required.
	MaxResponseBytes int64
	// MaxInFlight bounds the calls in flight to each of Meta's hosts. Required.
	MaxInFlight int
	// Retries after a call that brought no answer: 0 or 1.
	Retries int
	// TTL is how long a token is remembered at the most. Required.
	TTL time.Duration
	// RefreshTTL is how long a refreshed token is remembered, so that many processes that refresh one token cost one call. Zero: 5 min.
	RefreshTTL time.Duration
	// CodeTTL is how long the answer to a code is remembered: a code works once, and double callbacks get the first answer. Zero: 2 min.
	CodeTTL time.Duration
	// NegativeTTL is how long a definite refusal is remembered. Zero: not at all.
	NegativeTTL time.Duration
	// ClaimBudget is what the cache may take for one claim; it is added to the exchange's budget.
	ClaimBudget time.Duration
	// Hosts are the names, without port, that requests may ask for besides loopback's own. Empty with AnyHost.
	Hosts []string
	// AnyHost turns the check of the Host name off: right for a Unix socket, or beyond loopback without a list.
	AnyHost bool
	// Bearer is the SHA-256 of the token that every request must show, asked anew for each; see trust. Nil: none is asked for.
	Bearer func() [sha256.Size]byte
	// Passthrough says what becomes of every other path. Nil: it is refused.
	Passthrough *PassthroughOptions
	// Cache remembers answers. Required; its owner closes it after the Proxy.
	Cache *cache.Cache
	// Breaker guards the upstream. OnChange is set by New.
	Breaker breaker.Options
	// Metrics are counted here. Nil: counted and shown nowhere.
	Metrics *Metrics
	// Logger gets one line a request, after the answer, and one a change of state. Nil: silence.
	Logger *slog.Logger
	// HitLines is how many lines a second the Logger gets about hits; the next line says how many had none. Zero: all have one.
	HitLines int
	// Tracer makes spans of each request and its steps; the lane is then off, so that every hit has them. Nil: none.
	Tracer Tracer
	// Version is said to Instagram in User-Agent. Empty: "dev".
	Version string
}

// Proxy answers apps. It is an http.Handler, safe for concurrent use.
type Proxy struct {
	current  atomic.Pointer[engine]
	carried  carried
	draining atomic.Bool
	board    *board
}

// carried is what survives a Reload.
type carried struct {
	cache    *cache.Cache
	circuits *circuits
	failures *failures
	flights  *flights
	places   map[string]*places // by upstream
	holds    *holds
	retries  *retryBudget
	metrics  *Metrics
	log      *slog.Logger
	tracing  *tracing
}

// engine is what is built from Options: immutable, and swapped as a whole. A request finishes on the engine it began with.
type engine struct {
	apps   []*app
	grants []*grant
	gate   gate
	trust  trust
	first  exchanger // recalled, which leads to all the others
	ask    *upstream
	past   *passthrough // nil: what is none of the grants' is refused

	lines    *hitLines
	shortcut *shortcut     // nil: the lane answers nothing
	longest  time.Duration // that anything is remembered
}

// New builds a Proxy. An error names the option and says what it may be. Nothing is dialled.
func New(o Options) (*Proxy, error) {
	if o.Cache == nil {
		return nil, errors.New("proxy: Cache is nil: build one with cache.New")
	}
	if o.MaxInFlight < 1 {
		return nil, fmt.Errorf("upstream max_in_flight is %d: it must be at least 1", o.MaxInFlight)
	}
	p := &Proxy{carried: carried{cache: o.Cache, failures: newFailures(o.Breaker.Interval), flights: &flights{}, places: placesOf(o.MaxInFlight),
		holds: &holds{}, retries: newRetryBudget(), metrics: o.Metrics, log: o.Logger, tracing: newTracing(o.Tracer)}}
	if p.carried.log == nil {
		p.carried.log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	if p.carried.metrics == nil {
		p.carried.metrics = NewMetrics()
	}
	var err error
	if p.carried.circuits, err = newCircuits(o.Breaker, p.breakerChanged); err != nil {
		return nil, err
	}
	if err := p.Reload(o); err != nil {
		return nil, err
	}
	if err := p.carried.metrics.watch(p); err != nil {
		return nil, err
	}
	p.board = newBoard(p)
	return p, nil
}

// Reload builds everything anew from o and swaps it in, or returns an error and changes nothing. The cache, the breaker's state, the
// places, the flights, the retry budget and the metrics are carried over. A request finishes on the engine it began with.
func (p *Proxy) Reload(o Options) error {
	next, err := newEngine(o, p.carried)
	if err != nil {
		return err
	}
	epochs := epochsOf(next)
	if last := p.current.Load(); last != nil {
		p.learn(epochsOf(last), epochs)
	}
	for _, a := range next.apps { // nothing can fail any more
		a.hold.use(a.secrets)
	}
	if last := p.current.Swap(next); last != nil {
		last.closeIdle()
	}
	p.carried.cache.Retain(epochs)
	p.carried.circuits.retain(next.apps)
	return nil
}

func epochsOf(e *engine) (epochs []*cache.Epoch) {
	for _, a := range e.apps {
		epochs = append(epochs, a.epoch)
	}
	return epochs
}

// learnTime is how long a reload may wait to hear what was purged.
const learnTime = 250 * time.Millisecond

// learn hears what the fleet has purged of the keys that a reload brings, before anybody is answered out of what they find.
func (p *Proxy) learn(known, now []*cache.Epoch) {
	if !slices.ContainsFunc(now, func(e *cache.Epoch) bool { return !slices.Contains(known, e) }) {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), learnTime)
	defer cancel()
	p.carried.cache.Learn(ctx)
}

// maxAnswer bounds upstream.max_response_bytes: no answer of Instagram's has a thousandth of it.
const maxAnswer = 1 << 30

// withDefaults fills in what may be left out.
func (o Options) withDefaults() Options {
	o.LoginURL = cmp.Or(o.LoginURL, &url.URL{Scheme: "https", Host: "api.instagram.com"})
	o.ThreadsURL = cmp.Or(o.ThreadsURL, &url.URL{Scheme: "https", Host: "graph.threads.net"})
	o.RefreshTTL = cmp.Or(o.RefreshTTL, 5*time.Minute)
	o.CodeTTL = cmp.Or(o.CodeTTL, 2*time.Minute)
	return o
}

// check looks at what engine and Probe are built from; each App is looked at by newApp.
func (o Options) check() error {
	if len(o.Apps) == 0 {
		return errors.New("apps: there is none, and so no client secret")
	}
	if o.UpstreamURL == nil || o.UpstreamURL.Host == "" {
		return errors.New("upstream url is not set: use https://graph.instagram.com")
	}
	for name, u := range map[string]*url.URL{"upstream url": o.UpstreamURL, "upstream login_url": o.LoginURL, "threads url": o.ThreadsURL} {
		if u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
			return fmt.Errorf("%s is neither https nor http: leave it out, or use https://graph.instagram.com and the like", name)
		}
	}
	switch {
	case o.Timeout <= 0:
		return fmt.Errorf("upstream timeout is %s: it must be more than 0", o.Timeout)
	case o.MaxResponseBytes < 1 || o.MaxResponseBytes > maxAnswer:
		return fmt.Errorf("upstream max_response_bytes is %d: it must be at least 1 and at most %d", o.MaxResponseBytes, maxAnswer)
	case o.Retries < 0 || o.Retries > 1:
		return fmt.Errorf("upstream retries is %d: it must be 0 or 1", o.Retries)
	case o.TTL <= 0:
		return fmt.Errorf("cache ttl is %s: it must be more than 0", o.TTL)
	}
	return nil
}

func newEngine(o Options, c carried) (*engine, error) {
	o = o.withDefaults()
	if err := o.check(); err != nil {
		return nil, err
	}
	o.Cache = c.cache
	table := offered(grants(o), o.Apps)
	apps, hosts, err := newApps(o, table, c.holds)
	if err != nil {
		return nil, err
	}
	ask := &upstream{out: newOutbound(o, c.metrics.silentTokens), timeout: o.Timeout, maxBytes: o.MaxResponseBytes, retries: o.Retries,
		budget: c.retries, userAgent: userAgent(o.Version), metrics: c.metrics, open: c.circuits.isOpen}
	guard := &guarded{next: c.tracing.step("ask", ask), circuits: c.circuits, failures: c.failures, places: c.places, timeout: o.Timeout, log: c.log}
	claim := &claimed{cache: c.cache, negativeTTL: o.NegativeTTL, next: c.tracing.step("guard", guard)}
	join := &deduped{next: c.tracing.step("claim", claim), budget: o.Budget(), log: c.log, flights: c.flights}
	e := &engine{apps: apps, grants: table, gate: newGate(hosts, o.AnyHost), trust: trust{o.Bearer}, lines: &hitLines{most: int64(o.HitLines)},
		first: c.tracing.step("recall", &recalled{cache: c.cache, next: c.tracing.step("join", join)}), ask: ask,
		longest: max(o.TTL, o.RefreshTTL, o.CodeTTL, o.NegativeTTL, maxPause)}
	if o.Passthrough != nil {
		e.past = newPassthrough(o, c.metrics)
	}
	if c.tracing == nil { // the lane makes no spans
		e.shortcut = shortcutOf(e, c.metrics)
	}
	return e, nil
}

// closeIdle closes the kept connections to Meta that no call uses now. Those of calls in flight are closed when the call ends, unless
// another call begins first.
func (e *engine) closeIdle() {
	e.ask.out.CloseIdleConnections()
	if e.past != nil {
		e.past.out.CloseIdleConnections()
	}
}

// Budget is the longest an exchange takes: the claim, then asking Instagram, and a little for ourselves. A server's write time-out
// must be longer.
func (o Options) Budget() time.Duration { return o.ClaimBudget + o.Timeout + 100*time.Millisecond }

// EndIdle ends the kept connections to Instagram that no call uses now: they hold descriptors, which may have run out.
func (p *Proxy) EndIdle() { p.current.Load().closeIdle() }

// Drain turns readiness off; requests go on being answered.
func (p *Proxy) Drain() { p.draining.Store(true) }

// Close waits until no flight is in the air, bounded by ctx. Call it when the HTTP server has stopped taking requests.
func (p *Proxy) Close(ctx context.Context) error {
	p.Drain()
	defer p.current.Load().closeIdle()
	return p.carried.flights.wait(ctx)
}

func (p *Proxy) breakerChanged(of circuit, upstream string, from, to, worst breaker.State) {
	p.carried.metrics.breakerChanged(upstream, to, worst)
	level := slog.LevelInfo
	if to == breaker.Open {
		level = slog.LevelWarn
	}
	p.carried.log.Log(context.Background(), level, "breaker changed", "step", "guard", "upstream", upstream, "app", of.app, "grant", of.grant,
		"from", from, "to", to)
}
