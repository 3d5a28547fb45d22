package main

import (
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
)

// serveAdmin serves a handler over TCP as admin.listen and over a Unix socket as admin.socket, and
// returns the environment of a command that can reach both.
func serveAdmin(t *testing.T, h http.HandlerFunc) (environ []string) {
	t.Helper()
	tcp := httptest.NewServer(h)
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	socket := &httptest.Server{Listener: l, Config: &http.Server{Handler: h}}
	socket.Start()
	t.Cleanup(func() { tcp.Close(); socket.Close() })
	return []string{"IGPROXY_ADMIN_LISTEN=" + tcp.Listener.Addr().String(), "IGPROXY_ADMIN_SOCKET=" + path}
}

func TestOperationsPreferTheSocketAndSendTheToken(t *testing.T) {
	t.Chdir(t.TempDir())
	const token = "0123456789abcdef"
	write(t, "token", token+"\n")
	var got string
	at := serveAdmin(t, func(w http.ResponseWriter, r *http.Request) {
		local := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
		got = local.Network() + " " + r.Header.Get("Authorization")
		_, _ = w.Write([]byte(`{"reloaded":true,"purged":"all","apps":["one"],"fleet":"none"}`))
	})
	listen, socket := at[0], at[1]
	const file = "IGPROXY_ADMIN_TOKEN_FILE=./token"
	for name, c := range map[string]struct {
		environ []string
		code    int
		sent    string // the network and the Authorization header; "" if nothing is sent
		stderr  string
	}{
		"a socket":                     {[]string{listen, socket}, 0, "unix ", ""},
		"a socket and a token":         {[]string{listen, socket, file}, 0, "unix Bearer " + token, ""},
		"a socket and a missing token": {[]string{listen, socket, "IGPROXY_ADMIN_TOKEN_FILE=./none"}, 0, "unix ", ""},
		"admin.listen is a socket":     {[]string{"IGPROXY_ADMIN_LISTEN=unix:" + strings.TrimPrefix(socket, "IGPROXY_ADMIN_SOCKET=")}, 0, "unix ", ""},
		"a token":                      {[]string{listen, file}, 0, "tcp Bearer " + token, ""},
		"a missing token":              {[]string{listen, "IGPROXY_ADMIN_TOKEN_FILE=./none"}, exitUsage, "", "admin.token_file: ./none does not exist"},
		"neither socket nor token":     {[]string{listen}, exitUsage, "", "need admin.socket or admin.token_file"},
		"a relative path of a socket":  {[]string{listen, "IGPROXY_ADMIN_SOCKET=run/s"}, exitUsage, "", "IGPROXY_ADMIN_SOCKET: \"run/s\" is not the path of a socket"},
		"a socket that is missing":     {[]string{listen, "IGPROXY_ADMIN_SOCKET=/nowhere/s"}, exitFailed, "", "no answer from unix:/nowhere/s"},
	} {
		for _, operation := range []string{"reload", "purge --all"} {
			got = ""
			code, stdout, stderr := command(t, c.environ, strings.Fields(operation)...)
			if code != c.code || got != c.sent || !strings.Contains(stderr, c.stderr) || strings.Contains(stdout+stderr, token) {
				t.Errorf("%s, %s: exit code %d, want %d; sent %q, want %q; stdout %q, stderr %q, want %q in stderr and the token in neither", name, operation, code, c.code, got, c.sent, stdout, stderr, c.stderr)
			}
		}
	}
}

// While the token is being rotated, the file has the previous token on a second line.
func TestACommandSendsTheCurrentTokenDuringARotation(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "token", "the-current-token\nthe-previous-token\n")
	var got string
	at := serveAdmin(t, func(w http.ResponseWriter, r *http.Request) {
		got = r.Header.Get("Authorization")
		_, _ = w.Write([]byte(`{"reloaded":true}`))
	})
	code, stdout, stderr := command(t, []string{at[0], "IGPROXY_ADMIN_TOKEN_FILE=./token"}, "reload")
	if code != 0 || got != "Bearer the-current-token" {
		t.Errorf("exit code %d, want 0; sent %q, want the current token; stdout %q, stderr %q", code, got, stdout, stderr)
	}
}

func TestARefusedOperationPrintsTheReason(t *testing.T) {
	for _, status := range []int{401, 403} {
		at := serveAdmin(t, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "UID 7 may not\x1b[2J", status) })
		code, stdout, stderr := command(t, at, "purge", "--all")
		if code != exitFailed || stdout != "" || !strings.HasSuffix(stderr, " refused: UID 7 may not[2J\n") {
			t.Errorf("status %d: exit code %d, want %d; stdout %q, want it empty; stderr %q, want the reason without ESC", status, code, exitFailed, stdout, stderr)
		}
	}
}
