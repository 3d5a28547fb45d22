package proxy

import (
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/igproxy/igproxy/breaker"
	"github.com/igproxy/igproxy/cache"
)

// counted is the sum of a metric over its labels.
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

// countedAs is the sum of a counter over the samples with this result.
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

// documented reads README's metric table: the names, and the labels of each. Where a row has several names, their labels are set apart by a
// semicolon; words in parentheses are values.
func documented(t *testing.T) map[string][]string {
	t.Helper()
	code := regexp.MustCompile("`([a-z_]+)`")
	words := func(s string) (found []string) {
		for _, m := range code.FindAllStringSubmatch(s, -1) {
			found = append(found, m[1])
		}
		slices.Sort(found)
		return found
	}
	table := map[string][]string{}
	for _, line := range readmeTable(t, "| metric | labels |") {
		_, names, labels := cells(line)
		labels = regexp.MustCompile(`\([^)]*\)`).ReplaceAllString(labels, "")
		sets := strings.Split(labels, ";")
		for i, name := range code.FindAllStringSubmatch(names, -1) {
			table[name[1]] = words(sets[min(i, len(sets)-1)])
		}
	}
	return table
}

// readmeTable is the rows of the table in README that has this head.
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

// cells are the first two cells of a row.
func cells(row string) (all []string, first, second string) {
	for _, c := range strings.Split(strings.Trim(row, "|"), "|") {
		all = append(all, strings.TrimSpace(c))
	}
	return all, all[0], all[1]
}

// exercised is a Metrics in which each metric has been touched.
func exercised(t *testing.T) *Metrics {
	t.Helper()
	_, s := newInstagram(t, overTLS)
	m := NewMetrics()
	m.Build("v1", "abc", "go1")
	m.LogLinesDropped(func() int { return 1 })
	o := optionsFor(t, s.URL, s.CA())
	o.Metrics, o.Cache = m, newCacheWatchedBy(t, m)
	p := newProxy(t, o)
	_ = ask(p, get(target("IGAAshort")))
	_ = ask(p, get(target("flaky-1")))
	m.RedisError("claim", "timeout")
	m.RedisState(true)
	p.breakerChanged(upstreamGraph, breaker.Closed, breaker.Open)
	m.Lookup(cache.TierRedis, "unsealed")
	m.Claim(cache.Leader)
	m.limits("default", http.Header{"X-App-Usage": {`{"call_count":1}`}})
	return m
}

func TestExportedMetricsAreThoseOfREADME(t *testing.T) {
	want := documented(t)
	families, err := exercised(t).registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string][]string{}
	for _, f := range families {
		name := f.GetName()
		if strings.HasPrefix(name, "go_") || strings.HasPrefix(name, "process_") {
			continue
		}
		labels := map[string]bool{}
		for _, one := range f.GetMetric() {
			for _, l := range one.GetLabel() {
				labels[l.GetName()] = true
			}
		}
		got[name] = slices.Sorted(maps.Keys(labels))
	}
	for name, labels := range got {
		if doc, ok := want[name]; !ok {
			t.Errorf("%s is exported and not in README", name)
		} else if !slices.Equal(doc, labels) {
			t.Errorf("%s has labels %v, README says %v", name, labels, doc)
		}
	}
	for name := range want {
		if _, ok := got[name]; !ok {
			t.Errorf("README has %s, which is not exported", name)
		}
	}
}

// valuesOf reads the fixed set that README gives for a label of igproxy_requests_total.
func valuesOf(t *testing.T, label string) []string {
	t.Helper()
	row := readmeTable(t, "| metric | labels |")[0]
	m := regexp.MustCompile("`" + label + "` \\(([^)]*)\\)").FindStringSubmatch(row)
	if m == nil {
		t.Fatalf("README gives no values for %s in %s", label, row)
	}
	return strings.Split(m[1], ", ")
}

// Each way a request can end is counted under words that README knows, and every word of README's has its way.
func TestOutcomesAndSourcesAreThoseOfREADME(t *testing.T) {
	outcomes, sources := map[string]bool{}, map[string]bool{}
	count := func(x exchange) {
		outcomes[x.outcome()] = true
		sources[x.source()] = true
	}
	for _, c := range allClasses {
		e := &GraphError{class: c}
		count(exchange{err: e})
		for _, from := range []source{sourceMemory, sourceRedis, sourceUpstream, sourceHold} {
			count(exchange{result: answer{refusal: e, source: from}})
		}
	}
	for _, from := range []source{sourceMemory, sourceRedis, sourceFleet, sourceUpstream} {
		count(exchange{result: answer{source: from}})
		count(exchange{result: answer{source: from, joined: true}})
	}
	count(exchange{gone: true})
	count(exchange{past: &passage{}})
	for label, got := range map[string]map[string]bool{"outcome": outcomes, "source": sources} {
		want := valuesOf(t, label)
		slices.Sort(want)
		if have := slices.Sorted(maps.Keys(got)); !slices.Equal(have, want) {
			t.Errorf("%s: %v, README says %v", label, have, want)
		}
	}
}

var allClasses = []class{classRequest, classToken, classStanding, classSecret, classRefused, classAppLimit, classUserLimit, classTransient,
	classBroken, classUnreached, classTimeout, classHeld, classInternal}

// allClasses is whole: class.go is read for constants that it lacks.
func TestEveryClassIsKnownHere(t *testing.T) {
	text, err := os.ReadFile("class.go")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`class\s*= "([a-z_]+)"|class\w+\s+(?:class\s+)?= "([a-z_]+)"`).FindAllStringSubmatch(string(text), -1)
	if len(found) != len(allClasses) {
		t.Errorf("class.go has %d classes, this test knows %d", len(found), len(allClasses))
	}
}

// An operator sees that tokens are refused.
func TestATokenAndARefusalOfOneAreCountedApart(t *testing.T) {
	_, s := newInstagram(t, overTLS)
	o := optionsFor(t, s.URL, s.CA())
	o.Metrics = NewMetrics()
	p := newProxy(t, o)
	_ = ask(p, get(target("IGAAshort")))
	_ = ask(p, get(target("expired-1")))
	_ = ask(p, get(target("revoked-1")))
	good, bad := countedAs(t, o.Metrics, "igproxy_upstream_requests_total", "token"), countedAs(t, o.Metrics, "igproxy_upstream_requests_total", "bad_token")
	if good != 1 || bad != 2 {
		t.Errorf("one token and two refusals are counted as %v and %v", good, bad)
	}
}

// What Instagram answers, whatever it is, is counted under one of the classes that can come of asking.
func TestUpstreamResultsComeFromAFixedSet(t *testing.T) {
	known := map[class]bool{"token": true}
	for _, c := range allClasses {
		known[c] = c != classRequest && c != classHeld && c != classInternal
	}
	for code := -10; code < 100_000; code++ {
		for _, status := range []int{400, 403, 429, 500, 503} {
			if c := classify(&GraphError{Code: code, Status: status, Message: "x"}); !known[c] {
				t.Fatalf("code %d, status %d is %q", code, status, c)
			}
		}
	}
}
