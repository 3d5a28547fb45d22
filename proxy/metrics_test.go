package proxy

import (
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/igproxy/igproxy/breaker"
	"github.com/igproxy/igproxy/cache"
	"github.com/igproxy/igproxy/proxy/graph"
	"github.com/igproxy/igproxy/proxy/keep"
	"github.com/igproxy/igproxy/proxy/passthrough"
)

// counted returns the sum of a metric over all label values.
func counted(t testing.TB, m *Metrics, name string) (sum float64) {
	t.Helper()
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			for _, one := range f.GetMetric() {
				sum += one.GetCounter().GetValue() + one.GetGauge().GetValue()
			}
		}
	}
	return sum
}

// countedAs returns the sum of a counter over all samples whose label result has this value.
func countedAs(t testing.TB, m *Metrics, name, result string) (sum float64) {
	t.Helper()
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, one := range f.GetMetric() {
			for _, l := range one.GetLabel() {
				if f.GetName() == name && l.GetName() == "result" && l.GetValue() == result {
					sum += one.GetCounter().GetValue()
				}
			}
		}
	}
	return sum
}

// metricRow is a row of docs/metrics.md: the type and the labels. Each label has its values, or nil
// if any value is allowed.
type metricRow struct {
	kind   string
	labels map[string][]string
}

// documented returns the table in docs/metrics.md, by the name of the metric.
func documented(t *testing.T) map[string]metricRow {
	t.Helper()
	label, table := regexp.MustCompile("`([a-z_]+)`(?: \\(([^)]*)\\))?"), map[string]metricRow{}
	for _, line := range tableIn(t, "../docs/metrics.md", "| metric | type | labels (values) | what it shows | what to do |") {
		all, name, kind := cells(line)
		row := metricRow{kind, map[string][]string{}}
		for _, m := range label.FindAllStringSubmatch(all[2], -1) {
			row.labels[m[1]] = nil
			if m[2] != "" {
				row.labels[m[1]] = strings.Split(m[2], ", ")
			}
		}
		if len(all) != 5 || all[3] == "" || all[4] == "" && name != "`igproxy_build_info`" {
			t.Errorf("%s: got the cells %q, want five, the last two not empty", name, all)
		}
		table[strings.Trim(name, "`")] = row
	}
	return table
}

// readmeTable returns the rows of the table in README whose header row is head.
func readmeTable(t *testing.T, head string) (rows []string) {
	t.Helper()
	return tableIn(t, "../README.md", head)
}

func tableIn(t *testing.T, path, head string) (rows []string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(text), "\n"+head)
	if !ok {
		t.Fatalf("%s has no table %q", path, head)
	}
	for _, line := range strings.Split(rest, "\n")[2:] {
		if !strings.HasPrefix(line, "|") {
			break
		}
		rows = append(rows, line)
	}
	return rows
}

// cells returns all cells of a row, and the first two also separately.
func cells(row string) (all []string, first, second string) {
	for _, c := range strings.Split(strings.Trim(row, "|"), "|") {
		all = append(all, strings.TrimSpace(c))
	}
	return all, all[0], all[1]
}

// exercised returns a Metrics in which each metric has a value.
func exercised(t *testing.T) *Metrics {
	t.Helper()
	_, s := newInstagram(t, overTLS)
	m := NewMetrics()
	m.Build("v1", "abc", "go1")
	m.LogLinesDropped(func() int { return 1 })
	o := optionsFor(t, s.URL, s.CA())
	o.Metrics, o.Cache, o.Passthrough, o.Keep = m, newCacheWatchedBy(t, m), passing(PassthroughOptions{}), keepOptions
	p := newProxy(t, o)
	_ = ask(p, get(target("IGAAshort")))
	_ = ask(p, get(target("flaky500-1")))
	m.RedisError("claim", "timeout")
	m.RedisState(true)
	e := p.current.Load()
	p.carried.circuits.changed(circuitOf(call{app: e.apps[0], grant: e.grants[0]}), upstreamGraph, breaker.Change{From: breaker.Closed, To: breaker.Open})
	m.Operation("purge", "done")
	m.silentPool("tokens")()
	m.silentPool("passthrough")()
	m.Lookup(cache.TierRedis, "unsealed")
	m.Claim(cache.Leader)
	m.Connected("other", "refused")
	m.Tunnels(func() int { return 1 })
	m.bearerChecked(bearerCurrent)
	m.revoked("default", cache.Dropped)
	m.limits.note("default", http.Header{"X-App-Usage": {`{"call_count":1}`}})
	return m
}

// free are the labels whose values come from the operator or the build.
var free = []string{"app", "version", "commit", "go"}

