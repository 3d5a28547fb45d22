package admin

import (
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/igproxy/igproxy/breaker"
	"github.com/igproxy/igproxy/proxy"
)

// The banner must not say that there are no problems while an alert fires.
func TestTheBannerHasTheConditionsOfTheAlerts(t *testing.T) {
	text, err := os.ReadFile("../../deploy/prometheus/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, rule := range strings.Split(string(text), "- alert: ")[1:] {
		name := regexp.MustCompile(`^\w+`).FindString(rule)
		if name == "IgproxyDown" { // while it fires, the page cannot be served
			continue
		}
		names = append(names, name)
		i := slices.IndexFunc(conditions, func(c condition) bool { return c.alert == name })
		if i < 0 {
			t.Errorf("%s has no condition", name)
			continue
		}
		c := conditions[i]
		expression := regexp.MustCompile(`(?s)expr:(.*?)\n        (?:for|labels):`).FindStringSubmatch(rule)[1]
		severity, window, limit := regexp.MustCompile(`severity: (\w+)`).FindStringSubmatch(rule)[1], time.Duration(0), 0.
		if m := regexp.MustCompile(`(?:rate|increase)\([^\[]*\[(\d+[mh])\]`).FindStringSubmatch(expression); m != nil {
			window, _ = time.ParseDuration(m[1])
		}
		if m := regexp.MustCompile(`> ([\d.]+)\s*$`).FindStringSubmatch(expression); m != nil {
			limit, _ = strconv.ParseFloat(m[1], 64)
		}
		if c.severity != severity || c.window != window || c.limit != limit {
			t.Errorf("%s: got severity %s, window %v, limit %v; want severity %s, window %v, limit %v, as in alerts.yml", name, c.severity, c.window, c.limit, severity, window, limit)
		}
	}
	if len(names) != len(conditions) || len(names) < 10 {
		t.Errorf("%d conditions and %d alerts, want the same number and at least 10", len(conditions), len(names))
	}
}

