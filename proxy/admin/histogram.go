package admin

// histogram counts durations: counts[i] took at most bounds[i] seconds, and all is the number of
// all.
type histogram struct {
	bounds []float64
	counts []uint64
	all    uint64
}

// plus adds a histogram with the same bounds, or an empty one.
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

// minus subtracts an earlier state of the same histogram.
func (h histogram) minus(o histogram) histogram {
	if o.bounds == nil {
		return h
	}
	rest := histogram{h.bounds, make([]uint64, len(h.counts)), h.all - o.all}
	for i := range h.counts {
		rest.counts[i] = h.counts[i] - o.counts[i]
	}
	return rest
}

// quantile estimates a quantile as Prometheus' histogram_quantile does: evenly within a bucket, and
// at most the highest bound. It returns nil for an empty histogram.
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
