package integration

// One sidecar serves apps on several addresses. Its stop can be delayed with server.drain_delay,
// and a program on the same machine can request a stop with POST /quit.

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/igproxy/igproxy/integration/harness"
	"github.com/igproxy/igproxy/proxy/mock"
)

// addresses returns a client and a base URL for each address that the log names.
func (p *process) addresses() (clients []*http.Client, urls []string) {
	for _, url := range strings.Split(p.URL, ", ") {
		client := &http.Client{Transport: &http.Transport{}, Timeout: patience}
		if path, ok := strings.CutPrefix(url, "unix:"); ok {
			client, url = unixClient(path), "http://localhost"
		}
		clients, urls = append(clients, client), append(urls, url)
	}
	return clients, urls
}

func TestEveryListenAddressIsServed(t *testing.T) {
	for name, listen := range map[string]string{"commas": "127.0.0.1:0, [::1]:0,unix:%s", "spaces": "127.0.0.1:0 unix:%s"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ig, upstream := instagram(t, mock.ServerOptions{})
			path := filepath.Join(t.TempDir(), "s")
			p := serve(t, "UPSTREAM_URL="+upstream.URL, "LISTEN="+fmt.Sprintf(listen, path))
			clients, urls := p.addresses()
			if want := strings.Count(listen, ":0") + 1; len(urls) != want {
				t.Fatalf("igproxy listens on %v, want %d addresses", urls, want)
			}
			for i, client := range clients {
				// The fast lane leaves the second request to net/http.
				for _, target := range []string{exchangePath("IGAA-several"), exchangePath("IGAA-several") + "&x=1"} {
					if r, err := fetch(t.Context(), client, urls[i]+target); err != nil || r.status != 200 {
						t.Errorf("%s%s: got %d %s, %v; want 200", urls[i], target, r.status, r.body, err)
					}
				}
			}
			if n := ig.Calls(); n != 1 {
				t.Errorf("Instagram was asked %d times, want once: all addresses share the cache", n)
			}
			if code := p.Stop(t); code != 0 {
				t.Errorf("exit code %d, want 0", code)
			}
			if _, err := os.Lstat(path); !os.IsNotExist(err) {
				t.Errorf("Lstat of the socket after the stop: got error %v, want that the socket does not exist", err)
			}
		})
	}
}

func TestSystemdMayHandOverSeveralSockets(t *testing.T) {
	t.Parallel()
	_, upstream := instagram(t, mock.ServerOptions{})
	first, address := held(t, "tcp", "127.0.0.1:0")
	path := filepath.Join(t.TempDir(), "app.sock")
	second, _ := held(t, "unix", path)
	n := newNotices(t)
	p := activated(t, n, "app:app", []*os.File{first, second}, "UPSTREAM_URL="+upstream.URL, "LISTEN=127.0.0.1:1", "=WATCHDOG_USEC=600000")
	p.Listening(t)
	if want := "http://" + address + ", unix:" + path; p.URL != want {
		t.Errorf("igproxy listens on %s, want systemd's sockets, %s", p.URL, want)
	}
	for i, client := range []*http.Client{noKeepAlive, unixClient(path)} {
		base := []string{"http://" + address, "http://localhost"}[i]
		if r, err := fetch(t.Context(), client, base+exchangePath("IGAA-handed")); err != nil || r.status != 200 {
			t.Errorf("socket %d: got %d, %v; want 200", i+1, r.status, err)
		}
	}
	eventually(t, "the watchdog is notified", func() bool { return n.count("WATCHDOG=1\n") >= 2 })
	if code := p.Stop(t); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("Lstat of systemd's socket after the stop: got error %v, want none", err)
	}
}

// TLS applies to TCP ports only. A Unix socket next to a port with TLS is served without TLS.
func TestUnixSocketBesideATLSPortIsServedWithoutTLS(t *testing.T) {
	t.Parallel()
	_, upstream := instagram(t, mock.ServerOptions{})
	path := filepath.Join(t.TempDir(), "s")
	authority := harness.NewAuthority(t)
	cert, key := authority.Sign(t, "igproxy")
	p := serve(t, "UPSTREAM_URL="+upstream.URL, "LISTEN=127.0.0.1:0,unix:"+path, "TLS_CERT_FILE="+file(t, "tls.crt", cert), "TLS_KEY_FILE="+file(t, "tls.key", key))
	https, _, _ := strings.Cut(p.URL, ", ")
	if r, err := fetch(t.Context(), authority.Client(t, nil, false), https+exchangePath("IGAA-mixed")); err != nil || r.status != 200 {
		t.Errorf("TLS: got %d, %v; want 200", r.status, err)
	}
	if r, err := fetch(t.Context(), unixClient(path), "http://localhost"+exchangePath("IGAA-mixed")); err != nil || r.status != 200 {
		t.Errorf("the socket: got %d, %v; want 200", r.status, err)
	}
	p.Stop(t)
}

