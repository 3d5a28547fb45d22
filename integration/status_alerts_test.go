package integration

// Alerts and dashboard panels use only exported metrics, labels and label values, and each alert
// has a section in the runbook. The tests in integration/deploy check with promtool when each alert
// fires and when it does not.

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// documentedMetrics returns the metrics in docs/metrics.md with their labels and the labels'
// values; nil means any value.
func documentedMetrics(t *testing.T) map[string]map[string][]string {
	t.Helper()
	metrics := map[string]map[string][]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `(igproxy_\\w+)` \\| (?:counter|gauge|histogram) \\|([^|]*)\\|").FindAllStringSubmatch(read(t, "../docs/metrics.md"), -1) {
		labels := map[string][]string{}
		for _, l := range regexp.MustCompile("`(\\w+)`(?: \\(([^)]*)\\))?").FindAllStringSubmatch(row[2], -1) {
			labels[l[1]] = nil
			if l[2] != "" {
				labels[l[1]] = strings.Split(l[2], ", ")
			}
		}
		metrics[row[1]] = labels
	}
	if len(metrics) < 15 {
		t.Fatalf("docs/metrics.md has %d metrics, want at least 15", len(metrics))
	}
	return metrics
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

var (
	metricUsed   = regexp.MustCompile(`igproxy_\w+(?:\{[^}]*\})?`)
	labelUsed    = regexp.MustCompile(`(\w+)(?:=~|!~|!=|=)"([^"]*)"`)
	grouped      = regexp.MustCompile(`\b(?:by|on) \(([^)]*)\)`)
	ofAHistogram = regexp.MustCompile(`_(?:bucket|sum|count)$`)
)

// unknownNames returns a problem for each metric, label and label value that an expression uses but
// that does not exist.
func unknownNames(metrics map[string]map[string][]string, expression string) (wrong []string) {
	known := []string{"job", "instance", "le"} // Prometheus adds the first two; each histogram has le
	for _, use := range metricUsed.FindAllString(expression, -1) {
		name, matchers, _ := strings.Cut(use, "{")
		labels, ok := metrics[name]
		if !ok {
			labels, ok = metrics[ofAHistogram.ReplaceAllString(name, "")]
		}
		if !ok {
			wrong = append(wrong, name+" is not exported")
			continue
		}
		for l := range labels {
			known = append(known, l)
		}
		for _, m := range labelUsed.FindAllStringSubmatch(matchers, -1) {
			values, ok := labels[m[1]]
			if !ok && !slices.Contains(known[:3], m[1]) {
				wrong = append(wrong, name+" has no label "+m[1])
			}
			for v := range strings.SplitSeq(m[2], "|") {
				if values != nil && !slices.Contains(values, v) {
					wrong = append(wrong, name+" has no "+m[1]+`="`+v+`"`)
				}
			}
		}
	}
	for _, g := range grouped.FindAllStringSubmatch(expression, -1) {
		for l := range strings.SplitSeq(g[1], ", ") {
			if !slices.Contains(known, l) {
				wrong = append(wrong, "there is no label "+l)
			}
		}
	}
	return wrong
}

func TestAlertsUseExportedMetricsAndHaveARunbook(t *testing.T) {
	t.Parallel()
	text, runbook, metrics := read(t, "../deploy/prometheus/alerts.yml"), read(t, "../docs/operations.md"), documentedMetrics(t)
	if got := unknownNames(metrics, `sum by (colour) (igproxy_nothing) + igproxy_requests_total{outcome="lost", source=~"memory|disk", colour="red"}`); len(got) != 5 {
		t.Fatalf("unknownNames found %q in a wrong expression, want 5 problems", got)
	}
	for _, wrong := range unknownNames(metrics, text) {
		t.Error(wrong)
	}
	var alerts, sections []string
	for _, rule := range strings.Split(text, "- alert: ")[1:] {
		name := regexp.MustCompile(`^\w+`).FindString(rule)
		alerts = append(alerts, name)
		if want := "\n          runbook_url: https://github.com/igproxy/igproxy/blob/main/docs/operations.md#" + strings.ToLower(name) + "\n"; !strings.Contains(rule, want) {
			t.Errorf("%s has no runbook_url that leads to its section", name)
		}
		if got := strings.Count(read(t, "../deploy/prometheus/alerts_test.yml"), "alertname: "+name+"\n"); got != 2 {
			t.Errorf("%s: alerts_test.yml has %d tests, want 2: one in which the alert fires, and one in which it does not", name, got)
		}
	}
	for _, h := range regexp.MustCompile(`(?m)^## (Igproxy\w+)$`).FindAllStringSubmatch(runbook, -1) {
		sections = append(sections, h[1])
	}
	if !slices.Equal(alerts, sections) || len(alerts) < 10 {
		t.Errorf("alerts.yml has the alerts %v, and the runbook has the sections %v; want the same names, at least 10", alerts, sections)
	}
	for _, m := range regexp.MustCompile("`(igproxy_\\w+)").FindAllStringSubmatch(runbook, -1) {
		if metrics[m[1]] == nil {
			t.Errorf("docs/operations.md has %s, which is not exported", m[1])
		}
	}
}

func TestDashboardUsesExportedMetrics(t *testing.T) {
	t.Parallel()
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	must(t, json.Unmarshal([]byte(read(t, "../deploy/grafana/igproxy.json")), &dashboard))
	metrics, expressions := documentedMetrics(t), 0
	for _, p := range dashboard.Panels {
		for _, target := range p.Targets {
			expressions++
			for _, wrong := range unknownNames(metrics, strings.NewReplacer(`"$job"`, `""`, `"$instance"`, `""`).Replace(target.Expr)) {
				t.Errorf("%s: %s", p.Title, wrong)
			}
		}
	}
	if expressions < 10 {
		t.Errorf("the dashboard has %d expressions, want at least 10", expressions)
	}
}
