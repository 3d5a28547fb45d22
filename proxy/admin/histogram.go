package admin

import "slices"

// histogram counts durations: of all durations, counts[i] took at most bounds[i] seconds.
type histogram struct {
	bounds []float64
	counts []uint64
	all    uint64
}

// add adds the durations of a histogram with the same bounds.
func (h *histogram) add(o histogram) {
	if h.bounds == nil {
		h.bounds, h.counts = o.bounds, make([]uint64, len(o.counts))
	}
	for i, n := range o.counts {
		h.counts[i] += n
	}
	h.all += o.all
}

// since returns the durations added after an earlier state of the same histogram.
func (h histogram) since(earlier histogram) histogram {
	rest := histogram{h.bounds, slices.Clone(h.counts), h.all - earlier.all}
	for i, n := range earlier.counts {
		rest.counts[i] -= n
	}
	return rest
}

// quantile estimates a quantile in seconds as Prometheus' histogram_quantile does: it interpolates
// within a bucket, and never exceeds the highest bound. It returns nil for an empty histogram.
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
