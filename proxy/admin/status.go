package admin

import (
	"cmp"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/igproxy/igproxy/proxy"
)

// About describes the process; only its command knows this.
type About struct {
	Version, Commit, Go string
	// RedisMode is single, sentinel, cluster or empty.
	RedisMode string
	// Configuration is each setting's name and value, in order. The command has replaced every
	// secret with a word.
	Configuration [][2]string
}

// Status is what /status answers, and what `igproxy status` reads. Counts are of the window, the
// last 15 minutes, unless they say otherwise.
type Status struct {
	Now           time.Time       `json:"now"`
	Started       time.Time       `json:"started"`
	Version       string          `json:"version"`
	Commit        string          `json:"commit,omitempty"`
	Go            string          `json:"go,omitempty"`
	State         proxy.Readiness `json:"state"` // as in /readyz
	WindowSeconds float64         `json:"window_seconds"`
	BucketSeconds float64         `json:"bucket_seconds"`
	Outcomes      []string        `json:"outcomes"`          // the columns of the buckets
	Buckets       []Bucket        `json:"buckets,omitempty"` // the oldest first
	Live          Bucket          `json:"live"`              // the one that is not over
	Requests      Requests        `json:"requests"`
	HitRatio      *float64        `json:"hit_ratio"` // the share of decoded token requests that memory or Redis answered
	Saved         Saved           `json:"saved"`
	Latency       struct {
		Hits      Latency `json:"hits"`
		Exchanges Latency `json:"exchanges"` // requests that called Instagram
		Upstream  Latency `json:"upstream"`  // the calls to Instagram alone
	} `json:"latency"`
	Upstream struct {
		InFlight int               `json:"in_flight"`
		Most     int               `json:"most"` // upstream.max_in_flight
		Results  map[string]uint64 `json:"results"`
		Breakers []Breaker         `json:"breakers"`
	} `json:"upstream"`
	Redis         Redis             `json:"redis"`
	Limits        []proxy.RateLimit `json:"rate_limits"`
	Process       Process           `json:"process"`
	ReloadRefused bool              `json:"reload_refused"` // the last change of the configuration is not in use
	Configuration [][2]string       `json:"configuration,omitempty"`
}

// Bucket counts the requests of a stretch of time by outcome.
type Bucket struct {
	At      time.Time             `json:"at"`
	Seconds float64               `json:"seconds"`
	Counts  [len(outcomes)]uint64 `json:"counts"`
}

// Requests counts requests.
type Requests struct {
	Total     uint64            `json:"total"` // since the start
	Window    uint64            `json:"window"`
	PerSecond float64           `json:"per_second"` // in the last bucket and the live one
	ByOutcome map[string]uint64 `json:"by_outcome"`
	BySource  map[string]uint64 `json:"by_source"`
}

// Saved counts the calls to Instagram that were not needed.
type Saved struct {
	Cache           uint64 `json:"cache"`
	Coalescing      uint64 `json:"coalescing"` // joined in this process, or another sidecar's answer
	CacheTotal      uint64 `json:"cache_total"`
	CoalescingTotal uint64 `json:"coalescing_total"`
}

// Latency is in milliseconds, and null when nothing was measured.
type Latency struct {
	Count uint64   `json:"count"`
	P50   *float64 `json:"p50_ms"`
	P99   *float64 `json:"p99_ms"`
}

// Breaker is the worst state of an upstream's breakers, and its last changes, the newest first.
type Breaker struct {
	Upstream string                `json:"upstream"`
	State    string                `json:"state"`
	Changes  []proxy.BreakerChange `json:"changes"`
}

// Redis is the state of Redis for this sidecar.
type Redis struct {
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

func (h *Handler) serveStatus(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, h.status(h.current.Load().about))
}

// status computes the current status.
func (h *Handler) status(about About) Status {
	samples, started := h.history.window(), h.history.started
	now := time.Now() // after the samples, so that the live bucket does not end before it begins
	first, last := samples[0], readSample(h.proxy.Metrics(), now)
	s := Status{Now: now, Started: started, Version: cmp.Or(about.Version, "dev"), Commit: about.Commit, Go: about.Go, State: h.proxy.Readiness(),
		WindowSeconds: (buckets * bucketTime).Seconds(), BucketSeconds: bucketTime.Seconds(), Outcomes: outcomes[:], Configuration: about.Configuration,
		ReloadRefused: last.reloadRefused, Limits: h.proxy.RateLimits(), Process: readProcess(now.Sub(started))}
	for i := 1; i < len(samples); i++ {
		s.Buckets = append(s.Buckets, bucketOf(samples[i-1], samples[i]))
	}
	s.Live = bucketOf(samples[len(samples)-1], last)
	s.Requests = requestsOf(s, first, last)
	sources := s.Requests.BySource
	if n := last.tokenRequests - first.tokenRequests; n > 0 {
		ratio := float64(sources["memory"]+sources["redis"]) / float64(n)
		s.HitRatio = &ratio
	}
	s.Saved.Cache, s.Saved.Coalescing = callsSaved(sources)
	s.Saved.CacheTotal, s.Saved.CoalescingTotal = callsSaved(last.sources)
	s.Latency.Hits = latencyOf(last.hits.minus(first.hits))
	s.Latency.Exchanges = latencyOf(last.exchanges.minus(first.exchanges))
	s.Latency.Upstream = latencyOf(last.upstream.minus(first.upstream))
	s.Upstream.Results = increase(last.results, first.results)
	for _, u := range h.proxy.Upstreams() {
		s.Upstream.InFlight, s.Upstream.Most = s.Upstream.InFlight+u.InFlight, u.MaxInFlight
		s.Upstream.Breakers = append(s.Upstream.Breakers, Breaker{u.Name, string(u.Breaker), u.Changes})
	}
	s.Redis = redisOf(s.State, about.RedisMode, first, last)
	return s
}

func bucketOf(from, to sample) Bucket {
	b := Bucket{At: from.at, Seconds: to.at.Sub(from.at).Seconds()}
	for i := range outcomes {
		b.Counts[i] = to.outcomes[i] - from.outcomes[i]
	}
	return b
}

func requestsOf(s Status, first, last sample) Requests {
	r := Requests{ByOutcome: map[string]uint64{}, BySource: increase(last.sources, first.sources)}
	for i, word := range outcomes {
		r.Total += last.outcomes[i]
		if n := last.outcomes[i] - first.outcomes[i]; n > 0 {
			r.Window += n
			r.ByOutcome[word] = n
		}
	}
	recent, seconds := uint64(0), 0.0
	for _, b := range append(slices.Clone(s.Buckets[max(0, len(s.Buckets)-1):]), s.Live) {
		seconds += b.Seconds
		for _, n := range b.Counts {
			recent += n
		}
	}
	r.PerSecond = float64(recent) / max(1, seconds)
	return r
}

func callsSaved(sources map[string]uint64) (byCache, byCoalescing uint64) {
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

func redisOf(state proxy.Readiness, mode string, first, last sample) Redis {
	r := Redis{State: state.Redis, Mode: mode, Fault: state.RedisFault}
	if !state.RedisSince.IsZero() {
		r.Since = &state.RedisSince
	}
	for _, f := range slices.SortedFunc(maps.Keys(last.faults), func(a, b redisFault) int {
		return cmp.Or(cmp.Compare(a.operation, b.operation), cmp.Compare(a.kind, b.kind))
	}) {
		r.Errors = append(r.Errors, RedisError{f.operation, f.kind, last.faults[f] - first.faults[f], last.faults[f]})
	}
	return r
}
