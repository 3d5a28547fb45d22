package integration

// systemd holds the sockets, so that a restart drops no connection. The sidecar notifies systemd
// when it is ready and when it drains, and notifies systemd's watchdog only while it answers. The
// tests act as systemd.

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/igproxy/igproxy/integration/harness"
	"github.com/igproxy/igproxy/proxy/mock"
)

// notices is a NOTIFY_SOCKET and the messages that it received.
type notices struct {
	path string
	text harness.Output
}

func newNotices(t *testing.T) *notices {
	t.Helper()
	n := &notices{path: filepath.Join(t.TempDir(), "notify")}
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: n.path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { // ends with the socket
		defer close(ended)
		for b := make([]byte, 4096); ; {
			size, err := c.Read(b)
			if err != nil {
				return
			}
			fmt.Fprintf(&n.text, "%s\n", b[:size])
		}
	}()
	t.Cleanup(func() { _ = c.Close(); <-ended })
	return n
}

func (n *notices) count(what string) int { return strings.Count(n.text.String(), what) }

// activated starts igproxy as systemd does: with sockets from descriptor 3 on, and with igproxy's
// own PID in LISTEN_PID. A setting that begins with = is a variable that systemd sets.
func activated(t *testing.T, n *notices, names string, sockets []*os.File, settings ...string) *process {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", `LISTEN_PID=$$ exec "$0" serve`, harness.Binary)
	cmd.ExtraFiles = sockets
	env := append(environ(settings...), "NOTIFY_SOCKET="+n.path, "LISTEN_FDNAMES="+names, fmt.Sprintf("LISTEN_FDS=%d", len(sockets)))
	for _, s := range settings {
		if e, ok := strings.CutPrefix(s, "="); ok {
			env = append(env, e)
		}
	}
	return startCommand(t, env, cmd)
}

// held returns a socket that the test keeps open, as systemd does, and its address.
func held(t *testing.T, network, address string) (*os.File, string) {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	f, err := l.(interface{ File() (*os.File, error) }).File()
	if err != nil {
		t.Fatal(err)
	}
	if u, ok := l.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false)
	}
	_ = l.Close() // f is a copy of the socket; this process never accepts
	t.Cleanup(func() { _ = f.Close() })
	return f, l.Addr().String()
}

func TestSystemdIsNotifiedOfReadyAndStopping(t *testing.T) {
	t.Parallel()
	_, upstream := instagram(t, mock.ServerOptions{})
	app, address := held(t, "tcp", "127.0.0.1:0")
	admin, adminAddress := held(t, "tcp", "127.0.0.1:0")
	n := newNotices(t)
	// igproxy must use systemd's sockets, and ignore LISTEN and ADMIN_LISTEN.
	p := activated(t, n, "app:admin", []*os.File{app, admin}, "UPSTREAM_URL="+upstream.URL, "LISTEN=127.0.0.1:1", "ADMIN_LISTEN=127.0.0.1:2")
	eventually(t, "the sidecar is ready", func() bool { return n.count("READY=1\n") == 1 })
	if want := "STATUS=answering on http://" + address + "\n"; !strings.Contains(n.text.String(), want) {
		t.Errorf("got the notices %q, want %q in them", n.text.String(), want)
	}
	p.Listening(t)
	if p.URL != "http://"+address || p.Admin != "http://"+adminAddress {
		t.Errorf("igproxy listens on %s and %s, want systemd's %s and %s", p.URL, p.Admin, address, adminAddress)
	}
	if r := p.ask(t, "IGAA-ready"); r.status != 200 {
		t.Errorf("after READY=1: got %d %s, want 200", r.status, r.body)
	}
	if r := p.page(t, "/readyz"); r.status != 200 || n.count("STOPPING=1") != 0 {
		t.Errorf("/readyz got %d, want 200; notices got %q, want no STOPPING=1 in them", r.status, n.text.String())
	}
	if code := p.Stop(t); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	eventually(t, "systemd is notified of the stop", func() bool { return n.count("STOPPING=1\nSTATUS=draining\n") == 1 })
}