func TestExportedMetricsMatchTheDocs(t *testing.T) {
	want := documented(t)
	families, err := exercised(t).registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	exported := map[string]bool{}
	for _, f := range families {
		exported[f.GetName()] = true
		doc, ok := want[f.GetName()]
		if kind := strings.ToLower(f.GetType().String()); !ok || doc.kind != kind {
			t.Errorf("%s is a %s, docs/metrics.md says %q", f.GetName(), kind, doc.kind)
			continue
		}
		for _, one := range f.GetMetric() {
			var names []string
			for _, l := range one.GetLabel() {
				names = append(names, l.GetName())
				if values := doc.labels[l.GetName()]; !slices.Contains(free, l.GetName()) && !slices.Contains(values, l.GetValue()) {
					t.Errorf("%s has %s %q, docs/metrics.md says %q", f.GetName(), l.GetName(), l.GetValue(), values)
				}
			}
			if said := slices.Sorted(maps.Keys(doc.labels)); !slices.Equal(said, names) {
				t.Errorf("%s has labels %v, docs/metrics.md says %v", f.GetName(), names, said)
			}
		}
	}
	for name := range want {
		if !exported[name] {
			t.Errorf("docs/metrics.md has %s, which is not exported", name)
		}
	}
	for _, row := range readmeTable(t, "| metric | what it shows |") {
		for _, name := range regexp.MustCompile("`(igproxy_[a-z_]+)`").FindAllStringSubmatch(row, -1) {
			if !exported[name[1]] {
				t.Errorf("README has %s, which is not exported", name[1])
			}
		}
	}
}

// For the labels checked here, docs/metrics.md lists exactly the values that the code can produce.
// These include values that do not occur in TestExportedMetricsMatchTheDocs.
func TestDocumentedLabelValuesAreComplete(t *testing.T) {
	want := documented(t)
	kinds := []string{}
	text, err := os.ReadFile("../cache/redis_errors.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^\tkind[A-Z]\w*\s+= "([a-z]+)"`).FindAllStringSubmatch(string(text), -1) {
		kinds = append(kinds, m[1])
	}
	said := want["igproxy_redis_errors_total"].labels["kind"]
	if slices.Sort(kinds); len(kinds) < 20 || !slices.Equal(kinds, sortedWords(said)) {
		t.Errorf("kinds of Redis faults: %d in the code, want at least 20: %v; docs/metrics.md says %v", len(kinds), kinds, said)
	}
	results := []string{"token"}
	for _, c := range allClasses {
		if c != graph.ClassRequest && c != graph.ClassSignature && c != graph.ClassHeld && c != graph.ClassInternal {
			results = append(results, string(c))
		}
	}
	if said := want["igproxy_upstream_requests_total"].labels["result"]; !slices.Equal(sortedWords(results), sortedWords(said)) {
		t.Errorf("results of calls: %v, docs/metrics.md says %v", results, said)
	}
	names := []string{passthroughGrant, "none"}
	for _, c := range ownCalls {
		names = append(names, c.name)
	}
	others := len(names)
	for _, g := range grants(Options{DebugToken: true, Apps: []App{{}, {Service: Threads}, {Service: Facebook}}}) {
		names = append(names, g.name)
	}
	for metric, all := range map[string][]string{"igproxy_requests_total": names, "igproxy_request_duration_seconds": names, "igproxy_upstream_requests_total": names[others:],
		"igproxy_upstream_retries_total": names[others:], "igproxy_upstream_duration_seconds": names[others:]} {
		if said := want[metric].labels["grant"]; !slices.Equal(sortedWords(all), sortedWords(said)) {
			t.Errorf("grants of %s: %v, docs/metrics.md says %v", metric, all, said)
		}
	}
	var refreshes []string
	for _, outcome := range keep.Outcomes {
		refreshes = append(refreshes, string(outcome))
	}
	if said := want["igproxy_keep_refreshes_total"].labels["outcome"]; !slices.Equal(refreshes, said) {
		t.Errorf("outcomes of refreshes: %v, docs/metrics.md says %v", refreshes, said)
	}
	if said := want["igproxy_upstream_usage_ratio"].labels["kind"]; !slices.Equal(sortedWords(usageKinds), sortedWords(said)) {
		t.Errorf("kinds of usage: %v, docs/metrics.md says %v", usageKinds, said)
	}
}

func sortedWords(words []string) []string {
	words = slices.Clone(words)
	slices.Sort(words)
	return words
}

