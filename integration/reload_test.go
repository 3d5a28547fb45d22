package integration

// A changed configuration takes effect without a restart and without a failed request. An invalid
// configuration changes nothing.

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/igproxy/igproxy/proxy/mock"
)

// pressure is a crowd of apps that request known and new tokens until it is stopped. All of them
// must get tokens.
type pressure struct {
	t        *testing.T
	answered atomic.Int64
	end      context.CancelFunc
	stopped  chan struct{}
}

func startPressure(t *testing.T, all ...*process) *pressure {
	load, cancel := context.WithCancel(t.Context())
	l := &pressure{t: t, end: cancel, stopped: make(chan struct{})}
	go func() { // ends when stop is called
		defer close(l.stopped)
		crowd(6, func(i int) {
			for n := 0; load.Err() == nil; n++ {
				r, err := all[(i+n)%len(all)].try(context.Background(), fmt.Sprintf("IGAA-load-%d-%d", i, n/2))
				if err != nil || r.status != 200 {
					t.Errorf("caller %d: got %d %s, %v; want 200", i, r.status, r.body, err)
					return
				}
				l.answered.Add(1)
			}
		})
	}()
	t.Cleanup(func() { l.stop() })
	return l
}

// more waits until forty more requests have been answered.
func (l *pressure) more() {
	l.t.Helper()
	before := l.answered.Load()
	eventually(l.t, "requests are still answered", func() bool { return l.answered.Load() >= before+40 || l.t.Failed() })
}

func (l *pressure) stop() int64 {
	l.end()
	<-l.stopped
	return l.answered.Load()
}

// adminSocket returns the setting admin.socket with a path in a temporary folder of the test.
func adminSocket(t *testing.T) string {
	t.Helper()
	return "ADMIN_SOCKET=" + filepath.Join(t.TempDir(), "s")
}

// socket returns the path of the sidecar's admin.socket, or "" if that is not set.
func (p *process) socket() (path string) {
	for _, e := range p.Cmd.Env {
		if value, ok := strings.CutPrefix(e, "IGPROXY_ADMIN_SOCKET="); ok {
			path = value
		}
	}
	return path
}

// operator returns the environment for commands that operate the sidecar.
func (p *process) operator() []string {
	return []string{"IGPROXY_ADMIN_LISTEN=" + strings.TrimPrefix(p.Admin, "http://"), "IGPROXY_ADMIN_SOCKET=" + p.socket()}
}

// operate runs a command that operates the sidecar over admin.socket.
func (p *process) operate(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	return command(t, p.operator(), args...)
}

func hangup(t *testing.T, p *process) {
	t.Helper()
	must(t, p.Cmd.Process.Signal(syscall.SIGHUP))
}

// post sends a form. The parameter fields has header names, each followed by its value.
func post(t *testing.T, target, form string, fields ...string) response {
	t.Helper()
	return postBy(t, noKeepAlive, target, form, fields...)
}

func postBy(t *testing.T, client *http.Client, target, form string, fields ...string) response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, target, strings.NewReader(form))
	must(t, err)
	if form != "" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i < len(fields); i += 2 {
		r.Header.Set(fields[i], fields[i+1])
	}
	res, err := client.Do(r)
	must(t, err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	must(t, err)
	return response{status: res.StatusCode, header: res.Header, body: string(body)}
}

func TestSIGHUPUnderLoadAppliesOnlyValidConfigurations(t *testing.T) {
	t.Parallel()
	_, upstream := instagram(t, mock.ServerOptions{})
	config := file(t, "igproxy.yaml", "passthrough:\n  enabled: true\n")
	p := serve(t, "CONFIG="+config, "UPSTREAM_URL="+upstream.URL, "LOG_LEVEL=info")
	load := startPressure(t, p)
	load.more()
	reloads, refusals := 0, 0
	for i := range 3 {
		reloads++
		must(t, os.WriteFile(config, fmt.Appendf(nil, "passthrough:\n  enabled: %v\ncache:\n  ttl: %dm\n", i%2 == 1, 30+i), 0o600))
		hangup(t, p)
		eventually(t, "the new configuration is in use", func() bool { return len(p.Log.Lines("configuration reloaded")) >= reloads })
		load.more()
		want := map[bool]int{true: 200, false: 404}[i%2 == 1]
		if r, err := fetch(t.Context(), noKeepAlive, p.URL+"/me?access_token=IGAA-x"); err != nil || r.status != want {
			t.Errorf("after reload %d: /me got %d, %v; want %d", i, r.status, err, want)
		}

		refusals++
		must(t, os.WriteFile(config, []byte("cache:\n  ttl: 30\nlisen: 1\n"), 0o600))
		hangup(t, p)
		eventually(t, "the invalid configuration is refused", func() bool {
			return len(p.Log.Lines("reload failed")) >= refusals
		})
		load.more()
		if got := p.metric(t, "igproxy_config_last_reload_successful"); got != 0 {
			t.Errorf("igproxy_config_last_reload_successful after a refused reload: got %v, want 0", got)
		}
	}
	var places []string
	for _, line := range p.Log.Lines("configuration problem") {
		places = append(places, fmt.Sprint(line["where"], " ", line["key"]))
	}
	if !slices.Contains(places, config+":2 cache.ttl") || !slices.Contains(places, config+":3 lisen") {
		t.Errorf("the log has the problems %q, want those of cache.ttl and lisen, each with file and line", places)
	}
	if load.stop() == 0 {
		t.Error("no request was answered")
	}
	if got := p.metric(t, "igproxy_config_last_reload_success_timestamp_seconds"); time.Since(time.Unix(int64(got), 0)) > time.Hour {
		t.Errorf("the time of the last successful reload is %v, want the time of this test", got)
	}
}

