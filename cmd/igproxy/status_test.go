package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/igproxy/igproxy/breaker"
	"github.com/igproxy/igproxy/proxy"
	"github.com/igproxy/igproxy/proxy/admin"
)

// sampleStatus is a status with every warning.
func sampleStatus() admin.Status {
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.Local)
	p50, p99, ratio := .16, 4.5, .845
	p := admin.Status{Now: now, Started: now.Add(-90 * time.Second), Version: "v1.0.0", WindowSeconds: 900, BucketSeconds: 5,
		Outcomes: []string{"token", "passed", "refused", "limited", "rejected", "unavailable", "timeout", "failed", "gone"},
		State:    proxy.Readiness{Ready: true, ClientSecret: "ok", Flights: 2, Entries: 62}, HitRatio: &ratio,
		Requests: admin.Requests{Window: 503, PerSecond: 16.9, ByOutcome: map[string]uint64{"token": 476, "unavailable": 15, "refused": 12}},
		Saved:    admin.Saved{Cache: 426, Coalescing: 3}, Process: admin.Process{UptimeSeconds: 90, Goroutines: 21, HeapBytes: 1 << 20, MemoryBytes: 13 << 20}}
	p.Latency.Hits, p.Latency.Exchanges = admin.Latency{Count: 426, P50: &p50, P99: &p99}, admin.Latency{}
	for i := range 18 {
		b := admin.Bucket{At: now.Add(time.Duration(i-18) * 5 * time.Second), Seconds: 5}
		b.Counts[0] = uint64(10 * (i / 6))
		p.Buckets = append(p.Buckets, b)
	}
	p.Live = admin.Bucket{At: now}
	p.Upstream.InFlight, p.Upstream.Most, p.Upstream.Results = 1, 128, map[string]uint64{"token": 50, "transient": 3}
	p.Upstream.Breakers = []admin.Breaker{{Upstream: "instagram", State: "open", Changes: []proxy.BreakerChange{{At: now, To: breaker.Open}}}, {Upstream: "login", State: "closed"}}
	p.State.Redis, p.State.RedisFault = "degraded", "refused"
	p.Redis = admin.Redis{Mode: "single", Since: &now, Faults: map[string]uint64{"claim refused": 3}}
	p.ReloadRefused = true
	p.Limits = []proxy.RateLimit{{App: "default", At: now, Usage: map[string]float64{"call_count": 12}, Regain: 5}}
	return p
}

func TestTheStatusIsPrintedAsText(t *testing.T) {
	want := `igproxy     v1.0.0, ready, up 1m30s
  !         a changed configuration was refused, the one of before goes on; igproxy reload says why
  !         the breaker of instagram is open; known tokens are still served
  !         Redis is not used (refused); memory is
  !         the rate limit of default is used up, for 5 min more

requests                               ▁▅█  16.9/s, 503 in 15 min
            token 476, unavailable 15, refused 12
hit ratio   84.5 %
hits        p50 0.16 ms, p99 4.5 ms
exchanges   p50 -, p99 -, 0 of them
calls saved 426 by the cache, 3 by joining
under way   2 flights, 1 of 128 calls; 62 entries in memory

calls       token 50, transient 3
breaker     instagram  open, since 12:00:00
breaker     login      closed
redis       degraded (single), since 12:00:00; faults: claim refused 3
limits      default: call count 12 %, at 12:00:00

process     21 goroutines, heap 1.0 MiB, 13.0 MiB in all
`
	if got := statusText(sampleStatus()); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := statusText(admin.Status{}); !strings.Contains(got, "hit ratio   -") {
		t.Errorf("of nothing: %s", got)
	}
}

// serveStatus answers /status with p, and counts the requests.
func serveStatus(t *testing.T, p admin.Status) (environ []string, asked *atomic.Int64) {
	t.Helper()
	asked = &atomic.Int64{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1); r.URL.Path != "/status" {
			t.Errorf("asked for %s", r.URL)
		}
		_ = json.NewEncoder(w).Encode(p)
	}))
	t.Cleanup(s.Close)
	return []string{"IGPROXY_ADMIN_LISTEN=" + s.Listener.Addr().String()}, asked
}

func TestStatusAsksTheAdminListener(t *testing.T) {
	p := sampleStatus()
	p.Version = "v1\x1b[2J\a"
	environ, _ := serveStatus(t, p)
	code, stdout, stderr := command(t, environ, "status")
	if code != 0 || stderr != "" || !strings.HasPrefix(stdout, "igproxy     v1[2J, ready") || strings.ContainsAny(stdout, "\x1b\a") {
		t.Errorf("exit code %d, %q %s", code, stdout, stderr)
	}
	code, stdout, _ = command(t, environ, "status", "--json")
	var got admin.Status
	if err := json.Unmarshal([]byte(stdout), &got); code != 0 || err != nil || got.Requests.Window != 503 {
		t.Errorf("--json: exit code %d, %v\n%s", code, err, stdout)
	}
	for _, bad := range [][]string{{"status", "--timeout", "0s"}, {"status", "--every", "-1s"}} {
		if code, _, _ := command(t, environ, bad...); code != exitUsage {
			t.Errorf("%v: exit code %d", bad, code)
		}
	}
	if code, stdout, stderr := command(t, []string{"IGPROXY_ADMIN_LISTEN=127.0.0.1:1"}, "status"); code != exitFailed || stdout != "" || !strings.Contains(stderr, "no answer from 127.0.0.1:1") {
		t.Errorf("nobody there: exit code %d\n%s%s", code, stdout, stderr)
	}
	other, _ := serveStatus(t, admin.Status{})
	if code, _, stderr := command(t, other, "status"); code != exitFailed || !strings.Contains(stderr, "not as igproxy does") {
		t.Errorf("another program: exit code %d\n%s", code, stderr)
	}
}

// At a terminal it takes the other screen and gives it back; elsewhere it says it again. It goes on while nobody answers.
func TestWatchPrintsTheStatusAgainAndAgain(t *testing.T) {
	for _, terminal := range []bool{true, false} {
		environ, asked := serveStatus(t, sampleStatus())
		_, address, _ := strings.Cut(environ[0], "=")
		ctx, cancel := context.WithCancel(t.Context())
		var out bytes.Buffer
		done := make(chan error, 1)
		s := statusReader{address: address, timeout: 20 * time.Second, out: &out}
		go func() { done <- s.watch(ctx, time.Millisecond, terminal) }()
		for asked.Load() < 4 {
			time.Sleep(time.Millisecond)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		text := out.String()
		if n := strings.Count(text, "hit ratio   84.5 %"); n < 3 {
			t.Errorf("terminal %v: shown %d times", terminal, n)
		}
		if got := strings.HasPrefix(text, otherScreen) && strings.HasSuffix(text, firstScreen); got != terminal || strings.Contains(text, "\x1b") != terminal {
			t.Errorf("terminal %v: %q", terminal, text)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	var out atWrite = func(text string) {
		if strings.Contains(text, "no answer from 127.0.0.1:1") {
			cancel()
		}
	}
	if err := (statusReader{address: "127.0.0.1:1", timeout: 20 * time.Second, out: out}).watch(ctx, time.Millisecond, false); err != nil {
		t.Errorf("nobody there: %v", err)
	}
}

// atWrite is called for each write.
type atWrite func(text string)

func (w atWrite) Write(p []byte) (int, error) { w(string(p)); return len(p), nil }
