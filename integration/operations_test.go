package integration

// These tests reproduce what operators fear: a kill at any moment, a flood of tokens that are used
// once, and a storm of calls when Instagram and Redis recover at the same time.

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/igproxy/igproxy/cache/redistest"
	"github.com/igproxy/igproxy/proxy/mock"
)

func TestKilledSidecarLeavesNothingIncomplete(t *testing.T) {
	t.Parallel()
	const rounds, tokens = 3, 20
	ig, upstream := instagram(t, mock.ServerOptions{})
	ig.SetLatency(20 * time.Millisecond)
	redis := redistest.Start(t)
	settings := append(singleRedis(redis), "UPSTREAM_URL="+upstream.URL, patientRedis)
	for round := range rounds {
		p := serve(t, settings...)
		var answered, ended atomic.Int32
		stopped := make(chan struct{})
		go func() {
			defer close(stopped)
			crowd(tokens, func(i int) {
				for n := 0; ; n++ { // known and new tokens until the connection breaks
					r, err := p.try(t.Context(), fmt.Sprintf("IGAA-killed-%d-%d", n%(round+2), i))
					if err != nil {
						ended.Add(1)
						return
					}
					if answered.Add(1); r.status != 200 {
						t.Errorf("before the kill: got %d %s, want 200", r.status, r.body)
					}
				}
			})
		}()
		eventually(t, "the sidecar is busy", func() bool { return answered.Load() > int32(tokens*(round+1)/2) })
		killed := time.Now()
		_ = p.Cmd.Process.Signal(syscall.SIGKILL)
		<-stopped
		if took := time.Since(killed); ended.Load() != tokens || took > patience/2 {
			t.Errorf("%d of %d callers saw their connection end, after %s; want all of them within %s", ended.Load(), tokens, took, patience/2)
		}
		<-p.Exited

		again := serve(t, settings...)
		var got tally
		crowd(tokens*(round+2), func(i int) {
			short := fmt.Sprintf("IGAA-killed-%d-%d", i/tokens, i%tokens)
			r, err := again.try(t.Context(), short)
			got.count(ig, short, r, err)
		})
		if got.right.Load() != tokens*int64(round+2) {
			t.Errorf("after the restart: %s; want only right answers", &got)
		}
		if unsealed := again.metric(t, `igproxy_cache_lookups_total{result="unsealed",tier="redis"}`); unsealed > 0 {
			t.Errorf("%.0f values in Redis could not be decrypted, want 0", unsealed)
		}
		_ = again.Cmd.Process.Kill()
		<-again.Exited
	}
}

// memory returns the resident memory of the process in bytes.
func (p *process) memory(t *testing.T) int { return p.inRAM(t, "VmRSS") }

// inRAM returns a field of /proc/PID/status in bytes: VmRSS is the current resident memory, VmHWM
// the largest so far.
func (p *process) inRAM(t *testing.T, which string) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Cmd.Process.Pid))
	m := regexp.MustCompile(which + `:\s+(\d+) kB`).FindSubmatch(status)
	if err != nil || m == nil {
		t.Fatalf("/proc/PID/status has no %s: %v", which, err)
	}
	kib, _ := strconv.Atoi(string(m[1]))
	return kib << 10
}

