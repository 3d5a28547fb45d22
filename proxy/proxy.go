// Package proxy answers the token calls of Instagram, Facebook and Threads apps. It adds the client
// secret, asks Meta once (however many callers ask at the same time), remembers the answer, and
// keeps serving known tokens when Redis or Meta fails. It also checks what Meta has signed with an
// app's secret (verify.go). With Options.Passthrough, it passes all other calls through (see
// package passthrough); otherwise it refuses them. With Options.Keep, it also refreshes long-lived
// tokens while they are used (keep.go). The package never follows a redirect, and never prints a
// secret or a token.
//
// # The steps of a request
//
// A token call takes eight steps:
//
//	decode -> recall -> join -> claim -> guard -> ask -> remember -> answer
//
// Files, comments, logs and metrics use these names.
//
//   - decode selects an app and a row of the table in grant.go, and reads the token or the code.
//   - recall looks in memory, without waiting. After a hit, the next step is answer.
//   - join runs one flight per token in this process. The flight is detached from its caller, has
//     its own time budget and recovers its own panics.
//   - claim looks in memory again, then in Redis, where one sidecar of a fleet gets the lease and
//     the others wait. If Redis fails, the sidecar continues without it.
//   - guard checks the number of calls in flight, the pauses of the app and of the token, and the
//     circuit breaker.
//   - ask sends a request that is built from scratch, with the client secret if the call needs it,
//     and limits the time of the call and the size of the response.
//   - remember keeps tokens, and refusals that concern only one token.
//   - answer writes status, headers and body; expires_in is the time left. For a request that
//     package lane has read, answer_lane.go writes the same bytes.
//
// Only decode, ask and answer deal with HTTP. The steps from recall to ask have one method,
// Exchange, and engine.go wraps them around each other: recall(join(claim(guard(ask)))). remember
// is the second half of claim. Options.Keep adds two steps. keep comes before recall: it answers a
// refresh with the token's successor, if the token has one. learn comes between claim and guard: it
// records when tokens end, and which tokens have replaced them.
package proxy

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/igproxy/igproxy/cache"
	"github.com/igproxy/igproxy/proxy/keep"
)

// Proxy answers the requests of apps. It is an http.Handler, and is safe for concurrent use.
type Proxy struct {
	current  atomic.Pointer[engine]
	carried  carried
	draining atomic.Bool // a stop is in progress, so the Proxy is not ready
	stopping atomic.Bool // each answer in the lane is the last one on its connection
	checked  atomic.Bool // CheckSecrets has made its first calls
	dates    dates       // Date headers for the lane
}

// New builds a Proxy. If an option is invalid, the error names it. Some options are checked
// together; their error names all of them, with their limits. New opens no connection.
func New(o Options) (*Proxy, error) {
	if o.Cache == nil {
		return nil, errors.New("proxy: Cache is nil: build one with cache.New")
	}
	p := &Proxy{carried: carried{cache: o.Cache, failures: newFailures(o.Breaker.Interval), flights: &flights{},
		retries: newRetryBudget(), large: make(chan struct{}, maxLargeBodies), metrics: cmp.Or(o.Metrics, NewMetrics()), tracer: o.Tracer,
		lines: newRequestLines(o.LogLines), log: cmp.Or(o.Logger, slog.New(slog.DiscardHandler))}}
	var err error
	if p.carried.circuits, err = newCircuits(o.Breaker, o.MaxInFlight, p.carried.metrics, p.carried.log); err != nil {
		return nil, err
	}
	p.carried.keeper = newKeeper(o, p.carried)
	if err = p.Reload(o); err == nil {
		err = p.carried.metrics.watch(p)
	}
	if err != nil {
		return nil, err
	}
	return p, nil
}

// Reload builds a new engine from o and switches to it, or returns an error and changes nothing.
// The new engine takes over the cache, the breakers, the flights, the pauses of tokens, the retry
// budget, the limit on large bodies, the metrics, what Meta has reported about the apps and, if
// o.Keep is set, the tokens that wait for a refresh. A request finishes with the engine that it
// began with. Calls to Reload must not overlap.
func (p *Proxy) Reload(o Options) error {
	last := p.current.Load()
	var before []*app
	if last != nil {
		before = last.apps
	}
	next, err := newEngine(o, p.carried, before)
	if err != nil {
		return err
	}
	if last != nil { // other sidecars may have purged the entries of an app that is new in this sidecar
		ctx, cancel := context.WithTimeout(context.Background(), learnTime)
		p.carried.cache.Learn(ctx)
		cancel()
	}
	var purges []*cache.Purges
	for _, a := range next.apps { // nothing below can fail
		a.state.secrets.use(a.secrets)
		purges = append(purges, a.purges)
	}
	p.carried.lines.Set(o.LogLines)
	if o.Keep == nil {
		p.carried.keeper.Clear()
	} else {
		p.carried.keeper.Set(keep.Settings{RefreshBefore: o.Keep.RefreshBefore, CheckEvery: o.Keep.CheckEvery, PerMinute: o.Keep.MaxPerMinute})
	}
	p.current.Store(next)
	if last != nil {
		last.closeIdle()
	}
	p.carried.cache.Retain(purges)
	p.carried.circuits.retain(next.apps)
	return nil
}

// learnTime is the timeout of the context that a reload passes to cache.Learn. Learn does not end
// when its context ends, so a slow Redis can delay a reload for longer.
const learnTime = 250 * time.Millisecond

// Metrics returns the Metrics of the Proxy.
func (p *Proxy) Metrics() *Metrics { return p.carried.metrics }

// EndIdle closes the connections to Meta that no call uses. Call it to free their file descriptors
// when the process has run out of them.
func (p *Proxy) EndIdle() { p.current.Load().closeIdle() }

// Drain makes Readiness report that the Proxy is not ready. Requests are still answered.
func (p *Proxy) Drain() { p.draining.Store(true) }

// Stop drains the Proxy, and makes each answer in the lane the last one on its connection. Call it
// when the listeners stop.
func (p *Proxy) Stop() {
	p.Drain()
	p.stopping.Store(true)
}

// Close stops the Proxy and waits until no flight and no refresh is left. It returns an error if
// ctx ends first. Call it after the HTTP server has stopped and KeepTokens has returned.
func (p *Proxy) Close(ctx context.Context) error {
	p.Stop()
	defer p.current.Load().closeIdle()
	return errors.Join(p.carried.flights.wait(ctx), p.carried.keeper.Wait(ctx))
}
