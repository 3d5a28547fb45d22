package cache

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/igproxy/igproxy/cache/redistest"
)

// soon is well above the short timeouts in these tests, and well below the library's default
// timeouts.
const soon = time.Second

func TestDeadRedisIsAnImmediateMiss(t *testing.T) {
	server := redistest.Start(t)
	server.Kill()
	c, r := over(t, RedisOptions{URL: server.URL()})
	if took := misses(t, c, "dead", 50); took > soon {
		t.Errorf("50 claims took %v, want at most %v", took, soon)
	}
	k, began := keyOf(t, "token"), time.Now()
	remember(c, k, lasting("value"))
	if took := time.Since(began); took > soon {
		t.Errorf("Remember took %v, want at most %v", took, soon)
	}
	if e, ok := c.Recall(k); !ok || string(e.Value) != "value" {
		t.Errorf("memory has %q, found %v; want \"value\", found true", e.Value, ok)
	}
	c.pending.Wait()
	if r.of("fault claim refused") != faultsToOpen || r.of("fault claim open") != 50-faultsToOpen || r.of("lookup redis error") != 50 || r.of("store redis error") != 1 {
		t.Errorf("counted %v, want %d refused claims, %d claims with the breaker open, an error for each of the 50 lookups, and a failed store", r.all(), faultsToOpen, 50-faultsToOpen)
	}
	if err := c.Check(context.Background()); err == nil || !strings.HasPrefix(err.Error(), "refused: ") || !strings.Contains(err.Error(), "redis.url") {
		t.Errorf("Check: got the error %v, want one that begins with \"refused: \" and names redis.url", err)
	}
}

func TestHungRedisCostsThreeTimeoutsThenNothing(t *testing.T) {
	server := redistest.Start(t)
	c, r := over(t, RedisOptions{URL: server.URL(), Timeout: 50 * time.Millisecond, StoreTimeout: patient})
	misses(t, c, "warm", 1)
	server.Do("CONFIG", "RESETSTAT")
	server.Pause()
	for i := range faultsToOpen {
		if took := misses(t, c, fmt.Sprint("hung", i), 1); took > soon {
			t.Errorf("claim %d took %v, want at most %v with a timeout of 50 ms", i, took, soon)
		}
	}
	if took := misses(t, c, "alone", 1000); took > soon {
		t.Errorf("1000 claims with an open breaker took %v, want at most %v", took, soon)
	}
	if r.of("fault claim timeout") != faultsToOpen || r.of("fault claim open") != 1000 {
		t.Errorf("counted %v, want %d timeouts and 1000 claims with the breaker open", r.all(), faultsToOpen)
	}
	server.Resume()
	if n := count(fmt.Sprint(server.Do("INFO", "commandstats")), "cmdstat_get"); n > faultsToOpen {
		t.Errorf("%d GET commands reached Redis, want at most %d", n, faultsToOpen)
	}
	eventually(t, "Redis is used again", func() bool {
		misses(t, c, "back", 1)
		return c.Health().State == "ok"
	})
	if lines := r.lines(); len(lines) != 2 || !strings.Contains(lines[0], "kind=timeout") || !strings.Contains(lines[1], "redis back") {
		t.Errorf("the log says %q, want one line with kind=timeout and one with redis back", lines)
	}
}

// count returns how often a command was called, according to INFO commandstats.
func count(stats, command string) (calls int) {
	if _, rest, found := strings.Cut(stats, command+":calls="); found {
		_, _ = fmt.Sscan(strings.Split(rest, ",")[0], &calls)
	}
	return calls
}

func TestWrongPasswordIsLoggedOnce(t *testing.T) {
	server := redistest.Start(t, redistest.Options{Password: "right"})
	var password atomic.Value
	password.Store("canary-wrong")
	o := RedisOptions{Addrs: []string{server.Addr()}, Timeout: patient, StoreTimeout: patient, Password: func() (string, error) { return password.Load().(string), nil }}
	c, r := over(t, o)
	misses(t, c, "refused", 20)
	lines := r.lines()
	if len(lines) != 2 || !strings.Contains(lines[0], "level=ERROR") || !strings.Contains(lines[0], "kind=auth") || !strings.Contains(lines[0], "check redis.username and the password") ||
		!strings.Contains(lines[1], "redis degraded") {
		t.Errorf("the log says %q, want an error with kind=auth and the next step, then the line redis degraded", lines)
	}
	if r.of("fault claim auth") != faultsToOpen || c.Health().Kind != kindAuth {
		t.Errorf("counted %v, want %d faults of kind %s; health is %+v, want kind %s", r.all(), faultsToOpen, kindAuth, c.Health(), kindAuth)
	}

	password.Store("right") // a rotated password is used without a restart
	eventually(t, "Redis is used again", func() bool {
		misses(t, c, "rotated", 1)
		return c.Health().State == "ok"
	})
	if all := strings.Join(r.lines(), "\n"); strings.Contains(all, "canary") {
		t.Errorf("the log holds the password: %s", all)
	}
}

