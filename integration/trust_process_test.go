package integration

// auth.uids and the mode of the Unix socket decide which users of the machine may use the socket. A
// process that dies leaves no core dump, because other users could find secrets in it.

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/igproxy/igproxy/integration/harness"
	"github.com/igproxy/igproxy/proxy/mock"
)

// reachable returns a folder that other users can enter, unlike a test's temporary folder.
func reachable(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "igproxy-trust")
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	must(t, os.Chmod(dir, 0o711))
	return dir
}

// healthcheckAs runs healthcheck as a user against the socket for apps, and reports whether it got
// an answer. The answer is always "not ready", because that listener does not serve /readyz.
func healthcheckAs(t *testing.T, path string, uid int) bool {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), harness.Binary, "healthcheck", "--timeout", patience.String())
	cmd.Env = []string{"IGPROXY_ADMIN_LISTEN=unix:" + path}
	cmd.Dir = "/"
	if uid != os.Getuid() {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
	}
	out, err := cmd.CombinedOutput()
	switch text := string(out); {
	case strings.Contains(text, "igproxy: no answer from unix:"+path), strings.Contains(text, "igproxy: no permission to connect to unix:"+path):
		return false
	case strings.Contains(text, "igproxy: not ready"):
		return true
	}
	t.Fatalf("healthcheck of %s as %d: %v\n%s", path, uid, err, out)
	return false
}

// otherUIDs returns the UIDs of two other users for healthcheckAs. It returns nil if the test does
// not run as root, because the test then cannot run commands as other users.
func otherUIDs() []int {
	if os.Getuid() == 0 {
		return []int{65533, 65534}
	}
	return nil
}

func TestSocketIsOnlyForTheListedUsers(t *testing.T) {
	t.Parallel()
	_, upstream := instagram(t, mock.ServerOptions{})
	must(t, os.Chmod(filepath.Dir(harness.Binary), 0o711)) // lets the other users run igproxy
	dir, own := reachable(t), os.Getuid()
	open := func(name string, uids string) (*process, string) {
		path := filepath.Join(dir, name)
		return serve(t, "UPSTREAM_URL="+upstream.URL, "LISTEN=unix:"+path, "SERVER_SOCKET_MODE=0666", "AUTH_UIDS="+uids), path
	}
	_, ours := open("ours", fmt.Sprint(own))
	theirs, other := open("theirs", "65534")
	client := unixClient(ours)
	defer client.CloseIdleConnections()
	if r, err := fetch(t.Context(), client, "http://igproxy"+exchangePath("IGAA-peer")); err != nil || r.status != 200 {
		t.Errorf("a listed user: got %d, %v; want 200", r.status, err)
	}
	if listed, unlisted := healthcheckAs(t, ours, own), healthcheckAs(t, other, own); !listed || unlisted {
		t.Errorf("user %d at the socket that lists this user: let in %v, want true; at the other socket: let in %v, want false", own, listed, unlisted)
	}
	for _, uid := range otherUIDs() {
		if healthcheckAs(t, ours, uid) {
			t.Errorf("user %d at the socket that lists only user %d: let in true, want false", uid, own)
		}
		if got, want := healthcheckAs(t, other, uid), uid == 65534; got != want {
			t.Errorf("user %d at the socket that lists user 65534: let in %v, want %v", uid, got, want)
		}
	}
	lines := theirs.Log.Lines("connection refused by auth.uids")
	if len(lines) == 0 || lines[0]["uid"] != float64(own) {
		t.Errorf("got the lines %v about refused connections, want UID %d in the first one", lines, own)
	}
	if m := theirs.page(t, "/metrics").body; !strings.Contains(m, "\nigproxy_peers_refused_total ") || strings.Contains(m, "\nigproxy_peers_refused_total 0\n") {
		t.Error("igproxy_peers_refused_total is 0 or missing, want at least 1")
	}
}

func TestSocketHasTheConfiguredMode(t *testing.T) {
	t.Parallel()
	_, upstream := instagram(t, mock.ServerOptions{})
	must(t, os.Chmod(filepath.Dir(harness.Binary), 0o711))
	dir := reachable(t)
	for text, c := range map[string]struct {
		mode os.FileMode
		all  bool
	}{"0600": {0o600, false}, "0666": {0o666, true}} {
		path := filepath.Join(dir, text)
		serve(t, "UPSTREAM_URL="+upstream.URL, "LISTEN=unix:"+path, "SERVER_SOCKET_MODE="+text)
		info, err := os.Stat(path)
		must(t, err)
		if info.Mode().Perm() != c.mode {
			t.Errorf("got mode %v, want %v", info.Mode().Perm(), c.mode)
		}
		for _, uid := range otherUIDs() {
			if got := healthcheckAs(t, path, uid); got != c.all {
				t.Errorf("mode %s, user %d: let in %v, want %v", text, uid, got, c.all)
			}
		}
	}
}

// The files in /proc/PID, such as limits, must stay readable.
func TestProcessDumpsNoCore(t *testing.T) {
	t.Parallel()
	_, upstream := instagram(t, mock.ServerOptions{})
	var before syscall.Rlimit
	must(t, syscall.Getrlimit(syscall.RLIMIT_CORE, &before))
	// With a limit of 0 the test would prove nothing.
	must(t, syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{Cur: before.Max, Max: before.Max}))
	defer func() { must(t, syscall.Setrlimit(syscall.RLIMIT_CORE, &before)) }()
	p := start(t, append(environ("UPSTREAM_URL="+upstream.URL), "GOTRACEBACK=crash"), "serve")
	p.Listening(t)
	read := func(name string) string {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", p.Cmd.Process.Pid, name))
		must(t, err)
		return string(text)
	}
	var core []string
	for line := range strings.Lines(read("limits")) {
		if strings.HasPrefix(line, "Max core file size") {
			core = strings.Fields(line)
		}
	}
	if got := strings.Join(core, " "); got != "Max core file size 0 0 bytes" {
		t.Errorf("/proc/PID/limits: got %q, want \"Max core file size 0 0 bytes\"", got)
	}
	if got := strings.TrimSpace(read("coredump_filter")); strings.Trim(got, "0") != "" {
		t.Errorf("coredump_filter is %s, want 0: each bit that is set is a kind of memory that a core dump handler would get", got)
	}
	// With GOTRACEBACK=crash igproxy ends by SIGABRT, which dumps core where that is allowed.
	must(t, p.Cmd.Process.Signal(syscall.SIGQUIT))
	p.Wait(t)
	if status := p.Cmd.ProcessState.Sys().(syscall.WaitStatus); status.Signal() != syscall.SIGABRT || status.CoreDump() {
		t.Errorf("igproxy ended with %v, core dumped: %v; want SIGABRT and false", status.Signal(), status.CoreDump())
	}
}
