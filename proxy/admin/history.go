package admin

import (
	"slices"
	"sync"
	"time"
)

// The history covers the last 15 minutes, in 180 buckets.
const (
	bucketTime = 5 * time.Second
	buckets    = 180
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
	h.samples = append(h.samples, s)
	h.samples = slices.Delete(h.samples, 0, max(0, len(h.samples)-buckets)) // the live bucket is the 180th
}

// window returns the samples that begin the buckets of the last 15 minutes, the oldest first; there
// is at least one.
func (h *history) window() []sample {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.samples)
}
