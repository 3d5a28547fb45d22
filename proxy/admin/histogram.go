package admin

import "slices"

// histogram counts durations: counts[i] is the number of durations of at most bounds[i] seconds.
type histogram struct {
	bounds []float64
	counts []uint64
	all    uint64 // the number of all durations, including those above the highest bound
}

// add adds the durations in o. The bounds of h and o must be equal, unless one of them is empty.
func (h *histogram) add(o histogram) {
	if h.bounds == nil {
		h.bounds, h.counts = o.bounds, make([]uint64, len(o.counts))
	}
	for i, n := range o.counts {
		h.counts[i] += n
	}
	h.all += o.all
}

// since returns h without the durations in earlier, a previous state of the same histogram.
func (h histogram) since(earlier histogram) histogram {
	rest := histogram{h.bounds, slices.Clone(h.counts), h.all - earlier.all}
	for i, n := range earlier.counts {
		rest.counts[i] -= n
	}
	return rest
}

// quantile returns the index of the first bound with at least a share q of the durations at or
// below it, or len(bounds) if there is no such bound. It does not interpolate between two bounds,
// because the counts do not say where between them the durations are. It reports false for an empty
// histogram.
func (h histogram) quantile(q float64) (bound int, ok bool) {
	if h.all == 0 {
		return 0, false
	}
	for bound < len(h.bounds) && float64(h.counts[bound]) < q*float64(h.all) {
		bound++
	}
	return bound, true
}

// exceeds reports whether a quantile is above a limit in seconds. The limit must be one of the
// bounds, but not the highest. Prometheus' histogram_quantile(q, ...) > limit has the same result.
func (h histogram) exceeds(q, limit float64) bool {
	i, ok := h.quantile(q)
	return ok && (i == len(h.bounds) || h.bounds[i] > limit)
}

// Latency says how long requests took: at least half of the requests took at most P50 milliseconds,
// and at least 99% took at most P99. P50 and P99 are bounds of the histogram. Each is null if Count
// is 0, or if the value would exceed the highest bound.
type Latency struct {
	Count uint64   `json:"count"`
	P50   *float64 `json:"p50_ms"`
	P99   *float64 `json:"p99_ms"`
}

func latencyOf(h histogram) Latency {
	bound := func(q float64) *float64 {
		i, ok := h.quantile(q)
		if !ok || i == len(h.bounds) {
			return nil
		}
		ms := h.bounds[i] * 1000
		return &ms
	}
	return Latency{Count: h.all, P50: bound(.5), P99: bound(.99)}
}
