package admin

import (
	"testing"
	"time"

	"github.com/igproxy/igproxy/proxy"
)

func TestTheHistoryForgetsAfterFifteenMinutes(t *testing.T) {
	h := newHistory(proxy.NewMetrics())
	now, s := h.started, h.latest
	begin := func() {
		now = now.Add(bucketTime)
		s.at = now
		h.beginBucket(s)
	}
	s.outcomes[0] += 10
	begin()
	s.outcomes[0] += 5
	for range buckets - 2 {
		begin()
	}
	samples, latest := h.window(now)
	first, second := bucketOf(samples[0], samples[1]), bucketOf(samples[1], samples[2])
	if len(samples) != buckets || first.Counts[0] != 10 || second.Counts[0] != 5 || latest.outcomes[0]-samples[0].outcomes[0] != 15 {
		t.Errorf("%d samples, %d and %d requests in the first buckets", len(samples), first.Counts[0], second.Counts[0])
	}
	if age := now.Sub(samples[0].at); age != (buckets-1)*bucketTime {
		t.Errorf("the first bucket is %s old", age)
	}
	for _, want := range []uint64{5, 0} {
		begin()
		if samples, latest = h.window(now); len(samples) != buckets || latest.outcomes[0]-samples[0].outcomes[0] != want {
			t.Errorf("%d samples, %d requests since the first; want %d", len(samples), latest.outcomes[0]-samples[0].outcomes[0], want)
		}
	}
}

func TestCountersAreReadAgainAfterHalfASecond(t *testing.T) {
	h := newHistory(proxy.NewMetrics())
	for _, c := range []struct {
		after time.Duration
		read  bool
	}{{maxSampleAge - 1, false}, {maxSampleAge, true}} {
		now := h.started.Add(c.after)
		if _, latest := h.window(now); latest.at.Equal(now) != c.read {
			t.Errorf("after %s: a sample of %s", c.after, latest.at.Sub(h.started))
		}
	}
}

// A quantile lies in the bucket where it belongs.
func TestQuantilesAreThoseOfPrometheus(t *testing.T) {
	h := histogram{bounds: []float64{1, 2, 4}, counts: []uint64{10, 10, 30}, all: 40}
	for q, want := range map[float64]float64{.1: .4, .25: 1, .5: 3, .75: 4, .99: 4} {
		if got := h.quantile(q); got == nil || *got < want-1e-9 || *got > want+1e-9 {
			t.Errorf("%v: %v, want %v", q, *got, want)
		}
	}
	if (histogram{}).quantile(.5) != nil {
		t.Error("a quantile of nothing")
	}
}

// What is over 15 minutes old is in no number of the window, also where it is the whole.
func TestARatioAndALatencyOfNothingAreNull(t *testing.T) {
	h := histogram{bounds: []float64{1}, counts: []uint64{3}, all: 3}
	if l := latencyOf(h.less(h)); l.Count != 0 || l.P50 != nil || l.P99 != nil {
		t.Errorf("got %+v", l)
	}
	if l := latencyOf(h.less(histogram{})); l.Count != 3 || *l.P50 != 500 {
		t.Errorf("got %+v", l)
	}
}
