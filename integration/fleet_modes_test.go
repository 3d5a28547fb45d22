package integration

// Redis runs as in production: with sentinels that fail over, as a cluster that loses a node or
// moves a slot, and over TLS with client certificates and a user with minimal permissions. No
// request fails, not even under load.

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/igproxy/igproxy/cache/redistest"
	"github.com/igproxy/igproxy/proxy/mock"
)

// underLoad calls event while 16 callers send requests for new and known tokens to all sidecars. It
// returns the tally of the answers.
func underLoad(t *testing.T, ig *mock.Instagram, all []*process, event func()) *tally {
	t.Helper()
	var got tally
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for caller := range 16 {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				short := fmt.Sprintf("IGAA-load-%d", i/3) // each caller sends each token three times
				r, err := all[(caller+i)%len(all)].try(t.Context(), short)
				got.count(ig, short, r, err)
				time.Sleep(2 * time.Millisecond) // leaves the machine some time for Redis
			}
		})
	}
	answered := func(n int64) {
		eventually(t, fmt.Sprintf("%d requests are answered", n), func() bool { return got.right.Load()+got.failed.Load()+got.wrong.Load() >= n })
	}
	answered(200)
	event()
	answered(got.right.Load() + 500)
	close(stop)
	wg.Wait()
	return &got
}

func wantNoFailure(t *testing.T, got *tally) {
	t.Helper()
	if got.failed.Load() > 0 || got.wrong.Load() > 0 {
		t.Errorf("%s; want only right answers", got)
	}
	t.Log(got)
}

// wantShared checks that the first two sidecars use the same Redis: the second finds what the first
// has stored.
func wantShared(t *testing.T, all []*process, token string) {
	t.Helper()
	n := 0
	eventually(t, "the second sidecar finds what the first has stored", func() bool {
		n++
		short := fmt.Sprintf("IGAA-%s-%d", token, n)
		all[0].ask(t, short)
		// Either the second sidecar has a hit, or it asked before the answer was stored, and
		// waited.
		status := all[1].ask(t, short).header.Get("Cache-Status")
		return strings.HasPrefix(status, "igproxy; hit") || status == "igproxy; fwd=miss; collapsed"
	})
}

func TestNoRequestFailsWhileSentinelFailsOver(t *testing.T) {
	t.Parallel()
	ig, upstream := instagram(t, mock.ServerOptions{})
	redis := redistest.StartSentinels(t)
	all := fleet(t, 2, "UPSTREAM_URL="+upstream.URL, "REDIS_MODE=sentinel", "REDIS_ADDRS="+redis.Addrs(), "REDIS_MASTER_NAME="+redistest.MasterName)
	wantShared(t, all, "before")
	wantNoFailure(t, underLoad(t, ig, all, redis.FailOver))
	wantShared(t, all, "after")
}

func TestNoRequestFailsWhileTheClusterMovesASlotOrLosesANode(t *testing.T) {
	t.Parallel()
	ig, upstream := instagram(t, mock.ServerOptions{})
	redis := redistest.StartCluster(t)
	redis.Do(append([]string{"ACL", "SETUSER", "igproxy", "on", ">" + redisPassword}, strings.Fields(documentedACL(t)+documentedClusterACL(t))...)...)
	password := file(t, "password", redisPassword)
	all := fleet(t, 2, "UPSTREAM_URL="+upstream.URL, "REDIS_MODE=cluster", "REDIS_ADDRS="+redis.Addrs(), "REDIS_USERNAME=igproxy", "REDIS_PASSWORD_FILE="+password)
	wantShared(t, all, "before")
	if line := fmt.Sprint(all[0].settled(t).Lines("redis degraded")); line != "[]" {
		t.Errorf("lines \"redis degraded\" with the documented permissions: got %s, want none", line)
	}
	keys := redis.Keys()
	if len(keys) == 0 {
		t.Fatal("the cluster has no keys")
	}
	wantNoFailure(t, underLoad(t, ig, all, func() {
		redis.Migrate(redis.SlotOf(keys[0]), func() {
			for i := range 50 { // while the slot is being moved
				all[i%2].ask(t, fmt.Sprintf("IGAA-half-%d", i))
			}
		})
	}))
	wantShared(t, all, "moved")
	wantNoFailure(t, underLoad(t, ig, all, func() { redis.KillMaster(1) }))
	wantShared(t, all, "after")
}

