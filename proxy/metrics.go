package proxy

import (
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/igproxy/igproxy/breaker"
	"github.com/igproxy/igproxy/cache"
	"github.com/igproxy/igproxy/proxy/graph"
)

// Metrics counts what igproxy does, in a registry of its own. Names and labels are public: docs/metrics.md lists them. Every label comes from a
// fixed set; none holds a value from outside. It is the cache's Observer as well. This file is the only home of the metrics client.
type Metrics struct {
	registry *prometheus.Registry // ours
	runtime  *prometheus.Registry // Go's and the process's
	usage    rateLimits

	requests  *prometheus.CounterVec
	durations *prometheus.HistogramVec
	upstream  *prometheus.CounterVec
	retries   *prometheus.CounterVec
	waits     *prometheus.HistogramVec
	lookups   *prometheus.CounterVec
	claims    *prometheus.CounterVec
	stores    *prometheus.CounterVec
	redisErrs *prometheus.CounterVec
	redisUp   prometheus.Gauge
	changes   *prometheus.CounterVec
	silent    *prometheus.CounterVec
	peers     prometheus.Counter
	reloaded  prometheus.Gauge
	reloadAt  prometheus.Gauge

	memoryHits func() prometheus.Counter // of lookups, found once
}

var _ cache.Observer = (*Metrics)(nil)

// NewMetrics builds an empty set.
func NewMetrics() *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry(), runtime: prometheus.NewRegistry()}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "igproxy_" + name, Help: help}, labels)
		m.registry.MustRegister(v)
		return v
	}
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		v := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "igproxy_" + name, Help: help, Buckets: buckets}, labels)
		m.registry.MustRegister(v)
		return v
	}
	m.requests = counter("requests_total", "Requests answered.", "app", "grant", "outcome", "source")
	m.durations = histogram("request_duration_seconds", "From the request's header to the last byte written.",
		[]float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}, "grant", "source")
	m.upstream = counter("upstream_requests_total", "Calls to Instagram, by what came back.", "app", "grant", "result")
	m.retries = counter("upstream_retries_total", "Repetitions that calls to Instagram needed, by what became of them.", "app", "grant", "result")
	m.waits = histogram("upstream_duration_seconds", "Calls to Instagram.", []float64{.005, .01, .025, .05, .1, .2, .3, .5, .75, 1, 2, 3, 5, 10}, "grant")
	m.lookups = counter("cache_lookups_total", "Lookups, by tier and result.", "tier", "result")
	m.memoryHits = sync.OnceValue(func() prometheus.Counter { return m.lookups.WithLabelValues(string(cache.TierMemory), cache.Found) })
	m.claims = counter("claims_total", "Claims on tokens that memory does not know, by how they came out.", "result")
	m.stores = counter("cache_stores_total", "Stores, by tier and result.", "tier", "result")
	m.redisErrs = counter("redis_errors_total", "Faults of Redis, by operation and kind.", "operation", "kind")
	m.changes = counter("breaker_changes_total", "Changes of a breaker's state.", "upstream", "to")
	m.silent = counter("upstream_silent_connections_total", "Kept connections to Meta that stayed silent, so that the idle ones were closed.", "pool")
	m.redisUp = prometheus.NewGauge(prometheus.GaugeOpts{Name: "igproxy_redis_up", Help: "1 while Redis is used, 0 while it is left alone."})
	m.peers = prometheus.NewCounter(prometheus.CounterOpts{Name: "igproxy_peers_refused_total", Help: "Connections to a Unix socket by users it is not for."})
	m.reloaded = prometheus.NewGauge(prometheus.GaugeOpts{Name: "igproxy_config_last_reload_successful", Help: "1 unless the last reload of the configuration was refused."})
	m.reloadAt = prometheus.NewGauge(prometheus.GaugeOpts{Name: "igproxy_config_last_reload_success_timestamp_seconds", Help: "When the configuration was last read and used."})
	m.reloaded.Set(1)
	m.registry.MustRegister(m.redisUp, m.peers, m.reloaded, m.reloadAt, usageGauges{&m.usage})
	m.runtime.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// watch adds the gauges that are read from p when somebody looks. It fails for a second Proxy.
func (m *Metrics) watch(p *Proxy) (err error) {
	gauge := func(name, help string, read func() float64, labels prometheus.Labels) {
		g := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "igproxy_" + name, Help: help, ConstLabels: labels}, read)
		if err == nil && m.registry.Register(g) != nil {
			err = errors.New("proxy: these Metrics belong to another Proxy: build each its own with NewMetrics")
		}
	}
	gauge("flights", "Exchanges in the air.", func() float64 { return float64(p.carried.flights.running.Load()) }, nil)
	gauge("upstream_in_flight", "Calls to Instagram under way.", func() float64 { return float64(p.carried.circuits.inFlight("")) }, nil)
	gauge("cache_entries", "Entries in the memory tier.", func() float64 { return float64(p.carried.cache.Len()) }, nil)
	gauge("ready", "1 when /readyz says so.", func() float64 { return number(p.Readiness().Ready) }, nil)
	if err == nil {
		m.registry.MustRegister(appGauges{p})
	}
	for _, name := range upstreams {
		for _, s := range []breaker.State{breaker.Closed, breaker.Open, breaker.HalfOpen} {
			gauge("breaker_state", "1 for the worst state that a breaker of the upstream is in.",
				func() float64 { return number(p.carried.circuits.worst(name) == s) }, prometheus.Labels{"upstream": name, "state": string(s)})
		}
	}
	return err
}

