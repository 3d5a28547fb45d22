package proxy

import (
	"cmp"
	"log/slog"
	"slices"
	"time"

	"github.com/igproxy/igproxy/cache"
	"github.com/igproxy/igproxy/proxy/keep"
)

// carried holds the objects that a Reload keeps.
type carried struct {
	cache    *cache.Cache
	circuits *circuits
	failures *failures
	flights  *flights
	retries  *retryBudget
	large    chan struct{} // see readParams
	keeper   *keep.Keeper
	metrics  *Metrics
	log      *slog.Logger
	lines    requestLines
	tracer   Tracer
}

// engine is built from Options. It is immutable and replaced as a whole. A request finishes with
// the engine that it began with.
type engine struct {
	apps   []*app
	grants []*grant
	gate   gate
	trust  trust
	large  chan struct{} // see readParams
	first  exchanger     // the first step: keepStep if tokens are kept alive, otherwise recallStep
	guard  exchanger     // the step guard, where calls that test client secrets begin
	out    *outbound     // used by ask
	bypass *bypass       // nil: no calls are passed through
	keep   *keeping      // nil: igproxy does not keep tokens alive

	checkSecrets, readyWhenRefused bool          // as in Options
	budget                         time.Duration // the time limit of a call that tests a client secret

	plain *plainCall // nil: the lane hands every connection over to net/http
}

// newEngine builds an engine. oldApps has the apps of the previous engine; see newApps.
func newEngine(o Options, c carried, oldApps []*app) (*engine, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	o.Cache = c.cache
	table := grants(o)
	apps, err := newApps(o, table, oldApps)
	if err != nil {
		return nil, err
	}
	c.metrics.expect(apps, table)
	hosts := slices.Clone(o.Hosts)
	var meta []string
	for _, a := range apps {
		hosts, meta = append(hosts, a.Hosts...), append(meta, metaHosts[a.Service]...)
	}
	slices.Sort(meta)
	meta = slices.Compact(meta)
	out := newOutbound(o, c.metrics.silentPool("tokens"))
	e := &engine{
		apps: apps, grants: table, out: out,
		gate:  newGate(hosts, o.AnyHost).alsoServing(meta),
		trust: trust{o.Bearers, c.metrics.bearerChecked},
		large: c.large,

		checkSecrets: o.CheckSecretsAtStart, readyWhenRefused: o.ReadyWhenRefused, budget: o.Budget(),
	}
	e.first, e.guard = compose(o, c, table, out)
	if o.Keep != nil {
		e.keep = &keeping{keeper: c.keeper, grants: refreshGrants(table), steps: e.first, budget: o.Budget()}
		e.first = &keepStep{e.keep, c.metrics, e.first}
		c.metrics.expectKeep(apps)
	}
	if o.Passthrough != nil {
		e.bypass = newBypass(o, c.metrics)
	}
	if c.tracer == nil { // the lane makes no spans
		e.plain = plainCallOf(e, c.metrics)
	}
	return e, nil
}

// compose builds the steps between decode and answer, except keep, which newEngine adds. It returns
// the steps recall and guard, each with the steps after it. If requests are traced, compose wraps
// each step except learn in a step that makes a span.
func compose(o Options, c carried, table []*grant, out *outbound) (first, guarded exchanger) {
	recall := func(next exchanger) exchanger {
		return traced(c.tracer, "recall", &recallStep{cache: c.cache, next: next})
	}
	join := func(next exchanger) exchanger {
		return traced(c.tracer, "join", &joinStep{next: next, budget: o.Budget(), log: c.log, flights: c.flights})
	}
	claim := func(next exchanger) exchanger { // claimStep includes the step remember
		return traced(c.tracer, "claim", &claimStep{cache: c.cache, negativeTTL: o.NegativeTTL,
			index: o.Passthrough != nil, next: next})
	}
	guard := func(next exchanger) exchanger {
		return traced(c.tracer, "guard", &guardStep{next: next, circuits: c.circuits, failures: c.failures,
			timeout: o.Timeout, log: c.log})
	}
	guarded = guard(traced(c.tracer, "ask", newAsk(o, c, out)))
	asking := guarded
	if o.Keep != nil {
		asking = &learnStep{&keeping{keeper: c.keeper, grants: refreshGrants(table)}, guarded}
	}
	return recall(join(claim(asking))), guarded
}

// ownAgent is the prefix of the User-Agent that igproxy sends in its own calls.
const ownAgent = "igproxy/"

func newAsk(o Options, c carried, out *outbound) *askStep {
	return &askStep{out: out, timeout: o.Timeout, maxBytes: o.MaxResponseBytes, retries: o.Retries, budget: c.retries,
		userAgent: ownAgent + cmp.Or(o.Version, "dev"), metrics: c.metrics}
}

// closeIdle closes the connections to Meta that no call is using. A connection in use is closed
// when its call ends. But if a new call needs a connection before that, the transport may keep it.
func (e *engine) closeIdle() {
	e.out.CloseIdleConnections()
	if e.bypass != nil {
		e.bypass.out.CloseIdleConnections()
	}
}
