package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/igproxy/igproxy/proxy"
	"github.com/igproxy/igproxy/proxy/admin"
)

// statusText returns the status as text, at most 80 columns wide except for long names.
func statusText(s admin.Status) string {
	var b strings.Builder
	row := func(name, format string, values ...any) {
		fmt.Fprintf(&b, "%-11s %s\n", name, fmt.Sprintf(format, values...))
	}
	row("igproxy", "%s, %s, up %s", s.Version, readiness(s.State), duration(s.Process.UptimeSeconds))
	for _, w := range warnings(s) {
		row("  !", "%s", w)
	}
	b.WriteString("\n")
	row("requests", "%s  %.1f/s, %d in 15 min", sparkline(s), s.Requests.PerSecond, s.Requests.Window)
	row("", "%s", counts(s.Requests.ByOutcome, "none"))
	row("hit ratio", "%s", percent(s.HitRatio))
	row("hits", "p50 %s, p99 %s", millis(s.Latency.Hits.P50), millis(s.Latency.Hits.P99))
	row("exchanges", "p50 %s, p99 %s, %d of them", millis(s.Latency.Exchanges.P50), millis(s.Latency.Exchanges.P99), s.Latency.Exchanges.Count)
	row("calls saved", "%d by the cache, %d by joining", s.Saved.Cache, s.Saved.Coalescing)
	row("under way", "%d flights, %d of %d calls; %d entries in memory", s.State.Flights, s.Upstream.InFlight, s.Upstream.Most, s.State.Entries)
	b.WriteString("\n")
	row("calls", "%s", counts(s.Upstream.Results, "none"))
	for _, u := range s.Upstream.Breakers {
		changed := ""
		if len(u.Changes) > 0 {
			changed = ", since " + clock(u.Changes[0].At)
		}
		row("breaker", "%-10s %s%s", u.Upstream, u.State, changed)
	}
	row("redis", "%s", redisLine(s))
	for _, l := range s.Limits {
		row("limits", "%s: %s", l.App, limitLine(l))
	}
	b.WriteString("\n")
	row("process", "%d goroutines, heap %s, %s in all", s.Process.Goroutines, mebibytes(s.Process.HeapBytes), mebibytes(s.Process.MemoryBytes))
	return b.String()
}

func readiness(s proxy.Readiness) string {
	switch {
	case s.Draining:
		return "draining"
	case s.Ready:
		return "ready"
	}
	return "not ready"
}

// warnings returns what a person on call should read first.
func warnings(s admin.Status) (list []string) {
	if s.State.ClientSecret != "ok" {
		list = append(list, "Instagram refuses the client secret ("+s.State.ClientSecret+")")
	}
	if s.ReloadRefused {
		list = append(list, "a changed configuration was refused, the one of before goes on; igproxy reload says why")
	}
	for _, b := range s.Upstream.Breakers {
		if b.State != "closed" {
			list = append(list, "the breaker of "+b.Upstream+" is "+b.State+"; known tokens are still served")
		}
	}
	if s.State.Redis == "degraded" {
		list = append(list, "Redis is not used ("+s.State.RedisFault+"); memory is")
	}
	for _, l := range s.Limits {
		if l.Regain > 0 {
			list = append(list, fmt.Sprintf("the rate limit of %s is used up, for %v min more", l.App, l.Regain))
		}
	}
	return list
}

// bars are the heights of a sparkline.
var bars = []rune("▁▂▃▄▅▆▇█")

// sparklineWidth is the width of the sparkline: 15 minutes, 30 s each.
const sparklineWidth = 30

// sparkline draws the requests of the last 15 minutes, scaled to the highest; a stretch before the
// start is a space.
func sparkline(s admin.Status) string {
	var sums [sparklineWidth]uint64
	var known [sparklineWidth]bool
	width := max(1, time.Duration(s.WindowSeconds/sparklineWidth*1e9))
	for _, b := range append(slices.Clone(s.Buckets), s.Live) {
		middle := b.At.Add(time.Duration(b.Seconds * 5e8))
		if i := sparklineWidth - 1 - int(s.Now.Sub(middle)/width); i >= 0 && i < sparklineWidth {
			known[i] = true
			for _, n := range b.Counts {
				sums[i] += n
			}
		}
	}
	highest := max(1, slices.Max(sums[:]))
	line := make([]rune, sparklineWidth)
	for i, n := range sums {
		switch {
		case !known[i]:
			line[i] = ' '
		case n == 0:
			line[i] = bars[0]
		default:
			line[i] = bars[min(len(bars)-1, 1+int(float64(n)/float64(highest+1)*float64(len(bars)-1)))]
		}
	}
	return string(line)
}

// counts lists words with numbers, the largest first; none stands for an empty list.
func counts(of map[string]uint64, none string) string {
	words := slices.SortedFunc(maps.Keys(of), func(a, b string) int { return cmp.Or(cmp.Compare(of[b], of[a]), cmp.Compare(a, b)) })
	for i, w := range words {
		words[i] = w + " " + strconv.FormatUint(of[w], 10)
	}
	return cmp.Or(strings.Join(words, ", "), none)
}

func redisLine(s admin.Status) string {
	line := s.State.Redis
	if s.Redis.Mode != "" {
		line += " (" + s.Redis.Mode + ")"
	}
	if s.Redis.Since != nil {
		line += ", since " + clock(*s.Redis.Since)
	}
	if len(s.Redis.Faults) > 0 {
		line += "; faults: " + counts(s.Redis.Faults, "none")
	}
	return line
}

func limitLine(l proxy.RateLimit) string {
	var parts []string
	for _, usage := range []map[string]float64{l.Usage, l.Business} {
		for _, kind := range slices.Sorted(maps.Keys(usage)) {
			parts = append(parts, fmt.Sprintf("%s %.4g %%", strings.ReplaceAll(kind, "_", " "), usage[kind]))
		}
	}
	return strings.Join(parts, ", ") + ", at " + clock(l.At)
}

func percent(ratio *float64) string {
	if ratio == nil {
		return "-"
	}
	return fmt.Sprintf("%.1f %%", *ratio*100)
}

func millis(ms *float64) string {
	if ms == nil {
		return "-"
	}
	return fmt.Sprintf("%.3g ms", *ms)
}

func mebibytes(bytes uint64) string { return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20)) }

func clock(t time.Time) string { return t.Local().Format(time.TimeOnly) }

func duration(seconds float64) string {
	return (time.Duration(seconds) * time.Second).String()
}

// onScreen overwrites the screen without a flicker.
func onScreen(text string) string {
	return toTheTop + strings.ReplaceAll(text, "\n", restOfLine) + restOfScreen
}
