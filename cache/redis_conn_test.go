package cache

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/igproxy/igproxy/cache/redistest"
)

// A connection that falls silent, in simulated time.
func TestASilentConnectionIsBlamedOnTheNetworkIfItHadWorked(t *testing.T) {
	const budget = 50 * time.Millisecond
	for name, c := range map[string]struct {
		answered    bool
		idle, wait  time.Duration
		silent, cut bool
	}{
		"it never answered":        {idle: time.Hour, wait: budget},
		"it was dialled just now":  {answered: true, idle: 400 * time.Millisecond, wait: budget},
		"it was idle for a moment": {answered: true, idle: 10 * time.Second, wait: budget, silent: true},
		"it was idle for long":     {answered: true, idle: 30 * time.Second, wait: budget, silent: true, cut: true},
		"an answer is overdue":     {answered: true, idle: time.Second, wait: time.Second, silent: true, cut: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far := net.Pipe()
				defer far.Close()
				var of client
				conn := of.watch(near, 2*time.Hour)
				defer conn.Close()
				go func() { // the server's end
					for question := make([]byte, 1); ; {
						if _, err := far.Read(question); err != nil {
							return
						}
						if c.answered {
							_, _ = far.Write(question)
							c.answered = false
						}
					}
				}()
				ask := func(wait time.Duration) error {
					_ = conn.SetDeadline(time.Now().Add(wait))
					_, err := conn.Write([]byte("?"))
					if err == nil {
						_, err = conn.Read(make([]byte, 1))
					}
					return err
				}
				if c.answered {
					if err := ask(budget); err != nil {
						t.Fatal(err)
					}
				}
				time.Sleep(c.idle)
				if err := ask(c.wait); err == nil {
					t.Fatal("there was an answer")
				}
				if of.silent.Load() != c.silent || of.cut.Load() != c.cut {
					t.Errorf("silent %v, cut %v; want %v, %v", of.silent.Load(), of.cut.Load(), c.silent, c.cut)
				}
			})
		})
	}
}

// The subscription ends so while its reader waits.
func TestAConnectionThatWeCloseIsNotBlamed(t *testing.T) {
	server := redistest.Start(t)
	c, _ := over(t, patiently(server))
	c.redis.hints.idle = newborn
	_, cancel := c.shared.wake(keyOf(t, "token"))
	eventually(t, "it is subscribed", func() bool { return subscribers(server) == 1 })
	time.Sleep(newborn)
	cancel()
	c.redis.hints.close()
	if of := c.redis.client.Load(); of.silent.Load() || of.cut.Load() {
		t.Errorf("silent %v, cut %v; want neither", of.silent.Load(), of.cut.Load())
	}
}

// The library would keep it, and Redis its place, until somebody needs it.
func TestAConnectionThatIsIdleForTooLongIsClosedAndOneThatIsReadIsNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const idle = time.Minute
		var of client
		used, far := net.Pipe()
		defer far.Close()
		conn := of.watch(used, idle)
		time.Sleep(idle / 2)
		go func() { time.Sleep(10 * idle); _, _ = far.Write([]byte("!")) }()
		if _, err := conn.Read(make([]byte, 1)); err != nil {
			t.Errorf("one that was read for ten times as long ended: %v", err)
		}
		time.Sleep(2 * idle)
		if _, err := far.Write([]byte("!")); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("one that was idle for twice as long lives: %v", err)
		}
	})
}

