package proxy

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/igproxy/igproxy/breaker"
	"github.com/igproxy/igproxy/cache"
	"github.com/igproxy/igproxy/proxy/graph"
)

// Metrics counts what igproxy does, in its own Prometheus registries. Names and labels are public:
// docs/metrics.md lists them. The values of a label are fixed or come from the configuration or the
// build, never from a request. Metrics also keeps the last rate limits, failures and outages, and
// is the cache's Observer. In this package, only this file and metrics_gauges.go use the Prometheus
// client.
type Metrics struct {
	registry *prometheus.Registry // igproxy's own
	runtime  *prometheus.Registry // metrics of Go and of the process
	limits   rateLimits
	failures lastFailures
	outages  outages

	requests     *prometheus.CounterVec
	durations    *prometheus.HistogramVec
	upstream     *prometheus.CounterVec
	retries      *prometheus.CounterVec
	waits        *prometheus.HistogramVec
	lookups      *prometheus.CounterVec
	claims       *prometheus.CounterVec
	stores       *prometheus.CounterVec
	redisErrs    *prometheus.CounterVec
	redisUp      prometheus.Gauge
	changes      *prometheus.CounterVec
	silent       *prometheus.CounterVec
	peers        prometheus.Counter
	connects     *prometheus.CounterVec
	operated     *prometheus.CounterVec
	bearers      *prometheus.CounterVec
	revokes      *prometheus.CounterVec
	refreshes    *prometheus.CounterVec
	replacements *prometheus.CounterVec
	endings      *prometheus.CounterVec
	reloaded     prometheus.Gauge
	reloadAt     prometheus.Gauge

	memoryHits prometheus.Counter // the counter in lookups for memory hits; saves each hit a search by labels
}

var _ cache.Observer = (*Metrics)(nil)

// NewMetrics returns Metrics in which nothing is counted yet.
func NewMetrics() *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry(), runtime: prometheus.NewRegistry(),
		limits: rateLimits{last: map[string]usageReport{}}}
	auto := promauto.With(m.registry)
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return auto.NewCounterVec(prometheus.CounterOpts{Name: "igproxy_" + name, Help: help}, labels)
	}
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		return auto.NewHistogramVec(prometheus.HistogramOpts{Name: "igproxy_" + name, Help: help, Buckets: buckets}, labels)
	}
	gauge := func(name, help string) prometheus.Gauge {
		return auto.NewGauge(prometheus.GaugeOpts{Name: "igproxy_" + name, Help: help})
	}
	m.requests = counter("requests_total", "Requests answered.", "app", "grant", "outcome", "source")
	m.durations = histogram("request_duration_seconds", "Time from reading the request header to writing the last byte.",
		[]float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}, "grant", "source")
	m.upstream = counter("upstream_requests_total", "Calls to Meta, by result.", "app", "grant", "result")
	m.retries = counter("upstream_retries_total", "Retries that calls to Meta needed, by result.", "app", "grant", "result")
	m.waits = histogram("upstream_duration_seconds", "Time that calls to Meta took.",
		[]float64{.005, .01, .025, .05, .1, .2, .3, .5, .75, 1, 2, 3, 5, 10}, "grant")
	m.lookups = counter("cache_lookups_total", "Cache lookups, by tier and result.", "tier", "result")
	m.memoryHits = m.lookups.WithLabelValues(string(cache.TierMemory), cache.Found)
	m.lookups.WithLabelValues(string(cache.TierRedis), "unsealed") // see expect
	m.claims = counter("claims_total", "Claims for tokens whose answer is not in memory, by result.", "result")
	m.stores = counter("cache_stores_total", "Cache stores, by tier and result.", "tier", "result")
	m.redisErrs = counter("redis_errors_total", "Redis faults, by operation and kind.", "operation", "kind")
	m.redisUp = gauge("redis_up", "1 while igproxy uses Redis, 0 while Redis fails or is not configured.")
	m.changes = counter("breaker_changes_total", "Changes of a breaker's state.", "upstream", "to")
	m.silent = counter("upstream_silent_connections_total",
		"Reused connections to Meta on which no byte came in time. Each time, igproxy closed its idle connections.", "pool")
	m.peers = auto.NewCounter(prometheus.CounterOpts{Name: "igproxy_peers_refused_total",
		Help: "Connections to a Unix socket that were closed because their user is not allowed."})
	m.connects = counter("intercept_connects_total", "CONNECT requests on the listener for interception, by result.", "host", "result")
	m.operated = counter("operations_total", "Operations that were requested on an admin listener, by outcome.", "operation", "outcome")
	m.bearers = counter("bearer_checks_total", "Checks of igproxy's own token in requests, by result.", "result")
	m.revokes = counter("revoked_tokens_total",
		"Passed-through calls that Meta refused with code 190, by what igproxy did with the remembered answer that contains their token.", "app", "result")
	m.refreshes = counter("keep_refreshes_total", "Token refreshes that igproxy started by itself, by outcome.", "app", "outcome")
	m.replacements = counter("keep_successors_total", "Calls that were sent with the successor of their token, or answered with it.", "app")
	m.endings = counter("keep_tokens_ended_total", "Tokens that were used shortly before their end and ended without a refresh.", "app")
	m.reloaded = gauge("config_last_reload_successful", "0 if the last reload of the configuration was refused, otherwise 1.")
	m.reloadAt = gauge("config_last_reload_success_timestamp_seconds", "Time of the last successful load of the configuration.")
	m.runtime.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Handler serves the metrics in Prometheus' text format.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(prometheus.Gatherers{m.registry, m.runtime}, promhttp.HandlerOpts{})
}

// Gatherer returns igproxy's own metrics, without those of Go and of the process.
func (m *Metrics) Gatherer() prometheus.Gatherer { return m.registry }

