package proxy

import "time"

// outcomes are the words of igproxy_requests_total, in the order in which the picture shows them: what went well first.
var outcomes = [...]string{"token", "passed", "refused", "limited", "rejected", "unavailable", "timeout", "failed", "gone"}

// sample is what the counters said at one moment. They only grow, so that the picture of any stretch of time is one sample less another, and
// a request pays nothing for it.
type sample struct {
	at        time.Time
	outcomes  [len(outcomes)]uint64
	asked     uint64            // requests for a token that were taken up: not passed on, rejected or given up
	sources   map[string]uint64 // of those that got Instagram's word, where it came from
	hits      histogram         // their times, out of memory and Redis
	exchanges histogram         // their times, where Instagram was asked
	upstream  histogram         // calls to Instagram alone
	results   map[string]uint64 // what came of them
	faults    map[fault]uint64  // of Redis

	reloadRefused bool
}

type fault struct{ operation, kind string }

// sample reads the counters.
func (m *Metrics) sample(now time.Time) sample {
	s := sample{at: now, sources: map[string]uint64{}, results: map[string]uint64{}, faults: map[fault]uint64{}}
	m.read(map[string]func(labels func(string) string, n reading){
		"igproxy_requests_total": func(labels func(string) string, n reading) {
			outcome, from, token := labels("outcome"), labels("source"), labels("grant") != passthroughGrant
			for i, word := range outcomes {
				if word == outcome {
					s.outcomes[i] += n.count
				}
			}
			if token && outcome != "rejected" && outcome != "gone" {
				s.asked += n.count
			}
			if token && from != string(sourceNone) {
				s.sources[from] += n.count
			}
		},
		"igproxy_request_duration_seconds": func(labels func(string) string, n reading) {
			switch source(labels("source")) {
			case sourceMemory, sourceRedis:
				s.hits = s.hits.plus(n.histogram)
			case sourceUpstream:
				if labels("grant") != passthroughGrant {
					s.exchanges = s.exchanges.plus(n.histogram)
				}
			}
		},
		"igproxy_upstream_duration_seconds":     func(_ func(string) string, n reading) { s.upstream = s.upstream.plus(n.histogram) },
		"igproxy_upstream_requests_total":       func(labels func(string) string, n reading) { s.results[labels("result")] += n.count },
		"igproxy_config_last_reload_successful": func(_ func(string) string, n reading) { s.reloadRefused = n.gauge == 0 },
		"igproxy_redis_errors_total": func(labels func(string) string, n reading) {
			s.faults[fault{labels("operation"), labels("kind")}] += n.count
		}})
	return s
}

// histogram has how many took at most each of bounds, in seconds, and how many there were at all.
type histogram struct {
	bounds []float64
	counts []uint64
	all    uint64
}

// plus and less are of histograms with the same bounds, or of none.
func (h histogram) plus(o histogram) histogram {
	if h.bounds == nil {
		return o
	}
	sum := histogram{h.bounds, make([]uint64, len(h.counts)), h.all + o.all}
	for i := range h.counts {
		sum.counts[i] = h.counts[i] + o.counts[i]
	}
	return sum
}

func (h histogram) less(o histogram) histogram {
	if o.bounds == nil {
		return h
	}
	rest := histogram{h.bounds, make([]uint64, len(h.counts)), h.all - o.all}
	for i := range h.counts {
		rest.counts[i] = h.counts[i] - o.counts[i]
	}
	return rest
}

// quantile is estimated as Prometheus' histogram_quantile does: evenly within a bucket, and no more than the highest bound. It is nil of
// nothing.
func (h histogram) quantile(q float64) *float64 {
	if h.all == 0 {
		return nil
	}
	rank := q * float64(h.all)
	low, below := 0.0, uint64(0)
	for i, high := range h.bounds {
		if n := h.counts[i]; float64(n) >= rank && n > below {
			low += (high - low) * (rank - float64(below)) / float64(n-below)
			return &low
		}
		low, below = high, h.counts[i]
	}
	return &low
}

// grew is by how much each count has grown since.
func grew[K comparable](now, then map[K]uint64) map[K]uint64 {
	by := map[K]uint64{}
	for k, n := range now {
		if n > then[k] {
			by[k] = n - then[k]
		}
	}
	return by
}
