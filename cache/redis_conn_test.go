package cache

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/igproxy/igproxy/cache/redistest"
)

// pooled fills the connection pool of a single node with n idle connections.
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

// Load balancers close idle connections, and so does Redis if its timeout setting is not 0. With
// TLS, go-redis does not notice that a connection was closed until it uses the connection.
func TestClosedTLSConnectionsAreReplacedTogether(t *testing.T) {
	server := redistest.Start(t, redistest.Options{TLS: true})
	o := patiently(server)
	o.CA = server.CA()
	c, r := over(t, o)
	misses(t, c, "before", 1)
	pooled(t, c, 20)
	server.Do("CLIENT", "KILL", "TYPE", "normal")
	began, n := time.Now(), 0
	eventually(t, "Redis is used again", func() bool {
		n++
		misses(t, c, fmt.Sprint("after", n), 1)
		return r.of("lookup redis miss") > 1
	})
	if took := time.Since(began); took > 3*time.Second || r.of("fault claim broken") > faultsToOpen {
		t.Errorf("Redis was used again after %v, want at most 3s; counted %v, want at most %d broken connections", took, r.all(), faultsToOpen)
	}
}

func TestOperationInFlightSucceedsWhenConnectionsAreReplaced(t *testing.T) {
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
	questions.Go(func() { misses(t, c, "in flight", 1) })
	<-asked
	old := c.redis.client.Load()
	replaced := c.redis.replace(old)
	second := c.redis.client.Load()
	if !replaced || second == old {
		t.Errorf("replace: got %v, want true; old client still in use: %v, want false", replaced, second == old)
	}
	replaced = c.redis.replace(old) // as after another fault of the old client
	if kept := c.redis.client.Load() == second; !replaced || !kept {
		t.Errorf("replace of the old client again: got %v, want true; new client still in use: %v, want true", replaced, kept)
	}
	close(answer)
	questions.Wait()
	if r.of("lookup redis miss") != 1 {
		t.Errorf("counted %v, want one miss, from the operation in flight", r.all())
	}
	closeCache(t, c) // also closes the old client, before StoreTimeout has passed
	if err := old.Ping(t.Context()).Err(); !errors.Is(err, redis.ErrClosed) {
		t.Errorf("PING on the old client: got %v, want %v", err, redis.ErrClosed)
	}
	if c.redis.replace(c.redis.client.Load()) {
		t.Error("replace after the cache was closed: got true, want false")
	}
}
