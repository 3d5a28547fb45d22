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

// statusText returns the status as text. Times of day are in the sidecar's time zone.
func statusText(s admin.Status) string {
	var b strings.Builder
	row := func(name, format string, values ...any) {
		fmt.Fprintf(&b, "%-11s %s\n", name, fmt.Sprintf(format, values...))
	}
	row("igproxy", "%s, %s, up %s, at %s", s.Name(), s.Readiness(), time.Duration(s.Process.UptimeSeconds)*time.Second, s.Now.Format("15:04:05 MST"))
	for _, a := range s.Alerts {
		row("  !", "%s (%s)", a.Text, a.Name)
	}
	b.WriteString("\n")
	row("requests", "%d in 15 min; now %.1f per second", s.Requests.Window, s.Requests.PerSecond)
	for _, g := range admin.Groups() {
		row("  "+g.Name, "%s", s.OutcomesInWords(g))
	}
	hitRatio := "-"
	if s.HitRatio != nil {
		hitRatio = fmt.Sprintf("%.1f%% of token calls", *s.HitRatio*100)
	}
	row("hit ratio", "%s", hitRatio)
	row("hits", "%s", times(s.Latency.Hits, ""))
	row("misses", "%s", times(s.Latency.Exchanges, " that Meta answered with a token or a refusal"))
	row("calls saved", "%d by the cache, %d by joining calls", s.Saved.Cache, s.Saved.Coalescing)
	row("flights", "%d in progress; a flight gets one answer for all callers with the same token", s.State.Flights)
	row("memory", "%s", plural(s.State.Entries, "entry", "entries"))
	b.WriteString("\n")
	for _, a := range s.Apps {
		row("app", "%s: client secret %s; token calls %s; breaker %s", a.Name, a.ClientSecret, holdOf(s, a), breakerOf(a))
		if kept := admin.KeptInWords(a); kept != "" {
			row("", "%s", kept)
		}
	}
	row("calls", "%s", s.CallsInWords())
	for _, u := range s.Upstreams {
		host := ""
		if u.Name == "login" {
			host = admin.UpstreamName(u.Name) + ": "
		}
		row(u.Name, "%sbreaker %s; %s in flight; upstream.max_in_flight is %d", host, sinceOf(s, u), plural(u.InFlight, "call", "calls"), u.MaxInFlight)
	}
	row("redis", "%s", redisLine(s))
	for _, faults := range s.FaultsInWords() {
		row("", "%s", faults)
	}
	if i := s.Intercept; i != nil {
		row("intercept", "%s; in 15 min: %s", i.Listen, i.ConnectsInWords())
		row("", "%s; other hosts: %s", strings.Join(i.Hosts, ", "), i.OthersInWords())
		row("", "the authority expires on %s", i.Ends.UTC().Format(time.DateOnly))
	}
	for _, l := range s.Limits {
		row("limits", "rate limits of app %s, as of %s: %s used; limits for each business use case: %s", l.App, s.Clock(l.At), percentages(l.Usage), percentages(l.Business))
	}
	b.WriteString("\n")
	list(&b, "outages", s.Outages, func(o proxy.Outage) string { return outageLine(s, o) })
	list(&b, "errors", s.Failures, func(f proxy.Failure) string { return failureLine(s, f) })
	b.WriteString("\n")
	row("process", "%d goroutines, heap %s, %s in total", s.Process.Goroutines, mebibytes(s.Process.HeapBytes), mebibytes(s.Process.MemoryBytes))
	return b.String()
}

// list writes a row for each of the first five items, and then the number of further items.
func list[T any](b *strings.Builder, name string, of []T, text func(T) string) {
	if len(of) == 0 {
		fmt.Fprintf(b, "%-11s none since the start\n", name)
	}
	for i, one := range of[:min(5, len(of))] {
		if i > 0 {
			name = ""
		}
		fmt.Fprintf(b, "%-11s %s\n", name, text(one))
	}
	if n := len(of) - 5; n > 0 {
		fmt.Fprintf(b, "%-11s and %d more: see the page, or --json\n", "", n)
	}
}

func outageLine(s admin.Status, o proxy.Outage) string {
	text := fmt.Sprintf("%s, since %s", admin.UpstreamName(o.Of), s.Clock(o.Start))
	if !o.End.IsZero() {
		text = fmt.Sprintf("%s, from %s until %s", admin.UpstreamName(o.Of), s.Clock(o.Start), s.Clock(o.End))
	}
	if len(o.Breakers) > 0 {
		var breakers []string
		for _, b := range o.Breakers {
			breakers = append(breakers, "app "+strings.Replace(b, " ", ", grant ", 1))
		}
		text += fmt.Sprintf("; %s; breakers: %s", plural(o.Probes, "probe", "probes"), strings.Join(breakers, "; "))
	}
	return text
}

func failureLine(s admin.Status, f proxy.Failure) string {
	code := fmt.Sprint(f.Code)
	if f.Subcode != 0 {
		code += fmt.Sprintf("/%d", f.Subcode)
	}
	of := "app " + f.App
	if f.App == "none" {
		of = "no app"
	}
	if f.Grant != "none" {
		of += ", grant " + f.Grant
	}
	return fmt.Sprintf("%s, %s, status %d, code %s: %s (%s; last request %s)", s.Clock(f.Last), of, f.Status, code, f.Cause, plural(f.Count, "time", "times"), f.RequestID)
}

func holdOf(s admin.Status, a proxy.AppStatus) string {
	if a.Hold == nil {
		return "not paused"
	}
	text := "paused until " + s.Clock(a.Hold.Until) + " (" + a.Hold.Why
	if a.Hold.Resumable {
		text += "; igproxy resume --app " + a.Name + " ends it"
	}
	return text + ")"
}

func breakerOf(a proxy.AppStatus) string {
	if a.Breaker == "closed" {
		return "closed"
	}
	return string(a.Breaker) + " (" + strings.Join(a.NotClosed, ", ") + ")"
}

func sinceOf(s admin.Status, u proxy.Upstream) string {
	if u.Since.IsZero() {
		return string(u.Breaker)
	}
	if u.Breaker == "closed" {
		return "closed since " + s.Clock(u.Since)
	}
	return fmt.Sprintf("%s; outage since %s, %s", u.Breaker, s.Clock(u.Since), plural(u.Probes, "probe", "probes"))
}

// times returns the count, what was counted, and bounds of the median and of the 99th percentile.
func times(l admin.Latency, of string) string {
	if l.Count == 0 {
		return "none"
	}
	return fmt.Sprintf("%d%s; median %s, 99%% %s", l.Count, of, l.Median(), l.Most())
}

func plural[N int | int64 | uint64](n N, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

func redisLine(s admin.Status) string {
	line := map[string]string{"off": "not configured", "ok": "in use", "degraded": "not used"}[s.State.Redis]
	if !s.State.RedisSince.IsZero() {
		line += " since " + s.Clock(s.State.RedisSince) + ", because it fails"
	}
	if s.RedisMode != "" {
		line += "; mode " + s.RedisMode
	}
	if len(s.RedisFaults) > 0 {
		line += "; faults in 15 min:"
	}
	return line
}

func percentages(of map[string]float64) string {
	names := slices.Sorted(maps.Keys(of))
	for i, name := range names {
		names[i] = fmt.Sprintf("%s %.4g%%", strings.ReplaceAll(name, "_", " "), of[name])
	}
	return cmp.Or(strings.Join(names, ", "), "not reported by Meta")
}

func mebibytes(bytes uint64) string { return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20)) }
