package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/igproxy/igproxy/proxy"
	"github.com/igproxy/igproxy/proxy/admin"
)

// statusText returns the status as text, at most 80 columns wide except for warnings and long
// names.
func statusText(s admin.Status) string {
	var b strings.Builder
	row := func(name, format string, values ...any) {
		fmt.Fprintf(&b, "%-11s %s\n", name, fmt.Sprintf(format, values...))
	}
	readiness := "not ready"
	switch {
	case s.State.Draining:
		readiness = "draining"
	case s.State.Ready:
		readiness = "ready"
	}
	row("igproxy", "%s, %s, up %s", s.Version, readiness, time.Duration(s.Process.UptimeSeconds)*time.Second)
	for _, w := range warnings(s) {
		row("  !", "%s", w)
	}
	b.WriteString("\n")
	row("requests", "%d in 15 min, %.1f/s", s.Requests.Window, s.Requests.PerSecond)
	row("", "%s", counts(s.Requests.ByOutcome))
	hitRatio := "-"
	if s.HitRatio != nil {
		hitRatio = fmt.Sprintf("%.1f %%", *s.HitRatio*100)
	}
	row("hit ratio", "%s", hitRatio)
	row("hits", "p50 %s, p99 %s", millis(s.Latency.Hits.P50), millis(s.Latency.Hits.P99))
	row("exchanges", "%d, p50 %s, p99 %s", s.Latency.Exchanges.Count, millis(s.Latency.Exchanges.P50), millis(s.Latency.Exchanges.P99))
	row("calls saved", "%d by the cache, %d by joining", s.Saved.Cache, s.Saved.Coalescing)
	row("in flight", "%d shared exchanges; %d entries in memory", s.State.Flights, s.State.Entries)
	b.WriteString("\n")
	row("calls", "%s", counts(s.Results))
	for _, u := range s.Upstreams {
		changed := ""
		if !u.Since.IsZero() {
			changed = ", since " + clock(u.Since)
		}
		if u.Breaker != "closed" {
			changed = fmt.Sprintf(", last closed %s, probes since then: %d", clock(u.Since), u.Probes)
		}
		row(u.Name, "breaker %s%s; %d of %d calls", u.Breaker, changed, u.InFlight, u.MaxInFlight)
	}
	row("redis", "%s", redisLine(s))
	for _, l := range s.Limits {
		row("limits", "%s, at %s; app: %s; business use: %s", l.App, clock(l.At), percentages(l.Usage), percentages(l.Business))
	}
	b.WriteString("\n")
	row("process", "%d goroutines, heap %s, %s in total", s.Process.Goroutines, mebibytes(s.Process.HeapBytes), mebibytes(s.Process.MemoryBytes))
	return b.String()
}

// warnings returns what an operator on call should read first.
func warnings(s admin.Status) (list []string) {
	if of, refused := strings.CutPrefix(s.State.ClientSecret, "refused"); refused {
		list = append(list, "Meta refuses the client secret"+strings.Replace(of, ": ", " of ", 1))
	}
	if s.ReloadRefused {
		list = append(list, "a changed configuration was refused; igproxy reload says why")
	}
	for _, u := range s.Upstreams {
		if u.Breaker != "closed" {
			list = append(list, fmt.Sprintf("the %s breaker is %s; known tokens are still served", u.Name, u.Breaker))
		}
	}
	if s.State.Redis == "degraded" {
		list = append(list, "Redis is unavailable ("+s.State.RedisFault+"): cached answers come from memory, and each sidecar calls Instagram itself")
	}
	for _, p := range s.Pauses {
		list = append(list, fmt.Sprintf("app %s is paused until %s, since %s: Meta limits its calls (code %d); igproxy resume --app %[1]s ends the pause", p.App, clock(p.Until), clock(p.Since), p.Code))
	}
	for _, l := range s.Limits {
		isPaused := slices.ContainsFunc(s.Pauses, func(p proxy.Pause) bool { return p.App == l.App })
		if l.Regain > 0 && !isPaused {
			list = append(list, fmt.Sprintf("app %s has used up its rate limit; Instagram blocks the app for another %v min", l.App, l.Regain))
		}
	}
	return list
}

// counts lists names with their counts, the largest first.
func counts(of map[string]uint64) string {
	names := slices.SortedFunc(maps.Keys(of), func(a, b string) int { return cmp.Or(cmp.Compare(of[b], of[a]), cmp.Compare(a, b)) })
	for i, name := range names {
		names[i] = fmt.Sprintf("%s %d", name, of[name])
	}
	return cmp.Or(strings.Join(names, ", "), "none")
}

func redisLine(s admin.Status) string {
	line := s.State.Redis
	if s.RedisMode != "" {
		line += " (" + s.RedisMode + ")"
	}
	if !s.State.RedisSince.IsZero() {
		line += ", since " + clock(s.State.RedisSince)
	}
	if len(s.RedisFaults) > 0 {
		line += "; faults: " + counts(s.RedisFaults)
	}
	return line
}

func percentages(of map[string]float64) string {
	names := slices.Sorted(maps.Keys(of))
	for i, name := range names {
		names[i] = fmt.Sprintf("%s %.4g %%", strings.ReplaceAll(name, "_", " "), of[name])
	}
	return cmp.Or(strings.Join(names, ", "), "not reported")
}

func millis(ms *float64) string {
	if ms == nil {
		return "-"
	}
	return fmt.Sprintf("%.3g ms", *ms)
}

func mebibytes(bytes uint64) string { return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20)) }

func clock(t time.Time) string { return t.Local().Format(time.TimeOnly) }
