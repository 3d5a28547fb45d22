package proxy

import (
	"encoding/json"
	"maps"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/igproxy/igproxy/breaker"
)

// picture asks the admin handlers for /status, strictly read.
func picture(t *testing.T, p *Proxy) (pic Picture) {
	t.Helper()
	w := ask(p.Admin(nil, false), get("/status"))
	dec := json.NewDecoder(w.Body)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&pic); err != nil || w.Code != 200 || w.Header().Get("Content-Type") != "application/json" {
		t.Fatalf("status: %d %v, %v", w.Code, err, w.Header())
	}
	return pic
}

func TestThePictureTellsWhatHappened(t *testing.T) {
	_, s := newInstagram(t, overTLS)
	o := optionsFor(t, s.URL, s.CA())
	o.Metrics = NewMetrics()
	o.Breaker.Failures, o.Retries = 1, 0
	p := newProxy(t, o)
	p.Describe(About{Version: "v1.2.3", Commit: "abc", Go: "go1", RedisMode: "single", Configuration: [][2]string{{"cache.ttl", "1h"}}})
	for _, short := range []string{"IGAAone", "IGAAone", "IGAAone", "IGAAone", "expired-1", "down-1", "IGAAtwo"} {
		_ = ask(p, get(target(short)))
	}
	_ = ask(p, get("/access_token"))
	o.Metrics.RedisError("claim", "timeout")
	got := picture(t, p)
	for start := time.Now(); got.Requests.Total != 8 && time.Since(start) < 10*time.Second; got = picture(t, p) {
		runtime.Gosched() // it may be that of the start still, for as long as fresh
	}
	if want := map[string]uint64{"token": 4, "refused": 1, "unavailable": 2, "rejected": 1}; !maps.Equal(got.Requests.ByOutcome, want) || got.Requests.Window != 8 || got.Requests.Total != 8 {
		t.Errorf("requests: %+v, want %v", got.Requests, want)
	}
	if want := map[string]uint64{"memory": 3, "upstream": 2}; !maps.Equal(got.Requests.BySource, want) || got.Requests.PerSecond <= 0 {
		t.Errorf("requests: %+v, want %v", got.Requests, want)
	}
	if got.HitRatio == nil || *got.HitRatio != 3./7 || got.Saved != (Saved{Cache: 3, CacheTotal: 3}) {
		t.Errorf("hit ratio %v, saved %+v", got.HitRatio, got.Saved)
	}
	if l := got.Latency; l.Hits.Count != 3 || l.Exchanges.Count != 2 || l.Upstream.Count != 3 || *l.Hits.P50 > *l.Hits.P99 || *l.Exchanges.P99 <= 0 {
		t.Errorf("latency %+v", l)
	}
	if want := map[string]uint64{"token": 1, "bad_token": 1, "transient": 1}; !maps.Equal(got.Upstream.Results, want) || got.Upstream.Most != 64 || got.Upstream.InFlight != 0 {
		t.Errorf("upstream: %+v, want %v", got.Upstream, want)
	}
	b := got.Upstream.Breakers
	if len(b) != 3 || b[0].Upstream != "instagram" || b[0].State != "open" || len(b[0].Changes) != 1 || b[0].Changes[0].To != breaker.Open || b[1].State != "closed" || len(b[1].Changes) != 0 {
		t.Errorf("breakers: %+v", b)
	}
	if r := got.Redis; r.State != "off" || r.Mode != "single" || !slices.Equal(r.Errors, []RedisError{{"claim", "timeout", 1, 1}}) {
		t.Errorf("redis: %+v", r)
	}
	if !got.State.Ready || got.State.Breaker != breaker.Open || got.Process.Goroutines == 0 || got.Process.MemoryBytes < got.Process.HeapBytes || got.Process.UptimeSeconds <= 0 {
		t.Errorf("state %+v, process %+v", got.State, got.Process)
	}
	if got.Version != "v1.2.3" || got.WindowSeconds != 900 || got.BucketSeconds != 5 || !slices.Equal(got.Configuration, [][2]string{{"cache.ttl", "1h"}}) {
		t.Errorf("%s, %v s of %v s, %v", got.Version, got.WindowSeconds, got.BucketSeconds, got.Configuration)
	}
}

func TestARefusedReloadIsInThePictureUntilOneIsNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProxy(t, optionsFor(t, "https://127.0.0.1:1", nil))
		for _, ok := range []bool{true, false, false, true} {
			p.carried.metrics.Reloaded(ok)
			time.Sleep(fresh)
			if got := picture(t, p); got.ReloadRefused == ok {
				t.Errorf("reloaded: %v, and the picture says refused: %v", ok, got.ReloadRefused)
			}
		}
	})
}

func TestThePictureForgetsAfterFifteenMinutes(t *testing.T) {
	p := newProxy(t, optionsFor(t, "https://127.0.0.1:1", nil))
	m, now := p.carried.metrics, p.board.started
	bucket := func() { now = now.Add(bucketTime); p.board.turn(now) }
	m.requests.WithLabelValues("default", "exchange", "token", "memory").Add(10)
	m.durations.WithLabelValues("exchange", "memory").Observe(.0002)
	bucket()
	m.requests.WithLabelValues("default", "exchange", "token", "fleet").Add(5)
	for range buckets - 2 {
		bucket()
	}
	got := p.board.picture(now)
	if got.Requests.Window != 15 || len(got.Buckets) != buckets-1 || got.Buckets[0].Counts[0] != 10 || got.Buckets[1].Counts[0] != 5 || got.Latency.Hits.Count != 1 {
		t.Errorf("%d requests in %d buckets, %d and %d in the first; %d hits", got.Requests.Window, len(got.Buckets), got.Buckets[0].Counts[0], got.Buckets[1].Counts[0], got.Latency.Hits.Count)
	}
	if at := got.Live.At.Sub(got.Buckets[0].At); at != (buckets-1)*bucketTime {
		t.Errorf("the first bucket is %s old", at)
	}
	bucket()
	if got = p.board.picture(now); got.Requests.Window != 5 || got.Requests.Total != 15 || got.Saved != (Saved{0, 5, 10, 5}) || got.Latency.Hits.P50 != nil || *got.HitRatio != 0 {
		t.Errorf("after one bucket more: %+v, saved %+v, hits %+v", got.Requests, got.Saved, got.Latency.Hits)
	}
	bucket()
	if got = p.board.picture(now); got.Requests.Window != 0 || got.HitRatio != nil || len(got.Buckets) != buckets-1 {
		t.Errorf("after two: %+v, hit ratio %v", got.Requests, got.HitRatio)
	}
}

func TestWatchBeginsABucketEveryFiveSecondsUntilItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProxy(t, optionsFor(t, "https://127.0.0.1:1", nil))
		end := p.Watch()
		time.Sleep(3*bucketTime + time.Second)
		if got := p.board.picture(time.Now()); len(got.Buckets) != 3 || got.Live.Seconds != 1 {
			t.Errorf("%d buckets and %v s, want 3 and 1 s", len(got.Buckets), got.Live.Seconds)
		}
		end()
		end()
	})
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
