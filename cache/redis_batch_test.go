package cache

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/igproxy/igproxy/cache/redistest"
)

// answering is a hook that acts as Redis. After a second, it replies to each command with the
// command's argument. It handles any number of commands at the same time.
type answering struct {
	mu    sync.Mutex           // protects sizes
	sizes []int                // the number of commands in each pipeline, in the order of sending
	fails func(sent int) error // see batchesOf
}

func (a *answering) serve(commands []redis.Cmder) error {
	a.mu.Lock()
	a.sizes = append(a.sizes, len(commands))
	sent := len(a.sizes)
	a.mu.Unlock()
	time.Sleep(time.Second)
	err := a.fails(sent)
	for _, c := range commands {
		if err != nil {
			c.SetErr(err)
		} else {
			c.(*redis.Cmd).SetVal(c.Args()[1])
		}
	}
	return err
}

func (a *answering) DialHook(next redis.DialHook) redis.DialHook { return next }

func (a *answering) ProcessHook(redis.ProcessHook) redis.ProcessHook {
	return func(_ context.Context, c redis.Cmder) error { return a.serve([]redis.Cmder{c}) }
}

func (a *answering) ProcessPipelineHook(redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(_ context.Context, commands []redis.Cmder) error { return a.serve(commands) }
}

// batchesOf returns batches that an answering hook serves, and the hook. The hook calls fails with
// the number of each pipeline, counted from 1, and uses the result as the error of that pipeline.
func batchesOf(t *testing.T, fails func(sent int) error) (*batches, *answering) {
	t.Helper()
	a := &answering{fails: fails}
	c := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"})
	c.AddHook(a)
	t.Cleanup(func() { _ = c.Close() })
	return &batches{client: c, budget: time.Minute}, a
}

func never(int) error { return nil }

// crowd makes n claims at once, and returns the reply or the error of each.
func (b *batches) crowd(n int) (got []string) {
	got = make([]string, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			if reply, err := b.do(context.Background(), "evalsha", fmt.Sprint(i)); err != nil {
				got[i] = err.Error()
			} else {
				got[i] = reply.(string)
			}
		})
	}
	wg.Wait()
	b.sending.Wait()
	return got
}

func TestConcurrentClaimsShareAPipeline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, a := batchesOf(t, never)
		for i, got := range b.crowd(100) {
			if got != fmt.Sprint(i) {
				t.Errorf("claim %[1]d got %[2]s, want %[1]d", i, got)
			}
		}
		sum := 0
		for _, size := range a.sizes {
			sum += size
		}
		// Two pipelines are sent immediately, perhaps with one claim each. The other claims wait
		// for them, and up to 98 claims need at most four pipelines.
		if sum != 100 || len(a.sizes) > parallelBatches+4 || slices.Max(a.sizes) != largestBatch {
			t.Errorf("the claims were sent in pipelines of %v claims, want 100 claims in at most six pipelines, the largest of %d claims", a.sizes, largestBatch)
		}
		if b.running != 0 || len(b.waiting) != 0 {
			t.Errorf("%d pipelines are running and %d claims wait, want 0 of each", b.running, len(b.waiting))
		}
		if got := b.crowd(1); got[0] != "0" {
			t.Errorf("a later claim got %s, want 0", got[0])
		}
	})
}

func TestAFaultFailsExactlyItsBatch(t *testing.T) {
	for name, fault := range map[string]func() error{
		"an error": func() error { return errors.New("broken") },
		"a panic":  func() error { panic("an unexpected reply") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, a := batchesOf(t, func(sent int) error {
					if sent == 3 {
						return fault()
					}
					return nil
				})
				failed := 0
				for i, got := range b.crowd(100) {
					if got != fmt.Sprint(i) {
						failed++
					}
				}
				if failed != a.sizes[2] || failed != 32 {
					t.Errorf("%d claims failed, want 32; the third pipeline had %d claims, want 32", failed, a.sizes[2])
				}
			})
		})
	}
}

func TestAClaimThatWaitsForABatchKeepsItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _ := batchesOf(t, never)
		for range parallelBatches {
			go func() { _, _ = b.do(context.Background(), "evalsha", "first") }()
		}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		start := time.Now()
		if _, err := b.do(ctx, "evalsha", "late"); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 50*time.Millisecond {
			t.Errorf("got %v after %s, want a deadline error after 50ms", err, time.Since(start))
		}
		time.Sleep(10 * time.Second)
		b.sending.Wait()
	})
}

// After SCRIPT FLUSH every claim of a batch is repeated with the script's text.
func TestClaimsOfABatchSurviveAScriptFlush(t *testing.T) {
	server := redistest.Start(t)
	c := newCache(t, Options{Redis: &RedisOptions{Mode: ModeSingle, URL: server.URL(), Lease: time.Second, Wait: time.Second, Timeout: 10 * time.Second}})
	for range 3 {
		server.Do("SCRIPT", "FLUSH")
		var wg sync.WaitGroup
		for i := range 50 {
			wg.Go(func() {
				cl := c.Claim(t.Context(), keyOf(t, fmt.Sprint("token", i)))
				if cl.Outcome != Leader {
					t.Errorf("claim %d: got %s, want leader", i, cl.Outcome)
				}
				cl.Release()
			})
		}
		wg.Wait()
		c.pending.Wait()
	}
}

// BenchmarkKnownInRedis measures the claims of many callers at once, for tokens that are in Redis.
// The claims are sent one by one ("alone") or in batches ("batched"):
//
//	go test ./cache -run '^$' -bench KnownInRedis -count 6
func BenchmarkKnownInRedis(b *testing.B) {
	const tokens = 1000
	server := redistest.Start(b)
	c := newCache(b, Options{Redis: &RedisOptions{Mode: ModeSingle, URL: server.URL(), Lease: time.Second, Wait: time.Second, Timeout: 10 * time.Second}})
	keys := make([]Key, tokens)
	for i := range keys {
		keys[i] = keyOf(b, fmt.Sprint("token", i))
		c.Claim(context.Background(), keys[i]).Remember(Entry{Value: []byte(strings.Repeat("x", 250)), Expires: time.Now().Add(time.Hour)}, nil)
	}
	c.pending.Wait()
	tier := c.shared.(*redisTier)
	batched := tier.client.Load().claims
	for name, claims := range map[string]*batches{"alone": nil, "batched": batched} {
		b.Run(name, func(b *testing.B) {
			tier.client.Load().claims = claims
			b.SetParallelism(32)
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i++ {
					if r, err := tier.claim(context.Background(), keys[i%tokens], newOwner(), nil); err != nil || r.value == nil {
						b.Errorf("a known token: got the value %q, want a value; error %v, want nil", r.value, err)
					}
				}
			})
		})
	}
	tier.client.Load().claims = batched
}
