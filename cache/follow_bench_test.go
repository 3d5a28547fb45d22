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

// How soon do 50 followers, each a process's cache of its own, have the answer after it was stored, and what does it cost Redis? Polling,
// as claim.go does it, against a hint by publish/subscribe on a connection of its own, with the same claim after the message.
//
// go test ./cache -run '^$' -bench Follow -benchtime 20x
func BenchmarkFollow(b *testing.B) {
	const followers = 50
	for _, way := range []struct {
		name   string
		follow func(*Cache, Key) Outcome
	}{
		{"poll", func(c *Cache, k Key) Outcome { return c.Claim(context.Background(), k).Outcome }},
		{"hint", followByHint},
	} {
		b.Run(way.name, func(b *testing.B) {
			server := redistest.Start(b)
			o := RedisOptions{Mode: ModeSingle, URL: server.URL(), Lease: 1500 * time.Millisecond, Wait: 10 * time.Second, Timeout: time.Second, PoolSize: 2}
			leader := newCache(b, Options{Redis: &o})
			var all []*Cache
			for range followers {
				all = append(all, newCache(b, Options{Redis: &o}))
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
						if o := way.follow(c, k); o != Followed && o != Hit {
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
				if way.name == "hint" {
					client := *leader.redis.client.Load()
					client.Publish(context.Background(), channelOf(k), "")
				}
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

func channelOf(k Key) string { return "igproxy:{" + k.ID().String() + "}:c" }

// followByHint is the prototype that lost or won: subscribe, claim, and claim again at each message, or after the longest poll.
func followByHint(c *Cache, k Key) Outcome {
	ctx := context.Background()
	client := *c.redis.client.Load()
	sub := client.Subscribe(ctx, channelOf(k))
	defer func() { _ = sub.Close() }()
	if _, err := sub.Receive(ctx); err != nil {
		return Alone
	}
	owner := newOwner()
	for {
		r, err := c.shared.claim(ctx, k, owner, nil)
		if err != nil || !r.follower {
			if r.value != nil {
				return Followed
			}
			return Alone
		}
		select {
		case <-sub.Channel():
		case <-time.After(time.Second):
		}
	}
}
