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
//	recall(join(claim(guard(ask))))
//
// The flight is outside the shared cache: claim, ask and remember happen as one unit.
package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/igproxy/igproxy/breaker"
	"github.com/igproxy/igproxy/cache"
)

// Proxy answers apps. It is an http.Handler, safe for concurrent use.
type Proxy struct {
	current  atomic.Pointer[engine]
	carried  carried
	draining atomic.Bool
}

// New builds a Proxy. An error names the option and says what it may be. Nothing is dialled.
func New(o Options) (*Proxy, error) {
	if o.Cache == nil {
		return nil, errors.New("proxy: Cache is nil: build one with cache.New")
	}
	if o.MaxInFlight < 1 {
		return nil, fmt.Errorf("upstream max_in_flight is %d: it must be at least 1", o.MaxInFlight)
	}
	p := &Proxy{carried: carried{cache: o.Cache, failures: newFailures(o.Breaker.Interval), flights: &flights{},
		states: &appStates{}, retries: newRetryBudget(), metrics: o.Metrics, log: o.Logger, tracing: newTracing(o.Tracer)}}
	if p.carried.log == nil {
		p.carried.log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	if p.carried.metrics == nil {
		p.carried.metrics = NewMetrics()
	}
	var err error
	if p.carried.circuits, err = newCircuits(o.Breaker, o.MaxInFlight, p.breakerChanged); err != nil {
		return nil, err
	}
	if err := p.Reload(o); err != nil {
		return nil, err
	}
	if err := p.carried.metrics.watch(p); err != nil {
		return nil, err
	}
	return p, nil
}

// Reload builds everything anew from o and swaps it in, or returns an error and changes nothing. The cache, the breaker's state, the
// circuits, the flights, the retry budget and the metrics are carried over. A request finishes on the engine it began with.
func (p *Proxy) Reload(o Options) error {
	next, err := newEngine(o, p.carried)
	if err != nil {
		return err
	}
	purges := purgesOf(next)
	if last := p.current.Load(); last != nil {
		p.learn(purgesOf(last), purges)
	}
	for _, a := range next.apps { // nothing can fail any more
		a.state.secrets.use(a.secrets)
	}
	if last := p.current.Swap(next); last != nil {
		last.closeIdle()
	}
	p.carried.cache.Retain(purges)
	p.carried.circuits.retain(next.apps)
	return nil
}

// learnTime is how long a reload may wait to hear what was purged.
const learnTime = 250 * time.Millisecond

// learn hears what the fleet has purged of the keys that a reload brings, before anybody is answered out of what they find.
func (p *Proxy) learn(known, now []*cache.Purges) {
	if !slices.ContainsFunc(now, func(e *cache.Purges) bool { return !slices.Contains(known, e) }) {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), learnTime)
	defer cancel()
	p.carried.cache.Learn(ctx)
}

// Metrics returns what the Proxy counts in.
func (p *Proxy) Metrics() *Metrics { return p.carried.metrics }

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

func (p *Proxy) breakerChanged(of circuit, upstream string, from, to breaker.State) {
	p.carried.metrics.breakerChanged(upstream, to)
	level := slog.LevelInfo
	if to == breaker.Open {
		level = slog.LevelWarn
	}
	p.carried.log.Log(context.Background(), level, "breaker changed", "step", "guard", "upstream", upstream, "app", of.app, "grant", of.grant,
		"from", from, "to", to)
}
