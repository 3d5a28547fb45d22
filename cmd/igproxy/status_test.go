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
)

// sampleStatus returns a status that causes most of the warnings.
func sampleStatus() admin.Status {
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.Local)
	p50, p99, ratio := .16, 4.5, .845
	s := admin.Status{Now: now, Started: now.Add(-90 * time.Second), Version: "v1.0.0",
		Outcomes: []string{"token", "passed", "refused", "limited", "rejected", "unavailable", "timeout", "failed", "gone"},
		State:    proxy.Readiness{Ready: true, ClientSecret: "accepted", Flights: 2, Entries: 62}, HitRatio: &ratio,
		Requests: admin.Requests{Window: 503, PerSecond: 16.9, ByOutcome: map[string]uint64{"token": 476, "unavailable": 15, "refused": 12}},
		Saved:    admin.Saved{Cache: 426, Coalescing: 3}, Process: admin.Process{UptimeSeconds: 90, Goroutines: 21, HeapBytes: 1 << 20, MemoryBytes: 13 << 20}}
	s.Latency.Hits, s.Latency.Exchanges = admin.Latency{Count: 426, P50: &p50, P99: &p99}, admin.Latency{}
	s.Results = map[string]uint64{"token": 50, "transient": 3}
	s.Upstreams = []proxy.Upstream{{Name: "instagram", InFlight: 1, MaxInFlight: 128, Breaker: breaker.Open, Since: now.Add(-2 * time.Hour), Probes: 7},
		{Name: "login", MaxInFlight: 128, Breaker: breaker.Closed}}
	s.State.Redis, s.State.RedisFault, s.State.RedisSince = "degraded", "refused", now
	s.RedisMode, s.RedisFaults = "single", map[string]uint64{"claim refused": 3}
	s.ReloadRefused = true
	s.Pauses = []proxy.Pause{{App: "shop", Since: now, Until: now.Add(time.Minute), Code: 4}}
	s.Limits = []proxy.RateLimit{{App: "shop", At: now, Regain: 1}, {App: "default", At: now, Usage: map[string]float64{"call_count": 12}, Regain: 5}}
	return s
}

func TestTheStatusIsPrintedAsText(t *testing.T) {
	want := `igproxy     v1.0.0, ready, up 1m30s
  !         a changed configuration was refused; igproxy reload says why
  !         the instagram breaker is open; known tokens are still served
  !         Redis is unavailable (refused): cached answers come from memory, and each sidecar calls Instagram itself
  !         app shop is paused until 12:01:00, since 12:00:00: Meta limits its calls (code 4); igproxy resume --app shop ends the pause
  !         app default has used up its rate limit; Instagram blocks the app for another 5 min

requests    503 in 15 min, 16.9/s
            token 476, unavailable 15, refused 12
hit ratio   84.5 %
hits        p50 0.16 ms, p99 4.5 ms
exchanges   0, p50 -, p99 -
calls saved 426 by the cache, 3 by joining
in flight   2 shared exchanges; 62 entries in memory

calls       token 50, transient 3
instagram   breaker open, last closed 10:00:00, probes since then: 7; 1 of 128 calls
login       breaker closed; 0 of 128 calls
redis       degraded (single), since 12:00:00; faults: claim refused 3
limits      shop, at 12:00:00; app: not reported; business use: not reported
limits      default, at 12:00:00; app: call count 12 %; business use: not reported

process     21 goroutines, heap 1.0 MiB, 13.0 MiB in total
`
	if got := statusText(sampleStatus()); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := statusText(admin.Status{}); !strings.Contains(got, "hit ratio   -") {
		t.Errorf("an empty status: got %s", got)
	}
}

// serveStatus answers /status with s, and returns the environment of a command that reads it.
func serveStatus(t *testing.T, s admin.Status) (environ []string) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/status" {
			t.Errorf("got a request for %s", r.URL)
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
	if code != 0 || stderr != "" || !strings.HasPrefix(stdout, "igproxy     v1[2J, ready") || strings.ContainsAny(stdout, "\x1b\a") {
		t.Errorf("exit code %d, %q %s", code, stdout, stderr)
	}
	code, stdout, _ = command(t, environ, "status", "--json")
	var got admin.Status
	if err := json.Unmarshal([]byte(stdout), &got); code != 0 || err != nil || got.Requests.Window != 503 {
		t.Errorf("--json: exit code %d, %v\n%s", code, err, stdout)
	}
	if code, _, _ := command(t, environ, "status", "--timeout", "0s"); code != exitUsage {
		t.Errorf("a timeout of 0: exit code %d", code)
	}
	if code, stdout, stderr := command(t, []string{"IGPROXY_ADMIN_LISTEN=127.0.0.1:1"}, "status"); code != exitFailed || stdout != "" || !strings.Contains(stderr, "no answer from 127.0.0.1:1") {
		t.Errorf("without a sidecar: exit code %d\n%s%s", code, stdout, stderr)
	}
	if code, _, stderr := command(t, serveStatus(t, admin.Status{}), "status"); code != exitFailed || !strings.Contains(stderr, "check admin.listen") {
		t.Errorf("another program: exit code %d\n%s", code, stderr)
	}
}
