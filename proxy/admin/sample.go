package admin

import (
	"maps"
	"slices"
	"time"

	"github.com/igproxy/igproxy/proxy"
)

// outcomes are the values of the label outcome of igproxy_requests_total, in the order in which the
// status lists them: by group, successes first.
var outcomes = [...]string{"token", "passed", "verified", "refused", "limited", "unverified", "rejected", "gone", "unavailable", "timeout", "failed"}

// sample has the values of the metrics at one moment. Counters only grow, so the counts of a
// period are the difference between the samples at its end and at its start. The method since
// computes this difference.
//
// A token request is an app's token call to igproxy. A token call to Meta is a call by igproxy.
type sample struct {
	at            time.Time
	outcomes      [len(outcomes)]uint64
	tokenRequests uint64            // token requests, except those with the outcome rejected or gone
	sources       map[string]uint64 // answers to token requests, by source
	memory        histogram         // requests answered from memory
	redis         histogram         // requests answered from Redis
	exchanges     histogram         // token requests that Meta answered with a token or a refusal
	calls         histogram         // token calls to Meta
	results       map[string]uint64 // token calls to Meta, by result
	limited       map[string]uint64 // token calls to Meta with the result app_limit, by app
	standing      map[string]uint64 // token calls to Meta with the result standing, by app
	ended         map[string]uint64 // tokens that ended without a refresh, by app
	connects      map[string]uint64 // CONNECT requests, by result
	faults        map[string]uint64 // faults of Redis, by operation and kind
	unsealed      uint64            // values from Redis that could not be decrypted
	peersRefused  uint64            // refused connections to the Unix socket
	linesDropped  uint64            // dropped log lines
	tunnels       uint64            // open tunnels
	reloadRefused bool
}

// readSample reads the metrics.
func readSample(m *proxy.Metrics) sample {
	s := sample{at: time.Now()}
	for _, counts := range s.maps() {
		*counts = map[string]uint64{}
	}
	families, _ := m.Gatherer().Gather() // on an error, Gather returns what it could collect
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
			// No metric is both a counter and a gauge, so at most one of the two values is not 0.
			value := uint64(metric.GetCounter().GetValue() + metric.GetGauge().GetValue())
			s.add(family.GetName(), labels, value, durations)
		}
	}
	return s
}

// add adds one series of the named metric; docs/metrics.md lists the labels and their values.
func (s *sample) add(metric string, labels map[string]string, value uint64, durations histogram) {
	outcome, source, result, passed := labels["outcome"], labels["source"], labels["result"], labels["grant"] == "passthrough"
	switch metric {
	case "igproxy_requests_total":
		if i := slices.Index(outcomes[:], outcome); i >= 0 {
			s.outcomes[i] += value
		}
		if !passed && !slices.Contains([]string{"verified", "unverified", "rejected", "gone"}, outcome) {
			s.tokenRequests += value
		}
		if !passed && source != "none" {
			s.sources[source] += value
		}
	case "igproxy_request_duration_seconds":
		switch {
		case source == "memory":
			s.memory.add(durations)
		case source == "redis":
			s.redis.add(durations)
		case source == "upstream" && !passed:
			s.exchanges.add(durations)
		}
	case "igproxy_upstream_duration_seconds":
		s.calls.add(durations)
	case "igproxy_upstream_requests_total":
		s.results[result] += value
		switch result {
		case "app_limit":
			s.limited[labels["app"]] += value
		case "standing":
			s.standing[labels["app"]] += value
		}
	case "igproxy_keep_tokens_ended_total":
		s.ended[labels["app"]] += value
	case "igproxy_intercept_connects_total":
		s.connects[result] += value
	case "igproxy_intercept_tunnels":
		s.tunnels = value
	case "igproxy_redis_errors_total":
		s.faults[labels["operation"]+" "+labels["kind"]] += value
	case "igproxy_cache_lookups_total":
		if result == "unsealed" {
			s.unsealed += value
		}
	case "igproxy_peers_refused_total":
		s.peersRefused += value
	case "igproxy_log_lines_dropped_total":
		s.linesDropped += value
	case "igproxy_config_last_reload_successful":
		s.reloadRefused = value == 0
	}
}

// maps returns the maps of counts, so that a loop can handle all of them.
func (s *sample) maps() [7]*map[string]uint64 {
	return [...]*map[string]uint64{&s.sources, &s.results, &s.limited, &s.standing, &s.ended, &s.connects, &s.faults}
}

// histograms returns the histograms, so that a loop can handle all of them.
func (s *sample) histograms() [4]*histogram {
	return [...]*histogram{&s.memory, &s.redis, &s.exchanges, &s.calls}
}

// since returns how much each count has grown since an earlier sample. The maps omit counts that
// did not grow.
func (s sample) since(earlier sample) sample {
	for i := range outcomes {
		s.outcomes[i] -= earlier.outcomes[i]
	}
	before, counts := earlier.maps(), s.maps()
	for i := range counts {
		*counts[i] = increase(*counts[i], *before[i])
	}
	durations, old := s.histograms(), earlier.histograms()
	for i := range durations {
		*durations[i] = durations[i].since(*old[i])
	}
	s.tokenRequests -= earlier.tokenRequests
	s.unsealed -= earlier.unsealed
	s.peersRefused -= earlier.peersRefused
	s.linesDropped -= earlier.linesDropped
	return s
}

// share makes the sample use the maps and slices of an earlier sample where they are equal. This
// saves memory, because the history keeps many samples.
func (s *sample) share(earlier sample) {
	before, counts := earlier.maps(), s.maps()
	for i := range counts {
		if maps.Equal(*counts[i], *before[i]) {
			*counts[i] = *before[i]
		}
	}
	durations, old := s.histograms(), earlier.histograms()
	for i := range durations {
		if slices.Equal(durations[i].bounds, old[i].bounds) {
			durations[i].bounds = old[i].bounds
		}
		if slices.Equal(durations[i].counts, old[i].counts) {
			durations[i].counts = old[i].counts
		}
	}
}

// hits returns the durations of the requests answered from memory or Redis.
func (s sample) hits() (all histogram) {
	all.add(s.memory)
	all.add(s.redis)
	return all
}

// increase returns by how much each count has grown. It omits counts that did not grow.
func increase(now, then map[string]uint64) map[string]uint64 {
	by := map[string]uint64{}
	for k, n := range now {
		if n > then[k] {
			by[k] = n - then[k]
		}
	}
	return by
}
