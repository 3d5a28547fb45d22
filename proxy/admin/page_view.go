package admin

import (
	"cmp"
	"fmt"
	"html/template"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/igproxy/igproxy/proxy"
)

// view is what the page shows: the status, in words.
type view struct {
	*Status
	Style       template.CSS
	Script      template.JS
	Clock       string
	Problem     string // the number of alerts; without alerts, the readiness
	Tiles       []tile
	Rows        []appRow
	Groups      []group
	Charts      []chart
	Moments     string // the columns of the charts in words, one line per column
	Minutes     []minute
	Past        []outageRow
	Wrong       []failureRow
	Calls       []countRow
	Redis       []pair
	Kept        []pair // the kept tokens by app; empty if igproxy keeps no tokens
	Intercepted []pair // the interception; empty if it is off
	Faults      []string
	About       []pair
}

// tile is a number with a line that explains it.
type tile struct{ Name, Value, Note string }

// pair is a row of a list.
type pair struct{ Name, Value string }

// mark is a text and its level: ok, warn, bad, or empty if nothing is known.
type mark struct{ Level, Text string }

type appRow struct {
	Name                        string
	Service                     string
	Secret, Hold, Breaker, Used mark
	InFlight                    int
}

// group is a group of outcomes, with its count and its share of all requests.
type group struct {
	Name, Count, Share string
	Outcomes           []countRow
}

// countRow is the number of requests with an outcome, or of calls with a result.
type countRow struct{ Name, Count, Meaning string }

// minute sums up the buckets of a minute.
type minute struct {
	At                      string
	Served, Refused, Failed string
	Calls                   string
}

type outageRow struct {
	Of, Start, End, Lasted, Probes, Breakers string
	Level                                    string
}

type failureRow struct{ Last, First, Of, Outcome, Status, Code, Cause, Count, RequestID string }

func viewOf(s Status) view {
	v := view{Status: &s, Style: template.CSS(pageStyle), Script: template.JS(pageScript), Charts: s.charts(), Moments: s.moments(),
		Tiles: s.tiles(), Groups: s.groups(), Minutes: s.minutes(), Faults: s.FaultsInWords(), Redis: s.redis(), Kept: s.kept(), Intercepted: s.Intercept.rows(),
		Calls: s.calls()}
	v.Clock = s.Now.Format("2006-01-02 15:04:05 MST")
	v.Problem = plural(len(s.Alerts), "problem")
	if len(s.Alerts) == 0 {
		v.Problem = s.Readiness()
	}
	for _, a := range s.Apps {
		v.Rows = append(v.Rows, s.appRow(a))
	}
	for _, o := range s.Outages {
		v.Past = append(v.Past, s.outageRow(o))
	}
	for _, f := range s.Failures {
		row := failureRow{Last: s.Clock(f.Last), First: s.Clock(f.First), Of: known(f.App, f.Grant), Outcome: f.Outcome, Status: fmt.Sprint(f.Status), Code: fmt.Sprint(f.Code),
			Cause: f.Cause, Count: thousands(f.Count), RequestID: f.RequestID}
		if f.Subcode != 0 {
			row.Code += fmt.Sprintf(" / %d", f.Subcode)
		}
		v.Wrong = append(v.Wrong, row)
	}
	p := s.Process
	v.About = []pair{{"Host", cmp.Or(s.Host, "unknown")}, {"Version", s.Version}, {"Commit", cmp.Or(s.Commit[:min(12, len(s.Commit))], "unknown")},
		{"Go", strings.TrimPrefix(cmp.Or(s.Go, runtime.Version()), "go")}, {"Started", s.Clock(s.Started)},
		{"Cached entries in memory", thousands(s.State.Entries)}, {"Goroutines", thousands(p.Goroutines)}, {"Heap", mebibytes(p.HeapBytes)}, {"Memory of the Go runtime", mebibytes(p.MemoryBytes)},
		{"Processors", fmt.Sprint(p.Processors)}}
	return v
}

// known joins names, such as an app and a grant. It leaves out "none", which stands for an unknown
// name.
func known(names ...string) string {
	names = slices.DeleteFunc(names, func(name string) bool { return name == "none" })
	return cmp.Or(strings.Join(names, " "), "–")
}

func mebibytes(bytes uint64) string { return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20)) }

// Uptime returns how long the process has run.
func (s *Status) Uptime() string { return span(s.Now.Sub(s.Started)) }

// Level returns the level of the worst alert: bad or warn. Without alerts it returns ok.
func (v view) Level() string {
	switch {
	case len(v.Alerts) == 0:
		return "ok"
	case v.Alerts[0].Severity == page:
		return "bad"
	}
	return "warn"
}

func percent(share *float64) string {
	if share == nil {
		return "–"
	}
	return fmt.Sprintf("%.1f%%", *share*100)
}

func (s *Status) tiles() []tile {
	inFlight := 0
	for _, u := range s.Upstreams {
		inFlight += u.InFlight
	}
	hits, exchanges := s.Latency.Hits, s.Latency.Exchanges
	return []tile{
		{"Requests/s now", fmt.Sprintf("%.1f", s.Requests.PerSecond), thousands(s.Requests.Window) + " in 15 min"},
		{"Hit ratio", percent(s.HitRatio), "of token calls"},
		{"Median of hits", hits.Median(), "99%: " + hits.Most()},
		{"Median of misses", exchanges.Median(), "99%: " + exchanges.Most()},
		{"Calls to Meta saved", thousands(s.Saved.Cache + s.Saved.Coalescing), thousands(s.Saved.Cache) + " cached, " + thousands(s.Saved.Coalescing) + " joined"},
		{"Calls to Meta in flight", fmt.Sprint(inFlight), "token calls"},
	}
}