// appGauges are those of each app there is now: a reload may bring some and take some away.
type appGauges struct{ p *Proxy }

var inUseDesc = prometheus.NewDesc("igproxy_client_secret_in_use", "1 for the app's client secret that is used first.", []string{"app", "which"}, nil)

var refusedDesc = prometheus.NewDesc("igproxy_client_secret_refused", "1 while Instagram refuses the app's client secret.", []string{"app"}, nil)

// Describe implements prometheus.Collector.
func (g appGauges) Describe(to chan<- *prometheus.Desc) {
	to <- refusedDesc
	to <- inUseDesc
}

// Collect implements prometheus.Collector.
func (g appGauges) Collect(to chan<- prometheus.Metric) {
	for _, a := range g.p.current.Load().apps {
		to <- prometheus.MustNewConstMetric(refusedDesc, prometheus.GaugeValue, number(a.state.secrets.areRefused(time.Now())), a.label)
		inUse, of := a.state.secrets.state()
		for i := range of {
			to <- prometheus.MustNewConstMetric(inUseDesc, prometheus.GaugeValue, number(i == inUse), a.label, secretNames[i])
		}
	}
}

// usageGauges are what Meta reported of each app's rate limits within the hour.
type usageGauges struct{ limits *rateLimits }

var usageDesc = prometheus.NewDesc("igproxy_upstream_usage_ratio", "What Instagram said of a rate limit within the hour: 1 is all.", []string{"app", "limit", "kind"}, nil)

// Describe implements prometheus.Collector.
func (g usageGauges) Describe(to chan<- *prometheus.Desc) { to <- usageDesc }

// Collect implements prometheus.Collector.
func (g usageGauges) Collect(to chan<- prometheus.Metric) {
	for _, l := range g.limits.all(time.Now()) {
		for limit, usage := range map[string]map[string]float64{"app": l.Usage, "business": l.Business} {
			for kind, percent := range usage {
				to <- prometheus.MustNewConstMetric(usageDesc, prometheus.GaugeValue, percent/100, l.App, limit, kind)
			}
		}
	}
}

func number(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

// Handler serves the metrics in Prometheus' text format.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(prometheus.Gatherers{m.registry, m.runtime}, promhttp.HandlerOpts{})
}

// Gatherer returns igproxy's own metrics, without those of Go and of the process.
func (m *Metrics) Gatherer() prometheus.Gatherer { return m.registry }

// Build publishes what is running, as igproxy_build_info.
func (m *Metrics) Build(version, commit, goVersion string) {
	info := prometheus.NewGauge(prometheus.GaugeOpts{Name: "igproxy_build_info", Help: "Always 1.",
		ConstLabels: prometheus.Labels{"version": version, "commit": commit, "go": goVersion}})
	info.Set(1)
	m.registry.MustRegister(info)
}

// LogLinesDropped publishes how many lines the log has lost, which read tells.
func (m *Metrics) LogLinesDropped(read func() int) {
	m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "igproxy_log_lines_dropped_total",
		Help: "Lines of the log that standard error did not take in time."}, func() float64 { return float64(read()) }))
}

func (m *Metrics) answered(x *reply, took time.Duration) {
	m.requests.WithLabelValues(x.app, x.grant, x.outcome(), x.source()).Inc()
	m.durations.WithLabelValues(x.grant, x.source()).Observe(took.Seconds())
}

// hitCounters count the hits in memory of one app's grant, found once.
type hitCounters struct {
	requests prometheus.Counter
	duration prometheus.Observer
}

func (m *Metrics) hits(app, grant string) hitCounters {
	return hitCounters{m.requests.WithLabelValues(app, grant, "token", string(sourceMemory)), m.durations.WithLabelValues(grant, string(sourceMemory))}
}

func (h hitCounters) answered(took time.Duration) {
	h.requests.Inc()
	h.duration.Observe(took.Seconds())
}

func (m *Metrics) asked(c call, result graph.Class, took time.Duration) {
	m.upstream.WithLabelValues(c.app.label, c.grant.name, string(result)).Inc()
	m.waits.WithLabelValues(c.grant.name).Observe(took.Seconds())
}

func (m *Metrics) repeated(c call, result string) {
	m.retries.WithLabelValues(c.app.label, c.grant.name, result).Inc()
}

func (m *Metrics) breakerChanged(upstream string, to breaker.State) {
	m.changes.WithLabelValues(upstream, string(to)).Inc()
}

func (m *Metrics) silentTokens()      { m.silent.WithLabelValues("tokens").Inc() }
func (m *Metrics) silentPassthrough() { m.silent.WithLabelValues("passthrough").Inc() }

// limits notes what the headers of a reply report of the app's rate limits.
func (m *Metrics) limits(app string, h http.Header) {
	if l, ok := readRateLimit(app, h, time.Now()); ok {
		m.usage.note(l)
	}
}

// PeerRefused counts a connection that was closed because of whose it is.
func (m *Metrics) PeerRefused() { m.peers.Inc() }

// Reloaded notes whether a configuration could be used.
func (m *Metrics) Reloaded(ok bool) {
	m.reloaded.Set(number(ok))
	if ok {
		m.reloadAt.SetToCurrentTime()
	}
}

// Lookup, Store, RedisError and RedisState make Metrics a cache.Observer.
func (m *Metrics) Lookup(tier cache.Tier, result string) {
	if tier == cache.TierMemory && result == cache.Found {
		m.memoryHits().Inc()
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

// RedisState notes whether Redis is used.
func (m *Metrics) RedisState(ok bool) { m.redisUp.Set(number(ok)) }
