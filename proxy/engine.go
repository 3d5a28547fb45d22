package proxy

import (
	"log/slog"
	"slices"
	"time"

	"github.com/igproxy/igproxy/cache"
	"github.com/igproxy/igproxy/proxy/graph"
)

// carried is what survives a Reload.
type carried struct {
	cache    *cache.Cache
	circuits *circuits
	failures *failures
	flights  *flights
	retries  *retryBudget
	metrics  *Metrics
	log      *slog.Logger
	tracing  *tracing
}

// engine is built from Options. It is immutable and replaced as a whole; a request finishes on the
// engine that it began with.
type engine struct {
	apps   []*app
	grants []*grant
	gate   gate
	trust  trust
	first  exchanger // recall, which leads to the other steps
	out    *outbound // used by ask
	bypass *bypass   // nil: only token calls are answered

	lines    *hitLines
	shortcut *shortcut     // nil: the lane answers nothing
	longest  time.Duration // the longest time that anything is remembered
}

// newEngine builds an engine. Apps that are in before, too, keep their state.
func newEngine(o Options, c carried, before []*app) (*engine, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	o.Cache = c.cache
	table := grants(o)
	apps, err := newApps(o, table, before)
	if err != nil {
		return nil, err
	}
	hosts := slices.Clone(o.Hosts)
	for _, a := range apps {
		hosts = append(hosts, a.Hosts...)
	}
	s := steps{o, c, newOutbound(o, c.metrics.silentTokens)}
	e := &engine{
		apps: apps, grants: table, out: s.out,
		gate:    newGate(hosts, o.AnyHost),
		trust:   trust{o.Bearer},
		first:   s.recall(s.join(s.claim(s.guard(s.ask())))),
		lines:   &hitLines{most: int64(o.HitLines)},
		longest: max(o.TTL, o.RefreshTTL, o.CodeTTL, o.NegativeTTL, graph.MaxPause),
	}
	if o.Passthrough != nil {
		e.bypass = newBypass(o, c.metrics)
	}
	if c.tracing == nil { // the lane makes no spans
		e.shortcut = shortcutOf(e, c.metrics)
	}
	return e, nil
}

// steps builds the steps between decode and answer. Each method returns its step, which calls next.
// If requests are traced, the step is wrapped in one that makes a span.
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
	return s.tracing.step("guard", &guardStep{next: next, circuits: s.circuits, failures: s.failures,
		timeout: s.Timeout, log: s.log})
}

func (s steps) ask() exchanger { return s.tracing.step("ask", s.newAsk()) }

func (s steps) newAsk() *askStep {
	return &askStep{out: s.out, timeout: s.Timeout, maxBytes: s.MaxResponseBytes, retries: s.Retries,
		budget: s.carried.retries, userAgent: userAgent(s.Version), metrics: s.metrics}
}

// closeIdle closes the connections to Meta that no call uses. A connection in use is closed when its
// call ends, unless another call takes it first.
func (e *engine) closeIdle() {
	e.out.CloseIdleConnections()
	if e.bypass != nil {
		e.bypass.out.CloseIdleConnections()
	}
}

func epochsOf(e *engine) (epochs []*cache.Epoch) {
	for _, a := range e.apps {
		epochs = append(epochs, a.epoch)
	}
	return epochs
}