// docs/metrics.md lists exactly the values that the labels outcome and source can have.
func TestOutcomesAndSourcesMatchTheDocs(t *testing.T) {
	outcomeSet, sources := map[string]bool{}, map[string]bool{}
	count := func(x requestState) {
		outcomeSet[x.outcome()] = true
		sources[x.source()] = true
	}
	for _, c := range allClasses {
		e := &graph.Error{Class: c}
		count(requestState{err: e})
		for _, from := range []source{sourceMemory, sourceRedis, sourceUpstream, sourceHold} {
			count(requestState{result: answer{refusal: e, source: from}})
		}
	}
	count(requestState{result: answer{source: sourceKept}})
	for _, from := range []source{sourceMemory, sourceRedis, sourceFleet, sourceUpstream} {
		count(requestState{result: answer{source: from}})
		count(requestState{result: answer{source: from, joined: true}})
	}
	count(requestState{gone: true})
	count(requestState{passed: &passthrough.Call{}})
	count(requestState{signed: &verified{}})
	for label, got := range map[string]map[string]bool{"outcome": outcomeSet, "source": sources} {
		want := sortedWords(documented(t)["igproxy_requests_total"].labels[label])
		if have := slices.Sorted(maps.Keys(got)); !slices.Equal(have, want) {
			t.Errorf("%s: %v, docs/metrics.md says %v", label, have, want)
		}
	}
}

var allClasses = []graph.Class{graph.ClassRequest, graph.ClassSignature, graph.ClassToken, graph.ClassStanding, graph.ClassSecret, graph.ClassRefused, graph.ClassAppLimit, graph.ClassUserLimit, graph.ClassTransient,
	graph.ClassBroken, graph.ClassUnreached, graph.ClassTimeout, graph.ClassSilent, graph.ClassHeld, graph.ClassInternal}

// A class that is missing from allClasses would not be checked by the tests above.
func TestAllClassesIsComplete(t *testing.T) {
	text, err := os.ReadFile("graph/class.go")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`Class\w+\s+Class\s+= "([a-z_]+)"`).FindAllStringSubmatch(string(text), -1)
	if len(found) != len(allClasses) {
		t.Errorf("class.go has %d classes, allClasses has %d; want the same number", len(found), len(allClasses))
	}
}

// An operator must be able to see that tokens are refused.
func TestTokensAndRefusalsAreCountedSeparately(t *testing.T) {
	_, s := newInstagram(t, overTLS)
	o := optionsFor(t, s.URL, s.CA())
	o.Metrics = NewMetrics()
	p := newProxy(t, o)
	_ = ask(p, get(target("IGAAshort")))
	_ = ask(p, get(target("expired-1")))
	_ = ask(p, get(target("revoked-1")))
	good, bad := countedAs(t, o.Metrics, "igproxy_upstream_requests_total", "token"), countedAs(t, o.Metrics, "igproxy_upstream_requests_total", "bad_token")
	if good != 1 || bad != 2 {
		t.Errorf("tokens: got %v, want 1; refusals: got %v, want 2", good, bad)
	}
}

// The stand-in answers within milliseconds. Wide buckets would make estimates of its median
// response time much too high.
func TestTheBucketsOfAFastUpstreamAreNarrow(t *testing.T) {
	for took, most := range map[time.Duration]float64{3 * time.Millisecond: 5, 8 * time.Millisecond: 10, 20 * time.Millisecond: 25} {
		m := NewMetrics()
		for range 100 {
			m.asked(call{app: &app{App: App{Label: "default"}}, grant: &grant{name: "exchange"}}, "token", took)
		}
		families, err := m.registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			if f.GetName() != "igproxy_upstream_duration_seconds" {
				continue
			}
			for _, b := range f.GetMetric()[0].GetHistogram().GetBucket() {
				if n, bound := b.GetCumulativeCount(), b.GetUpperBound()*1000; bound < most/2-2.5 && n > 0 || bound >= most && n != 100 {
					t.Errorf("of 100 calls that took %s, %d were counted as at most %v ms; want all in one narrow bucket", took, n, bound)
				}
			}
		}
	}
}

// If a reload adds or removes an app, it must also add or remove the app's gauges.
func TestGaugesOfAppsFollowAReload(t *testing.T) {
	_, s := newInstagram(t, overTLS)
	o := optionsFor(t, s.URL, s.CA())
	o.Cache, o.Metrics = newCache(t), NewMetrics()
	p := newProxy(t, o)
	o.Apps = []App{{Label: "one", ID: "1", Secret: NewSecret(testSecret)}, {Label: "two", ID: "2", Secret: NewSecret("a-secret-that-is-wrong")}}
	if err := p.Reload(o); err != nil {
		t.Fatal(err)
	}
	if w := askAt(p, "localhost", "/apps/two"+target("IGAAshort")); w.Code != 400 {
		t.Fatalf("call with the wrong secret: got status %d, want 400", w.Code)
	}
	families, err := o.Metrics.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		if f.GetName() == "igproxy_client_secret_refused" {
			for _, m := range f.GetMetric() {
				got[m.GetLabel()[0].GetValue()] = m.GetGauge().GetValue()
			}
		}
	}
	if len(got) != 2 || got["one"] != 0 || got["two"] != 1 {
		t.Errorf("igproxy_client_secret_refused: got %v, want one: 0 and two: 1", got)
	}
}