// Regression test: if Redis refuses the password of a new connection, the library sets no error on
// the commands of a pipeline. So a failed store counted as a success or, with scripts, as a fault
// of kind desync.
func TestAWrongPasswordIsAFaultOfEachPipeline(t *testing.T) {
	server := redistest.Start(t, redistest.Options{Password: "right"})
	for name, lease := range map[string]time.Duration{"with scripts": time.Second, "without scripts": 0} {
		t.Run(name, func(t *testing.T) {
			c, r := over(t, RedisOptions{
				Addrs: []string{server.Addr()}, Timeout: patient, StoreTimeout: patient, Lease: lease,
				Password: func() (string, error) { return "wrong", nil },
			})
			remember(c, keyOf(t, "token"), lasting("value"))
			c.pending.Wait()
			if _, err := c.redis.indexedBy(t.Context(), []Key{keyOf(t, "index")}); err == nil {
				t.Errorf("indexedBy: got no error, want one of kind %s", kindAuth)
			}
			if r.of("fault publish auth") != 1 || r.of("fault revoke auth") != 1 {
				t.Errorf("counted %v, want one fault of publish and one of revoke, both of kind %s", r.all(), kindAuth)
			}
		})
	}
	t.Run("claims in one pipeline", func(t *testing.T) {
		c, _ := over(t, RedisOptions{
			Addrs: []string{server.Addr()}, Timeout: patient, StoreTimeout: patient,
			Password: func() (string, error) { return "wrong", nil },
		})
		pipe := c.redis.client.Load().Pipeline()
		first, second := pipe.Get(t.Context(), "a"), pipe.Get(t.Context(), "b")
		exec(t.Context(), pipe)
		if kindOf(first.Err()) != kindAuth || kindOf(second.Err()) != kindAuth {
			t.Errorf("first GET: got %v; second GET: got %v; want kind %s for both", first.Err(), second.Err(), kindAuth)
		}
	})
}

func TestUnreadablePasswordIsAFaultAndItsErrorTextIsNotLogged(t *testing.T) {
	server := redistest.Start(t)
	c, r := over(t, RedisOptions{Addrs: []string{server.Addr()}, Timeout: patient, Password: func() (string, error) { return "", errors.New("canary") }})
	misses(t, c, "unreadable", 5)
	if all := strings.Join(r.lines(), "\n"); !strings.Contains(all, "redis degraded") || strings.Contains(all, "canary") {
		t.Errorf("the log says %q, want the line redis degraded, without the text of the error (canary)", all)
	}
}

func TestMissingPermissionHasItsOwnKind(t *testing.T) {
	server := redistest.Start(t)
	server.Do("ACL", "SETUSER", "limited", "on", ">pw", "~other:*", "+@all")
	c, r := over(t, RedisOptions{Addrs: []string{server.Addr()}, Username: "limited", Password: func() (string, error) { return "pw", nil }, Timeout: patient, StoreTimeout: patient})
	misses(t, c, "forbidden", 1)
	remember(c, keyOf(t, "token"), lasting("value"))
	c.pending.Wait()
	if r.of("fault claim permission") != 1 || r.of("fault publish permission") != 1 {
		t.Errorf("counted %v, want one fault of kind permission for the claim and one for the store", r.all())
	}
}

