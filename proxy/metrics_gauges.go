package proxy

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/igproxy/igproxy/breaker"
)

// gauges collects the metrics that are read from a Proxy at each scrape. So a reload that adds or
// removes an app also adds or removes its gauges.
type gauges struct{ p *Proxy }

// watch makes m export the gauges of p. It returns an error if m already has the gauges of another
// Proxy.
func (m *Metrics) watch(p *Proxy) error {
	if m.registry.Register(gauges{p}) != nil {
		return errors.New("proxy: these Metrics belong to another Proxy: call NewMetrics for each Proxy")
	}
	return nil
}

func gauge(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("igproxy_"+name, help, labels, nil)
}

var (
	flightsGauge  = gauge("flights", "Token calls in flight; identical calls count as one.")
	inFlightGauge = gauge("upstream_in_flight", "Calls to Meta in flight.")
	entriesGauge  = gauge("cache_entries", "Entries in the memory tier.")
	bytesGauge    = gauge("cache_bytes", "Bytes that the memory tier takes.")
	readyGauge    = gauge("ready", "1 if /readyz reports ready.")
	breakerGauge  = gauge("breaker_state", "1 for the worst state of the upstream's breakers, 0 for the other states.", "upstream", "state")
	outageGauge   = gauge("breaker_outage_start_timestamp_seconds", "Start of the longest current outage of the upstream's breakers; 0 while all are closed.", "upstream")
	probesGauge   = gauge("breaker_outage_probes", "Calls let through during the current outages of the upstream's breakers; 0 while all are closed.", "upstream")
	refusedGauge  = gauge("client_secret_refused", "1 while Meta refuses the app's client secret.", "app")
	inUseGauge    = gauge("client_secret_in_use", "1 for the client secret that the app's calls use first.", "app", "which")
	passingGauge  = gauge("passthrough_in_flight", "Calls that are being passed through.", "app")
	endingGauge   = gauge("keep_ending", "Tokens used at this sidecar that end within keep.refresh_before and have not been refreshed.", "app")
	waitingGauge  = gauge("keep_waiting", "Tokens that wait for a refresh.", "app")
	usageGauge    = gauge("upstream_usage_ratio", "Used share of a rate limit, as Meta last reported it; 1 means that the whole limit is used.", "app", "limit", "kind")
)

// Describe implements prometheus.Collector.
func (g gauges) Describe(to chan<- *prometheus.Desc) { prometheus.DescribeByCollect(g, to) }

// Collect implements prometheus.Collector.
func (g gauges) Collect(to chan<- prometheus.Metric) {
	send := func(d *prometheus.Desc, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	now, c := time.Now(), &g.p.carried
	send(flightsGauge, float64(c.flights.running.Load()))
	send(inFlightGauge, float64(c.circuits.inFlight("")))
	send(entriesGauge, float64(c.cache.Len()))
	send(bytesGauge, float64(c.cache.Bytes()))
	send(readyGauge, number(g.p.Readiness().Ready))
	for _, name := range upstreams {
		worst := c.circuits.worst(name)
		for _, s := range []breaker.State{breaker.Closed, breaker.Open, breaker.HalfOpen} {
			send(breakerGauge, number(worst == s), name, string(s))
		}
		outage, _ := c.circuits.outage(name)
		send(outageGauge, timestamp(outage.Since), name)
		send(probesGauge, float64(outage.Probes), name)
	}
	for _, a := range g.p.current.Load().apps {
		send(refusedGauge, number(a.state.secrets.standing() == secretRefused), a.Label)
		inUse, count := a.state.secrets.state()
		for i := range count {
			send(inUseGauge, number(i == inUse), a.Label, secretNames[i])
		}
		if keeping := g.p.current.Load().keep; keeping != nil {
			kept := keeping.keeper.Status(a.Label)
			send(endingGauge, float64(kept.Ending), a.Label)
			send(waitingGauge, float64(kept.Waiting), a.Label)
		}
		if a.passing != nil {
			send(passingGauge, float64(len(a.passing.inFlight)), a.Label)
		}
	}
	for _, l := range c.metrics.limits.all(now) {
		for limit, usage := range map[string]map[string]float64{"app": l.Usage, "business": l.Business} {
			for kind, percent := range usage {
				send(usageGauge, percent/100, l.App, limit, kind)
			}
		}
	}
}

// timestamp returns a time in Unix seconds, and 0 for the zero time.
func timestamp(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}

func number(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
