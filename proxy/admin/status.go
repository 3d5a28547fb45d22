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
	// Host is the name of the machine or container.
	Host string
	// Version, Commit and Go describe the binary.
	Version, Commit, Go string
	// RedisMode is single, sentinel, cluster or empty.
	RedisMode string
	// Configuration has every setting, in the order in which the page lists them. The command has
	// replaced every secret with a placeholder.
	Configuration []Setting
}

// Setting is a setting in effect.
type Setting struct {
	Name  string `json:"name"`
	Value string `json:"value"`
	// Origin is where the value comes from: "default", a file and line, or an environment
	// variable. For a secret in a file, it is the setting that names the file.
	Origin string `json:"origin,omitempty"`
}

// Status is the response to GET /status. Requests, HitRatio, Saved, Latency, Results and
// RedisFaults are about the window, the last 15 minutes.
type Status struct {
	Now      time.Time       `json:"now"`
	Started  time.Time       `json:"started"`
	Host     string          `json:"host,omitempty"`
	Version  string          `json:"version"`
	Commit   string          `json:"commit,omitempty"`
	Go       string          `json:"go,omitempty"`
	State    proxy.Readiness `json:"state"`             // as in /readyz
	Alerts   []Alert         `json:"alerts"`            // the alerts whose condition is true
	Outcomes []string        `json:"outcomes"`          // the names of the counts in each bucket
	Buckets  []Bucket        `json:"buckets,omitempty"` // the complete buckets, the oldest first
	Requests Requests        `json:"requests"`
	HitRatio *float64        `json:"hit_ratio"` // the share of token requests answered from memory or Redis
	Saved    Saved           `json:"saved"`
	Latency  struct {
		Hits      Latency `json:"hits"`
		Exchanges Latency `json:"exchanges"` // token requests that Meta answered
	} `json:"latency"`
	Apps          []proxy.AppStatus `json:"apps"`
	Upstreams     []proxy.Upstream  `json:"upstreams"`
	Results       map[string]uint64 `json:"results"`  // token calls to Meta, by result
	Outages       []proxy.Outage    `json:"outages"`  // the most recent ones, the latest first
	Failures      []proxy.Failure   `json:"failures"` // the most recent ones, the latest first
	RedisMode     string            `json:"redis_mode,omitempty"`
	RedisFaults   map[string]uint64 `json:"redis_faults"` // by operation and kind
	Limits        []proxy.RateLimit `json:"rate_limits"`
	Pauses        []proxy.Pause     `json:"pauses"`    // caused by rate limits of apps; POST /resume ends them
	Intercept     *Interception     `json:"intercept"` // null: off
	Process       Process           `json:"process"`
	ReloadRefused bool              `json:"reload_refused"` // the latest change of the configuration was refused
	Configuration []Setting         `json:"configuration,omitempty"`
}

// Bucket describes the requests of a period.
type Bucket struct {
	At        time.Time             `json:"at"` // the start of the period
	Seconds   float64               `json:"seconds"`
	Counts    [len(outcomes)]uint64 `json:"counts"`    // requests by outcome, in the order of Outcomes
	HitRatio  *float64              `json:"hit_ratio"` // null: no token requests
	Calls     uint64                `json:"calls"`     // token calls to Meta
	Hits      Latency               `json:"hits"`
	Exchanges Latency               `json:"exchanges"`
}

// Requests counts the requests of the window.
type Requests struct {
	Window    uint64            `json:"window"`
	PerSecond float64           `json:"per_second"` // measured since the last complete bucket began
	ByOutcome map[string]uint64 `json:"by_outcome"`
}

// Saved counts the calls to Meta that were not needed.
type Saved struct {
	Cache      uint64 `json:"cache"`
	Coalescing uint64 `json:"coalescing"` // joined in this process, or answered by another sidecar
}

// Process is the state of the Go runtime.
type Process struct {
	UptimeSeconds float64 `json:"uptime_seconds"`
	Goroutines    uint64  `json:"goroutines"`
	HeapBytes     uint64  `json:"heap_bytes"`   // live objects, and dead objects not yet collected
	MemoryBytes   uint64  `json:"memory_bytes"` // all memory mapped by the Go runtime
	Processors    int     `json:"processors"`   // GOMAXPROCS
}

func (h *Handler) serveStatus(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, h.status(h.current.Load().about))
}