// Each condition is false at its limit and true above it. It ignores what was counted before its
// window.
func TestAnAlertIsShownOnlyAboveItsLimitAndInsideItsWindow(t *testing.T) {
	now := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	slow := func(bounds []float64, counts ...uint64) histogram {
		return histogram{bounds: bounds, counts: counts, all: 1000}
	}
	for name, c := range map[string]struct {
		at, above func(*Status, *sample) // put the values at the limit, or above the limit
		words     string                 // a part of the alert's text
	}{
		"IgproxyNotReady": {func(s *Status, _ *sample) {}, func(s *Status, _ *sample) { s.State.Ready = false }, "not ready"},
		"IgproxyClientSecretRefused": {func(s *Status, _ *sample) { s.Apps = []proxy.AppStatus{{Name: "shop", ClientSecret: "unproven"}} },
			func(s *Status, _ *sample) { s.Apps = []proxy.AppStatus{{Name: "shop", ClientSecret: "refused"}} }, "the client secret of app shop"},
		"IgproxyRequestsFail": {func(_ *Status, n *sample) { n.outcomes = [11]uint64{950, 0, 900, 0, 0, 900, 900, 900, 20, 30, 0} },
			func(_ *Status, n *sample) { n.outcomes = [11]uint64{900, 0, 900, 0, 0, 900, 900, 900, 50, 50, 0} }, "10% of the requests"},
		"IgproxyInternalError": {func(_ *Status, n *sample) { n.outcomes[0] = 1 }, func(_ *Status, n *sample) { n.outcomes = [11]uint64{1000, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2} }, "bug in igproxy: 2."},
		"IgproxyBreakerOpen": {func(s *Status, _ *sample) { s.Upstreams = []proxy.Upstream{{Name: "threads", Breaker: breaker.Closed}} },
			func(s *Status, _ *sample) {
				s.Upstreams = []proxy.Upstream{{Name: "threads", Breaker: breaker.HalfOpen, Since: s.Now.Add(-2 * time.Hour)}}
				s.Outages = []proxy.Outage{{Of: "threads", Start: s.Now.Add(-2 * time.Hour), Probes: 7}}
			}, "A breaker for Threads opened at 10:00:00 (now half-open, 7 probes so far), because calls failed."},
		"IgproxyInstagramSlow": {func(_ *Status, n *sample) { n.calls = slow([]float64{3, 5, 10}, 100, 990, 1000) },
			func(_ *Status, n *sample) { n.calls = slow([]float64{3, 5, 10}, 100, 989, 1000) }, "more than 5 s"},
		"IgproxyHitsSlow": {func(_ *Status, n *sample) { n.memory = slow([]float64{.025, .05, .1}, 100, 990, 1000) },
			func(_ *Status, n *sample) { n.memory = slow([]float64{.025, .05, .1}, 100, 989, 989) }, "more than 50 ms"},
		"IgproxyRedisAway": {func(s *Status, _ *sample) { s.State.Redis = "degraded" },
			func(s *Status, n *sample) {
				s.State.Redis, s.State.RedisFault, s.State.RedisSince = "degraded", "timeout", s.Now.Add(-24*time.Hour)
				n.faults = map[string]uint64{"claim open": 1}
			}, "since 2026-11-25 12:00:00, because it fails (timed out)"},
		"IgproxyUnsealed": {func(_ *Status, n *sample) { n.unsealed = 5 }, func(_ *Status, n *sample) { n.unsealed = 6 }, "6 values"},
		"IgproxyRateLimitNear": {func(s *Status, _ *sample) {
			s.Limits = []proxy.RateLimit{{App: "shop", Usage: map[string]float64{"call_count": 80}}}
		}, func(s *Status, _ *sample) {
			s.Limits = []proxy.RateLimit{{App: "shop", Usage: map[string]float64{"call_count": 12}, Business: map[string]float64{"total_time": 81}, Regain: 5}}
		}, "App shop has used 81% of a rate limit (total time). Meta blocks the app for another 5 min."},
		"IgproxyRateLimited": {func(_ *Status, n *sample) {}, func(s *Status, n *sample) {
			s.Apps = []proxy.AppStatus{{Name: "shop", Hold: &proxy.Hold{Until: s.Now.Add(time.Minute)}}}
			n.limited = map[string]uint64{"shop": 1}
		}, "In the last 10 minutes, Meta refused calls of app shop because of a rate limit. Known tokens are served; calls with other tokens get 429, at least until 12:01:00."},
		"IgproxyNoStanding": {func(_ *Status, n *sample) { n.standing = map[string]uint64{"shop": 10} },
			func(_ *Status, n *sample) { n.standing = map[string]uint64{"shop": 39} }, "App shop has no access to some accounts: Meta answered 39 calls"},
		"IgproxyTokensEnded": {func(_ *Status, n *sample) {}, func(_ *Status, n *sample) { n.ended = map[string]uint64{"shop": 3} },
			"3 tokens of app shop ended in the last hour without a refresh, although in use."},
		"IgproxyPeersRefused":  {func(_ *Status, n *sample) {}, func(_ *Status, n *sample) { n.peersRefused = 1 }, "auth.uids"},
		"IgproxyLogDropped":    {func(_ *Status, n *sample) {}, func(_ *Status, n *sample) { n.linesDropped = 1 }, "in time: 1."},
		"IgproxyReloadRefused": {func(_ *Status, n *sample) {}, func(s *Status, _ *sample) { s.ReloadRefused = true }, "previous one stays in use"},
	} {
		i := slices.IndexFunc(conditions, func(one condition) bool { return one.alert == name })
		window := conditions[i].window
		// alerts changes the counters in one bucket, and returns the alerts. The parameter ago is
		// the time since the end of the bucket.
		alerts := func(change func(*Status, *sample), ago time.Duration) []Alert {
			s := Status{Now: now, State: proxy.Readiness{Ready: true, Redis: "ok"}}
			before, after := emptySample(), emptySample()
			change(&s, &after)
			before.at, after.at = now.Add(-ago-bucketTime), now.Add(-ago)
			last := after
			last.at = now
			return alertsOf(&s, []sample{before, after, last})
		}
		inside := max(0, window-bucketTime)
		if got := alerts(c.at, inside); len(got) != 0 {
			t.Errorf("%s at its limit: got %v, want no alert", name, got)
		}
		got := alerts(c.above, inside)
		if len(got) != 1 || got[0].Name != name || got[0].Severity != conditions[i].severity || !strings.Contains(got[0].Text, c.words) ||
			got[0].Runbook != "https://github.com/igproxy/igproxy/blob/main/docs/operations.md#"+strings.ToLower(name) {
			t.Errorf("%s above its limit: got %+v, want one alert with the text %q, the severity %s and its runbook", name, got, c.words, conditions[i].severity)
		}
		if got := alerts(c.above, window); window > 0 && len(got) != 0 {
			t.Errorf("%s, counted before its window: got %v, want no alert", name, got)
		}
	}
}

func TestAlertsOfSeverityPageComeFirst(t *testing.T) {
	s := Status{State: proxy.Readiness{Ready: true, Redis: "ok"}, ReloadRefused: true, Apps: []proxy.AppStatus{{Name: "shop", ClientSecret: "refused"}}}
	got := alertsOf(&s, []sample{emptySample()})
	if len(got) != 2 || got[0].Severity != "page" || got[1].Severity != "ticket" {
		t.Fatalf("got %+v, want two alerts: the severity page, then the severity ticket", got)
	}
	if both, one := viewOf(Status{Alerts: got}).Level(), viewOf(Status{Alerts: got[1:]}).Level(); both != "bad" || one != "warn" {
		t.Errorf("the level with both alerts: got %s, want bad; the level with only the ticket: got %s, want warn", both, one)
	}
}
