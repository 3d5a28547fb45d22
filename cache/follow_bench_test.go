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

// How soon do 50 followers, each a process's cache of its own, have the answer after it was stored, and what does it cost Redis? Polling
// alone, against polling with the hint. Measured on 2 cores that all 51 caches and Redis share:
//
//	exchange of  way   p50 late  p99 late  commands a follower  connections
//	200 ms       poll  33 ms     90 ms      5.7                  50
//	200 ms       hint   3 ms      8 ms      5.1                  98
//	1 s          poll  34 ms     94 ms     19.0                  50
//	1 s          hint   3 ms      7 ms     10.7                  98
//
// So the hint is kept: the answer comes ten times as soon, for fewer commands, because a follower who will be told polls more rarely.
// Its price is a connection a process, while there are followers and for half a minute after.
//
// go test ./cache -run '^$' -bench Follow -benchtime 20x
func BenchmarkFollow(b *testing.B) {
	const followers = 50
	for _, way := range []struct {
		name   string
		follow func(*Cache)
	}{
		{"poll", func(c *Cache) { c.shared = deaf{c.shared} }},
		{"hint", func(*Cache) {}},
	} {
		b.Run(way.name, func(b *testing.B) {
			server := redistest.Start(b)
			o := RedisOptions{Mode: ModeSingle, URL: server.URL(), Lease: 1500 * time.Millisecond, Wait: 10 * time.Second, Timeout: time.Second, PoolSize: 2}
			leader := newCache(b, Options{Redis: &o})
			var all []*Cache
			for range followers {
				c := newCache(b, Options{Redis: &o})
				way.follow(c)
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
							b.Errorf("a follower came out as %s", o)
						}
						mu.Lock()
						late = append(late, time.Since(stored))
						mu.Unlock()
					})
				}
				time.Sleep(200 * time.Millisecond) // Instagram
				stored = time.Now()
				cl.Remember(Entry{Value: []byte("token"), Expires: time.Now().Add(time.Hour)}, nil)
				leader.pending.Wait()
				wg.Wait()
			}
			slices.Sort(late)
			stats := fmt.Sprint(server.Do("INFO", "commandstats"))
			asked := 0
			for _, command := range []string{"cmdstat_evalsha", "cmdstat_subscribe", "cmdstat_unsubscribe", "cmdstat_publish"} {
				asked += count(stats, command)
			}
			b.ReportMetric(float64(late[len(late)/2].Microseconds())/1000, "p50-late-ms")
			b.ReportMetric(float64(late[len(late)*99/100].Microseconds())/1000, "p99-late-ms")
			b.ReportMetric(float64(asked)/float64(b.N*followers), "commands/follower")
			b.ReportMetric(float64(len(server.Do("CLIENT", "LIST").(string)))/float64(len(fmt.Sprint(server.Do("CLIENT", "INFO")))), "connections")
		})
	}
}

// deaf hears no hints.
type deaf struct{ shared }

func (deaf) wake(Key) (<-chan struct{}, func()) { return nil, func() {} }