func TestFloodOfTokensDoesNotGrowMemory(t *testing.T) {
	const size, flood = 512 << 10, 4000
	_, upstream := instagram(t, mock.ServerOptions{})
	p := fast(t, 1, "UPSTREAM_URL="+upstream.URL, fmt.Sprintf("CACHE_MAX_BYTES=%d", size), "LOG_LEVEL=info")[0]
	var wrong atomic.Int32
	ask := func(from, to int) {
		next := make(chan int)
		var wg sync.WaitGroup
		for range 16 {
			wg.Go(func() {
				for i := range next {
					if r, err := p.try(t.Context(), fmt.Sprintf("IGAA-flood-%d", i)); err != nil || r.status != 200 {
						wrong.Add(1)
					}
				}
			})
		}
		for i := from; i < to; i++ {
			next <- i
		}
		close(next)
		wg.Wait()
	}
	ask(0, flood/2) // now the cache is full, and all code has run once
	before, most := p.memory(t), 0.0
	for i := 1; i <= 8; i++ {
		ask(flood/2+i*flood/8, flood/2+(i+1)*flood/8)
		most = max(most, p.metric(t, "igproxy_cache_bytes"))
	}
	after := p.memory(t)
	t.Logf("%d MiB before and %d MiB after %d tokens, at most %.0f bytes of entries", before>>20, after>>20, flood, most)
	if grown := after - before; grown > 24<<20 || most > 1.1*size {
		t.Errorf("memory has grown by %d MiB (want at most 24); entries took up to %.0f bytes (want at most about cache.max_bytes, %d)", grown>>20, most, size)
	}
	if wrong.Load() > 0 {
		t.Errorf("%d requests were not answered, want 0", wrong.Load())
	}
}

func TestNoStormOfCallsFollowsAnOutageOfMetaAndRedis(t *testing.T) {
	const callers, tokens, bound = 200, 100, 8
	ig, upstream := instagram(t, mock.ServerOptions{})
	redis := redistest.Start(t)
	p := serve(t, append(singleRedis(redis), "UPSTREAM_URL="+upstream.URL, fmt.Sprintf("UPSTREAM_MAX_IN_FLIGHT=%d", bound), "BREAKER_OPEN=500ms",
		"LOG_LEVEL=info")...)
	answers(t, p, "before", 3)
	upstream.Close()
	redis.Kill()
	ig.SetLatency(50 * time.Millisecond)

	var got tally
	var patient sync.WaitGroup
	for i := range callers {
		patient.Go(func() { // retries until the caller has a token
			short := fmt.Sprintf("IGAA-storm-%d", i%tokens)
			for deadline := time.Now().Add(2 * patience); time.Now().Before(deadline); {
				r, err := p.try(t.Context(), short)
				if err == nil && r.status == 200 {
					got.count(ig, short, r, err)
					return
				}
				if err != nil || r.status/100 != 5 {
					t.Errorf("during the outage: got %d %s, %v; want a 5xx", r.status, r.body, err)
				}
				time.Sleep(50 * time.Millisecond)
			}
			got.failed.Add(1)
		})
	}
	eventually(t, "Redis and Instagram are reported as unavailable", func() bool {
		ready := p.page(t, "/readyz")
		return regexp.MustCompile(`"breaker":"(open|half-open)".*"redis":"degraded"`).MatchString(ready.body)
	})
	answers(t, p, "before", 3) // known tokens are still answered
	ig.Reset()
	redis.Restart()
	var again *mock.Server
	// A process that another test starts at this moment may have a copy of the old listening
	// socket. Until the process closes it, listening fails.
	eventually(t, "Instagram is back", func() bool {
		var err error
		again, err = mock.Start(ig, mock.ServerOptions{Addr: upstream.Addr})
		return err == nil
	})
	defer again.Close()
	start := time.Now()
	patient.Wait()
	took := time.Since(start)

	var stats struct {
		Total       int `json:"total"`
		MaxInFlight int `json:"max_in_flight"`
	}
	r, err := fetch(t.Context(), http.DefaultClient, again.URL+"/__stats")
	if err != nil || json.Unmarshal([]byte(r.body), &stats) != nil {
		t.Fatalf("/__stats: got %s, %v; want statistics in JSON", r.body, err)
	}
	t.Logf("%s, %s after Redis and Instagram were back; %d calls for %d tokens, at most %d in flight", &got, took.Round(time.Millisecond), stats.Total, tokens, stats.MaxInFlight)
	if got.right.Load() != callers {
		t.Errorf("%s; want %d right answers after the outage", &got, callers)
	}
	if stats.MaxInFlight > bound || stats.Total > tokens+tokens/10 {
		t.Errorf("up to %d calls were in flight (want at most %d); %d calls in all (want about one for each of %d tokens)", stats.MaxInFlight, bound, stats.Total, tokens)
	}
}
