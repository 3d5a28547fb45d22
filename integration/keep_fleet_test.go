package integration

// A fleet refreshes a token once, even if several sidecars find at the same time that the token is
// due.

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/igproxy/igproxy/cache/redistest"
	"github.com/igproxy/igproxy/proxy/mock"
)

func TestFleetRefreshesATokenOnce(t *testing.T) {
	t.Parallel()
	const sidecars = 5
	meta, redis, all := keptBy(t, sidecars)
	tokens := map[string]string{"known end": meta.newLong(t, all[0], "IGAA-fleet"), "unknown end": meta.oldLong(t, "IGAA-old")}
	meta.SetLatency(200 * time.Millisecond)
	for name, long := range tokens {
		crowd(4*sidecars, func(i int) {
			if r, err := fetch(t.Context(), noKeepAlive, all[i%sidecars].URL+mePath(long)); err != nil || r.status != 200 {
				t.Errorf("%s: got %d %s, %v; want 200", name, r.status, r.body, err)
			}
		})
	}
	eventually(t, "both tokens are refreshed", func() bool {
		refreshed := 0.0
		for _, p := range all {
			refreshed += p.metric(t, `igproxy_keep_refreshes_total{app="default",outcome="refreshed"}`)
		}
		return refreshed == 2
	})
	late := fleet(t, 1, append(append(keeping(once), singleRedis(redis)...), "UPSTREAM_URL="+meta.url)...)[0]
	for name, long := range tokens {
		late.uses(t, long)
		issued := meta.Issued(long)
		if len(issued) != 1 || meta.lastToken() != issued[0] || meta.RefreshesFor(long) != 1 || meta.RefreshesFor(issued[0]) != 0 {
			t.Errorf("%s: got %d refreshes, want 1; got the successors %q, want one; the late sidecar sent %q, want the successor; got %d refreshes of the sent token, want 0", name, meta.RefreshesFor(long), issued, meta.lastToken(), meta.RefreshesFor(meta.lastToken()))
		}
	}
}

// Records need the same permissions in Redis as other entries, and can be in any slot of a cluster.
func TestTokensAreKeptInAClusterAndWithFewRedisPermissions(t *testing.T) {
	t.Parallel()
	limited := redistest.Start(t)
	limited.Do("ACL", "SETUSER", "igproxy", "on", ">0123456789abcdef", "~igproxy:*", "+ping", "+get", "+set", "+del", "+eval", "+evalsha",
		"+time", "+zadd", "+zrange", "+zrem", "+pexpire") // as in docs/fleet.md
	for name, settings := range map[string][]string{
		"with few permissions": append(singleRedis(limited), "REDIS_USERNAME=igproxy", "REDIS_PASSWORD_FILE="+file(t, "password", "0123456789abcdef")),
		"in a cluster":         {"REDIS_MODE=cluster", "REDIS_ADDRS=" + redistest.StartCluster(t).Addrs()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			meta := newRenewing(t, mock.Options{Secret: appSecret})
			all := fleet(t, 2, slices.Concat(keeping(once), settings, []string{"UPSTREAM_URL=" + meta.url})...)
			for i := range 8 { // in many slots
				long := meta.newLong(t, all[i%2], fmt.Sprintf("IGAA-slot-%d", i))
				next := meta.successor(t, all[i%2], long)
				all[1-i%2].uses(t, long)
				if meta.lastToken() != next || meta.RefreshesFor(long) != 1 {
					t.Errorf("token %d: %d refreshes, want 1; the other sidecar sends the successor: %v, want true", i, meta.RefreshesFor(long), meta.lastToken() == next)
				}
			}
		})
	}
}
