package integration

// A firewall, a NAT device or a managed Redis drops idle connections silently, while new
// connections work. igproxy must soon use Redis again, because Redis itself is healthy.

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/igproxy/igproxy/cache/redistest"
	"github.com/igproxy/igproxy/proxy/mock"
)

// behindRelays is a Redis or a Redis Cluster that igproxy reaches only through relays.
type behindRelays struct {
	settings []string        // of a sidecar that uses this Redis
	relays   []*relay        // one for each node, and one for the sentinel
	keys     func() []string // returns all keys in Redis
}

// redisBehindRelays starts a Redis for this redis.mode.
func redisBehindRelays(t *testing.T, mode string) behindRelays {
	t.Helper()
	b := behindRelays{settings: []string{"REDIS_MODE=" + mode}}
	through := func(addr string) *relay {
		r := newRelay(t, addr)
		b.relays = append(b.relays, r)
		return r
	}
	port := func(addr string) int {
		_, text, _ := net.SplitHostPort(addr)
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	switch mode {
	case "single":
		server := redistest.Start(t)
		b.keys = server.Keys
		b.settings = append(b.settings, "REDIS_ADDRS="+through(server.Addr()).addr)
	case "sentinel":
		server := redistest.Start(t)
		b.keys = server.Keys
		sentinel := redistest.StartSentinel(t, port(through(server.Addr()).addr))
		b.settings = append(b.settings, "REDIS_ADDRS="+through(sentinel).addr, "REDIS_MASTER_NAME="+redistest.MasterName)
	case "cluster":
		cluster := redistest.StartCluster(t)
		b.keys = cluster.Keys
		cluster.Announce(func(addr string) int { return port(through(addr).addr) })
		b.settings = append(b.settings, "REDIS_ADDRS="+b.relays[0].addr)
	}
	return b
}

// fill requests many new tokens at once until the given number of nodes have the given number of
// connections each, and Redis is used.
func (b behindRelays) fill(t *testing.T, p *process, connections, nodes int) {
	t.Helper()
	for _, r := range b.relays {
		r.hold(5 * time.Millisecond) // so that many connections are needed
	}
	n := 0
	eventually(t, fmt.Sprintf("%d connections to each of %d nodes", connections, nodes), func() bool {
		crowd(nodes*(connections+8), func(i int) { p.ask(t, fmt.Sprintf("IGAA-fill-%d-%d", n, i)) })
		n++
		filled := 0
		for _, r := range b.relays {
			if r.count() >= connections {
				filled++
			}
		}
		return filled >= nodes && usesRedis(t, p)
	})
	for _, r := range b.relays {
		r.hold(0)
	}
}

func TestRedisIsSoonUsedAgainAfterItsIdleConnectionsDie(t *testing.T) {
	for mode, c := range map[string]struct{ connections, nodes int }{
		"single": {31, 1}, "sentinel": {31, 1}, "cluster": {16, 3},
	} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			_, upstream := instagram(t, mock.ServerOptions{})
			redis := redisBehindRelays(t, mode)
			p := serve(t, append(redis.settings, "UPSTREAM_URL="+upstream.URL, patientRedis)...)
			redis.fill(t, p, c.connections, c.nodes)
			dead := 0
			for _, r := range redis.relays {
				dead += r.count()
				r.freeze()
			}
			cut, known := time.Now(), redis.keys()
			for n := 0; !usesRedis(t, p) || !slices.ContainsFunc(redis.keys(), func(key string) bool { return strings.HasSuffix(key, ":v") && !slices.Contains(known, key) }); n++ {
				if time.Since(cut) > time.Minute {
					t.Fatal("Redis is not used again within a minute")
				}
				answers(t, p, fmt.Sprintf("after-%d", n), 1)
				time.Sleep(5 * time.Millisecond)
			}
			took := time.Since(cut).Round(time.Millisecond)
			t.Logf("%d dead connections: new tokens are stored in Redis again after %s", dead, took)
			if took > 3*time.Second {
				t.Errorf("recovery took %s, want 3 s at most", took)
			}
		})
	}
}

func usesRedis(t *testing.T, p *process) bool {
	t.Helper()
	return p.metric(t, "igproxy_redis_up") == 1
}

// Connections that were idle for longer than redis.idle_timeout may be dead and are not used.
func TestRedisConnectionsBeyondTheIdleTimeoutAreNotUsed(t *testing.T) {
	_, upstream := instagram(t, mock.ServerOptions{})
	redis := redisBehindRelays(t, "single")
	p := serve(t, append(redis.settings, "UPSTREAM_URL="+upstream.URL, "REDIS_IDLE_TIMEOUT=1s", patientRedis)...)
	redis.fill(t, p, 20, 1)
	time.Sleep(1200 * time.Millisecond) // real connections cannot use simulated time
	redis.relays[0].freeze()
	const timeouts = `igproxy_redis_errors_total{kind="timeout",operation="claim"}`
	before := p.metric(t, timeouts)
	crowd(20, func(i int) { p.ask(t, fmt.Sprintf("IGAA-after-%d", i)) })
	// One claim may time out, because it may get the connection that reads purges, which is never
	// idle for as long as redis.idle_timeout.
	if got, up := p.metric(t, timeouts)-before, usesRedis(t, p); got > 1 || !up {
		t.Errorf("%v claims timed out, want at most 1; Redis in use: got %v, want true", got, up)
	}
}

// The connections of two sidecars die while no app sends requests. When one sidecar performs a
// purge, the other must still learn of it soon. Without app requests, the other sidecar uses Redis
// only to read purges, and each failed attempt removes only one dead connection from its pool.
func TestPurgeArrivesDespiteDeadIdleConnections(t *testing.T) {
	_, upstream := instagram(t, mock.ServerOptions{})
	redis := redisBehindRelays(t, "single")
	all := fleet(t, 2, append(redis.settings, "UPSTREAM_URL="+upstream.URL, patientRedis)...)
	eventually(t, "the token is cached", func() bool { return all[0].hits(t, "IGAA-one") })
	for i, p := range all {
		redis.fill(t, p, 25*(i+1), 1)
	}
	redis.relays[0].freeze()
	cut := time.Now()
	if code, out, errs := all[1].operate(t, "purge", "--all"); code != 0 {
		t.Errorf("exit code %d, want 0: %s%s", code, out, errs)
	}
	eventually(t, "the other sidecar has received the purge", func() bool { return len(all[0].Log.Lines("purge received")) == 1 })
	took := time.Since(cut).Round(time.Millisecond)
	t.Logf("both sidecars have forgotten the token after %s", took)
	if took > 5*time.Second {
		t.Errorf("the purge took %s, want 5 s at most", took)
	}
}
