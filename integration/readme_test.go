package integration

// The commands with which README runs igproxy against Instagram work. The test does not run make
// build. It replaces the path of the secret and the URL of Redis, and uses the stand-in for
// Instagram.

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/igproxy/igproxy/cache/redistest"
	"github.com/igproxy/igproxy/integration/harness"
	"github.com/igproxy/igproxy/proxy/mock"
)

func TestTheReadmesCommandsForInstagramAndRedisWork(t *testing.T) {
	t.Parallel()
	_, block, found := strings.Cut(read(t, "../README.md"), "Against Instagram, with Redis:\n\n")
	block, _, ended := strings.Cut(block, "\n\n")
	if !found || !ended {
		t.Fatal("README has no block of commands after \"Against Instagram, with Redis:\"")
	}
	build, block, _ := strings.Cut(block, "\n") // the test already has a binary, with the race detector
	if !strings.HasPrefix(strings.TrimSpace(build), "make build ") {
		t.Fatalf("the first line is %q, want make build", build)
	}
	_, upstream := instagram(t, mock.ServerOptions{TLS: true})
	redis := redistest.Start(t)
	block = strings.NewReplacer("/run/secrets/instagram", file(t, "secret", appSecret+"\n"), "redis://localhost:6379/0", redis.URL()).Replace(block)
	env := without(environ("UPSTREAM_URL="+upstream.URL, "UPSTREAM_CA_FILE="+caFile(t, upstream)), "IGPROXY_CLIENT_SECRET")
	for i, v := range env {
		if strings.HasPrefix(v, "PATH=") {
			env[i] = "PATH=" + filepath.Dir(harness.Binary) + ":" + os.Getenv("PATH")
		}
	}
	p := startCommand(t, env, exec.Command("/bin/sh", "-c", strings.ReplaceAll(block, "igproxy serve", "exec igproxy serve")))
	p.Listening(t)
	if !strings.Contains(p.Log.String(), "ok       redis") || !strings.Contains(p.Log.String(), "ok       upstream") {
		t.Errorf("want ok for redis and upstream, got\n%s", p.Log)
	}
	if r := p.ask(t, "IGAA-readme"); r.status != 200 {
		t.Errorf("got %d %s, want 200", r.status, r.body)
	}
	_ = p.Cmd.Process.Signal(syscall.SIGTERM)
	if code := p.Wait(t); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}
