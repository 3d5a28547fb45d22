package integration

// igproxy needs no Redis to answer or to start. If Redis refuses connections, hangs or dies, every
// request is answered. When Redis is back, igproxy uses it again without a restart.

import (
	"fmt"
	"strings"
	"testing"

	"github.com/igproxy/igproxy/cache/redistest"
	"github.com/igproxy/igproxy/proxy/mock"
)

func withRedis(t *testing.T, redis *redistest.Server) (*mock.Instagram, *process) {
	t.Helper()
	ig, upstream := instagram(t, mock.ServerOptions{})
	return ig, serve(t, "UPSTREAM_URL="+upstream.URL, "REDIS_MODE=single", "REDIS_URL="+redis.URL())
}

// answers requests n tokens one after another, all of which must be answered. The tokens are new if
// the test has not used the prefix before.
func answers(t *testing.T, p *process, prefix string, n int) {
	t.Helper()
	for i := range n {
		if r := p.ask(t, fmt.Sprintf("IGAA-%s-%d", prefix, i)); r.status != 200 {
			t.Fatalf("%s %d: got %d %s, want 200", prefix, i, r.status, r.body)
		}
	}
}

func redisState(t *testing.T, p *process, want string) {
	t.Helper()
	eventually(t, "/readyz says redis is "+want, func() bool {
		return strings.Contains(p.page(t, "/readyz").body, `"redis":"`+want+`"`)
	})
}

func TestSidecarStartsWhileRedisIsDownAndUsesRedisLater(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	redis.Kill()
	_, p := withRedis(t, redis)
	answers(t, p, "refused", 20)
	redisState(t, p, "degraded")
	if r := p.page(t, "/readyz"); r.status != 200 {
		t.Errorf("/readyz with a dead Redis: got %d %s, want 200", r.status, r.body)
	}
	redis.Restart()
	wantRecovered(t, p, redis)
}

func TestHungRedisFailsNoRequestAndIsUsedAgainLater(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	_, p := withRedis(t, redis)
	answers(t, p, "before", 3)
	redis.Pause()
	answers(t, p, "hung", 20)
	redisState(t, p, "degraded")
	if got := p.page(t, "/metrics").body; !strings.Contains(got, `igproxy_redis_errors_total{kind="timeout",operation="claim"}`) {
		t.Error("no timeout of a claim was counted, want at least 1")
	}
	redis.Resume()
	wantRecovered(t, p, redis)
}

func TestKilledRedisFailsNoRequestAndIsUsedAgainLater(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	ig, p := withRedis(t, redis)
	answers(t, p, "before", 3)
	redis.Kill()
	answers(t, p, "dead", 20)
	answers(t, p, "before", 3) // from memory
	if ig.Calls() != 23 {
		t.Errorf("%d calls, want 23", ig.Calls())
	}
	redis.Restart()
	wantRecovered(t, p, redis)
}

// wantRecovered checks that Redis is used again, and that igproxy logged one line at the start of
// the outage and one at its end.
func wantRecovered(t *testing.T, p *process, redis *redistest.Server) {
	t.Helper()
	n := 0
	eventually(t, "entries reach Redis again", func() bool {
		n++
		answers(t, p, fmt.Sprintf("back%d", n), 1)
		return len(redis.Dump()) > 0 && strings.Contains(p.page(t, "/readyz").body, `"redis":"ok"`)
	})
	if lost, back := p.settled(t).Lines("redis degraded"), p.Log.Lines("redis back"); len(lost) != 1 || len(back) != 1 {
		t.Errorf("logged \"redis degraded\" %d times and \"redis back\" %d times, want once each", len(lost), len(back))
	}
}

// A value that has been moved to another key cannot be decrypted, just like a corrupt value. The
// request is a miss: the exchange is repeated, and every caller gets its own token.
func TestValuesMovedBetweenRedisKeysAreMisses(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	ig, upstream := instagram(t, mock.ServerOptions{})
	settings := []string{"UPSTREAM_URL=" + upstream.URL, "REDIS_MODE=single", "REDIS_URL=" + redis.URL()}
	first := serve(t, settings...)
	for _, token := range []string{"IGAA-a", "IGAA-b", "IGAA-c"} {
		first.ask(t, token)
	}
	first.Stop(t)
	redis.Shuffle()
	second := serve(t, settings...)
	for _, token := range []string{"IGAA-a", "IGAA-b", "IGAA-c"} {
		r := second.ask(t, token)
		issued := ig.Issued(token)
		if r.status != 200 || len(issued) != 2 || r.token() != issued[1] {
			t.Errorf("%s: got %d after %d exchanges, want 200 with the token of the second exchange", token, r.status, len(issued))
		}
	}
	if got := second.metric(t, `igproxy_cache_lookups_total{result="unsealed",tier="redis"}`); got != 3 {
		t.Errorf("values that could not be decrypted: %v are counted, want 3", got)
	}
}
