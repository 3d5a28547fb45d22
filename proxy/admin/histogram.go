package admin

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