// status computes the current status.
func (h *Handler) status(about About) Status {
	samples, started := h.history.window(), h.history.started
	// The current sample is read after the history, so that the last bucket does not end before it
	// begins.
	last := readSample(h.proxy.Metrics())
	shown := samples[max(0, len(samples)-buckets-1):]
	grown := last.since(shown[0])
	s := Status{Now: last.at, Started: started, Host: about.Host, Version: cmp.Or(about.Version, "dev"), Commit: about.Commit, Go: about.Go,
		State: h.proxy.Readiness(), Outcomes: outcomes[:], HitRatio: grown.hitRatio(), Apps: h.proxy.Apps(),
		Upstreams: h.proxy.Upstreams(), Results: grown.results, Outages: h.proxy.Outages(), Failures: h.proxy.Failures(),
		RedisMode: about.RedisMode, RedisFaults: grown.faults, Limits: h.proxy.RateLimits(), Pauses: h.proxy.Pauses(),
		Intercept: h.interception(last.tunnels, grown.connects),
		Process:   readProcess(last.at.Sub(started)), ReloadRefused: last.reloadRefused, Configuration: about.Configuration}
	for i := 1; i < len(shown); i++ {
		s.Buckets = append(s.Buckets, bucketOf(shown[i-1], shown[i]))
	}
	s.Requests = requestsOf(grown, bucketOf(shown[max(0, len(shown)-2)], last))
	s.Saved = Saved{Cache: grown.fromCache(), Coalescing: grown.sources["joined"] + grown.sources["fleet"]}
	s.Latency.Hits, s.Latency.Exchanges = latencyOf(grown.hits()), latencyOf(grown.exchanges)
	s.Alerts = alertsOf(&s, append(samples, last))
	return s
}

// fromCache returns the number of token requests that were answered from memory or Redis. It
// includes requests that were answered with the successor of a kept token.
func (s sample) fromCache() uint64 {
	return s.sources["memory"] + s.sources["redis"] + s.sources["kept"]
}

// hitRatio returns the share of token requests that fromCache counts, or nil if there were no token
// requests.
func (s sample) hitRatio() *float64 {
	if s.tokenRequests == 0 {
		return nil
	}
	ratio := float64(s.fromCache()) / float64(s.tokenRequests)
	return &ratio
}

func bucketOf(from, to sample) Bucket {
	grown := to.since(from)
	return Bucket{At: from.at, Seconds: to.at.Sub(from.at).Seconds(), Counts: grown.outcomes, HitRatio: grown.hitRatio(),
		Calls: grown.calls.all, Hits: latencyOf(grown.hits()), Exchanges: latencyOf(grown.exchanges)}
}

func requestsOf(grown sample, recent Bucket) Requests {
	r := Requests{ByOutcome: map[string]uint64{}}
	for i, n := range grown.outcomes {
		if n > 0 {
			r.Window += n
			r.ByOutcome[outcomes[i]] = n
		}
	}
	for _, n := range recent.Counts {
		r.PerSecond += float64(n) / max(1, recent.Seconds)
	}
	return r
}

func readProcess(uptime time.Duration) Process {
	read := []metrics.Sample{{Name: "/sched/goroutines:goroutines"}, {Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/total:bytes"}}
	metrics.Read(read)
	return Process{UptimeSeconds: uptime.Seconds(), Goroutines: read[0].Value.Uint64(), HeapBytes: read[1].Value.Uint64(),
		MemoryBytes: read[2].Value.Uint64(), Processors: runtime.GOMAXPROCS(0)}
}

// Group is a group of outcomes.
type Group struct {
	Name     string
	Outcomes []string
}

var groups = []Group{
	{"served", []string{"token", "passed", "verified"}},
	{"declined", []string{"refused", "limited", "unverified", "rejected", "gone"}},
	{"failed", []string{"unavailable", "timeout", "failed"}},
}

// Groups returns the groups of outcomes: served, declined and failed.
func Groups() []Group { return slices.Clone(groups) }

// sumGroups adds up the counts of the outcomes in each group. The sums are in the order of groups.
func sumGroups(count func(outcome string) uint64) (sums [3]uint64) {
	for i, g := range groups {
		for _, o := range g.Outcomes {
			sums[i] += count(o)
		}
	}
	return sums
}

func (b Bucket) byGroup() [3]uint64 {
	return sumGroups(func(o string) uint64 { return b.Counts[slices.Index(outcomes[:], o)] })
}
