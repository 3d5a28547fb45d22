package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/igproxy/igproxy/breaker"
	"github.com/igproxy/igproxy/proxy"
	"github.com/igproxy/igproxy/proxy/admin"
	"github.com/igproxy/igproxy/proxy/keep"
)

// sampleStatus returns the status of a sidecar that has problems.
func sampleStatus() admin.Status {
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.FixedZone("CET", 3600))
	p50, p99, ratio := .25, 5., .845
	s := admin.Status{Now: now, Started: now.Add(-90 * time.Second), Host: "web-1", Version: "v1.0.0",
		Outcomes: []string{"token", "passed", "refused", "limited", "rejected", "gone", "unavailable", "timeout", "failed"},
		State:    proxy.Readiness{Ready: true, ClientSecret: "accepted", Flights: 2, Entries: 62}, HitRatio: &ratio,
		Requests: admin.Requests{Window: 503, PerSecond: 16.9, ByOutcome: map[string]uint64{"token": 470, "passed": 6, "unavailable": 15, "refused": 12}},
		Saved:    admin.Saved{Cache: 426, Coalescing: 3}, Process: admin.Process{UptimeSeconds: 90, Goroutines: 21, HeapBytes: 1 << 20, MemoryBytes: 13 << 20}}
	s.Alerts = []admin.Alert{{Name: "IgproxyReloadRefused", Severity: "ticket", Text: "A changed configuration was refused."}}
	s.Latency.Hits, s.Latency.Exchanges = admin.Latency{Count: 426, P50: &p50, P99: &p99}, admin.Latency{}
	s.Results = map[string]uint64{"token": 50, "transient": 3}
	s.Apps = []proxy.AppStatus{{Name: "shop", ClientSecret: "accepted", Breaker: breaker.Open, NotClosed: []string{"exchange"}},
		{Name: "club", ClientSecret: "refused", Breaker: breaker.Closed, Hold: &proxy.Hold{Until: now.Add(5 * time.Second), Why: "Meta refused the client secret"}}}
	s.Apps[0].Keep = &keep.Status{Refreshed: 1200, Refused: 1, Ending: 40, Waiting: 3}
	s.Upstreams = []proxy.Upstream{{Name: "instagram", InFlight: 1, MaxInFlight: 128, Breaker: breaker.Open, Since: now.Add(-time.Minute), Probes: 7},
		{Name: "login", MaxInFlight: 128, Breaker: breaker.Closed}}
	s.Outages = []proxy.Outage{{Of: "instagram", Start: now.Add(-time.Minute), Probes: 7, Breakers: []string{"shop exchange"}},
		{Of: "redis", Start: now.Add(-25 * time.Hour), End: now.Add(-24 * time.Hour)}}
	for i := range 7 {
		s.Failures = append(s.Failures, proxy.Failure{App: "shop", Grant: "exchange", Outcome: "unavailable", Status: 503, Code: 2, Subcode: 990020,
			Cause: "breaker open", Count: 15, Last: now.Add(time.Duration(-i) * time.Second), RequestID: "0123456789abcdef"})
	}
	s.State.Redis, s.State.RedisFault, s.State.RedisSince = "degraded", "refused", now
	s.RedisMode, s.RedisFaults = "single", map[string]uint64{"claim refused": 3, "claim open": 18}
	s.Limits = []proxy.RateLimit{{App: "shop", At: now, Usage: map[string]float64{"call_count": 12}, Regain: 5}}
	s.Intercept = &admin.Interception{Listen: "http://127.0.0.1:8081", Hosts: []string{"graph.instagram.com", "api.instagram.com"}, Others: "refuse",
		Ends: now.AddDate(10, 0, 0), Connects: map[string]uint64{"intercepted": 12, "refused": 3}}
	return s
}

