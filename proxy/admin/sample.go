package admin

import (
	"slices"
	"time"

	"github.com/igproxy/igproxy/proxy"
)

// outcomes are the values of the label outcome of igproxy_requests_total, in the order in which the
// status lists them: successes first.
var outcomes = [...]string{"token", "passed", "refused", "limited", "rejected", "unavailable", "timeout", "failed", "gone"}

// sample is the value of the counters at one moment. Counters only grow, so the count for any
// period is one sample minus another.
type sample struct {
	at            time.Time
	outcomes      [len(outcomes)]uint64
	tokenRequests uint64            // requests, except those passed through, rejected or abandoned
	sources       map[string]uint64 // answers to token requests, by source
	hits          histogram         // requests answered from memory or Redis
	exchanges     histogram         // token requests that Instagram answered with a token or a refusal
	results       map[string]uint64 // calls to Instagram, by result
	faults        map[string]uint64 // faults of Redis, by operation and kind
	reloadRefused bool
}

// readSample reads the counters.
func readSample(m *proxy.Metrics) sample {
	s := sample{at: time.Now(), sources: map[string]uint64{}, results: map[string]uint64{}, faults: map[string]uint64{}}
	families, _ := m.Gatherer().Gather() // an error leaves out one collector's series and keeps the rest
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			labels := map[string]string{}
			for _, l := range metric.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			durations := histogram{all: metric.GetHistogram().GetSampleCount()}
			for _, b := range metric.GetHistogram().GetBucket() {
				durations.bounds = append(durations.bounds, b.GetUpperBound())
				durations.counts = append(durations.counts, b.GetCumulativeCount())
			}
			value := uint64(metric.GetCounter().GetValue() + metric.GetGauge().GetValue()) // one of them is zero
			s.add(family.GetName(), labels, value, durations)
		}
	}
	return s
}

// add adds one series of the named metric; docs/metrics.md lists the labels and their values.
func (s *sample) add(metric string, labels map[string]string, value uint64, durations histogram) {
	outcome, source, passed := labels["outcome"], labels["source"], labels["grant"] == "passthrough"
	switch metric {
	case "igproxy_requests_total":
		if i := slices.Index(outcomes[:], outcome); i >= 0 {
			s.outcomes[i] += value
		}
		if !passed && outcome != "rejected" && outcome != "gone" {
			s.tokenRequests += value
		}
		if !passed && source != "none" {
			s.sources[source] += value
		}
	case "igproxy_request_duration_seconds":
		switch {
		case source == "memory", source == "redis":
			s.hits.add(durations)
		case source == "upstream" && !passed:
			s.exchanges.add(durations)
		}
	case "igproxy_upstream_requests_total":
		s.results[labels["result"]] += value
	case "igproxy_redis_errors_total":
		s.faults[labels["operation"]+" "+labels["kind"]] += value
	case "igproxy_config_last_reload_successful":
		s.reloadRefused = value == 0
	}
}

// increase returns by how much each count has grown. It omits counts that have not.
func increase(now, then map[string]uint64) map[string]uint64 {
	by := map[string]uint64{}
	for k, n := range now {
		if n > then[k] {
			by[k] = n - then[k]
		}
	}
	return by
}