// pooled fills the pool of a single node.
func pooled(t *testing.T, c *Cache, n int) {
	t.Helper()
	all := make([]*redis.Conn, n)
	for i := range all {
		all[i] = c.redis.client.Load().UniversalClient.(*redis.Client).Conn()
		if err := all[i].Ping(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
	}
	for _, conn := range all {
		if err := conn.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if idle := c.redis.client.Load().PoolStats().IdleConns; int(idle) != n {
		t.Fatalf("%d idle connections, want %d", idle, n)
	}
}

func TestIdleConnectionsLeaveRedisAfterTheIdleTimeout(t *testing.T) {
	for name, options := range map[string]redistest.Options{"plain": {}, "TLS": {TLS: true}} {
		t.Run(name, func(t *testing.T) {
			server := redistest.Start(t, options)
			o := patiently(server)
			o.CA, o.IdleTimeout = server.CA(), 100*time.Millisecond
			c, r := over(t, o)
			pooled(t, c, 20)
			eventually(t, "they are gone", func() bool {
				return strings.Count(fmt.Sprint(server.Do("CLIENT", "LIST")), "addr=")/2 <= 1 // laddr= is the other; and the one that asks
			})
			misses(t, c, "after", 1)
			if len(r.lines()) != 0 || r.of("lookup redis miss") != 1 {
				t.Errorf("counted %v, logged %q", r.all(), r.lines())
			}
		})
	}
}

// Redis (timeout in redis.conf) and load balancers end idle connections in order. Of a TLS connection the library notices
// that only when it uses it.
func TestTLSConnectionsThatRedisHasClosedAreNotProbedOneByOne(t *testing.T) {
	server := redistest.Start(t, redistest.Options{TLS: true})
	o := patiently(server)
	o.CA = server.CA()
	c, r := over(t, o)
	pooled(t, c, 20)
	time.Sleep(newborn)
	server.Do("CLIENT", "KILL", "TYPE", "normal")
	began, n := time.Now(), 0
	eventually(t, "Redis is used again", func() bool {
		n++
		misses(t, c, fmt.Sprint("after", n), 1)
		return r.of("lookup redis miss") > 0
	})
	if took := time.Since(began); took > 3*time.Second || r.of("fault claim broken") > faultsToOpen || r.of("fault ping broken") > 0 {
		t.Errorf("it took %v: %v", took, r.all())
	}
}

// While the client is replaced, a question is on its way.
func TestReplacingConnectionsLetsOperationsEnd(t *testing.T) {
	asked, answer := make(chan struct{}, 1), make(chan struct{})
	addr := fakeRedis(t, func(command []string) string {
		if !strings.EqualFold(command[0], "GET") {
			return unknownCommand
		}
		asked <- struct{}{}
		<-answer
		return "$-1\r\n"
	})
	c, r := over(t, RedisOptions{Addrs: []string{addr}, Timeout: patient, StoreTimeout: patient})
	var questions sync.WaitGroup
	questions.Go(func() { misses(t, c, "on its way", 1) })
	<-asked
	old := c.redis.client.Load()
	c.redis.replace(old)
	c.redis.replace(old) // another one that failed on the same client
	if n := c.redis.lingering; n != 1 || c.redis.client.Load() == old {
		t.Errorf("%d clients linger, want the one that was replaced", n)
	}
	close(answer)
	questions.Wait()
	if r.of("lookup redis miss") != 1 {
		t.Errorf("counted %v", r.all())
	}
	closeCache(t, c) // which waits for it, and not for its whole grace
	if err := old.Ping(t.Context()).Err(); !errors.Is(err, redis.ErrClosed) {
		t.Errorf("the old client lives: %v", err)
	}
	c.redis.replace(c.redis.client.Load())
	if n := c.redis.lingering; n != 0 {
		t.Errorf("%d clients linger after the end", n)
	}
}

func TestConnectionsThatAreReplacedAgainAndAgainDoNotPileUp(t *testing.T) {
	server := redistest.Start(t)
	c, _ := over(t, patiently(server))
	for range 50 {
		pooled(t, c, 5)
		c.redis.replace(c.redis.client.Load())
	}
	eventually(t, "the old ones are closed", func() bool {
		return strings.Count(fmt.Sprint(server.Do("CLIENT", "LIST")), "addr=")/2 <= 5*mostLingering+1
	})
}
