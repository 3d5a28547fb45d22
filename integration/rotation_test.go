package integration

// The client secret is changed in Meta's dashboard under load, and no request fails: during the
// rotation, client_secret_file has both secrets, and igproxy uses the one that Instagram accepts.

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/igproxy/igproxy/cache/redistest"
	"github.com/igproxy/igproxy/proxy/mock"
)

const nextSecret = "7d3e1f90ab5c4826937fd0c1b2a3e4f5" // like appSecret, it must not leak

// inUse returns which secret the sidecar tries first, according to its metrics.
func (p *process) inUse(t *testing.T) string {
	t.Helper()
	for _, which := range []string{"current", "previous"} {
		if p.metric(t, fmt.Sprintf(`igproxy_client_secret_in_use{app="default",which=%q}`, which)) == 1 {
			return which
		}
	}
	return ""
}

func TestSecretRotationUnderLoadFailsNoRequest(t *testing.T) {
	t.Parallel()
	ig, upstream := instagram(t, mock.ServerOptions{})
	redis := redistest.Start(t)
	dir := t.TempDir()
	put := func(lines ...string) {
		t.Helper()
		next := filepath.Join(dir, "next")
		must(t, os.WriteFile(next, []byte(strings.Join(lines, "\n")+"\n"), 0o600))
		must(t, os.Rename(next, filepath.Join(dir, "secret")))
	}
	put(appSecret)
	key := file(t, "key", strings.Repeat("k", 32))
	settings := append(singleRedis(redis), "UPSTREAM_URL="+upstream.URL, "CLIENT_SECRET_FILE="+filepath.Join(dir, "secret"), "CACHE_KEY_FILE="+key, "APP_ID=1", "LOG_LEVEL=info", patientRedis)
	var all []*process
	for range 2 {
		p := start(t, without(environ(settings...), "IGPROXY_CLIENT_SECRET"), "serve")
		p.Listening(t)
		all = append(all, p)
	}
	early := all[0].ask(t, "IGAA-early").token()
	load := startPressure(t, all...)
	load.more()
	each := func(what, which string, reloads int) {
		t.Helper()
		for i, p := range all {
			eventually(t, fmt.Sprintf("sidecar %d: %s", i, what), func() bool {
				return p.inUse(t) == which && len(p.Log.Lines("configuration reloaded")) == reloads
			})
		}
		load.more()
	}
	each("before the rotation, the only secret is in use", "current", 0)
	put(nextSecret, appSecret) // 1. the file gets the new secret, then the old secret
	each("the old secret stays in use", "previous", 1)
	ig.SetSecrets(nextSecret) // 2. "Reset" in the dashboard: the old secret stops working
	each("the new secret is in use", "current", 1)
	put(nextSecret) // 3. the old secret is removed from the file
	each("the new secret stays in use", "current", 2)
	if n := load.stop(); n < 100 {
		t.Errorf("%d requests were answered, want at least 100", n)
	}
	if r := all[1].ask(t, "IGAA-early"); r.token() != early || ig.CallsFor("IGAA-early") != 1 {
		t.Errorf("a known token: got the answer from before the rotation: %v, want true; got %d calls, want 1", r.token() == early, ig.CallsFor("IGAA-early"))
	}
	for i, p := range all {
		text := p.settled(t).String()
		if strings.Contains(text, appSecret) || strings.Contains(text, nextSecret) {
			t.Errorf("sidecar %d: a secret is in the log", i)
		}
		if got := len(p.Log.Lines("client secret switched")); got != 1 {
			t.Errorf("sidecar %d: the log reports %d times that the secret was switched, want once", i, got)
		}
		if got := len(p.Log.Lines("client secret refused")); got > 0 {
			t.Errorf("sidecar %d: got %d lines \"client secret refused\", want 0", i, got)
		}
	}
}

func TestWithoutKeyFileCacheSurvivesUntilTheOldSecretIsRemoved(t *testing.T) {
	t.Parallel()
	ig, upstream := instagram(t, mock.ServerOptions{})
	ig.SetSecrets(appSecret, nextSecret)
	secret := file(t, "secret", appSecret+"\n")
	env := without(environ("UPSTREAM_URL="+upstream.URL, "CLIENT_SECRET_FILE="+secret, adminSocket(t)), "IGPROXY_CLIENT_SECRET")
	p := start(t, env, "serve")
	p.Listening(t)
	for _, c := range []struct {
		lines string
		calls int
	}{{appSecret, 1}, {nextSecret + "\n" + appSecret, 1}, {nextSecret, 2}} {
		must(t, os.WriteFile(secret, []byte(c.lines+"\n"), 0o600))
		if code, _, errs := p.operate(t, "reload"); code != 0 {
			t.Fatal(errs)
		}
		if r := p.ask(t, "IGAA-kept"); r.status != 200 || ig.CallsFor("IGAA-kept") != c.calls {
			t.Errorf("the file has %q: got %d after %d calls, want 200 after %d calls", c.lines, r.status, ig.CallsFor("IGAA-kept"), c.calls)
		}
	}
}

// The rehearsal of a rotation in docs/operations.md uses POST /__secret.
func TestMockAcceptsANewSecret(t *testing.T) {
	t.Parallel()
	mock := start(t, environ(), "mock", "--listen", "127.0.0.1:0", "--secret", appSecret)
	eventually(t, "the stand-in listens", func() bool { return len(mock.Log.Lines("mock listening")) > 0 })
	base := mock.Log.Lines("mock listening")[0]["url"].(string)
	p := serve(t, "UPSTREAM_URL="+base)
	if r := p.ask(t, "IGAA-1"); r.status != 200 {
		t.Fatalf("got %d, want 200", r.status)
	}
	if r := post(t, base+"/__secret", url.Values{"secret": {nextSecret}}.Encode()); r.status != 200 || strings.Contains(r.body, nextSecret) {
		t.Errorf("POST /__secret: got %d %s, want 200 without the secret", r.status, r.body)
	}
	if r := p.ask(t, "IGAA-2"); r.status != 400 || r.graphError(t).Code != 100 {
		t.Errorf("with the previous secret: got %d %s, want 400 with code 100", r.status, r.body)
	}
	if strings.Contains(mock.Log.String(), nextSecret) {
		t.Error("the stand-in logs a secret")
	}
}
