package integration

// A purge removes the cached answers of one token or of a whole app, in every sidecar on the same
// Redis, and affects no other entries.

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/igproxy/igproxy/cache/redistest"
	"github.com/igproxy/igproxy/integration/harness"
	"github.com/igproxy/igproxy/proxy/mock"
)

// hits requests a token, and reports whether the sidecar answers from the cache. A miss puts the
// answer into the cache.
func (p *process) hits(t *testing.T, token string) bool {
	t.Helper()
	return strings.HasPrefix(p.ask(t, token).header.Get("Cache-Status"), "igproxy; hit")
}

func TestPurgeReachesEverySidecar(t *testing.T) {
	t.Parallel()
	ig, upstream := instagram(t, mock.ServerOptions{})
	redis := redistest.Start(t)
	// The documented minimal permissions are sufficient. They do not include a command that
	// searches keys.
	redis.Do("ACL", "SETUSER", "igproxy", "on", ">0123456789abcdef", "~igproxy:*", "+ping", "+get", "+set", "+del", "+eval", "+evalsha",
		"+time", "+zadd", "+zrange", "+zrem", "+pexpire")
	password := file(t, "password", "0123456789abcdef")
	settings := append(singleRedis(redis), "UPSTREAM_URL="+upstream.URL, "REDIS_USERNAME=igproxy", "REDIS_PASSWORD_FILE="+password, patientRedis)
	ours := fleet(t, 2, append(settings, "APP_ID=17841400000000001")...)
	theirs := fleet(t, 1, append(settings, "APP_ID=17841400000000002")...)[0]
	fill := func() {
		t.Helper()
		for _, token := range []string{"IGAA-one", "IGAA-two"} {
			for _, p := range append(ours, theirs) {
				eventually(t, "the token is cached", func() bool { return p.hits(t, token) })
			}
		}
	}
	fill()
	calls := ig.Calls()
	if calls != 4 {
		t.Errorf("%d calls for two tokens and two apps, want 4", calls)
	}

	// One token.
	cmd := exec.CommandContext(t.Context(), harness.Binary, "purge", "--token-stdin")
	cmd.Env = ours[0].operator()
	cmd.Stdin = strings.NewReader("IGAA-one\n")
	if out, err := cmd.CombinedOutput(); err != nil || string(out) != "purged: the token for app \"default\"; the other sidecars on this Redis forget within seconds\n" {
		t.Fatalf("purge --token-stdin: %v: %s; want the report of a purge of one token", err, out)
	}
	eventually(t, "the other sidecar has received the purge of one token", func() bool { return len(ours[1].Log.Lines("purge received")) == 1 })
	before := ig.CallsFor("IGAA-one")
	hit, again := ours[1].hits(t, "IGAA-one"), ig.CallsFor("IGAA-one")-before
	if two0, two1 := ours[0].hits(t, "IGAA-two"), ours[1].hits(t, "IGAA-two"); hit || again != 1 || !two0 || !two1 {
		t.Errorf("after the purge of IGAA-one: its hit in sidecar 1: got %v, want false; its exchanges: got %d, want 1; the hits of IGAA-two in sidecars 0 and 1: got %v and %v, want true", hit, again, two0, two1)
	}
	fill()

	// Everything.
	if code, out, errs := ours[1].operate(t, "purge", "--all"); code != 0 || out != "purged: everything for app \"default\" (entries in this sidecar's memory: 2); the other sidecars on this Redis forget within seconds\n" {
		t.Fatalf("exit code %d, want 0 and the report of a purge of everything: %s%s", code, out, errs)
	}
	eventually(t, "the other sidecar has received the purge of everything", func() bool { return len(ours[0].Log.Lines("purge received")) == 1 })
	before = ig.Calls()
	for _, token := range []string{"IGAA-one", "IGAA-two"} {
		if ours[0].hits(t, token) {
			t.Errorf("%s is still known after the purge", token)
		}
		if !theirs.hits(t, token) {
			t.Errorf("another app's %s was purged", token)
		}
	}
	if ig.Calls() != before+2 {
		t.Errorf("%d calls after the purge, want 2", ig.Calls()-before)
	}
	late := fleet(t, 1, append(settings, "APP_ID=17841400000000001")...)[0]
	eventually(t, "a sidecar that starts later finds what has been stored", func() bool { return late.hits(t, "IGAA-one") })
	if ig.Calls() != before+2 {
		t.Errorf("%d calls after the purge and the start of another sidecar, want 2", ig.Calls()-before)
	}
	for i, p := range append(ours, theirs, late) {
		if log := p.settled(t).String(); strings.Contains(log, "IGAA-one") {
			t.Errorf("the log of sidecar %d contains the token IGAA-one, want no token", i)
		}
		if got := p.metric(t, `igproxy_redis_errors_total{kind="permission",operation="purge"}`); got != 0 {
			t.Errorf("sidecar %d counts %v purges for which it lacks a permission in Redis, want 0", i, got)
		}
	}
}

// While Redis is down, a purge reaches only the sidecar that performs it. The other sidecar keeps
// its entries, and learns of the purge once Redis is back.
func TestPurgeDuringARedisOutageIsSharedLater(t *testing.T) {
	t.Parallel()
	_, upstream := instagram(t, mock.ServerOptions{})
	redis := redistest.Start(t)
	all := fleet(t, 2, append(singleRedis(redis), "UPSTREAM_URL="+upstream.URL, patientRedis)...)
	for _, p := range all {
		eventually(t, "the token is cached", func() bool { return p.hits(t, "IGAA-one") })
	}
	redis.Kill()
	code, out, errs := all[0].operate(t, "purge", "--all")
	if code != 1 || out != "" || !strings.Contains(errs, "only in this sidecar") {
		t.Errorf("exit code %d, want 1 with no standard output and \"only in this sidecar\": %s%s", code, out, errs)
	}
	if purged, other := all[0].hits(t, "IGAA-one"), all[1].hits(t, "IGAA-one"); purged || !other {
		t.Errorf("a hit after the purge: the first sidecar got %v, want false; the second got %v, want true", purged, other)
	}
	redis.Restart()
	eventually(t, "the other sidecar learns of the purge", func() bool { return len(all[1].Log.Lines("purge received")) == 1 })
}

func TestPurgeReachesEverySidecarThroughARedisCluster(t *testing.T) {
	t.Parallel()
	ig, upstream := instagram(t, mock.ServerOptions{})
	cluster := redistest.StartCluster(t)
	all := fleet(t, 2, "REDIS_MODE=cluster", "REDIS_ADDRS="+cluster.Addrs(), "UPSTREAM_URL="+upstream.URL, patientRedis)
	for i := range 20 { // in many slots
		for _, p := range all {
			eventually(t, "the token is cached", func() bool { return p.hits(t, fmt.Sprintf("IGAA-%d", i)) })
		}
	}
	if code, out, errs := all[0].operate(t, "purge", "--all"); code != 0 {
		t.Fatalf("exit code %d, want 0: %s%s", code, out, errs)
	}
	eventually(t, "the other sidecar learns of the purge", func() bool { return len(all[1].Log.Lines("purge received")) == 1 })
	before := ig.Calls()
	for i := range 20 {
		if all[1].hits(t, fmt.Sprintf("IGAA-%d", i)) {
			t.Errorf("token %d is still known after the purge", i)
		}
	}
	if ig.Calls() != before+20 {
		t.Errorf("%d calls, want 20", ig.Calls()-before)
	}
}
