package main

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestHealthcheckReachesAListenerOnAllAddresses(t *testing.T) {
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"ready":true,"client_secret":"accepted"}`))
	})}}
	s.Start()
	defer s.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	for _, host := range []string{"", "0.0.0.0", "[::]", "localhost"} {
		if code, stdout, stderr := command(t, []string{"IGPROXY_ADMIN_LISTEN=" + host + ":" + port}, "healthcheck"); code != 0 {
			t.Errorf("admin.listen with the host %q: exit code %d, want 0\n%s%s", host, code, stdout, stderr)
		}
	}
}

// In this test localhost has no address, as in a container without /etc/hosts.
func TestHealthcheckDoesNotResolveLocalhost(t *testing.T) {
	resolver := net.DefaultResolver
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New("no name server")
	}}
	t.Cleanup(func() { net.DefaultResolver = resolver })
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		s := &httptest.Server{Listener: l, Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"ready":true,"client_secret":"accepted"}`))
		})}}
		s.Start()
		_, port, _ := net.SplitHostPort(l.Addr().String())
		for _, host := range []string{"localhost", "LocalHost."} {
			if code, stdout, stderr := command(t, []string{"IGPROXY_ADMIN_LISTEN=" + host + ":" + port}, "healthcheck"); code != 0 {
				t.Errorf("%s at %s: exit code %d, want 0\n%s%s", host, address, code, stdout, stderr)
			}
		}
		s.Close()
	}
}

func TestHealthcheckReportsWhyIgproxyIsNotReady(t *testing.T) {
	for body, c := range map[string]struct {
		status int
		code   int
		says   string // the end of the output
	}{
		`{"ready":true,"client_secret":"accepted","breaker":"closed","redis":"up"}`: {200, 0, "ready (breaker closed, redis up)\n"},
		`{"ready":false,"draining":true,"client_secret":"accepted"}`:                {503, 1, "igproxy: not ready: draining\n"},
		`{"ready":false,"client_secret":"unproven"}`:                                {503, 1, "igproxy: not ready: the client secret is being tested\n"},
		`{"ready":false,"client_secret":"refused"}`:                                 {503, 1, "igproxy: not ready: Meta refuses the client secret\n"},
		`{"ready":false,"client_secret":"accepted"}`:                                {503, 1, "igproxy: not ready: see /readyz\n"},
		`{"ready":true,"client_secret":"accepted"}`:                                 {503, 1, "igproxy: not ready: see /readyz\n"},
		`<html>another program</html>`:                                              {200, 1, " did not answer as igproxy does; check admin.listen (or admin.socket)\n"},
		`[` + strings.Repeat(" ", 100<<10) + `{"ready":true}]`:                      {200, 1, " did not answer as igproxy does; check admin.listen (or admin.socket)\n"},
	} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/readyz" {
				t.Errorf("the command requested %s, want /readyz", r.URL)
			}
			w.WriteHeader(c.status)
			_, _ = w.Write([]byte(body))
		}))
		code, stdout, stderr := command(t, []string{"IGPROXY_ADMIN_LISTEN=" + s.Listener.Addr().String()}, "healthcheck")
		s.Close()
		if code != c.code || !strings.HasSuffix(stdout+stderr, c.says) || strings.Count(stdout+stderr, "\n") != 1 {
			t.Errorf("%.60s: exit code %d, want %d; output %q, want one line that ends with %q", body, code, c.code, stdout+stderr, c.says)
		}
	}
}

func TestAHealthcheckUsesAUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"ready":true,"client_secret":"accepted","breaker":"open","redis":"off"}`))
	})}}
	s.Start()
	defer s.Close()
	if code, stdout, stderr := command(t, []string{"IGPROXY_ADMIN_LISTEN=unix:" + path}, "healthcheck"); code != 0 || stdout != "ready (breaker open, redis off)\n" {
		t.Errorf("exit code %d, want 0\ngot\n%s%swant\nready (breaker open, redis off)", code, stdout, stderr)
	}
}

func TestHealthcheckRespectsItsTimeout(t *testing.T) {
	l := loopback(t) // connections wait in the system's queue and get no response
	var b bytes.Buffer
	start := time.Now()
	code := run(t.Context(), []string{"igproxy", "healthcheck", "--timeout", "50ms"}, environment{stdout: &b, stderr: &b, environ: []string{"IGPROXY_ADMIN_LISTEN=" + l.Addr().String()}})
	if want := "no answer from " + l.Addr().String(); code != exitFailed || !strings.Contains(b.String(), want) || time.Since(start) > 30*time.Second {
		t.Errorf("exit code %d, want 1; time %s, want at most 30s; output %q, want one that contains %q", code, time.Since(start), b.String(), want)
	}
}

func TestHealthcheckValidatesOnlyTheAdminAddress(t *testing.T) {
	// upstream.timeout is invalid too: it has no unit.
	t.Chdir(t.TempDir())
	write(t, "igproxy.yaml", "admin:\n  listen: nonsense\nupstream:\n  timeout: 5\n")
	code, _, stderr := command(t, nil, "healthcheck", "-c", "igproxy.yaml")
	if want := "igproxy: igproxy.yaml:2: admin.listen: \"nonsense\" is not an address; write host:port, [::1]:port or unix:/path\n"; code != exitFailed || stderr != want {
		t.Errorf("exit code %d, want 1\ngot  %swant %s", code, stderr, want)
	}
}

// A running sidecar keeps its configuration when its file becomes invalid. If the health check
// failed then, a typo in the file would restart containers that work.
func TestUnreadableConfigurationIsOnlyAWarningForClientCommands(t *testing.T) {
	t.Chdir(t.TempDir())
	at := serveAdmin(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(map[string]string{"/readyz": `{"ready":true,"client_secret":"accepted"}`, "/reload": `{"reloaded":true}`,
			"/purge": `{"purged":"all","apps":["one"],"fleet":"none"}`}[r.URL.Path]))
	})
	write(t, "broken.yaml", "listen: \"127.0.0.1:1\nadmin:\n")
	write(t, "two.yaml", "listen: 127.0.0.1:1\n---\nlisten: 127.0.0.1:1\n")
	for file, says := range map[string]string{"broken.yaml": "broken.yaml:1: not valid YAML", "two.yaml": "two.yaml:2: a second YAML document",
		"none.yaml": "none.yaml: does not exist", ".": ".: cannot be read"} {
		for _, args := range [][]string{{"healthcheck"}, {"reload"}, {"purge", "--all"}} {
			code, stdout, stderr := command(t, at, append(args, "-c", file)...)
			if code != exitOK || stdout == "" || !strings.HasPrefix(stderr, "igproxy: warning: "+says) || !strings.HasSuffix(stderr, "; calling the sidecar without this file\n") {
				t.Errorf("%s with %s: exit code %d, want 0; stdout %q, want a result; stderr %q, want \"igproxy: warning: %s...; calling the sidecar without this file\"", args, file, code, stdout, stderr, says)
			}
		}
	}
}

func TestHealthcheckExitsWith2OnlyForAWrongCommandLine(t *testing.T) {
	for _, args := range [][]string{{"--timeout", "0s"}, {"--timeout", "soon"}, {"--nonsense"}, {"nonsense"}} {
		if code, _, stderr := command(t, nil, append([]string{"healthcheck"}, args...)...); code != exitUsage {
			t.Errorf("%s: exit code %d, want %d\n%s", args, code, exitUsage, stderr)
		}
	}
	if code, _, stderr := command(t, []string{"IGPROXY_ADMIN_LISTEN=nonsense"}, "healthcheck"); code != exitFailed {
		t.Errorf("an invalid admin.listen: exit code %d, want %d\n%s", code, exitFailed, stderr)
	}
}