// Kubernetes updates a mounted ConfigMap or Secret by swapping a symbolic link, without a signal.
func TestSymlinkSwapReloadsTheConfiguration(t *testing.T) {
	t.Parallel()
	ig, upstream := instagram(t, mock.ServerOptions{})
	dir := t.TempDir()
	put := func(version, config, secret string) {
		t.Helper()
		must(t, os.Mkdir(filepath.Join(dir, version), 0o700))
		must(t, os.WriteFile(filepath.Join(dir, version, "igproxy.yaml"), []byte(config), 0o600))
		must(t, os.WriteFile(filepath.Join(dir, version, "secret"), []byte(secret+"\n"), 0o600))
		must(t, os.Symlink(version, filepath.Join(dir, "..next")))
		must(t, os.Rename(filepath.Join(dir, "..next"), filepath.Join(dir, "..data")))
	}
	secretFile := "client_secret_file: " + filepath.Join(dir, "secret") + "\n"
	put("v1", secretFile, "a-secret-that-is-wrong")
	for _, name := range []string{"igproxy.yaml", "secret"} {
		must(t, os.Symlink("..data/"+name, filepath.Join(dir, name)))
	}
	env := without(environ("CONFIG="+filepath.Join(dir, "igproxy.yaml"), "UPSTREAM_URL="+upstream.URL), "IGPROXY_CLIENT_SECRET")
	p := start(t, env, "serve")
	p.Listening(t)
	if r := p.ask(t, "IGAA-early"); r.status != 400 {
		t.Fatalf("with a wrong secret: got %d, want 400", r.status)
	}
	put("v2", secretFile, appSecret)
	eventually(t, "the correct secret is in use", func() bool { return p.ask(t, "IGAA-late").status == 200 })
	if r := p.page(t, "/readyz"); r.status != 200 {
		t.Errorf("/readyz with the correct secret: got %d %s, want 200", r.status, r.body)
	}
	put("v3", secretFile+"passthrough:\n  enabled: false\n", appSecret)
	eventually(t, "the new file is in use", func() bool {
		r, err := fetch(t.Context(), noKeepAlive, p.URL+"/me?access_token=IGAA-x")
		return err == nil && r.status == 404
	})
	put("v4", "client_secret_file: "+filepath.Join(dir, "nowhere")+"\n", appSecret)
	eventually(t, "the invalid configuration is reported", func() bool { return p.metric(t, "igproxy_config_last_reload_successful") == 0 })
	if r := p.ask(t, "IGAA-meanwhile"); r.status != 200 || ig.CallsFor("IGAA-meanwhile") != 1 {
		t.Errorf("while the file is invalid: got %d after %d calls, want 200 after 1 call, as with the previous configuration", r.status, ig.CallsFor("IGAA-meanwhile"))
	}
	must(t, os.WriteFile(filepath.Join(dir, "nowhere"), []byte(appSecret), 0o600))
	eventually(t, "the file that was missing is found", func() bool { return p.metric(t, "igproxy_config_last_reload_successful") == 1 })
	if got := len(p.Log.Lines("reload failed")); got != 1 {
		t.Errorf("one invalid configuration was logged %d times, want 1", got)
	}
}

// keepChanging changes the modification time of a file until the returned function is called. The
// sidecar does not reload a file by itself while the file keeps changing, so only the reload
// command reloads it.
func keepChanging(t *testing.T, path string) (rest func()) {
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() { // ends when rest is called
		defer close(stopped)
		for modified := time.Now(); ; {
			modified = modified.Add(time.Millisecond)
			if err := os.Chtimes(path, modified, modified); err != nil {
				t.Error(err)
			}
			select {
			case <-time.After(10 * time.Millisecond):
			case <-stop:
				return
			}
		}
	}()
	return func() { close(stop); <-stopped }
}