// A replica, a full Redis and a Redis that cannot save still answer reads, so igproxy still reads
// from them.
func TestRedisThatRefusesWritesIsStillRead(t *testing.T) {
	for kind, refuse := range map[string]func(*redistest.Server){
		kindReadOnly: func(s *redistest.Server) { s.Do("REPLICAOF", "127.0.0.1", "1") },
		kindOOM:      func(s *redistest.Server) { s.Do("CONFIG", "SET", "maxmemory", "1") },
		kindMisconf:  (*redistest.Server).FailSnapshot,
	} {
		t.Run(kind, func(t *testing.T) {
			server := redistest.Start(t)
			writer, _ := over(t, patiently(server))
			k := keyOf(t, "token")
			remember(writer, k, lasting("value"))
			writer.pending.Wait()
			refuse(server)
			c, r := over(t, patiently(server))
			for i := range 5 {
				remember(c, keyOf(t, fmt.Sprint("refused", i)), lasting("value"))
				c.pending.Wait()
			}
			if _, tier, ok := look(context.Background(), c, k); !ok || tier != TierRedis {
				t.Errorf("the tier is %q, found %v; want the value from Redis", tier, ok)
			}
			if r.of("fault publish "+kind) != 5 || len(r.lines()) != 0 {
				t.Errorf("counted %v, want 5 stores that failed with kind %s; logged %q, want no line", r.all(), kind, r.lines())
			}
		})
	}
}

// Regression test: if a burst of new tokens is too large for the pool, most claims time out while
// they wait for a connection. This opened the breaker, and then no answers could be stored in
// Redis.
func TestFullPoolDoesNotOpenTheBreaker(t *testing.T) {
	var open atomic.Int32
	addr := fakeRedis(t, func(command []string) string {
		if !strings.EqualFold(command[0], "GET") {
			return unknownCommand
		}
		open.Add(1)
		time.Sleep(20 * time.Millisecond) // like a Redis in another zone
		return "$-1\r\n"
	})
	c, r := over(t, RedisOptions{Addrs: []string{addr}, Timeout: 200 * time.Millisecond, StoreTimeout: patient, PoolSize: 2})
	misses(t, c, "warm", 1)
	keys := keysOf(t, "secret", "app", "scope")
	var burst sync.WaitGroup
	for i := range 100 {
		burst.Go(func() { look(context.Background(), c, keys.Derive(fmt.Sprint("burst", i))) })
	}
	burst.Wait()
	if r.of("fault claim timeout") < 10 || r.of("lookup redis miss") < 2 {
		t.Fatalf("the burst did not fill the pool: counted %v, want at least 10 timeouts and 2 misses", r.all())
	}
	if h := c.Health(); h.State != "ok" || r.of("fault claim open") > 0 {
		t.Errorf("health is %+v, want ok; counted %v, want no claim with the breaker open", h, r.all())
	}
}

// Regression test: a key that another program has written concerns only one token, but the faults
// of that token opened the breaker for all tokens.
func TestErrorAboutOneKeyDoesNotOpenTheBreaker(t *testing.T) {
	server := redistest.Start(t)
	for name, o := range map[string]RedisOptions{"without scripts": {}, "with scripts": {Lease: time.Second, Wait: time.Second}} {
		t.Run(name, func(t *testing.T) {
			o.URL, o.Timeout, o.StoreTimeout = server.URL(), patient, patient
			c, r := over(t, o)
			k := keyOf(t, name)
			value, _, _ := c.redis.keys(k)
			server.Do("LPUSH", value, "a list")
			for range 2 * faultsToOpen {
				c.Claim(t.Context(), k).Release()
			}
			if h := c.Health(); h.State != "ok" || r.of("fault claim wrongtype") != 2*faultsToOpen {
				t.Errorf("health is %+v, want ok; counted %v, want %d faults of kind wrongtype", h, r.all(), 2*faultsToOpen)
			}
		})
	}
}

// Regression test: after a replica had taken over, the client could use its old map of the cluster
// for up to a minute. During that time, all claims in the slots of the lost node failed.
func TestReplicaIsUsedAsSoonAsItHasTakenOver(t *testing.T) {
	cluster, r := redistest.StartCluster(t), &recorder{}
	o := RedisOptions{Mode: ModeCluster, Addrs: strings.Split(cluster.Addrs(), ","), Timeout: 500 * time.Millisecond}
	c := newCache(t, Options{Redis: &o, Observer: r})
	misses(t, c, "before", 30)
	if n := r.of("lookup redis miss"); n != 30 {
		t.Fatalf("Redis answered %d lookups, want 30; counted %v", n, r.all())
	}
	cluster.KillMaster(1)
	eventually(t, "30 lookups without a fault", func() bool {
		before := r.of("lookup redis miss")
		misses(t, c, "after", 30)
		return r.of("lookup redis miss") == before+30
	})
}
