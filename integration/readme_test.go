package integration

// What README tells people to type works as it is written. Only what differs from machine to machine is put in its place: the ports, the
// folder of the secret, and the stand-in for Instagram.

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/igproxy/igproxy/cache/redistest"
	"github.com/igproxy/igproxy/proxy/proxytest"
)

func readme(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// fenced is the first code block of a language.
func fenced(t *testing.T, language string) string {
	t.Helper()
	_, rest, found := strings.Cut(readme(t), "```"+language+"\n")
	code, _, closed := strings.Cut(rest, "```")
	if !found || !closed {
		t.Fatalf("README has no block in %s", language)
	}
	return code
}

// typed runs a program with code on its standard input, in the repository's folder.
func typed(t *testing.T, code, program string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	var out, errs bytes.Buffer
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = "..", strings.NewReader(code), &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s\n%s%s", program, err, code, out.String(), errs.String())
	}
	return out.String()
}

func TestReadmesFirstCommand(t *testing.T) {
	lines := strings.Fields(readme(t)[strings.Index(readme(t), "    make run"):])
	if strings.Join(lines[:8], " ") != "make run # or: go run ./cmd/igproxy demo" || lines[8] != "--once," {
		t.Fatalf("README's first command is %q", lines[:9])
	}
	if out := typed(t, strings.TrimSuffix(strings.Join(lines[4:9], " "), ","), "sh"); !strings.Contains(out, "50 of 50 callers") {
		t.Errorf("it shows\n%s", out)
	}
	makefile, err := os.ReadFile("../Makefile")
	if err != nil || !strings.Contains(string(makefile), "\nrun:\n\tgo run ./cmd/igproxy demo\n") || !strings.Contains(string(makefile), "\ntest: deps\n\tgo test -race") {
		t.Errorf("make run or make test is not what README says (%v)", err)
	}
}

func TestReadmesExamples(t *testing.T) {
	ig, upstream := instagram(t, proxytest.ServerOptions{})
	p := serve(t, "UPSTREAM_URL="+upstream.URL)
	here := func(code string) string { return strings.ReplaceAll(code, "http://127.0.0.1:8080", p.url) }
	answer := typed(t, here(fenced(t, "sh")), "sh")
	if !regexp.MustCompile(`^\{"access_token":"IGAA[^"]+","token_type":"bearer","expires_in":51\d{5}\}$`).MatchString(strings.TrimSpace(answer)) {
		t.Errorf("curl printed %s", answer)
	}
	long := ig.Issued("SHORT")[0]
	if got := typed(t, "short = 'SHORT'\n"+here(fenced(t, "python"))+"\nprint(long_lived)\n", "python3", "-"); strings.TrimSpace(got) != long {
		t.Errorf("Python got %q", got)
	}
	if got := typed(t, "const short = 'SHORT';\n"+here(fenced(t, "js"))+"\nconsole.log(access_token);\n", "node", "--input-type=module", "-"); strings.TrimSpace(got) != long {
		t.Errorf("Node got %q", got)
	}
	if ig.Calls() != 1 {
		t.Errorf("%d calls for one token, want 1", ig.Calls())
	}
}

// The lines that run it against Instagram, with Redis.
func TestReadmesWayToInstagram(t *testing.T) {
	_, block, found := strings.Cut(readme(t), "Against Instagram, with Redis:\n\n")
	block, _, ended := strings.Cut(block, "\n\n")
	if !found || !ended {
		t.Fatal("README does not say how to run it against Instagram")
	}
	build, block, _ := strings.Cut(block, "\n") // the binary is built already, with the race detector
	if !strings.HasPrefix(strings.TrimSpace(build), "make build ") {
		t.Fatalf("the first line is %q", build)
	}
	_, upstream := instagram(t, proxytest.ServerOptions{TLS: true})
	redis := redistest.Start(t)
	block = strings.NewReplacer("/run/secrets/instagram", file(t, "secret", appSecret+"\n"), "redis://localhost:6379/0", redis.URL()).Replace(block)
	env := without(environ("UPSTREAM_URL="+upstream.URL, "UPSTREAM_CA_FILE="+caFile(t, upstream)), "IGPROXY_CLIENT_SECRET")
	for i, v := range env {
		if strings.HasPrefix(v, "PATH=") {
			env[i] = "PATH=" + filepath.Dir(binary) + ":" + os.Getenv("PATH")
		}
	}
	p := startBinary(t, "/bin/sh", env, "-c", strings.ReplaceAll(block, "igproxy serve", "exec igproxy serve"))
	p.listening(t)
	if !strings.Contains(p.log.String(), "ok       redis") || !strings.Contains(p.log.String(), "ok       upstream") {
		t.Errorf("check --online said\n%s", p.log)
	}
	if r := p.ask(t, "IGAA-readme"); r.status != 200 {
		t.Errorf("got %d %s", r.status, r.body)
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	if code := p.wait(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
}
