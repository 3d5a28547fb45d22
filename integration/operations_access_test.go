package integration

// Only an operator may reload and purge. On a Unix socket, root, igproxy's own user and the users
// in admin.uids are operators. On every admin listener, a client with the token in admin.token_file
// is an operator too. Other callers are refused, counted and named in the log. Purges that follow
// each other quickly are merged, so a loop of purges does not keep the cache empty.

import (
	"fmt"
	"net/http"
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

// asUser returns cmd, changed to run as a user in igproxy's group. The mode of the socket lets that
// group connect.
func asUser(cmd *exec.Cmd, uid int) *exec.Cmd {
	cmd.Dir = "/"
	if uid != os.Getuid() {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(os.Getgid())}}
	}
	return cmd
}

// operateAs runs an igproxy command as a user, with only these settings.
func operateAs(t *testing.T, uid int, settings []string, args ...string) (code int, output string) {
	t.Helper()
	cmd := asUser(exec.CommandContext(t.Context(), harness.Binary, args...), uid)
	for _, s := range settings {
		cmd.Env = append(cmd.Env, "IGPROXY_"+s)
	}
	out, err := cmd.CombinedOutput()
	if _, ok := err.(*exec.ExitError); err != nil && !ok {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

// postAs sends a POST over TCP from a process that runs as a user, and returns the whole response.
func postAs(t *testing.T, uid int, address, path string) string {
	t.Helper()
	script := fmt.Sprintf(`exec 3<>/dev/tcp/%s && printf 'POST %s HTTP/1.0\r\nHost: localhost\r\n\r\n' >&3 && cat <&3`,
		strings.Replace(address, ":", "/", 1), path)
	out, err := asUser(exec.CommandContext(t.Context(), "bash", "-c", script), uid).CombinedOutput()
	if err != nil {
		t.Fatalf("POST %s as user %d: got %v with the output %s, want a response", path, uid, err, out)
	}
	return string(out)
}

// operations returns the log lines about the operation called name that ended with this outcome.
func (p *process) operations(t *testing.T, name, outcome string) (found []map[string]any) {
	t.Helper()
	for _, line := range p.settled(t).Lines("operation") {
		if line["operation"] == name && line["outcome"] == outcome {
			found = append(found, line)
		}
	}
	return found
}

// counted returns the number of operations called name that ended with this outcome.
func (p *process) counted(t *testing.T, name, outcome string) float64 {
	t.Helper()
	return p.metric(t, fmt.Sprintf(`igproxy_operations_total{operation=%q,outcome=%q}`, name, outcome))
}

func TestOperationsOverTCPAreOffWithoutAnAdminToken(t *testing.T) {
	t.Parallel()
	_, upstream := instagram(t, mock.ServerOptions{})
	p := serve(t, "UPSTREAM_URL="+upstream.URL)
	address := strings.TrimPrefix(p.Admin, "http://")
	p.ask(t, "IGAA-kept")
	for _, uid := range append(otherUIDs(), os.Getuid()) {
		for _, path := range []string{"/purge", "/reload"} {
			if got := postAs(t, uid, address, path); !strings.Contains(got, " 403 ") || !strings.Contains(got, "admin.socket") {
				t.Errorf("user %d: POST %s: got %q, want 403 with a message that names admin.socket", uid, path, got)
			}
		}
	}
	if !p.hits(t, "IGAA-kept") {
		t.Error("IGAA-kept after the refused purges: got a miss, want a hit")
	}
	if got, want := p.counted(t, "purge", "denied"), float64(1+len(otherUIDs())); got != want {
		t.Errorf("%v refused purges are counted, want %v", got, want)
	}
	lines := p.operations(t, "purge", "denied")
	if len(lines) == 0 || !strings.HasPrefix(fmt.Sprint(lines[0]["address"]), "127.0.0.1:") {
		t.Errorf("the log has %v, want the client's address", lines)
	}
	if code, out, errs := p.operate(t, "purge", "--all"); code != 2 || out != "" || !strings.Contains(errs, "need admin.socket") {
		t.Errorf("the command: exit code %d, want 2 with no standard output and \"need admin.socket\": %s%s", code, out, errs)
	}
	hangup(t, p)
	eventually(t, "SIGHUP reloads", func() bool { return len(p.Log.Lines("configuration reloaded")) == 1 })
}

func TestSocketAcceptsOperationsFromTheOperatorOnly(t *testing.T) {
	t.Parallel()
	_, upstream := instagram(t, mock.ServerOptions{})
	must(t, os.Chmod(filepath.Dir(harness.Binary), 0o711)) // lets the other users run igproxy
	socket := filepath.Join(reachable(t), "admin.sock")
	p := serve(t, "UPSTREAM_URL="+upstream.URL, "ADMIN_SOCKET="+socket, "ADMIN_UIDS=65533")
	info, err := os.Stat(socket)
	must(t, err)
	if got := info.Mode().Perm(); got != 0o660 {
		t.Errorf("the socket has mode %v, want 0660", got)
	}
	use := []string{"ADMIN_SOCKET=" + socket}
	own := os.Getuid()
	if code, out := operateAs(t, own, use, "reload"); code != 0 || out != "reloaded: nothing has changed\n" {
		t.Errorf("igproxy's own user: exit code %d: %s; want 0 and no change", code, out)
	}
	if lines := p.operations(t, "reload", "done"); len(lines) != 1 || lines[0]["uid"] != float64(own) {
		t.Errorf("the log has %v, want uid %d", lines, own)
	}
	p.ask(t, "IGAA-kept")
	for _, uid := range otherUIDs() {
		code, out := operateAs(t, uid, use, "purge", "--all")
		if listed := uid == 65533; listed {
			if code != 0 || out != "purged: everything for app \"default\" (entries in this sidecar's memory: 1)\n" || p.hits(t, "IGAA-kept") {
				t.Errorf("a listed user: exit code %d: %s; want 0 and an empty cache", code, out)
			}
			continue
		}
		if code != 1 || !strings.Contains(out, fmt.Sprintf("UID %d", uid)) || !strings.Contains(out, "admin.uids") || !p.hits(t, "IGAA-kept") {
			t.Errorf("user %d: exit code %d: %s; want 1 with the UID, and the cache unchanged", uid, code, out)
		}
		if lines, n := p.operations(t, "purge", "denied"), p.counted(t, "purge", "denied"); len(lines) != 1 || lines[0]["uid"] != float64(uid) || n != 1 {
			t.Errorf("user %d: the log has %v, want one denied purge with this UID; %v denied purges are counted, want 1", uid, lines, n)
		}
		// A user outside the group cannot even connect.
		cmd := exec.CommandContext(t.Context(), harness.Binary, "purge", "--all")
		cmd.Env, cmd.Dir = []string{"IGPROXY_ADMIN_SOCKET=" + socket}, "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
		if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "no permission") {
			t.Errorf("user %d outside the group: %v: %s; want \"no permission\"", uid, err, out)
		}
	}
	if own != 0 { // modes do not apply to root
		must(t, os.Chmod(socket, 0))
		if code, out := operateAs(t, own, use, "purge", "--all"); code != 1 || !strings.Contains(out, "no permission") {
			t.Errorf("on a socket with mode 0: exit code %d, want 1 with \"no permission\": %s", code, out)
		}
		must(t, os.Chmod(socket, 0o660))
	}
	client := unixClient(socket)
	defer client.CloseIdleConnections()
	if r, err := fetch(t.Context(), client, "http://localhost/readyz"); err != nil || r.status != 200 {
		t.Errorf("reading over the socket: %d, %v; want 200", r.status, err)
	}
	if code := p.Stop(t); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	if _, err := os.Stat(socket); err == nil {
		t.Error("the socket exists after the stop, want it removed")
	}
}

func TestSocketInAdminListenAcceptsOperationsOfIgproxysUserOnly(t *testing.T) {
	t.Parallel()
	_, upstream := instagram(t, mock.ServerOptions{})
	must(t, os.Chmod(filepath.Dir(harness.Binary), 0o711))
	listen := []string{"ADMIN_LISTEN=unix:" + filepath.Join(reachable(t), "admin.sock")}
	serve(t, append(listen, "UPSTREAM_URL="+upstream.URL)...)
	if code, out := operateAs(t, os.Getuid(), listen, "purge", "--all"); code != 0 {
		t.Errorf("igproxy's own user: exit code %d, want 0: %s", code, out)
	}
	for _, uid := range otherUIDs() {
		if code, out := operateAs(t, uid, listen, "purge", "--all"); code != 1 || !strings.Contains(out, "admin.uids") {
			t.Errorf("user %d: exit code %d, want 1 with \"admin.uids\": %s", uid, code, out)
		}
	}
}

func TestOperationsOverTCPNeedTheAdminToken(t *testing.T) {
	t.Parallel()
	_, upstream := instagram(t, mock.ServerOptions{})
	path := file(t, "admin-token", ownToken+"\n")
	p := serve(t, "UPSTREAM_URL="+upstream.URL, "ADMIN_TOKEN_FILE="+path)
	for name, c := range map[string]struct {
		fields []string
		want   int
	}{
		"the token":                        {[]string{"Authorization", "Bearer " + ownToken}, 200},
		"a scheme in lower case":           {[]string{"Authorization", "bearer " + ownToken}, 200},
		"no token":                         {nil, 401},
		"another token":                    {[]string{"Authorization", "Bearer " + nextToken}, 401},
		"a prefix of the token":            {[]string{"Authorization", "Bearer " + ownToken[:20]}, 401},
		"the token with the scheme Basic":  {[]string{"Authorization", "Basic " + ownToken}, 401},
		"the token in the header for apps": {[]string{"X-Igproxy-Token", ownToken}, 401},
	} {
		if r := post(t, p.Admin+"/reload", "", c.fields...); r.status != c.want || (c.want == 401) != (r.header.Get("WWW-Authenticate") != "") {
			t.Errorf("%s: got %d %s with WWW-Authenticate %q, want %d, and WWW-Authenticate only with 401", name, r.status, r.body, r.header.Get("WWW-Authenticate"), c.want)
		}
	}
	if got := p.counted(t, "reload", "denied"); got != 5 {
		t.Errorf("%v reloads are counted as refused, want 5", got)
	}
	if code, out, errs := command(t, []string{"IGPROXY_ADMIN_LISTEN=" + strings.TrimPrefix(p.Admin, "http://"), "IGPROXY_ADMIN_TOKEN_FILE=" + path}, "purge", "--all"); code != 0 {
		t.Errorf("the command: exit code %d, want 0: %s%s", code, out, errs)
	}
	if lines := p.operations(t, "purge", "done"); len(lines) != 1 || lines[0]["credential"] != "token" || !strings.HasPrefix(fmt.Sprint(lines[0]["address"]), "127.0.0.1:") {
		t.Errorf("the log has %v, want the address and the credential \"token\"", lines)
	}
	must(t, os.WriteFile(path, []byte(nextToken), 0o600))
	eventually(t, "the new token is in use", func() bool {
		return post(t, p.Admin+"/reload", "", "Authorization", "Bearer "+nextToken).status == http.StatusOK
	})
	if r := post(t, p.Admin+"/reload", "", "Authorization", "Bearer "+ownToken); r.status != 401 {
		t.Errorf("the previous token: got %d, want 401", r.status)
	}
	if log := p.settled(t).String(); strings.Contains(log, ownToken) || strings.Contains(log, nextToken) {
		t.Error("the log contains a token")
	}
}

func TestALoopOfPurgesKeepsMostHits(t *testing.T) {
	t.Parallel()
	ig, upstream := instagram(t, mock.ServerOptions{})
	p := serve(t, "UPSTREAM_URL="+upstream.URL, adminSocket(t))
	client := unixClient(p.socket())
	defer client.CloseIdleConnections()
	const loops = 200
	p.ask(t, "IGAA-one")
	responses := map[int]int{} // by status
	for range loops {
		responses[postBy(t, client, "http://localhost/purge", "").status]++
		p.ask(t, "IGAA-one")
	}
	// The first purge takes effect immediately. After that, at most one purge takes effect
	// every ten seconds.
	purges := len(p.Log.Lines("purged"))
	if calls := ig.Calls(); calls > 1+purges || purges > 5 || responses[200] != 1 || responses[202] != loops-1 {
		t.Errorf("of %d purges, %d took effect (want at most 5); %d calls to Instagram (want at most one more than purges that took effect); responses by status: %v (want one 200, and 202 for all others)", loops, purges, calls, responses)
	}
	if got := p.counted(t, "purge", "merged"); got != loops-1 {
		t.Errorf("%v merged purges are counted, want %d", got, loops-1)
	}
	if code, out, errs := p.operate(t, "purge", "--all"); code != 0 || !strings.Contains(out, "takes effect in ") {
		t.Errorf("the command: exit code %d, want 0 with \"takes effect in\": %s%s", code, out, errs)
	}
	if lines := p.Log.Lines("operation"); len(lines) > 60 {
		t.Errorf("%d lines for %d purges, want at most 60", len(lines), loops)
	}
}

func TestAStopPerformsThePurgeThatWaits(t *testing.T) {
	t.Parallel()
	_, upstream := instagram(t, mock.ServerOptions{})
	redis := redistest.Start(t)
	both := fleet(t, 2, append(singleRedis(redis), "UPSTREAM_URL="+upstream.URL, patientRedis)...)
	first, other := both[0], both[1]
	if code, out, errs := first.operate(t, "purge", "--all"); code != 0 {
		t.Fatalf("exit code %d, want 0: %s%s", code, out, errs)
	}
	eventually(t, "the other sidecar has received the purge", func() bool { return len(other.Log.Lines("purge received")) == 1 })
	eventually(t, "the token is cached", func() bool { return other.hits(t, "IGAA-one") })
	if code, out, errs := first.operate(t, "purge", "--all"); code != 0 || !strings.Contains(out, "takes effect in ") {
		t.Fatalf("exit code %d, want 0 with \"takes effect in\": %s%s", code, out, errs)
	}
	if !other.hits(t, "IGAA-one") {
		t.Error("IGAA-one in the other sidecar while the second purge waits: got a miss, want a hit")
	}
	if code := first.Stop(t); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	eventually(t, "the other sidecar has received the second purge", func() bool { return len(other.Log.Lines("purge received")) == 2 })
	if lines := first.Log.Lines("purged"); len(lines) != 2 || lines[1]["fleet"] != "notified" {
		t.Errorf("the log has %v, want two purges, and the fleet notified of the second", lines)
	}
}
