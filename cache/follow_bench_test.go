package cache

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/igproxy/igproxy/cache/redistest"
)

// BenchmarkFollow measures how long 50 followers wait for the answer after the leader has it, and
// how many EVALSHA commands Redis runs per follower, including those of the leader. Each follower
// has its own cache, as if it were another process. Run the benchmark with:
//
//	go test ./cache -run '^$' -bench Follow -benchtime 20x
func BenchmarkFollow(b *testing.B) {
	const followers = 50
	server := redistest.Start(b)
	o := RedisOptions{Mode: ModeSingle, URL: server.URL(), Lease: 1500 * time.Millisecond, Wait: 10 * time.Second, Timeout: time.Second, PoolSize: 2}
	leader := newCache(b, Options{Redis: &o})
	var all []*Cache
	for range followers {
		c := newCache(b, Options{Redis: &o})
		all = append(all, c)
	}
	var mu sync.Mutex // protects late
	var late []time.Duration
	server.Do("CONFIG", "RESETSTAT")
	for i := range b.N {
		k := keyOf(b, fmt.Sprint("token", i))
		cl := leader.Claim(context.Background(), k)
		var stored time.Time
		var wg sync.WaitGroup
		for _, c := range all {
			wg.Go(func() {
				if o := c.Claim(context.Background(), k).Outcome; o != Followed && o != Hit {
					b.Errorf("the outcome of a follower is %s, want %s or %s", o, Followed, Hit)
				}
				mu.Lock()
				late = append(late, time.Since(stored))
				mu.Unlock()
			})
		}
		time.Sleep(200 * time.Millisecond) // the exchange
		stored = time.Now()
		cl.Remember(Entry{Value: []byte("token"), Expires: time.Now().Add(time.Hour)}, nil)
		leader.pending.Wait()
		wg.Wait()
	}
	slices.Sort(late)
	stats := fmt.Sprint(server.Do("INFO", "commandstats"))
	b.ReportMetric(float64(late[len(late)/2].Microseconds())/1000, "p50-late-ms")
	b.ReportMetric(float64(late[len(late)*99/100].Microseconds())/1000, "p99-late-ms")
	b.ReportMetric(float64(count(stats, "cmdstat_evalsha"))/float64(b.N*followers), "commands/follower")
}