// The permissions that docs/fleet.md lists are sufficient, also over TLS with a client certificate.
func TestMinimalRedisPermissionsAreEnoughOverTLS(t *testing.T) {
	t.Parallel()
	ig, upstream := instagram(t, mock.ServerOptions{})
	redis := redistest.Start(t, redistest.Options{TLS: true, Args: []string{"--tls-auth-clients", "yes"}})
	redis.Do(append([]string{"ACL", "SETUSER", "igproxy", "on", ">" + redisPassword}, strings.Fields(documentedACL(t))...)...)
	dir := t.TempDir()
	cert, key := redis.CertPEM()
	for name, text := range map[string][]byte{"ca.pem": redis.CAPEM(), "cert.pem": cert, "key.pem": key, "password": []byte(redisPassword + "\n")} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	settings := []string{"UPSTREAM_URL=" + upstream.URL, "REDIS_MODE=single", "REDIS_ADDRS=" + redis.Addr(), "REDIS_TLS=true",
		"REDIS_CA_FILE=" + filepath.Join(dir, "ca.pem"), "REDIS_CERT_FILE=" + filepath.Join(dir, "cert.pem"), "REDIS_KEY_FILE=" + filepath.Join(dir, "key.pem"),
		"REDIS_USERNAME=igproxy", "REDIS_PASSWORD_FILE=" + filepath.Join(dir, "password"), patientRedis}
	all := fleet(t, 2, settings...)
	ig.SetLatency(200 * time.Millisecond)
	answers := waiting(t, all, "IGAA-tls")
	for range all {
		if r := <-answers; r.status != 200 {
			t.Errorf("got %d %s, want 200", r.status, r.body)
		}
	}
	if ig.Calls() != 1 {
		t.Errorf("%d calls, want 1", ig.Calls())
	}
	ig.SetLatency(0)
	wantShared(t, all, "tls")
	for _, p := range all {
		if p.settled(t).String() == "" || len(p.Log.Lines("redis degraded"))+len(p.Log.Lines("redis denies scripts"))+len(p.Log.Lines("redis cannot be used")) > 0 {
			t.Errorf("want a log without \"redis degraded\", \"redis denies scripts\" and \"redis cannot be used\", got:\n%s", p.Log)
		}
	}
	if code, stdout, stderr := command(t, environ(settings...), "check", "--online"); code != 0 {
		t.Errorf("check --online: exit code %d, want 0\n%s%s", code, stdout, stderr)
	}

	// igproxy reads the password file again for each new connection to Redis.
	redis.Do("ACL", "SETUSER", "igproxy", "resetpass", ">"+redisPassword+"2")
	if err := os.WriteFile(filepath.Join(dir, "password"), []byte(redisPassword+"2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	redis.Do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
	wantShared(t, all, "rotated")
}

const redisPassword = "canary-redis-password"

// documentedACL returns the ACL rules in docs/fleet.md.
func documentedACL(t *testing.T) string {
	return textInFleetPage(t, "ACL SETUSER igproxy on >PASSWORD ", "\n")
}

// documentedClusterACL returns the additional ACL rules for a cluster in docs/fleet.md.
func documentedClusterACL(t *testing.T) string {
	return " +cluster" + textInFleetPage(t, "ACL SETUSER igproxy +cluster", "#")
}

// textInFleetPage returns the text in docs/fleet.md between the strings opening and closing.
func textInFleetPage(t *testing.T, opening, closing string) string {
	t.Helper()
	page, err := os.ReadFile("../docs/fleet.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, found := strings.Cut(string(page), opening)
	text, _, ended := strings.Cut(text, closing)
	if !found || !ended {
		t.Fatalf("docs/fleet.md has no text between %q and %q", opening, closing)
	}
	return text
}

// If the Redis user lacks a permission, every request is still answered. The log reports the
// problem once, and check --online names the missing permission.
func TestMissingRedisPermissionIsNamedAndFailsNoRequest(t *testing.T) {
	t.Parallel()
	_, upstream := instagram(t, mock.ServerOptions{})
	redis := redistest.Start(t)
	permissions := strings.Fields(documentedACL(t))
	for _, missing := range []string{"+get", "+set", "+del", "~igproxy:*", "+eval", "+evalsha", "+time"} {
		user := "without-" + strings.Trim(missing, "+~:*")
		args := []string{"ACL", "SETUSER", user, "on", ">" + redisPassword}
		for _, p := range permissions {
			if p != missing {
				args = append(args, p)
			}
		}
		redis.Do(args...)
		redis.Do("SCRIPT", "FLUSH") // if Redis has cached a script, the user does not need the permission for EVAL
		settings := []string{"UPSTREAM_URL=" + upstream.URL, "REDIS_MODE=single", "REDIS_URL=redis://" + user + ":" + redisPassword + "@" + redis.Addr() + "/0", patientRedis}
		p := serve(t, settings...)
		answers(t, p, user, 10)
		scripts := strings.HasPrefix(missing, "+eval")
		eventually(t, "without "+missing+", the log has one line about a missing permission", func() bool {
			if scripts {
				return len(p.Log.Lines("redis denies scripts")) == 1
			}
			lines := p.Log.Lines("redis cannot be used")
			return len(lines) == 1 && lines[0]["level"] == "ERROR" && lines[0]["kind"] == "permission"
		})
		if code, stdout, stderr := command(t, environ(settings...), "check", "--online"); code == 0 || !strings.Contains(stdout+stderr, "give the user "+missing) {
			t.Errorf("check --online: exit code: got %d, want not 0; want \"give the user %s\" in the output, got:\n%s%s", code, missing, stdout, stderr)
		}
		if strings.Contains(p.settled(t).String(), redisPassword) {
			t.Error("the log contains Redis's password")
		}
		redisState(t, p, "ok")
	}
}
