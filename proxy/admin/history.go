package admin

import (
	"slices"
	"sync"
	"time"
)

// The status shows the last 15 minutes, in 180 buckets. The history is four times as long, because
// an alert looks at an hour.
const (
	bucketTime = 5 * time.Second
	buckets    = 180
	maxSamples = 4*buckets + 1 // the last one begins the bucket that is not complete
)

// history is a ring of samples of the counters. Requests do not touch it.
type history struct {
	started time.Time

	mu      sync.Mutex // protects samples; the counters are read without it
	samples []sample   // the oldest first; each begins a bucket
}

func (h *history) beginBucket(s sample) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s.share(h.samples[len(h.samples)-1])
	h.samples = append(h.samples, s)
	h.samples = slices.Delete(h.samples, 0, max(0, len(h.samples)-maxSamples))
}

// window returns the samples that begin the buckets of the last hour, the oldest first; there is at
// least one.
func (h *history) window() []sample {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.samples)
}
