package proxy

import (
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

// Prometheus sees no increase in a counter whose first value is 1. So if a counter did not start at
// 0, an alert would miss an app's first rate limit, which is often the only one.
func TestCountersOfAlertsAreExportedBeforeTheFirstEvent(t *testing.T) {
	o := optionsFor(t, "http://127.0.0.1:1", nil)
	o.Metrics, o.DebugToken = NewMetrics(), true
	o.Apps = []App{{Label: "shop", ID: "1", Secret: NewSecret("secret-of-shop")}}
	p := newProxy(t, o)
	o.Apps = append(slices.Clone(o.Apps), App{Label: "club", Service: Threads, ID: "2", Secret: NewSecret("secret-of-club")})
	if err := p.Reload(o); err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	o.Metrics.Handler().ServeHTTP(w, get("/metrics"))
	failed := func(app, grant string) string {
		return fmt.Sprintf(`igproxy_requests_total{app=%q,grant=%q,outcome="failed",source="none"} 0`, app, grant)
	}
	want := []string{failed(noApp, "none"), `igproxy_cache_lookups_total{result="unsealed",tier="redis"} 0`}
	for app, names := range map[string][]string{"shop": {"exchange", "refresh", "code"},
		"club": {"threads_exchange", "threads_refresh", "threads_code", "threads_app_token", "threads_debug_token"}} {
		want = append(want, failed(app, passthroughGrant))
		for _, grant := range names {
			want = append(want, failed(app, grant))
			for _, result := range []string{"app_limit", "standing"} {
				want = append(want, fmt.Sprintf(`igproxy_upstream_requests_total{app=%q,grant=%q,result=%q} 0`, app, grant, result))
			}
		}
	}
	lines := strings.Split(w.Body.String(), "\n")
	for _, line := range want {
		if !slices.Contains(lines, line) {
			t.Errorf("/metrics lacks %s", line)
		}
	}
}