func (s *Status) appRow(a proxy.AppStatus) appRow {
	row := appRow{Name: a.Name, Service: string(a.Service), InFlight: a.InFlight, Secret: mark{"ok", a.ClientSecret},
		Hold: mark{"ok", "not paused"}, Breaker: mark{"ok", "closed"}, Used: mark{"", "not reported"}}
	switch a.ClientSecret {
	case "refused":
		row.Secret.Level = "bad"
	case "unproven":
		row.Secret.Level = ""
	}
	if a.Hold != nil {
		row.Hold = mark{"bad", "paused until " + s.Clock(a.Hold.Until) + ": " + a.Hold.Why}
		if a.Hold.Resumable {
			row.Hold.Text += "; igproxy resume --app " + a.Name + " ends it"
		}
	}
	switch a.Breaker {
	case "open":
		row.Breaker = mark{"bad", "open: " + strings.Join(a.NotClosed, ", ")}
	case "half-open":
		row.Breaker = mark{"warn", "half-open: " + strings.Join(a.NotClosed, ", ")}
	}
	for _, l := range s.Limits {
		if l.App != a.Name {
			continue
		}
		kind, used := highest(l)
		row.Used = mark{"ok", fmt.Sprintf("%.0f%% (%s)", used, kind)}
		switch {
		case l.Regain > 0:
			row.Used = mark{"bad", fmt.Sprintf("blocked for %.0f min", l.Regain)}
		case used > 80:
			row.Used.Level = "warn"
		}
	}
	return row
}

// meanings explain the outcomes.
var meanings = map[string]string{
	"token": "the app got a token", "passed": "passed through to Meta", "verified": "the signature of the webhook or signed request is valid", "refused": "Meta refused the call",
	"limited": "a rate limit applies", "unverified": "the signature of the webhook or signed request is not valid", "rejected": "igproxy refused the request", "gone": "the caller disconnected",
	"unavailable": "Meta failed, or was not called", "timeout": "Meta did not answer in time", "failed": "a bug in igproxy",
}

func (s *Status) groups() (list []group) {
	count := func(o string) uint64 { return s.Requests.ByOutcome[o] }
	for i, sum := range sumGroups(count) {
		share := "–"
		if s.Requests.Window > 0 {
			share = fmt.Sprintf("%.1f%%", 100*float64(sum)/float64(s.Requests.Window))
		}
		g := group{Name: groups[i].Name, Count: thousands(sum), Share: share}
		for _, o := range groups[i].Outcomes {
			g.Outcomes = append(g.Outcomes, countRow{o, thousands(count(o)), meanings[o]})
		}
		list = append(list, g)
	}
	return list
}

// minutes sums up the buckets that began in the same minute. The latest minute comes first.
func (s *Status) minutes() (list []minute) {
	var sums [4]uint64
	for i := len(s.Buckets) - 1; i >= 0; i-- {
		b := s.Buckets[i]
		for j, n := range b.byGroup() {
			sums[j] += n
		}
		sums[3] += b.Calls
		begin := b.At.In(s.Now.Location()).Truncate(time.Minute)
		if i > 0 && !s.Buckets[i-1].At.Before(begin) {
			continue
		}
		list = append(list, minute{begin.Format("15:04"), thousands(sums[0]), thousands(sums[1]), thousands(sums[2]), thousands(sums[3])})
		sums = [4]uint64{}
	}
	return list
}

func (s *Status) outageRow(o proxy.Outage) outageRow {
	row := outageRow{Of: UpstreamName(o.Of), Start: s.Clock(o.Start), End: "continues", Probes: thousands(o.Probes),
		Breakers: strings.Join(o.Breakers, ", "), Level: "bad"}
	end := s.Now
	if !o.End.IsZero() {
		end, row.End, row.Level = o.End, s.Clock(o.End), "ok"
	}
	if o.Of == "redis" {
		row.Probes, row.Breakers = "–", "–"
	}
	row.Lasted = span(end.Sub(o.Start))
	return row
}

// results are the results of a call to Meta in words, in the order in which the page lists them.
var results = []pair{{"token", "Meta issued a token"}, {"bad_token", "Meta refused the token"}, {"standing", "no access to the account"},
	{"secret", "Meta refused the client secret"}, {"refused", "Meta refused the call"}, {"app_limit", "rate limit of the app"},
	{"user_limit", "rate limit of the user or page"}, {"transient", "temporary failure of Meta"}, {"broken", "response not understood"},
	{"unreached", "connection failed"}, {"timeout", "no answer in time"}, {"silent", "no answer on a reused connection"}}

func (s *Status) calls() (list []countRow) {
	for _, r := range results {
		if n := s.Results[r.Name]; n > 0 {
			list = append(list, countRow{r.Name, thousands(n), r.Value})
		}
	}
	return list
}

func (s *Status) redis() []pair {
	state := map[string]string{"off": "not configured", "ok": "in use", "degraded": "not used: " + cmp.Or(faultWords[s.State.RedisFault], s.State.RedisFault)}[s.State.Redis]
	mode := cmp.Or(s.RedisMode, "none")
	since := "–"
	if !s.State.RedisSince.IsZero() {
		since = s.Clock(s.State.RedisSince)
	}
	return []pair{{"State", state}, {"Mode", mode}, {"Failed since", since}}
}