func TestSidecarThatCannotStartIsNeverReady(t *testing.T) {
	t.Parallel()
	for names, want := range map[string]string{
		"igproxy.socket": "is named \"igproxy.socket\"; write FileDescriptorName=app",
		"admin:admin":    "two sockets from systemd are named admin",
	} {
		app, _ := held(t, "tcp", "127.0.0.1:0")
		other, _ := held(t, "tcp", "127.0.0.1:0")
		n := newNotices(t)
		p := activated(t, n, names, []*os.File{app, other}[:1+strings.Count(names, ":")])
		if code := p.Wait(t); code != 1 || !strings.Contains(p.Log.String(), want) || n.count("READY") != 0 {
			t.Errorf("%s: exit code %d, want 1; notices %q, want no READY=1 in them; want %q in the log:\n%s", names, code, n.text.String(), want, p.Log)
		}
	}
	open, _ := held(t, "tcp", "0.0.0.0:0") // as with a bare port in a socket unit; no client connects
	n := newNotices(t)
	p := activated(t, n, "app", []*os.File{open})
	if code := p.Wait(t); code == 0 || !strings.Contains(p.Log.String(), "reachable by other machines") || n.count("READY") != 0 {
		t.Errorf("beyond loopback: exit code %d, want not 0; notices %q, want no READY=1 in them; want \"reachable by other machines\" in the log:\n%s", code, n.text.String(), p.Log)
	}
}

// The test replaces the socket with another that does not answer, so that apps cannot reach the
// sidecar although it runs.
func TestWatchdogIsNotifiedOnlyWhileTheSidecarAnswers(t *testing.T) {
	_, upstream := instagram(t, mock.ServerOptions{})
	path := filepath.Join(t.TempDir(), "app.sock")
	app, _ := held(t, "unix", path)
	n := newNotices(t)
	p := activated(t, n, "app", []*os.File{app}, "UPSTREAM_URL="+upstream.URL, "=WATCHDOG_USEC=600000")
	eventually(t, "pings arrive", func() bool { return n.count("WATCHDOG=1\n") >= 3 })
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	unseen := n.count("WATCHDOG=1\n") // pings continue without a socket file, because a restart would not restore it
	eventually(t, "pings still arrive", func() bool { return n.count("WATCHDOG=1\n") > unseen+2 })
	held(t, "unix", path) // accepts no connections
	eventually(t, "the sidecar detects that it does not answer", func() bool {
		return len(p.Log.Lines("watchdog check failed")) == 1
	})
	before := n.count("WATCHDOG=1\n")
	time.Sleep(time.Second) // longer than systemd would wait
	if after := n.count("WATCHDOG=1\n"); after != before {
		t.Errorf("%d pings from a sidecar that does not answer, want 0", after-before)
	}
	if err := os.Rename(path+".away", path); err != nil {
		t.Fatal(err)
	}
	eventually(t, "pings arrive again", func() bool { return n.count("WATCHDOG=1\n") > before+2 })
	if r, err := fetch(t.Context(), unixClient(path), "http://localhost"+exchangePath("IGAA-watched")); err != nil || r.status != 200 {
		t.Errorf("got %d, %v; want 200", r.status, err)
	}
	if code := p.Stop(t); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	if got := len(p.Log.Lines("request")); got != 1 {
		t.Errorf("got %d logged requests, want 1: the app's request, and no request of the watchdog check", got)
	}
}

func TestSocketActivatedRestartUnderLoadDropsNoRequest(t *testing.T) {
	t.Parallel()
	const callers, restarts = 20, 3
	ig, upstream := instagram(t, mock.ServerOptions{})
	ig.SetLatency(20 * time.Millisecond)
	app, address := held(t, "tcp", "127.0.0.1:0")
	n := newNotices(t)
	run := func() *process { return activated(t, n, "app", []*os.File{app}, "UPSTREAM_URL="+upstream.URL) }
	p := run()
	var asked atomic.Int64
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		crowd(callers, func(i int) {
			kept := &http.Client{Transport: &http.Transport{}}
			defer kept.CloseIdleConnections()
			client := kept
			if i%2 == 0 {
				client = noKeepAlive
			}
			for k := 0; ; k++ {
				select {
				case <-end:
					return
				default:
				}
				r, err := fetch(t.Context(), client, "http://"+address+exchangePath(fmt.Sprintf("IGAA-restart-%d-%d", i, k/4)))
				if err != nil || r.status != 200 {
					t.Errorf("caller %d, request %d: got %d %s, %v; want 200", i, k, r.status, r.body, err)
					return
				}
				asked.Add(1)
			}
		})
	}()
	for i := range restarts {
		eventually(t, "the sidecar is ready", func() bool { return n.count("READY=1\n") == i+1 })
		before := asked.Load()
		eventually(t, "the sidecar is under load", func() bool { return asked.Load() > before+10*callers || t.Failed() })
		if err := p.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if code := p.Wait(t); code != 0 {
			t.Errorf("exit code %d, want 0", code)
		}
		p = run()
	}
	last := asked.Load()
	eventually(t, "the last sidecar is under load", func() bool { return asked.Load() > last+10*callers || t.Failed() })
	close(end)
	<-ended
	t.Logf("%d requests over %d restarts, each answered 200", asked.Load(), restarts)
}
