package proxy

import (
	"log/slog"
	"time"

	"github.com/igproxy/igproxy/cache"
)

// carried is what survives a Reload.
type carried struct {
	cache    *cache.Cache
	circuits *circuits
	failures *failures
	flights  *flights
	places   map[string]*places // by upstream
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
	first  exchanger // recalled, which leads to all the others
	ask    *upstream
	past   *passthrough // nil: what is none of the grants' is refused

	lines    *hitLines
	shortcut *shortcut     // nil: the lane answers nothing
	longest  time.Duration // that anything is remembered
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

func epochsOf(e *engine) (epochs []*cache.Epoch) {
	for _, a := range e.apps {
		epochs = append(epochs, a.epoch)
	}
	return epochs
}
