package admin

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestEachOutcomeIsInOneGroup(t *testing.T) {
	var all []string
	for _, g := range groups {
		all = append(all, g.Outcomes...)
		for _, o := range g.Outcomes {
			if meanings[o] == "" {
				t.Errorf("the map meanings does not explain the outcome %s", o)
			}
		}
	}
	if !slices.Equal(all, outcomes[:]) {
		t.Errorf("the groups have the outcomes %v, want %v", all, outcomes)
	}
	// Each outcome counts as the length of its name.
	want := [3]uint64{5 + 6 + 8, 7 + 7 + 10 + 8 + 4, 11 + 7 + 6}
	if got := sumGroups(func(o string) uint64 { return uint64(len(o)) }); got != want {
		t.Errorf("sumGroups: got %v, want %v", got, want)
	}
}

func TestEachBucketHasItsColumn(t *testing.T) {
	start := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	var list []Bucket
	// The machine was suspended before second 0 and before second 200.
	for _, seconds := range []float64{-2000, 0, 5, 10.4, 200, 203, 208} { // 10.4 began late
		list = append(list, Bucket{At: start.Add(time.Duration(seconds * float64(time.Second)))})
	}
	var got []int
	for _, c := range columnsOf(list) {
		got = append(got, c.x)
	}
	if want := []int{179, 178, 177, 139, 138, 137}; !slices.Equal(got, want) {
		t.Errorf("got the columns %v, want %v", got, want)
	}
	if got := columnsOf(nil); got != nil {
		t.Errorf("without buckets: got %v, want nil", got)
	}
}

func TestChartsAreDrawnToScale(t *testing.T) {
	for most, want := range map[float64]string{0: "1", .3: "1", 1: "1", 1.2: "2", 33: "40", 61: "80", 99: "100", 4e6: "4e+06"} {
		if top, ticks := scale(most); ticks[0].Label != want || top < most {
			t.Errorf("scale(%v): got top %v, want at least %v; got ticks %v, want the first with the label %s", most, top, most, ticks, want)
		}
	}
	at := time.Date(2026, 11, 26, 12, 3, 0, 0, time.FixedZone("CET", 3600))
	half, most := 1.0, 10000.0
	s := Status{Now: at, Buckets: []Bucket{{At: at, Seconds: 5, Counts: [11]uint64{20, 0, 0, 10, 0, 0, 0, 0, 10}, Calls: 5, HitRatio: &[]float64{.5}[0],
		Hits: Latency{Count: 1, P50: &half, P99: &most}, Exchanges: Latency{Count: 1}}}}
	charts := s.charts()
	var got []string
	for _, c := range charts {
		for _, one := range c.Series {
			got = append(got, one.Name+" "+one.Path)
		}
	}
	want := []string{ // 8 requests a second, half of them served
		"served M179.1 50.00h.8v50.00h-.8z", "declined M179.1 25.00h.8v25.00h-.8z", "failed M179.1 0.00h.8v25.00h-.8z",
		"ratio M179.1 50.00h.8v50.00h-.8z", "calls M179.1 0.00h.8v100.00h-.8z",
		"most M179.1 0.00h.8v100.00h-.8z", "half M179.1 74.07h.8v25.93h-.8z",
		"most M179.1 0.00h.8v100.00h-.8z", "half M179.1 0.00h.8v100.00h-.8z"} // over 10 s
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if times := charts[0].Times; len(times) != 3 || times[0].Label != "12:00" || times[0].At != "79.44" || times[2].Label != "11:50" {
		t.Errorf("got the times %v, want 3 times from 12:00 (at 79.44) to 11:50", times)
	}
	lines := strings.Split(s.moments(), "\n")
	const wantLast = "12:03:00 to 12:03:05: 20 served, 10 declined, 10 failed; 5 calls to Meta; hit ratio 50%; hits: median below 1 ms, 99% below 10 s; misses: median over 10 s, 99% over 10 s"
	if last := lines[buckets-1]; len(lines) != buckets || last != wantLast {
		t.Errorf("got %d lines, want %d; the last is %q, want %q", len(lines), buckets, last, wantLast)
	}
}

func TestFaultsOfRedisAreInWords(t *testing.T) {
	s := Status{RedisFaults: map[string]uint64{"claim open": 18, "claim refused": 3, "publish strange": 1, "purge refused": 7}}
	want := []string{"claim (ask for an answer, or for the right to call Meta): 18 not sent (Redis had failed), 3 connection refused", "publish (store an answer or a record): 1 strange", "purge (or check for purges): 7 connection refused"}
	if got := s.FaultsInWords(); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