func TestTheStatusIsPrintedAsText(t *testing.T) {
	want := `igproxy     host web-1, version v1.0.0, ready, up 1m30s, at 12:00:00 CET
  !         A changed configuration was refused. (IgproxyReloadRefused)

requests    503 in 15 min; now 16.9 per second
  served    476: token 470 (the app got a token), passed 6 (passed through to Meta)
  declined  12: refused 12 (Meta refused the call)
  failed    15: unavailable 15 (Meta failed, or was not called)
hit ratio   84.5% of token calls
hits        426; median below 0.25 ms, 99% below 5 ms
misses      none
calls saved 426 by the cache, 3 by joining calls
flights     2 in progress; a flight gets one answer for all callers with the same token
memory      62 entries

app         shop: client secret accepted; token calls not paused; breaker open (exchange)
            refreshes in 24 h: 1,200 done, 1 refused, 0 failed; tokens now: 40 ending soon, 3 waiting for a refresh
app         club: client secret refused; token calls paused until 12:00:05 (Meta refused the client secret); breaker closed
calls       token 50 (Meta issued a token), transient 3 (temporary failure of Meta)
instagram   breaker open; outage since 11:59:00, 7 probes; 1 call in flight; upstream.max_in_flight is 128
login       Instagram's login host: breaker closed; 0 calls in flight; upstream.max_in_flight is 128
redis       not used since 12:00:00, because it fails; mode single; faults in 15 min:
            claim (ask for an answer, or for the right to call Meta): 18 not sent (Redis had failed), 3 connection refused
intercept   http://127.0.0.1:8081; in 15 min: 12 intercepted, 3 refused
            graph.instagram.com, api.instagram.com; other hosts: refused
            the authority expires on 2036-11-25
limits      rate limits of app shop, as of 12:00:00: call count 12% used; limits for each business use case: not reported by Meta

outages     Instagram, since 11:59:00; 7 probes; breakers: app shop, grant exchange
            Redis, from 2026-11-24 11:00:00 until 2026-11-24 12:00:00
errors      12:00:00, app shop, grant exchange, status 503, code 2/990020: breaker open (15 times; last request 0123456789abcdef)
            11:59:59, app shop, grant exchange, status 503, code 2/990020: breaker open (15 times; last request 0123456789abcdef)
            11:59:58, app shop, grant exchange, status 503, code 2/990020: breaker open (15 times; last request 0123456789abcdef)
            11:59:57, app shop, grant exchange, status 503, code 2/990020: breaker open (15 times; last request 0123456789abcdef)
            11:59:56, app shop, grant exchange, status 503, code 2/990020: breaker open (15 times; last request 0123456789abcdef)
            and 2 more: see the page, or --json

process     21 goroutines, heap 1.0 MiB, 13.0 MiB in total
`
	if got := statusText(sampleStatus()); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := statusText(admin.Status{}); !strings.Contains(got, "hit ratio   -") {
		t.Errorf("an empty status: got %s, want no hit ratio", got)
	}
}

// serveStatus answers /status with s, and returns the environment of a command that reads it.
func serveStatus(t *testing.T, s admin.Status) (environ []string) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/status" {
			t.Errorf("got a request for %s, want /status", r.URL)
		}
		_ = json.NewEncoder(w).Encode(s)
	}))
	t.Cleanup(server.Close)
	return []string{"IGPROXY_ADMIN_LISTEN=" + server.Listener.Addr().String()}
}

func TestStatusReadsTheAdminListener(t *testing.T) {
	s := sampleStatus()
	s.Version = "v1\x1b[2J\a"
	environ := serveStatus(t, s)
	code, stdout, stderr := command(t, environ, "status")
	if code != 0 || stderr != "" || !strings.HasPrefix(stdout, "igproxy     host web-1, version v1[2J, ready") || strings.ContainsAny(stdout, "\x1b\a") {
		t.Errorf("exit code %d, want 0, and a status without control characters: %q %s", code, stdout, stderr)
	}
	code, stdout, _ = command(t, environ, "status", "--json")
	var got admin.Status
	if err := json.Unmarshal([]byte(stdout), &got); code != 0 || err != nil || got.Requests.Window != 503 {
		t.Errorf("--json: exit code %d (error %v), want 0 and a window of 503 requests\n%s", code, err, stdout)
	}
	if code, _, _ := command(t, environ, "status", "--timeout", "0s"); code != exitUsage {
		t.Errorf("a timeout of 0: exit code %d, want 2", code)
	}
	if code, stdout, stderr := command(t, []string{"IGPROXY_ADMIN_LISTEN=127.0.0.1:1"}, "status"); code != exitFailed || stdout != "" || !strings.Contains(stderr, "no answer from 127.0.0.1:1") {
		t.Errorf("without a sidecar: exit code %d, want 1 and the address\n%s%s", code, stdout, stderr)
	}
	if code, _, stderr := command(t, serveStatus(t, admin.Status{}), "status"); code != exitFailed || !strings.Contains(stderr, "check admin.listen") {
		t.Errorf("if the server is not igproxy: exit code %d, want 1 and an error that names admin.listen\n%s", code, stderr)
	}
}
