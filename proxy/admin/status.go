package admin

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/igproxy/igproxy/proxy"
)

// About is what the picture tells of the process, which only the command knows.
type About struct {
	Version, Commit, Go string
	// RedisMode is single, sentinel, cluster or empty.
	RedisMode string
	// Configuration is each setting's name and value, in order. Who shows it has put a word in the place of every secret.
	Configuration [][2]string
}

// Picture is what /status tells, and what `igproxy status` reads. Its numbers are of the last 15 minutes, where they are not of now.
type Picture struct {
	Now           time.Time         `json:"now"`
	Started       time.Time         `json:"started"`
	Version       string            `json:"version"`
	Commit        string            `json:"commit,omitempty"`
	Go            string            `json:"go,omitempty"`
	State         proxy.Readiness   `json:"state"` // as /readyz tells it
	WindowSeconds float64           `json:"window_seconds"`
	BucketSeconds float64           `json:"bucket_seconds"`
	Outcomes      []string          `json:"outcomes"`          // the columns of the buckets
	Buckets       []Bucket          `json:"buckets,omitempty"` // the oldest first
	Live          Bucket            `json:"live"`              // the one that is not over
	Requests      Requests          `json:"requests"`
	HitRatio      *float64          `json:"hit_ratio"` // of the requests for a token that were taken up, those answered out of memory or Redis
	Saved         Saved             `json:"saved"`
	Latency       Latencies         `json:"latency"`
	Upstream      Upstreams         `json:"upstream"`
	Redis         RedisView         `json:"redis"`
	Limits        []proxy.RateLimit `json:"rate_limits"`
	Process       Process           `json:"process"`
	ReloadRefused bool              `json:"reload_refused"` // the configuration is the one of before the last change
	Configuration [][2]string       `json:"configuration,omitempty"`
}

// Bucket counts the requests of a stretch of time by outcome.
type Bucket struct {
	At      time.Time             `json:"at"`
	Seconds float64               `json:"seconds"`
	Counts  [len(outcomes)]uint64 `json:"counts"`
}

// Requests are those of the window, and all since the start.
type Requests struct {
	Total     uint64            `json:"total"`
	Window    uint64            `json:"window"`
	PerSecond float64           `json:"per_second"` // over the last bucket and the live one
	ByOutcome map[string]uint64 `json:"by_outcome"`
	BySource  map[string]uint64 `json:"by_source"`
}

// Saved are calls to Instagram that were not needed, in the window and since the start.
type Saved struct {
	Cache           uint64 `json:"cache"`
	Coalescing      uint64 `json:"coalescing"` // joined in this process, or another sidecar's answer
	CacheTotal      uint64 `json:"cache_total"`
	CoalescingTotal uint64 `json:"coalescing_total"`
}

// Latencies are of hits, of requests that asked Instagram, and of the calls to Instagram alone.
type Latencies struct {
	Hits      Latency `json:"hits"`
	Exchanges Latency `json:"exchanges"`
	Upstream  Latency `json:"upstream"`
}

// Latency is in milliseconds; null, of nothing.
type Latency struct {
	Count uint64   `json:"count"`
	P50   *float64 `json:"p50_ms"`
	P99   *float64 `json:"p99_ms"`
}

// Upstreams are Instagram's sides.
type Upstreams struct {
	InFlight int               `json:"in_flight"`
	Most     int               `json:"most"` // upstream.max_in_flight
	Results  map[string]uint64 `json:"results"`
	Breakers []BreakerView     `json:"breakers"`
}

// BreakerView is one breaker, with its last changes, the latest first.
type BreakerView struct {
	Upstream string                `json:"upstream"`
	State    string                `json:"state"`
	Changes  []proxy.BreakerChange `json:"changes"`
}

// RedisView is Redis as seen from here.
type RedisView struct {
	State  string       `json:"state"` // off, ok or degraded
	Mode   string       `json:"mode,omitempty"`
	Fault  string       `json:"fault,omitempty"`
	Since  *time.Time   `json:"since,omitempty"`
	Errors []RedisError `json:"errors"`
}

// RedisError counts the faults of one kind in one operation.
type RedisError struct {
	Operation string `json:"operation"`
	Kind      string `json:"kind"`
	Window    uint64 `json:"window"`
	Total     uint64 `json:"total"`
}

