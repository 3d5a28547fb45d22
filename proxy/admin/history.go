package admin

import (
	"slices"
	"sync"
	"time"

	"github.com/igproxy/igproxy/proxy"
)

// The history covers the last 15 minutes, in 180 buckets.
const (
	bucketTime = 5 * time.Second
	buckets    = 180
)

// maxSampleAge bounds how often the counters are read, however many readers there are.
const maxSampleAge = 500 * time.Millisecond

// history is a ring of samples of the counters. Serving a request costs nothing for it.
type history struct {
	metrics *proxy.Metrics
	started time.Time

	mu      sync.Mutex // protects the rest; the counters are read without it
	samples []sample   // the oldest first; each begins a bucket
	latest  sample     // of the bucket that is not over
}

func newHistory(m *proxy.Metrics) *history {
	h := &history{metrics: m, started: time.Now()}
	h.latest = readSample(m, h.started)
	h.samples = append(h.samples, h.latest)
	return h
}

// run begins a bucket every five seconds, until ended is closed.
func (h *history) run(ended <-chan struct{}) {
	tick := time.NewTicker(bucketTime)
	defer tick.Stop()
	for {
		select {
		case <-ended:
			return
		case <-tick.C:
			h.beginBucket(readSample(h.metrics, time.Now()))
		}
	}
}

func (h *history) beginBucket(s sample) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.samples = append(h.samples, s)
	h.samples = slices.Delete(h.samples, 0, max(0, len(h.samples)-buckets)) // with the latest, 180 stretches between them
	h.latest = s
}

// window returns the samples that begin a bucket, and one that is at most maxSampleAge old.
func (h *history) window(now time.Time) (samples []sample, latest sample) {
	h.mu.Lock()
	samples, latest = slices.Clone(h.samples), h.latest
	h.mu.Unlock()
	if now.Sub(latest.at) < maxSampleAge {
		return samples, latest
	}
	s := readSample(h.metrics, now)
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.at.After(h.latest.at) {
		h.latest = s
	}
	return slices.Clone(h.samples), h.latest
}