func TestReloadCommandReportsWhatChangedAndWhatNeedsARestart(t *testing.T) {
	t.Parallel()
	_, upstream := instagram(t, mock.ServerOptions{})
	config := file(t, "igproxy.yaml", "upstream:\n  max_in_flight: 7\n")
	p := serve(t, "CONFIG="+config, "UPSTREAM_URL="+upstream.URL, adminSocket(t))
	if code, out, errs := p.operate(t, "reload"); code != 0 || out != "reloaded: nothing has changed\n" {
		t.Errorf("exit code %d: %s%s; want 0 and no change", code, out, errs)
	}
	must(t, os.WriteFile(config, []byte("upstream:\n  max_in_flight: 8\n  retries: 0\nredis:\n  timeout: 40ms\n"), 0o600))
	rest := keepChanging(t, config)
	code, out, errs := p.operate(t, "reload")
	rest()
	if want := "reloaded: upstream.retries; these changes need a restart: upstream.max_in_flight, redis.timeout\n"; code != 0 || out != want {
		t.Errorf("exit code %d: %s%s, want %s", code, out, errs, want)
	}
	want := "reloaded; these changes need a restart: upstream.max_in_flight, redis.timeout\n"
	if code, out, errs := p.operate(t, "reload"); code != 0 || out != want {
		t.Errorf("nothing new: exit code %d: %s%s, want %s", code, out, errs, want)
	}
	if lines := p.Log.Lines("restart needed"); len(lines) == 0 || fmt.Sprint(lines[0]["keys"]) != "[upstream.max_in_flight redis.timeout]" {
		t.Errorf("the log has %v, want the keys upstream.max_in_flight and redis.timeout in the first line", lines)
	}
	must(t, os.WriteFile(config, []byte("upstream:\n  retries: 7\n"), 0o600))
	code, out, errs = p.operate(t, "reload")
	want = "igproxy.yaml:2: upstream.retries: \"7\" is out of range"
	if code != 1 || out != "" || !strings.Contains(errs, want) {
		t.Errorf("an invalid configuration: exit code %d, stdout %q, stderr %q; want 1, no stdout, and %s in stderr", code, out, errs, want)
	}
	var response struct {
		Reloaded                        bool
		Changed, NeedsRestart, Problems []string
	}
	client := unixClient(p.socket())
	defer client.CloseIdleConnections()
	r := postBy(t, client, "http://localhost/reload", "")
	if err := json.Unmarshal([]byte(r.body), &response); err != nil || r.status != 422 || response.Reloaded || len(response.Problems) != 1 {
		t.Errorf("POST /reload: got %d %s, want 422 with one problem", r.status, r.body)
	}
	if got := p.page(t, "/reload").status; got != 405 {
		t.Errorf("GET /reload: got %d, want 405", got)
	}
	if r := postBy(t, client, "http://localhost/reload", "", "Sec-Fetch-Site", "cross-site"); r.status != 403 {
		t.Errorf("from a web page: got %d, want 403", r.status)
	}
}

// A listener keeps the address with which it started. If other machines can reach the listener, a
// reload that removes its authentication is refused, even if the new configuration has a loopback
// address.
func TestReloadCannotRemoveTheAuthenticationOfAReachableListener(t *testing.T) {
	t.Parallel()
	_, upstream := instagram(t, mock.ServerOptions{})
	token := file(t, "token", "0123456789abcdef0123")
	config := file(t, "igproxy.yaml", "listen: 0.0.0.0:0\nauth:\n  bearer_file: "+token+"\n")
	env := without(environ("CONFIG="+config, "UPSTREAM_URL="+upstream.URL, adminSocket(t)), "IGPROXY_LISTEN")
	p := start(t, env, "serve")
	p.Listening(t)
	must(t, os.WriteFile(config, []byte("listen: 127.0.0.1:0\n"), 0o600))
	code, _, errs := p.operate(t, "reload")
	if code != 1 || !strings.Contains(errs, "is reachable by other machines") {
		t.Errorf("exit code %d, want 1 with \"is reachable by other machines\": %s", code, errs)
	}
	p.URL = strings.Replace(p.URL, "[::]", "127.0.0.1", 1)
	p.URL = strings.Replace(p.URL, "0.0.0.0", "127.0.0.1", 1)
	if r := p.ask(t, "IGAA-stranger"); r.status != 401 {
		t.Errorf("an app without the token got %d, want 401", r.status)
	}
}
