package integration

// After a mistake in the command line or in a setting, a command prints at most two lines and ends
// with an exit code that scripts can test. Only igproxy check prints more lines, because it reports
// all problems. No message contains a secret.

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/igproxy/igproxy/cache/redistest"
	"github.com/igproxy/igproxy/proxy/mock"
)

func TestMistakesHaveExitCodesAndShortMessages(t *testing.T) {
	t.Parallel()
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	bare := without(environ(), "IGPROXY_CLIENT_SECRET")
	for name, c := range map[string]struct {
		env  []string
		args []string
		code int
		says string
	}{
		"no secret":         {bare, []string{"serve"}, 2, "client_secret"},
		"unreadable secret": {append(slices.Clone(bare), "IGPROXY_CLIENT_SECRET_FILE=/nonexistent/secret"), []string{"serve"}, 2, "/nonexistent/secret"},
		"missing config":    {environ(), []string{"serve", "--config", "/nonexistent.yaml"}, 2, "/nonexistent.yaml"},
		"unknown key":       {environ(), []string{"serve", "--config", file(t, "igproxy.yaml", "upstream:\n  timout: 3s\n")}, 2, "upstream.timeout"},
		"busy port":         {environ("LISTEN=" + busy.Addr().String()), []string{"serve"}, 1, "in use"},
		"busy admin port":   {environ("ADMIN_LISTEN=" + busy.Addr().String()), []string{"serve"}, 1, "admin.listen"},
		"leftover argument": {environ(), []string{"serve", "now"}, 2, "now"},
		"unknown command":   {environ(), []string{"server"}, 2, "server"},
		"unknown flag":      {environ(), []string{"serve", "--prot", "1"}, 2, "prot"},
		"closed admin port": {environ("ADMIN_LISTEN=127.0.0.1:1"), []string{"healthcheck"}, 1, "127.0.0.1:1"},
		"busy mock port":    {environ(), []string{"mock", "--listen", busy.Addr().String()}, 1, "listen"},
	} {
		t.Run(name, func(t *testing.T) {
			code, stdout, stderr := command(t, c.env, c.args...)
			if code != c.code || !strings.Contains(stderr, c.says) || stdout != "" {
				t.Errorf("exit code %d, want %d with %q on standard error only; standard output %q; standard error:\n%s", code, c.code, c.says, stdout, stderr)
			}
			if lines := strings.Count(stderr, "\n"); lines > 2 {
				t.Errorf("%d lines, want at most 2:\n%s", lines, stderr)
			}
			if strings.Contains(stdout+stderr, appSecret) {
				t.Error("the secret was printed")
			}
		})
	}
}

func TestCheckReportsAllProblemsAtOnce(t *testing.T) {
	t.Parallel()
	config := file(t, "igproxy.yaml", "lisen: 127.0.0.1:1\nupstream:\n  timeout: 5\n  url: http://graph.instagram.com\nbreaker:\n  interval: 1s\nlog:\n  level: loud\n")
	code, stdout, _ := command(t, environ(), "check", "--config", config)
	if code != 2 {
		t.Errorf("exit code %d, want 2", code)
	}
	for _, says := range []string{"igproxy.yaml:1: lisen", "igproxy.yaml:3: upstream.timeout", "igproxy.yaml:4: upstream.url", "igproxy.yaml:6: breaker.interval",
		"igproxy.yaml:8: log.level"} {
		if !strings.Contains(stdout, says) {
			t.Errorf("check does not report %q:\n%s", says, stdout)
		}
	}
	if code, stdout, _ := command(t, environ(), "check"); code != 0 || !strings.Contains(stdout, "ok") {
		t.Errorf("a valid configuration: exit code %d, want 0 with \"ok\"\n%s", code, stdout)
	}
}

func TestCheckOnlineTestsEachPart(t *testing.T) {
	t.Parallel()
	_, upstream := instagram(t, mock.ServerOptions{TLS: true})
	redis := redistest.Start(t)
	settings := []string{"UPSTREAM_URL=" + upstream.URL, "UPSTREAM_CA_FILE=" + caFile(t, upstream), "REDIS_MODE=single", "REDIS_URL=" + redis.URL()}
	if code, stdout, stderr := command(t, environ(settings...), "check", "--online"); code != 0 {
		t.Errorf("exit code %d, want 0\n%s%s", code, stdout, stderr)
	}
	code, stdout, _ := command(t, environ(append(settings, "CLIENT_SECRET=another-secret-0123")...), "check", "--online")
	if code != 1 || !strings.Contains(stdout, "client secret") {
		t.Errorf("a wrong secret: exit code %d, want 1 with \"client secret\"\n%s", code, stdout)
	}
	redis.Kill()
	code, stdout, stderr := command(t, environ(append(settings[:1:1], "REDIS_MODE=single", "REDIS_URL="+redis.URL())...), "check", "--online")
	if code != 1 || stderr != "" || !strings.Contains(stdout, "error    redis: ") || !strings.Contains(stdout, "error    upstream ") {
		t.Errorf("no Redis and an unknown authority: exit code %d, want 1 with \"error    redis:\" and \"error    upstream\", and nothing on standard error\n%s%s", code, stdout, stderr)
	}
}

func TestHealthcheckOfAReadySidecarSucceeds(t *testing.T) {
	t.Parallel()
	_, upstream := instagram(t, mock.ServerOptions{})
	p := serve(t, "UPSTREAM_URL="+upstream.URL)
	env := without(environ("ADMIN_LISTEN="+strings.TrimPrefix(p.Admin, "http://")), "IGPROXY_CLIENT_SECRET")
	if code, stdout, stderr := command(t, env, "healthcheck"); code != 0 || !strings.HasPrefix(stdout, "ready") {
		t.Errorf("exit code %d, want 0 with \"ready\": %s%s", code, stdout, stderr)
	}
	if r := p.page(t, "/healthz"); r.status != 200 {
		t.Errorf("/healthz returned %d, want 200", r.status)
	}
}

func TestHelpVersionAndCompletionArePrinted(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"--help"}, {"help"}, {}, {"serve", "--help"}, {"mock", "--help"}, {"--version"}} {
		if code, stdout, stderr := command(t, environ(), args...); code != 0 || len(stdout) < 20 || stderr != "" {
			t.Errorf("%v: exit code %d, want 0 with a text on standard output only\n%s%s", args, code, stdout, stderr)
		}
	}
	_, stdout, _ := command(t, environ(), "--generate-bash-completion")
	for _, name := range []string{"serve", "mock", "demo", "check", "healthcheck", "status", "reload", "purge"} {
		if !strings.Contains(stdout, name) {
			t.Errorf("completion does not offer %s", name)
		}
	}
}

func TestUnixSocketServesLikeAPort(t *testing.T) {
	t.Parallel()
	_, upstream := instagram(t, mock.ServerOptions{})
	path := filepath.Join(t.TempDir(), "ig.sock")
	p := serve(t, "UPSTREAM_URL="+upstream.URL, "LISTEN=unix:"+path)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("the socket: %v, %v; want mode 0660", info, err)
	}
	client := unixClient(path)
	defer client.CloseIdleConnections()
	if r, err := fetch(t.Context(), client, "http://igproxy"+exchangePath("IGAA-unix")); err != nil || r.status != 200 {
		t.Errorf("got %d, %v; want 200", r.status, err)
	}
	_ = p.Cmd.Process.Kill()
	<-p.Exited
	// The killed process has left its socket behind. The next process must start anyway.
	serve(t, "UPSTREAM_URL="+upstream.URL, "LISTEN=unix:"+path)
}