// Build publishes igproxy_build_info.
func (m *Metrics) Build(version, commit, goVersion string) {
	promauto.With(m.registry).NewGauge(prometheus.GaugeOpts{Name: "igproxy_build_info", Help: "Always 1.",
		ConstLabels: prometheus.Labels{"version": version, "commit": commit, "go": goVersion}}).Set(1)
}

// LogLinesDropped publishes the number of lost log lines. The function read returns that number.
func (m *Metrics) LogLinesDropped(read func() int) {
	promauto.With(m.registry).NewCounterFunc(prometheus.CounterOpts{Name: "igproxy_log_lines_dropped_total",
		Help: "Log lines that standard error did not accept in time."}, func() float64 { return float64(read()) })
}

// expect exports, for each app and grant, the counters whose increase triggers an alert, with the
// value 0. If such a counter first appeared with the value 1, Prometheus would see no increase. For
// the Keeper's counters, see expectKeep.
func (m *Metrics) expect(apps []*app, table []*grant) {
	failed := func(app, grant string) { m.requests.WithLabelValues(app, grant, "failed", string(sourceNone)) }
	failed(noApp, "none")
	for _, a := range apps {
		failed(a.Label, passthroughGrant)
		for _, g := range table {
			if g.service != a.Service {
				continue
			}
			failed(a.Label, g.name)
			m.upstream.WithLabelValues(a.Label, g.name, string(graph.ClassAppLimit))
			m.upstream.WithLabelValues(a.Label, g.name, string(graph.ClassStanding))
		}
	}
}

func (m *Metrics) answered(x *requestState, took time.Duration) {
	m.requests.WithLabelValues(x.app, x.grant, x.outcome(), x.source()).Inc()
	m.durations.WithLabelValues(x.grant, x.source()).Observe(took.Seconds())
	m.failures.note(x, time.Now())
}

// hitCounters count the memory hits of one app and grant. The lane keeps them, so that a hit need
// not find them by their labels.
type hitCounters struct {
	requests prometheus.Counter
	duration prometheus.Observer
}

func (m *Metrics) hits(app, grant string) hitCounters {
	return hitCounters{m.requests.WithLabelValues(app, grant, "token", string(sourceMemory)),
		m.durations.WithLabelValues(grant, string(sourceMemory))}
}

func (h hitCounters) answered(took time.Duration) {
	h.requests.Inc()
	h.duration.Observe(took.Seconds())
}

func (m *Metrics) asked(c call, result graph.Class, took time.Duration) {
	m.upstream.WithLabelValues(c.app.Label, c.grant.name, string(result)).Inc()
	m.waits.WithLabelValues(c.grant.name).Observe(took.Seconds())
}

func (m *Metrics) repeated(c call, result string) {
	m.retries.WithLabelValues(c.app.Label, c.grant.name, result).Inc()
}

func (m *Metrics) breakerChanged(of circuit, upstream string, c breaker.Change) {
	m.outages.change(of, upstream, c, time.Now())
	m.changes.WithLabelValues(upstream, string(c.To)).Inc()
}

// silentPool returns a function that counts a silent connection of the pool with this name: a
// reused connection on which no byte came in time.
func (m *Metrics) silentPool(name string) func() { return m.silent.WithLabelValues(name).Inc }

// PeerRefused counts a connection to a Unix socket that was closed because its user is not allowed.
func (m *Metrics) PeerRefused() { m.peers.Inc() }

// Connected counts a CONNECT on the listener for interception. host is one of MetaHosts or "other".
func (m *Metrics) Connected(host, result string) { m.connects.WithLabelValues(host, result).Inc() }

// Tunnels publishes the number of open tunnels. The function read returns that number.
func (m *Metrics) Tunnels(read func() int) {
	promauto.With(m.registry).NewGaugeFunc(prometheus.GaugeOpts{Name: "igproxy_intercept_tunnels",
		Help: "Open tunnels to hosts that are not intercepted."}, func() float64 { return float64(read()) })
}

// Operation counts an operation that was requested on an admin listener.
func (m *Metrics) Operation(name, outcome string) { m.operated.WithLabelValues(name, outcome).Inc() }

// bearerChecked counts a check of igproxy's own token.
func (m *Metrics) bearerChecked(result bearerResult) { m.bearers.WithLabelValues(string(result)).Inc() }

// revoked counts a passed-through call that Meta refused with code 190.
func (m *Metrics) revoked(app string, result cache.Revocation) {
	m.revokes.WithLabelValues(app, string(result)).Inc()
}

// Reloaded records whether a reload of the configuration succeeded.
func (m *Metrics) Reloaded(ok bool) {
	m.reloaded.Set(number(ok))
	if ok {
		m.reloadAt.SetToCurrentTime()
	}
}

// Lookup counts one lookup. Lookup, Store, Claim, RedisError and RedisState make Metrics a
// cache.Observer.
func (m *Metrics) Lookup(tier cache.Tier, result string) {
	if tier == cache.TierMemory && result == cache.Found {
		m.memoryHits.Inc()
		return
	}
	m.lookups.WithLabelValues(string(tier), result).Inc()
}

// Claim counts one claim.
func (m *Metrics) Claim(o cache.Outcome) { m.claims.WithLabelValues(string(o)).Inc() }

// Store counts one store.
func (m *Metrics) Store(tier cache.Tier, result string) {
	m.stores.WithLabelValues(string(tier), result).Inc()
}

// RedisError counts one fault of Redis.
func (m *Metrics) RedisError(operation, kind string) {
	m.redisErrs.WithLabelValues(operation, kind).Inc()
}

// RedisState records whether Redis is used.
func (m *Metrics) RedisState(ok bool) {
	m.redisUp.Set(number(ok))
	m.outages.redis(ok, time.Now())
}
