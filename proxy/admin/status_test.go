package admin_test

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/igproxy/igproxy/breaker"
	"github.com/igproxy/igproxy/proxy/admin"
)

// status reads /status.
func status(t *testing.T, h http.Handler) (s admin.Status) {
	t.Helper()
	decode(t, get(h, "/status"), &s)
	return s
}

// ratioText returns a hit ratio as text.
func ratioText(ratio *float64) string {
	if ratio == nil {
		return "nil"
	}
	return fmt.Sprint(*ratio)
}

func TestTheStatusReportsWhatHappened(t *testing.T) {
	_, base := newInstagram(t)
	o := optionsFor(t, base)
	o.Breaker.Failures = 1
	p := newProxy(t, o)
	h := newHandler(t, admin.Options{Proxy: p, About: admin.About{Version: "v1.2.3", Commit: "abc", Go: "go1", RedisMode: "single", Host: "web-1", Configuration: []admin.Setting{{Name: "cache.ttl", Value: "1h", Origin: "default"}}}})
	for _, token := range []string{"IGAAone", "IGAAone", "IGAAone", "IGAAone", "expired-1", "down-1", "IGAAtwo"} {
		_ = get(p, exchange(token))
	}
	_ = get(p, "/access_token")
	p.Metrics().RedisError("claim", "timeout")
	p.Metrics().Reloaded(true)
	got := status(t, h)
	if want := map[string]uint64{"token": 4, "refused": 1, "unavailable": 2, "rejected": 1}; !maps.Equal(got.Requests.ByOutcome, want) || got.Requests.Window != 8 || got.Requests.PerSecond <= 0 {
		t.Errorf("got the requests %+v, want 8 with the outcomes %v, and PerSecond above 0", got.Requests, want)
	}
	if got.HitRatio == nil || *got.HitRatio != 3./7 || got.Saved != (admin.Saved{Cache: 3}) {
		t.Errorf("got hit ratio %s, want 3/7; got saved %+v, want 3 by the cache", ratioText(got.HitRatio), got.Saved)
	}
	if l := got.Latency; l.Hits.Count != 3 || l.Exchanges.Count != 2 || *l.Hits.P50 > *l.Hits.P99 || *l.Exchanges.P99 <= 0 {
		t.Errorf("got %d hits, want 3; got their median %s, want at most their P99, %s; got %d exchanges, want 2; got their P99 %s, want above 0", l.Hits.Count, l.Hits.Median(), l.Hits.Most(), l.Exchanges.Count, l.Exchanges.Most())
	}
	if want := map[string]uint64{"token": 1, "bad_token": 1, "transient": 1}; !maps.Equal(got.Results, want) {
		t.Errorf("got the results %v, want %v", got.Results, want)
	}
	b := got.Upstreams
	if len(b) != 4 || b[0].Name != "instagram" || b[0].MaxInFlight != 64 || b[0].InFlight != 0 || b[0].Breaker != breaker.Open || b[0].Since.IsZero() || b[1].Breaker != breaker.Closed || !b[1].Since.IsZero() {
		t.Errorf("got the upstreams %+v, want 4: the first instagram with an open breaker and no calls in flight, the second with a closed breaker", b)
	}
	if got.State.Redis != "off" || got.RedisMode != "single" || !maps.Equal(got.RedisFaults, map[string]uint64{"claim timeout": 1}) {
		t.Errorf("redis: got state %s, want off; got mode %s, want single; got faults %v, want one timeout of a claim", got.State.Redis, got.RedisMode, got.RedisFaults)
	}
	if len(got.Apps) != 1 || got.Apps[0].Breaker != breaker.Open || len(got.Outages) != 1 || len(got.Failures) != 4 {
		t.Errorf("got apps %+v, want 1 with an open breaker; got outages %+v, want 1; got failures %+v, want 4", got.Apps, got.Outages, got.Failures)
	}
	if len(got.Alerts) != 2 || got.Alerts[0].Name != "IgproxyRequestsFail" || got.Alerts[1].Name != "IgproxyBreakerOpen" {
		t.Errorf("got the alerts %+v, want IgproxyRequestsFail and IgproxyBreakerOpen", got.Alerts)
	}
	if !got.State.Ready || got.State.Breaker != breaker.Open || got.Process.Goroutines == 0 || got.Process.MemoryBytes < got.Process.HeapBytes || got.Process.UptimeSeconds <= 0 {
		t.Errorf("got state %+v, want ready with an open breaker; got process %+v, want goroutines, an uptime, and MemoryBytes not below HeapBytes", got.State, got.Process)
	}
	if got.Version != "v1.2.3" || got.Host != "web-1" || !slices.Equal(got.Configuration, []admin.Setting{{Name: "cache.ttl", Value: "1h", Origin: "default"}}) {
		t.Errorf("got version %s, host %s, configuration %v, want the values of About", got.Version, got.Host, got.Configuration)
	}
}

func TestTheStatusHasEveryOutcomeThatIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile("\\| `igproxy_requests_total` \\|.*`outcome` \\(([^)]*)\\)").FindStringSubmatch(string(text))
	if row == nil {
		t.Fatal("docs/metrics.md has no outcomes in the row of igproxy_requests_total, want a list")
	}
	want := strings.Split(row[1], ", ")
	got := status(t, handlerOf(t, newProxy(t, optionsFor(t, nowhere)))).Outcomes
	if slices.Sort(want); !slices.Equal(slices.Sorted(slices.Values(got)), want) {
		t.Errorf("got the outcomes %v, want those of docs/metrics.md: %v", got, want)
	}
}

func TestARefusedReloadIsInTheStatusUntilAReloadSucceeds(t *testing.T) {
	p := newProxy(t, optionsFor(t, nowhere))
	h := handlerOf(t, p)
	for _, ok := range []bool{true, false, false, true} {
		p.Metrics().Reloaded(ok)
		if got := status(t, h); got.ReloadRefused == ok {
			t.Errorf("after Reloaded(%v): got ReloadRefused %v, want %v", ok, got.ReloadRefused, !ok)
		}
	}
}

func TestABucketBeginsEveryFiveSecondsUntilClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProxy(t, optionsFor(t, nowhere))
		h := handlerOf(t, p)
		time.Sleep(7 * time.Second)
		_ = get(p, "/access_token")
		time.Sleep(9 * time.Second)
		got := status(t, h)
		if len(got.Buckets) != 3 || got.Buckets[2].Seconds != 5 { // the fourth is not complete
			t.Fatalf("got %d buckets, want 3, the last of 5 s: %+v", len(got.Buckets), got.Buckets)
		}
		rejected := slices.Index(got.Outcomes, "rejected")
		for i, want := range []uint64{0, 1, 0} {
			if n := got.Buckets[i].Counts[rejected]; n != want {
				t.Errorf("bucket %d has %d rejected requests, want %d", i, n, want)
			}
		}
		h.Close()
		h.Close()
		time.Sleep(time.Minute)
		if n := len(status(t, h).Buckets); n != 3 {
			t.Errorf("%d buckets after Close, want 3", n)
		}
	})
}

func TestTheRateLimitsOfAnAppAreInTheStatus(t *testing.T) {
	_, base := newInstagram(t)
	p := newProxy(t, optionsFor(t, base))
	_ = get(p, exchange("limit4-1"))
	got := status(t, handlerOf(t, p)).Limits
	if len(got) != 1 || got[0].App != "default" || got[0].Usage["call_count"] != 100 || got[0].Regain <= 0 {
		t.Errorf("got the rate limits %+v, want one of the app default with a call_count of 100 and a Regain above 0", got)
	}
}