// picture draws everything.
func (h *Handler) picture(about About, now time.Time) Picture {
	ring, live := h.history.window(now)
	first, state, started := ring[0], h.proxy.Readiness(), h.history.started
	p := Picture{Now: now, Started: started, Version: cmp.Or(about.Version, "dev"), Commit: about.Commit, Go: about.Go, State: state,
		WindowSeconds: (buckets * bucketTime).Seconds(), BucketSeconds: bucketTime.Seconds(), Outcomes: outcomes[:], Configuration: about.Configuration,
		ReloadRefused: live.reloadRefused, Limits: h.proxy.RateLimits(), Process: readProcess(now.Sub(started))}
	for i := 1; i < len(ring); i++ {
		p.Buckets = append(p.Buckets, bucketOf(ring[i-1], ring[i]))
	}
	p.Live = bucketOf(ring[len(ring)-1], live)
	p.Requests = requestsOf(p, first, live)
	sources := grew(live.sources, first.sources)
	p.Requests.BySource = sources
	if asked := live.asked - first.asked; asked > 0 {
		ratio := float64(sources["memory"]+sources["redis"]) / float64(asked)
		p.HitRatio = &ratio
	}
	p.Saved.Cache, p.Saved.Coalescing = saved(sources)
	p.Saved.CacheTotal, p.Saved.CoalescingTotal = saved(live.sources)
	p.Latency = Latencies{latencyOf(live.hits.less(first.hits)), latencyOf(live.exchanges.less(first.exchanges)), latencyOf(live.upstream.less(first.upstream))}
	p.Upstream = h.upstreams(grew(live.results, first.results))
	p.Redis = redisView(state, about.RedisMode, live, first)
	return p
}

func bucketOf(from, to sample) Bucket {
	b := Bucket{At: from.at, Seconds: to.at.Sub(from.at).Seconds()}
	for i := range outcomes {
		b.Counts[i] = to.outcomes[i] - from.outcomes[i]
	}
	return b
}

func requestsOf(p Picture, first, live sample) Requests {
	r := Requests{ByOutcome: map[string]uint64{}}
	for i, word := range outcomes {
		r.Total += live.outcomes[i]
		if n := live.outcomes[i] - first.outcomes[i]; n > 0 {
			r.Window += n
			r.ByOutcome[word] = n
		}
	}
	recent, seconds := uint64(0), 0.0
	for _, b := range append(slices.Clone(p.Buckets[max(0, len(p.Buckets)-1):]), p.Live) {
		seconds += b.Seconds
		for _, n := range b.Counts {
			recent += n
		}
	}
	if seconds > 0 {
		r.PerSecond = float64(recent) / seconds
	}
	return r
}

func saved(sources map[string]uint64) (byCache, byCoalescing uint64) {
	return sources["memory"] + sources["redis"], sources["joined"] + sources["fleet"]
}

func latencyOf(h histogram) Latency {
	l := Latency{Count: h.all, P50: h.quantile(.5), P99: h.quantile(.99)}
	for _, v := range []*float64{l.P50, l.P99} {
		if v != nil {
			*v *= 1000
		}
	}
	return l
}

func (h *Handler) upstreams(results map[string]uint64) Upstreams {
	u := Upstreams{Results: results}
	for _, one := range h.proxy.Upstreams() {
		u.InFlight, u.Most = u.InFlight+one.InFlight, one.MaxInFlight
		u.Breakers = append(u.Breakers, BreakerView{one.Name, string(one.Breaker), one.Changes})
	}
	return u
}

func redisView(state proxy.Readiness, mode string, live, first sample) RedisView {
	v := RedisView{State: state.Redis, Mode: mode, Fault: state.RedisFault}
	if !state.RedisSince.IsZero() {
		v.Since = &state.RedisSince
	}
	for _, f := range slices.SortedFunc(maps.Keys(live.faults), func(a, b fault) int {
		return cmp.Or(cmp.Compare(a.operation, b.operation), cmp.Compare(a.kind, b.kind))
	}) {
		v.Errors = append(v.Errors, RedisError{f.operation, f.kind, live.faults[f] - first.faults[f], live.faults[f]})
	}
	return v
}
