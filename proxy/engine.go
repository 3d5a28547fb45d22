package proxy

import (
	"cmp"
	"log/slog"

	"github.com/igproxy/igproxy/cache"
)

// carried is what survives a Reload.
type carried struct {
	cache    *cache.Cache
	circuits *circuits
	failures *failures
	flights  *flights
	states   *appStates
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
	first  exchanger // recall, which leads to all the other steps
	out    *outbound // of ask
	bypass *bypass   // nil: only token calls are answered

	lines    *hitLines
	shortcut *shortcut // nil: the lane answers nothing
}

// steps builds the steps between decode and answer. Each method returns its step, which leads to next; where requests are traced, inside a
// span.
type steps struct {
	Options
	carried
	out *outbound
}

func (s steps) recall(next exchanger) exchanger {
	return s.tracing.step("recall", &recallStep{cache: s.cache, next: next})
}

func (s steps) join(next exchanger) exchanger {
	return s.tracing.step("join", &joinStep{next: next, budget: s.Budget(), log: s.log, flights: s.flights})
}

func (s steps) claim(next exchanger) exchanger {
	return s.tracing.step("claim", &claimStep{cache: s.cache, negativeTTL: s.NegativeTTL, next: next})
}

func (s steps) guard(next exchanger) exchanger {
	return s.tracing.step("guard", &guardStep{next: next, circuits: s.circuits, failures: s.failures, timeout: s.Timeout, log: s.log})
}

func (s steps) ask() exchanger { return s.tracing.step("ask", s.newAsk()) }

func (s steps) newAsk() *askStep {
	return &askStep{out: s.out, timeout: s.Timeout, maxBytes: s.MaxResponseBytes, retries: s.Retries, budget: s.carried.retries,
		userAgent: "igproxy/" + cmp.Or(s.Version, "dev"), metrics: s.metrics}
}

func newEngine(o Options, c carried) (*engine, error) {
	o = o.withDefaults()
	if err := o.check(); err != nil {
		return nil, err
	}
	o.Cache = c.cache
	table := offered(grants(o), o.Apps)
	apps, hosts, err := newApps(o, table, c.states)
	if err != nil {
		return nil, err
	}
	s := steps{o, c, newOutbound(o, c.metrics.silentTokens)}
	e := &engine{apps: apps, grants: table, gate: newGate(hosts, o.AnyHost), trust: trust{o.Bearer}, lines: &hitLines{most: int64(o.HitLines)},
		first: s.recall(s.join(s.claim(s.guard(s.ask())))), out: s.out}
	if o.Passthrough != nil {
		e.bypass = newBypass(o, c.metrics)
	}
	if c.tracing == nil { // the lane makes no spans
		e.shortcut = shortcutOf(e, c.metrics)
	}
	return e, nil
}

// closeIdle closes the kept connections to Meta that no call uses now. Those of calls in flight are closed when the call ends, unless
// another call begins first.
func (e *engine) closeIdle() {
	e.out.CloseIdleConnections()
	if e.bypass != nil {
		e.bypass.out.CloseIdleConnections()
	}
}

func purgesOf(e *engine) (purges []*cache.Purges) {
	for _, a := range e.apps {
		purges = append(purges, a.purges)
	}
	return purges
}
