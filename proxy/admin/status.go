package admin

import (
	"cmp"
	"net/http"
	"runtime"
	"runtime/metrics"
	"slices"
	"time"

	"github.com/igproxy/igproxy/proxy"
)

// About describes the process. The command provides it.
type About struct {
	Version, Commit, Go string
	// RedisMode is single, sentinel, cluster or empty.
	RedisMode string
	// Configuration is the name, the value and the origin of each setting, in order. The command
	// has replaced every secret with a placeholder.
	Configuration [][3]string
}

// Status is the reply to GET /status. Counts cover the window, the last 15 minutes.
type Status struct {
	Now      time.Time       `json:"now"`
	Started  time.Time       `json:"started"`
	Version  string          `json:"version"`
	Commit   string          `json:"commit,omitempty"`
	Go       string          `json:"go,omitempty"`
	State    proxy.Readiness `json:"state"`             // as in /readyz
	Outcomes []string        `json:"outcomes"`          // the columns of the buckets
	Buckets  []Bucket        `json:"buckets,omitempty"` // complete ones, the oldest first
	Live     Bucket          `json:"live"`              // the current one
	Requests Requests        `json:"requests"`
	HitRatio *float64        `json:"hit_ratio"` // the share of token requests answered by memory or Redis
	Saved    Saved           `json:"saved"`
	Latency  struct {
		Hits      Latency `json:"hits"`
		Exchanges Latency `json:"exchanges"` // requests that called Instagram
	} `json:"latency"`
	Upstreams     []proxy.Upstream  `json:"upstreams"`
	Results       map[string]uint64 `json:"results"` // calls to the upstreams, by result
	RedisMode     string            `json:"redis_mode,omitempty"`
	RedisFaults   map[string]uint64 `json:"redis_faults"` // by operation and kind
	Limits        []proxy.RateLimit `json:"rate_limits"`
	Pauses        []proxy.Pause     `json:"pauses"` // of rate limits on apps; POST /resume ends them
	Process       Process           `json:"process"`
	ReloadRefused bool              `json:"reload_refused"` // the latest change of the configuration was refused
	Configuration [][3]string       `json:"configuration,omitempty"`
}

// Bucket counts the requests of a period by outcome.
type Bucket struct {
	At      time.Time             `json:"at"`
	Seconds float64               `json:"seconds"`
	Counts  [len(outcomes)]uint64 `json:"counts"`
}

// Requests counts requests.
type Requests struct {
	Window    uint64            `json:"window"`
	PerSecond float64           `json:"per_second"` // in the last bucket and the live one
	ByOutcome map[string]uint64 `json:"by_outcome"`
}

// Saved counts the calls to Instagram that were not needed.
type Saved struct {
	Cache      uint64 `json:"cache"`
	Coalescing uint64 `json:"coalescing"` // joined in this process, or answered by another sidecar
}

// Latency has quantiles in milliseconds. They are null if nothing was measured.
type Latency struct {
	Count uint64   `json:"count"`
	P50   *float64 `json:"p50_ms"`
	P99   *float64 `json:"p99_ms"`
}

// Process is the state of the Go runtime.
type Process struct {
	UptimeSeconds float64 `json:"uptime_seconds"`
	Goroutines    uint64  `json:"goroutines"`
	HeapBytes     uint64  `json:"heap_bytes"`   // live objects, and dead ones not yet collected
	MemoryBytes   uint64  `json:"memory_bytes"` // all memory mapped by the Go runtime
	Processors    int     `json:"processors"`   // GOMAXPROCS
}

func (h *Handler) serveStatus(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, h.status(h.current.Load().about))
}

// status computes the current status.
func (h *Handler) status(about About) Status {
	samples, started := h.history.window(), h.history.started
	// The live sample is read last, so that its bucket does not end before it begins.
	first, last := samples[0], readSample(h.proxy.Metrics())
	s := Status{Now: last.at, Started: started, Version: cmp.Or(about.Version, "dev"), Commit: about.Commit, Go: about.Go,
		State: h.proxy.Readiness(), Outcomes: outcomes[:], Upstreams: h.proxy.Upstreams(), Results: increase(last.results, first.results),
		RedisMode: about.RedisMode, RedisFaults: increase(last.faults, first.faults), Limits: h.proxy.RateLimits(), Pauses: h.proxy.Pauses(),
		Process: readProcess(last.at.Sub(started)), ReloadRefused: last.reloadRefused, Configuration: about.Configuration}
	for i := 1; i < len(samples); i++ {
		s.Buckets = append(s.Buckets, bucketOf(samples[i-1], samples[i]))
	}
	s.Live = bucketOf(samples[len(samples)-1], last)
	s.Requests = requestsOf(s, bucketOf(first, last))
	sources := increase(last.sources, first.sources)
	s.Saved = Saved{Cache: sources["memory"] + sources["redis"], Coalescing: sources["joined"] + sources["fleet"]}
	if n := last.tokenRequests - first.tokenRequests; n > 0 {
		ratio := float64(s.Saved.Cache) / float64(n)
		s.HitRatio = &ratio
	}
	s.Latency.Hits = latencyOf(last.hits.since(first.hits))
	s.Latency.Exchanges = latencyOf(last.exchanges.since(first.exchanges))
	return s
}

func bucketOf(from, to sample) Bucket {
	b := Bucket{At: from.at, Seconds: to.at.Sub(from.at).Seconds()}
	for i := range outcomes {
		b.Counts[i] = to.outcomes[i] - from.outcomes[i]
	}
	return b
}

func requestsOf(s Status, window Bucket) Requests {
	r := Requests{ByOutcome: map[string]uint64{}}
	for i, n := range window.Counts {
		if n > 0 {
			r.Window += n
			r.ByOutcome[outcomes[i]] = n
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

func latencyOf(h histogram) Latency {
	l := Latency{Count: h.all, P50: h.quantile(.5), P99: h.quantile(.99)}
	for _, v := range []*float64{l.P50, l.P99} {
		if v != nil {
			*v *= 1000
		}
	}
	return l
}

func readProcess(uptime time.Duration) Process {
	read := []metrics.Sample{{Name: "/sched/goroutines:goroutines"}, {Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/total:bytes"}}
	metrics.Read(read)
	return Process{UptimeSeconds: uptime.Seconds(), Goroutines: read[0].Value.Uint64(), HeapBytes: read[1].Value.Uint64(),
		MemoryBytes: read[2].Value.Uint64(), Processors: runtime.GOMAXPROCS(0)}
}
