package proxy

import (
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/igproxy/igproxy/proxy/keep"
)

// keepOptions has the default values of the settings keep.*.
var keepOptions = &KeepOptions{RefreshBefore: 240 * time.Hour, CheckEvery: 24 * time.Hour, MaxPerMinute: 60}

// keepLines returns the lines of /metrics about tokens that are kept alive, sorted.
func keepLines(m *Metrics) []string {
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, get("/metrics"))
	lines := regexp.MustCompile(`(?m)^igproxy_keep_.*$`).FindAllString(w.Body.String(), -1)
	slices.Sort(lines)
	return lines
}

// Prometheus sees no increase in a counter whose first value is 1, so the counters must start at 0.
// If no tokens are kept alive, a dashboard must not suggest that they are.
func TestTheMetricsOfKeptTokensAreExportedFromTheStartAndOnlyIfTokensAreKept(t *testing.T) {
	o := optionsFor(t, "http://127.0.0.1:1", nil)
	o.Metrics = NewMetrics()
	o.Apps = []App{{Label: "shop", ID: "1", Secret: NewSecret("secret-of-shop")}}
	p := newProxy(t, o)
	if got := keepLines(o.Metrics); len(got) != 0 {
		t.Errorf("without Options.Keep: /metrics has %q, want no line about kept tokens", got)
	}
	off := o
	o.Keep = keepOptions
	o.Apps = append(slices.Clone(o.Apps), App{Label: "club", Service: Threads, ID: "2", Secret: NewSecret("secret-of-club")})
	if err := p.Reload(o); err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, app := range []string{"shop", "club"} {
		for _, name := range []string{"ending", "successors_total", "tokens_ended_total", "waiting"} {
			want = append(want, "igproxy_keep_"+name+`{app="`+app+`"} 0`)
		}
		for _, outcome := range keep.Outcomes {
			want = append(want, `igproxy_keep_refreshes_total{app="`+app+`",outcome="`+string(outcome)+`"} 0`)
		}
	}
	slices.Sort(want)
	if got := keepLines(o.Metrics); !slices.Equal(got, want) {
		t.Errorf("/metrics has\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if err := p.Reload(off); err != nil {
		t.Fatal(err)
	}
	if got := keepLines(o.Metrics); slices.ContainsFunc(got, func(line string) bool {
		return strings.Contains(line, "_ending{") || strings.Contains(line, "_waiting{")
	}) {
		t.Errorf("after a reload without Options.Keep: /metrics has %q, want neither igproxy_keep_ending nor igproxy_keep_waiting", got)
	}
}
