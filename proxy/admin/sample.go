package admin

import (
	"slices"
	"time"

	"github.com/igproxy/igproxy/proxy"
)

// outcomes are the words of igproxy_requests_total, in the order in which the status has them:
// successes first.
var outcomes = [...]string{"token", "passed", "refused", "limited", "rejected", "unavailable", "timeout", "failed", "gone"}

// sample is the value of the counters at one moment. Counters only grow, so the count of any
// stretch of time is one sample minus another.
type sample struct {
	at            time.Time
	outcomes      [len(outcomes)]uint64
	tokenRequests uint64                // not those that were passed through, rejected or given up
	sources       map[string]uint64     // of the answers to them
	hits          histogram             // durations of requests answered from memory and Redis
	exchanges     histogram             // durations of requests that called Instagram
	upstream      histogram             // durations of the calls to Instagram alone
	results       map[string]uint64     // of those calls
	faults        map[redisFault]uint64 // of Redis
	reloadRefused bool
}

type redisFault struct{ operation, kind string }

// readSample reads the counters.
func readSample(m *proxy.Metrics, now time.Time) sample {
	s := sample{at: now, sources: map[string]uint64{}, results: map[string]uint64{}, faults: map[redisFault]uint64{}}
	families, _ := m.Gatherer().Gather() // an error leaves out one collector's series, not those of the others
	for _, family := range families {
		for _, of := range family.GetMetric() {
			one := series{labels: map[string]string{}, count: uint64(of.GetCounter().GetValue()), gauge: of.GetGauge().GetValue()}
			for _, l := range of.GetLabel() {
				one.labels[l.GetName()] = l.GetValue()
			}
			if h := of.GetHistogram(); h != nil {
				one.histogram.all = h.GetSampleCount()
				for _, b := range h.GetBucket() {
					one.histogram.bounds = append(one.histogram.bounds, b.GetUpperBound())
					one.histogram.counts = append(one.histogram.counts, b.GetCumulativeCount())
				}
			}
			s.add(family.GetName(), one)
		}
	}
	return s
}

// series is one series of a metric; what the metric's type lacks is zero.
type series struct {
	labels    map[string]string
	count     uint64
	gauge     float64
	histogram histogram
}

// add adds one series of the metric. Labels and their values are those of docs/metrics.md.
func (s *sample) add(metric string, one series) {
	outcome, source, passed := one.labels["outcome"], one.labels["source"], one.labels["grant"] == "passthrough"
	switch metric {
	case "igproxy_requests_total":
		if i := slices.Index(outcomes[:], outcome); i >= 0 {
			s.outcomes[i] += one.count
		}
		if !passed && outcome != "rejected" && outcome != "gone" {
			s.tokenRequests += one.count
		}
		if !passed && source != "none" {
			s.sources[source] += one.count
		}
	case "igproxy_request_duration_seconds":
		switch {
		case source == "memory", source == "redis":
			s.hits = s.hits.plus(one.histogram)
		case source == "upstream" && !passed:
			s.exchanges = s.exchanges.plus(one.histogram)
		}
	case "igproxy_upstream_duration_seconds":
		s.upstream = s.upstream.plus(one.histogram)
	case "igproxy_upstream_requests_total":
		s.results[one.labels["result"]] += one.count
	case "igproxy_redis_errors_total":
		s.faults[redisFault{one.labels["operation"], one.labels["kind"]}] += one.count
	case "igproxy_config_last_reload_successful":
		s.reloadRefused = one.gauge == 0
	}
}

// increase returns by how much each count has grown, without those that have not.
func increase(now, then map[string]uint64) map[string]uint64 {
	by := map[string]uint64{}
	for k, n := range now {
		if n > then[k] {
			by[k] = n - then[k]
		}
	}
	return by
}
