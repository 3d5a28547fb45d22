package integration

// Operators turn keep.enabled off and on, purge, change the client secret and stop sidecars, while
// igproxy keeps tokens alive.

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/igproxy/igproxy/cache/redistest"
	"github.com/igproxy/igproxy/integration/harness"
	"github.com/igproxy/igproxy/proxy/mock"
)

func TestReloadTurnsKeepingOffAndOn(t *testing.T) {
	t.Parallel()
	meta, redis := newRenewing(t, mock.Options{Secret: appSecret}), redistest.Start(t)
	config := file(t, "igproxy.yaml", "keep: {enabled: true}\n")
	// [1:] leaves out KEEP_ENABLED, which would override the file.
	settings := append(keeping(once)[1:], append(singleRedis(redis), "UPSTREAM_URL="+meta.url, "CONFIG="+config, adminSocket(t))...)
	p := serve(t, settings...)
	set := func(enabled bool) {
		t.Helper()
		must(t, os.WriteFile(config, fmt.Appendf(nil, "keep: {enabled: %v}\n", enabled), 0o600))
		if code, _, errs := p.operate(t, "reload"); code != 0 {
			t.Fatalf("reload: exit code %d, want 0: %s", code, errs)
		}
	}
	long := meta.newLong(t, p, "IGAA-reload")
	next := meta.successor(t, p, long)
	set(false)
	p.uses(t, long)
	if got := meta.lastToken(); got != long {
		t.Errorf("the token of a call, after keep.enabled was turned off: got %s, want the app's token %s", got, long)
	}
	eventually(t, "a refresh by the app reaches Meta, once refresh.ttl has passed", func() bool {
		r := p.fetch(t, refreshPath(long))
		return r.status == 200 && meta.RefreshesFor(long) == 2
	})
	other := meta.newLong(t, p, "IGAA-off")
	p.uses(t, other)
	set(true)
	p.uses(t, long)
	if got := meta.lastToken(); got != next {
		t.Errorf("the token of a call, after keep.enabled was turned on again: got %s, want the successor %s", got, next)
	}
	if got := meta.RefreshesFor(other); got != 0 {
		t.Errorf("%d refreshes of a token that was used only while keep.enabled was false, want 0", got)
	}
	meta.successor(t, p, other)
}

func TestPurgeForgetsSuccessors(t *testing.T) {
	t.Parallel()
	meta, _, all := keptBy(t, 2)
	one, two := meta.newLong(t, all[0], "IGAA-one"), meta.newLong(t, all[0], "IGAA-two")
	next := map[string]string{one: meta.successor(t, all[0], one), two: meta.successor(t, all[0], two)}
	sends := func(p *process, token, want string) bool { p.uses(t, token); return meta.lastToken() == want }
	for token := range next {
		if !sends(all[1], token, next[token]) {
			t.Fatalf("sidecar 1 sent %s, want the successor %s", meta.lastToken(), next[token])
		}
	}

	open := meta.holdBefore(t) // so that a purged token does not get a new successor as soon as it is used
	cmd := exec.CommandContext(t.Context(), harness.Binary, "purge", "--token-stdin")
	cmd.Env, cmd.Stdin = all[0].operator(), strings.NewReader(one+"\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("purge --token-stdin: %v: %s", err, out)
	}
	eventually(t, "sidecar 1 has forgotten the successor of the purged token", func() bool { return len(all[1].Log.Lines("purge received")) == 1 })
	for i, p := range all {
		if !sends(p, one, one) {
			t.Errorf("sidecar %d, the purged token: sent %s, want the app's token %s", i, meta.lastToken(), one)
		}
		if !sends(p, two, next[two]) {
			t.Errorf("sidecar %d, a token that was not purged: sent %s, want its successor %s", i, meta.lastToken(), next[two])
		}
	}
	if code, _, errs := all[1].operate(t, "purge", "--all"); code != 0 {
		t.Fatalf("purge --all: exit code %d, want 0: %s", code, errs)
	}
	eventually(t, "sidecar 0 has forgotten all successors", func() bool { return len(all[0].Log.Lines("purge received")) == 1 })
	for i, p := range all {
		for _, token := range []string{one, two} {
			if !sends(p, token, token) {
				t.Errorf("sidecar %d, after purge --all: sent %s, want the app's token %s", i, meta.lastToken(), token)
			}
		}
	}
	open()
	for _, token := range []string{one, two} {
		eventually(t, "one of the sidecars sends a new successor", func() bool {
			return slices.ContainsFunc(all, func(p *process) bool {
				p.uses(t, token)
				sent := meta.lastToken()
				return sent != token && sent != next[token]
			})
		})
	}
}

