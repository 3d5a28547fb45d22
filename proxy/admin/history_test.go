package admin

import (
	"testing"
	"time"
)

func TestHistoryCoversFifteenMinutes(t *testing.T) {
	s := sample{at: time.Now()}
	h := &history{started: s.at, samples: []sample{s}}
	begin := func() {
		s.at = s.at.Add(bucketTime)
		h.beginBucket(s)
	}
	s.outcomes[0] += 10
	begin()
	s.outcomes[0] += 5
	for range buckets - 2 {
		begin()
	}
	window := h.window()
	if n := len(window); n != buckets || window[0].at != h.started || window[1].outcomes[0] != 10 || window[n-1].outcomes[0] != 15 || !window[n-1].at.Equal(s.at) {
		t.Errorf("%d samples, from %v: %v", n, window[0].at, window)
	}
	for _, want := range []uint64{10, 15} { // a sample that has left the window no longer counts
		if begin(); len(h.window()) != buckets || h.window()[0].outcomes[0] != want {
			t.Errorf("%d samples, the first with %d requests; want %d and %d", len(h.window()), h.window()[0].outcomes[0], buckets, want)
		}
	}
}

func TestQuantilesAreThoseOfPrometheus(t *testing.T) {
	h := histogram{bounds: []float64{1, 2, 4}, counts: []uint64{10, 10, 30}, all: 40}
	for q, want := range map[float64]float64{.1: .4, .25: 1, .5: 3, .75: 4, .99: 4} {
		if got := h.quantile(q); got == nil || *got < want-1e-9 || *got > want+1e-9 {
			t.Errorf("%v: %v, want %v", q, *got, want)
		}
	}
	if (histogram{}).quantile(.5) != nil {
		t.Error("an empty histogram has a quantile, want nil")
	}
}

func TestLatencyCoversTheWindowAndIsNullWhenEmpty(t *testing.T) {
	h := histogram{bounds: []float64{1}, counts: []uint64{3}, all: 3}
	if l := latencyOf(h.since(h)); l.Count != 0 || l.P50 != nil || l.P99 != nil {
		t.Errorf("got %+v", l)
	}
	if l := latencyOf(h.since(histogram{})); l.Count != 3 || *l.P50 != 500 {
		t.Errorf("got %+v", l)
	}
}
