package integration

// These benchmarks measure the figures in docs/fleet.md with the built binary and a real Redis on
// loopback:
//
//	make bench-fleet

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/igproxy/igproxy/cache/redistest"
	"github.com/igproxy/igproxy/proxy/mock"
)

const benchLatency = 200 * time.Millisecond // the stand-in's latency

// times collects latencies and reports percentiles.
type times struct {
	mu  sync.Mutex // protects the slice
	all []time.Duration
}

func (t *times) add(d time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.all = append(t.all, d)
}

// report subtracts base from each percentile and reports the result.
func (t *times) report(b *testing.B, what string, base time.Duration) {
	slices.Sort(t.all)
	if len(t.all) == 0 {
		return
	}
	for name, at := range map[string]int{"p50": len(t.all) / 2, "p99": len(t.all) * 99 / 100} {
		b.ReportMetric(float64((t.all[at]-base).Microseconds())/1000, what+"-"+name+"-ms")
	}
}

// commands returns the number of EVAL and EVALSHA commands that Redis received.
func commands(redis *redistest.Server) (sent int) {
	for line := range strings.Lines(fmt.Sprint(redis.Do("INFO", "commandstats"))) {
		name, rest, _ := strings.Cut(strings.TrimPrefix(line, "cmdstat_"), ":calls=")
		calls, _, _ := strings.Cut(rest, ",")
		if n, err := strconv.Atoi(calls); err == nil && slices.Contains([]string{"evalsha", "eval"}, name) {
			sent += n
		}
	}
	return sent
}

// BenchmarkFleetCold sends a cold token to all sidecars at the same time. The leader, which is the
// sidecar that gets the lease, calls the stand-in. The others, the followers, wait for its answer.
func BenchmarkFleetCold(b *testing.B) {
	for _, sidecars := range []int{1, 8, 50} {
		b.Run(fmt.Sprintf("sidecars=%d", sidecars), func(b *testing.B) {
			const tokens = 20
			ig, upstream := instagram(b, mock.ServerOptions{})
			ig.SetLatency(benchLatency)
			redis := redistest.Start(b)
			all := fast(b, sidecars, append(singleRedis(redis), "UPSTREAM_URL="+upstream.URL, "LOG_LEVEL=info", patientRedis)...)
			crowd(sidecars, func(i int) { _ = all[i].ask(b, fmt.Sprint("IGAA-warm-", i)) })
			calls := ig.Calls()
			redis.Do("CONFIG", "RESETSTAT")
			var leaders, followers times
			for round := 0; b.Loop(); round++ {
				for i := range tokens {
					short := fmt.Sprintf("IGAA-bench-%d-%d", round, i)
					crowd(sidecars, func(i int) {
						r := all[i].ask(b, short)
						if strings.HasSuffix(r.header.Get("Cache-Status"), "stored") {
							leaders.add(r.took)
						} else {
							followers.add(r.took)
						}
					})
				}
			}
			asked := float64(ig.Calls() - calls)
			b.ReportMetric(asked/tokens/float64(b.N), "calls/token")
			b.ReportMetric(float64(commands(redis))/asked, "commands/token")
			if followed := len(followers.all); followed > 0 { // the leader sends two: to claim and to store
				b.ReportMetric((float64(commands(redis))-2*asked)/float64(followed), "commands/follower")
			}
			leaders.report(b, "leader-added", benchLatency)
			followers.report(b, "follower-added", benchLatency)
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkFleetHit measures a hit in memory, and a hit in Redis while cache.max_bytes is too small
// to keep the tokens in memory.
func BenchmarkFleetHit(b *testing.B) {
	const tokens = 100
	_, upstream := instagram(b, mock.ServerOptions{})
	redis := redistest.Start(b)
	for name, memory := range map[string]string{"memory": "1MiB", "redis": "1KiB"} {
		b.Run(name, func(b *testing.B) {
			p := fast(b, 1, append(singleRedis(redis), "UPSTREAM_URL="+upstream.URL, "LOG_LEVEL=info", "CACHE_MAX_BYTES="+memory)...)[0]
			hit := func(i int) response { return p.ask(b, fmt.Sprintf("IGAA-hit-%d", i%tokens)) }
			for i := range tokens {
				hit(i)
			}
			time.Sleep(200 * time.Millisecond) // by then Redis has stored the values
			redis.Do("CONFIG", "RESETSTAT")
			var took times
			n := 0
			for b.Loop() {
				for range 5000 {
					r := hit(n)
					if n++; !strings.HasPrefix(r.header.Get("Cache-Status"), "igproxy; hit") {
						b.Fatalf("got Cache-Status %s, want a hit", r.header.Get("Cache-Status"))
					}
					took.add(r.took)
				}
			}
			b.ReportMetric(float64(commands(redis))/float64(n), "commands/hit")
			took.report(b, "hit", 0)
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkFleetRedisDown measures how long exchanges take while Redis refuses connections or
// hangs. The metric "first" is about the first ten exchanges. The metric "later" is about the next
// 500, when the breaker for Redis is open. For comparison, the case "none" has no Redis.
func BenchmarkFleetRedisDown(b *testing.B) {
	const first, later = 10, 500
	_, upstream := instagram(b, mock.ServerOptions{})
	for _, down := range []struct {
		name    string
		noRedis bool
		breaks  func(*redistest.Server)
	}{{"none", true, nil}, {"refused", false, (*redistest.Server).Kill}, {"hung", false, (*redistest.Server).Pause}} {
		b.Run(down.name, func(b *testing.B) {
			redis := redistest.Start(b)
			settings := []string{"UPSTREAM_URL=" + upstream.URL, "LOG_LEVEL=info"}
			if !down.noRedis {
				settings = append(settings, singleRedis(redis)...)
			}
			p := fast(b, 1, settings...)[0]
			for i := range 50 {
				p.ask(b, fmt.Sprintf("IGAA-warm-%s-%d", down.name, i))
			}
			if down.breaks != nil {
				down.breaks(redis)
			}
			var early, late times
			for round := 0; b.Loop(); round++ {
				for i := range first + later {
					r := p.ask(b, fmt.Sprintf("IGAA-down-%s-%d-%d", down.name, round, i))
					if r.status != 200 {
						b.Fatalf("got %d, want 200", r.status)
					}
					if i < first {
						early.add(r.took)
					} else {
						late.add(r.took)
					}
				}
			}
			early.report(b, "first", 0)
			late.report(b, "later", 0)
			b.ReportMetric(0, "ns/op")
		})
	}
}
