package admin

import (
	"testing"
	"time"
)

func TestHistoryCoversAnHour(t *testing.T) {
	s := emptySample()
	h := &history{started: s.at, samples: []sample{s}}
	begin := func() {
		s.at = s.at.Add(bucketTime)
		h.beginBucket(s)
	}
	s.outcomes[0] += 10
	begin()
	s.outcomes[0] += 5
	for range maxSamples - 2 {
		begin()
	}
	window := h.window()
	if n := len(window); n != maxSamples || window[0].at != h.started || window[1].outcomes[0] != 10 || window[n-1].outcomes[0] != 15 || !window[n-1].at.Equal(s.at) || s.at.Sub(h.started) != time.Hour {
		t.Errorf("got %d samples, want %d; they span the time from %v to %v, want one hour from %v; the second has %d requests, want 10; the last has %d, want 15", n, maxSamples, window[0].at, window[n-1].at, h.started, window[1].outcomes[0], window[n-1].outcomes[0])
	}
	for _, want := range []uint64{10, 15} { // each new sample removes the oldest
		if begin(); len(h.window()) != maxSamples || h.window()[0].outcomes[0] != want {
			t.Errorf("got %d samples, want %d; the first has %d requests, want %d", len(h.window()), maxSamples, h.window()[0].outcomes[0], want)
		}
	}
}

func emptySample() sample {
	s := sample{at: time.Now()}
	for _, counts := range s.maps() {
		*counts = map[string]uint64{}
	}
	return s
}

// The counts of a histogram say nothing about where in a bucket the durations are.
func TestAQuantileIsABoundAndNotAGuess(t *testing.T) {
	h := histogram{bounds: []float64{1, 2, 4}, counts: []uint64{10, 10, 30}, all: 40}
	for q, want := range map[float64]int{.1: 0, .25: 0, .26: 2, .5: 2, .75: 2, .76: 3, .99: 3} {
		if got, ok := h.quantile(q); !ok || got != want {
			t.Errorf("quantile %v: got the bound with index %d, ok %v; want index %d, ok true", q, got, ok, want)
		}
	}
	if _, ok := (histogram{}).quantile(.5); ok {
		t.Error("the quantile of an empty histogram: got ok true, want false")
	}
	for limit, want := range map[float64]bool{1: true, 2: true, 4: false} { // the quantile .75 is 4 s
		if got := h.exceeds(.75, limit); got != want {
			t.Errorf("exceeds(.75, %v): got %v, want %v", limit, got, want)
		}
	}
}

func TestLatencyIsInWordsWithoutFalsePrecision(t *testing.T) {
	h := histogram{bounds: []float64{.00025, .005, 2.5}, counts: []uint64{5, 98, 99}, all: 100}
	if l := latencyOf(h.since(h)); l.Count != 0 || l.P50 != nil || l.P99 != nil || l.Median() != "–" || l.Most() != "–" {
		t.Errorf("nothing measured: got %+v, want the count 0 and no bounds; got the median %s and P99 %s, want – for each", l, l.Median(), l.Most())
	}
	if l := latencyOf(h); l.Count != 100 || l.Median() != "below 5 ms" || l.Most() != "below 2.5 s" {
		t.Errorf("got the count %d, want 100; got the median %s, want below 5 ms; got P99 %s, want below 2.5 s", l.Count, l.Median(), l.Most())
	}
	h.counts = []uint64{60, 60, 60}
	if l := latencyOf(h); l.Median() != "below 0.25 ms" || l.Most() != "over 10 s" {
		t.Errorf("got the median %s, want below 0.25 ms; got P99 %s, want over 10 s", l.Median(), l.Most())
	}
}