func TestCacheKeyFileLetsSuccessorsSurviveARotationOfTheClientSecret(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		settings []string
		survives bool // whether the successor is still known after the previous secret is removed
	}{
		{"with cache.key_file", []string{"CACHE_KEY_FILE=" + file(t, "key", strings.Repeat("k", 32)), "APP_ID=" + appID}, true},
		{"without cache.key_file", nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			meta, redis := newRenewing(t, mock.Options{}), redistest.Start(t)
			meta.SetSecrets(appSecret, nextSecret)
			secret := filepath.Join(t.TempDir(), "secret")
			env := without(environ(slices.Concat(keeping(once), singleRedis(redis), c.settings, []string{"UPSTREAM_URL=" + meta.url, "CLIENT_SECRET_FILE=" + secret, adminSocket(t)})...), "IGPROXY_CLIENT_SECRET")
			must(t, os.WriteFile(secret, []byte(appSecret+"\n"), 0o600))
			p := start(t, env, "serve")
			p.Listening(t)
			long := meta.newLong(t, p, "IGAA-rotation")
			next := meta.successor(t, p, long)
			for _, lines := range []string{nextSecret + "\n" + appSecret, nextSecret} {
				must(t, os.WriteFile(secret, []byte(lines+"\n"), 0o600))
				if code, _, errs := p.operate(t, "reload"); code != 0 {
					t.Fatalf("reload: exit code %d, want 0: %s", code, errs)
				}
				want := long
				if c.survives || lines != nextSecret {
					want = next
				}
				p.uses(t, long)
				if meta.lastToken() != want {
					t.Errorf("%d secrets in the file; successor sent: got %v, want %v", strings.Count(lines, "\n")+1, meta.lastToken() == next, want == next)
				}
			}
		})
	}
}

func TestAStopWaitsForARefresh(t *testing.T) {
	t.Parallel()
	meta, _, all := keptBy(t, 2)
	long := meta.newLong(t, all[0], "IGAA-stopped")
	open := meta.holdAfter(t) // Meta refreshes the token, but igproxy does not get the answer yet
	all[0].uses(t, long)
	meta.holds(t)
	must(t, all[0].Cmd.Process.Signal(syscall.SIGTERM))
	eventually(t, "the sidecar drains", func() bool { return len(all[0].Log.Lines("draining")) == 1 })
	select {
	case <-all[0].Exited:
		t.Error("the sidecar ended during the refresh")
	default:
	}
	open()
	if code := all[0].Wait(t); code != 0 || len(all[0].Log.Lines("token refreshed")) != 1 {
		t.Errorf("exit code %d, want 0; the log has %d refreshes, want 1", code, len(all[0].Log.Lines("token refreshed")))
	}
	all[1].uses(t, long)
	if issued := meta.Issued(long); len(issued) != 1 || meta.lastToken() != issued[0] {
		t.Errorf("successors that were issued: got %q, want one; token that the other sidecar sent: got %s, want this successor", issued, meta.lastToken())
	}
}

// Tokens that wait for a refresh do not delay a stop.
func TestAStopDoesNotWaitForTokensInTheQueue(t *testing.T) {
	t.Parallel()
	meta, _, all := keptBy(t, 1, "KEEP_MAX_PER_MINUTE=1")
	busy, long := meta.newLong(t, all[0], "IGAA-busy"), meta.newLong(t, all[0], "IGAA-waits")
	meta.successor(t, all[0], busy) // this uses up KEEP_MAX_PER_MINUTE, so the next refresh begins in a minute
	all[0].uses(t, long)
	if code := all[0].Stop(t); code != 0 || meta.RefreshesFor(long) != 0 {
		t.Errorf("exit code %d, want 0; %d refreshes of the waiting token, want 0", code, meta.RefreshesFor(long))
	}
}

func TestARefreshThatHangsDelaysAStopByTheDrainAtMost(t *testing.T) {
	t.Parallel()
	meta, _, all := keptBy(t, 2, often, "SERVER_DRAIN=1s")
	long := meta.newLong(t, all[0], "IGAA-hung")
	open := meta.holdBefore(t)
	all[0].uses(t, long)
	meta.holds(t)
	begun := time.Now()
	code := all[0].Stop(t)
	if took := time.Since(begun); took > 10*time.Second { // server.drain is one second; the rest is for a busy machine
		t.Errorf("the stop took %s, want at most 10s (exit code %d)", took, code)
	}
	eventually(t, "the refresh ends with the sidecar", func() bool { return meta.held.Load() == 0 })
	open()
	meta.survives(t, all[0], all[1], long)
}