func TestAppsAreServedDuringTheDrainDelay(t *testing.T) {
	t.Parallel()
	_, upstream := instagram(t, mock.ServerOptions{})
	p := serve(t, "UPSTREAM_URL="+upstream.URL, "SERVER_DRAIN_DELAY=10m")
	kept := &http.Client{Transport: &http.Transport{}, Timeout: patience}
	if r, err := fetch(t.Context(), kept, p.URL+exchangePath("IGAA-delay")); err != nil || r.status != 200 {
		t.Fatalf("got %d, %v; want 200", r.status, err)
	}
	if r, err := fetch(t.Context(), noKeepAlive, p.URL+"/healthz"); err != nil || r.status != 200 || r.body != "ok\n" {
		t.Errorf("/healthz for apps, before the stop: got %d %q, %v; want 200 and ok", r.status, r.body, err)
	}
	if err := p.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, "/readyz reports that the sidecar drains", func() bool {
		r, err := fetch(t.Context(), noKeepAlive, p.Admin+"/readyz")
		return err == nil && r.status == 503 && strings.Contains(r.body, `"draining":true`)
	})
	if r, err := fetch(t.Context(), noKeepAlive, p.URL+"/healthz"); err != nil || r.status != 503 || r.body != "draining\n" {
		t.Errorf("/healthz for apps, during the delay: got %d %q, %v; want 503 and draining", r.status, r.body, err)
	}
	for i, client := range []*http.Client{kept, noKeepAlive} {
		for _, token := range []string{"IGAA-delay", fmt.Sprintf("IGAA-delay-%d", i)} { // a hit and a miss
			r, err := fetch(t.Context(), client, p.URL+exchangePath(token))
			if err != nil || r.status != 200 || i == 0 && r.header.Get("Connection") != "" {
				t.Errorf("client %d, %s: got %d, %v, want 200; header Connection: got %q, want \"\" on the kept connection (client 0)", i, token, r.status, err, r.header.Get("Connection"))
			}
		}
	}
	if err := p.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := p.Wait(t); code != 1 {
		t.Errorf("after a second signal: exit code %d, want 1", code)
	}
}

func TestDrainDelayEndsByItself(t *testing.T) {
	t.Parallel()
	const delay = 300 * time.Millisecond
	_, upstream := instagram(t, mock.ServerOptions{})
	p := serve(t, "UPSTREAM_URL="+upstream.URL, "SERVER_DRAIN_DELAY="+delay.String())
	start := time.Now()
	if code := p.Stop(t); code != 0 || time.Since(start) < delay {
		t.Errorf("exit code %d after %s, want 0 after at least %s", code, time.Since(start), delay)
	}
}

// In a Kubernetes Job, the main container calls POST /quit when its work is done. The container
// sends no more requests, so the sidecar does not wait for server.drain_delay.
func TestQuitEndsTheSidecarOfAJob(t *testing.T) {
	t.Parallel()
	const token = "0123456789abcdef"
	_, upstream := instagram(t, mock.ServerOptions{})
	path := filepath.Join(t.TempDir(), "admin.sock")
	settings := []string{"UPSTREAM_URL=" + upstream.URL, "ADMIN_QUIT=true", "ADMIN_TOKEN_FILE=" + file(t, "token", token),
		"ADMIN_SOCKET=" + path, "SERVER_DRAIN_DELAY=10m"}
	post := func(client *http.Client, url, token string) (int, string) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/quit", nil)
		if err != nil {
			t.Fatal(err)
		}
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		res, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b := make([]byte, 256)
		n, _ := res.Body.Read(b)
		return res.StatusCode, string(b[:n])
	}
	for name, quit := range map[string]func(p *process) (int, string){
		"TCP and the token": func(p *process) (int, string) {
			if status, _ := post(noKeepAlive, p.Admin, ""); status != http.StatusUnauthorized {
				t.Errorf("without the token: got %d, want 401", status)
			}
			return post(noKeepAlive, p.Admin, token)
		},
		"the socket": func(*process) (int, string) { return post(unixClient(path), "http://localhost", "") },
	} {
		p := serve(t, settings...)
		if status, body := quit(p); status != http.StatusOK || body != "{\"quitting\":true}\n" {
			t.Errorf("%s: got %d %q, want 200 with quitting", name, status, body)
		}
		if code := p.Wait(t); code != 0 {
			t.Errorf("%s: exit code %d, want 0", name, code)
		}
		if lines := p.Log.Lines("draining"); len(lines) != 1 || lines[0]["operation"] != "quit" {
			t.Errorf("%s: \"draining\" in the log: got the lines %v, want one line with the operation quit", name, lines)
		}
	}
	off := serve(t, "UPSTREAM_URL="+upstream.URL, "ADMIN_TOKEN_FILE="+file(t, "token", token))
	if status, body := post(noKeepAlive, off.Admin, token); status != http.StatusForbidden || !strings.Contains(body, "admin.quit") {
		t.Errorf("without admin.quit: got %d %q, want 403 with a message that names admin.quit", status, body)
	}
	if code := off.Stop(t); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}
