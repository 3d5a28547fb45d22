package admin

import (
	"slices"
	"sync"
	"time"
)

// The status shows the last 15 minutes, in 180 buckets. The history is four times as long, because
// one alert covers the last hour.
const (
	bucketTime = 5 * time.Second
	buckets    = 180
	maxSamples = 4*buckets + 1 // the last sample begins the current, incomplete bucket
)

// history has the latest samples of the metrics. Only the sampling and the status use it, so it
// does not slow down requests.
type history struct {
	started time.Time

	mu      sync.Mutex // protects samples; it is not held while the metrics are read
	samples []sample   // the oldest first; each begins a bucket
}

func (h *history) beginBucket(s sample) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s.share(h.samples[len(h.samples)-1])
	h.samples = append(h.samples, s)
	h.samples = slices.Delete(h.samples, 0, max(0, len(h.samples)-maxSamples))
}

// window returns the samples that begin the buckets of the last hour, the oldest first. It returns
// at least one sample.
func (h *history) window() []sample {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.samples)
}
