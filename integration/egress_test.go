package integration

// Calls to Meta go through a proxy only if the configuration allows it. The log and `igproxy check`
// show the proxy. A connection to Meta gets no new calls after upstream.max_connection_age.

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// countingListener accepts connections, closes each after its first line, and reports the lines.
func countingListener(t *testing.T) (port string, lines func() []string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	var mu sync.Mutex // protects all
	var all []string
	var accepting sync.WaitGroup
	accepting.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.SetReadDeadline(time.Now().Add(patience))
			line, _ := bufio.NewReader(c).ReadString('\n')
			mu.Lock()
			all = append(all, line)
			mu.Unlock()
			_ = c.Close()
		}
	})
	t.Cleanup(func() { _ = l.Close(); accepting.Wait() })
	_, port, _ = net.SplitHostPort(l.Addr().String())
	return port, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return append([]string(nil), all...)
	}
}

// Go never uses a proxy for loopback addresses. The upstream is therefore 0.0.0.0, which reaches
// this machine but is not a loopback address.
func TestProxyToMetaIsReportedAndCanBeTurnedOff(t *testing.T) {
	t.Parallel()
	const user, password = "canary-of-the-proxys-user", "canary-of-the-proxys-password"
	for setting, want := range map[string]string{"environment": "through proxy 127.0.0.1:", "none": "direct"} {
		proxyPort, proxied := countingListener(t)
		metaPort, direct := countingListener(t)
		target := "https://0.0.0.0:" + metaPort
		env := append(environ("UPSTREAM_URL="+target, "UPSTREAM_LOGIN_URL="+target, "THREADS_URL="+target, "UPSTREAM_RETRIES=0", "UPSTREAM_PROXY="+setting),
			fmt.Sprintf("HTTPS_PROXY=http://%s:%s@127.0.0.1:%s", user, password, proxyPort))
		p := start(t, env, "serve")
		p.Listening(t)
		line := p.Log.Lines("listening")[0]
		code, stdout, stderr := command(t, env, "check")
		if egress, _ := line["egress"].(string); !strings.HasPrefix(egress, want) || code != 0 || !strings.Contains(stdout, "egress "+egress+"\n") {
			t.Errorf("upstream.proxy %s: egress %q, want %q at its start; exit code of check %d, want 0 with the same egress\n%s%s", setting, egress, want, code, stdout, stderr)
		}
		p.ask(t, "IGAA-proxied")
		p.fetch(t, "/me")
		through, straight := proxied(), direct()
		if setting == "none" && (len(through) > 0 || len(straight) < 2) || setting != "none" && (len(through) < 2 || len(straight) > 0 || !strings.HasPrefix(through[0], "CONNECT 0.0.0.0:"+metaPort+" ")) {
			t.Errorf("upstream.proxy %s: lines at the proxy %q, connections to Meta %d; want for environment: at least 2 CONNECT lines, 0 connections; want for none: 0 lines, at least 2 connections", setting, through, len(straight))
		}
		for _, secret := range []string{user, password} {
			if strings.Contains(p.settled(t).String()+stdout+stderr, secret) {
				t.Errorf("%s: the log or the output of check contains the proxy's credentials", setting)
			}
		}
	}
}

func TestInvalidProxyIsReportedWithoutItsValue(t *testing.T) {
	t.Parallel()
	var env []string
	for _, value := range []string{"http://user:canary@[::1", "http://user:can#ary@127.0.0.1:1", "http://canary/x@127.0.0.1:1", "http:/user:canary@127.0.0.1", "canary://user:canary@127.0.0.1:x",
		// With the next two values, net/http would silently use no proxy.
		"http://user:can%ary@127.0.0.1:1", "http://user:can%zary%@127.0.0.1:1",
		"user:can%ary@127.0.0.1:1"} {
		env = append(environ(), "HTTPS_PROXY="+value)
		for _, args := range [][]string{{"check"}, {"serve"}} {
			code, stdout, stderr := command(t, env, args...)
			if said := stdout + stderr; code != 2 || !strings.Contains(said, "HTTPS_PROXY") || !strings.Contains(said, "upstream.proxy") || strings.Contains(said, "canary") || strings.Contains(said, "can#") || strings.Contains(said, "can%") {
				t.Errorf("%s, %v: exit code %d, want 2 with a message that names HTTPS_PROXY and upstream.proxy, but does not repeat the value\n%s", value, args, code, said)
			}
		}
	}
	if code, stdout, _ := command(t, append(env, "IGPROXY_UPSTREAM_PROXY=none"), "check"); code != 0 {
		t.Errorf("with upstream.proxy: none: exit code %d, want 0\n%s", code, stdout)
	}
}

// An intercepted app has igproxy as its HTTPS_PROXY. If igproxy used the same variable, it would
// call itself.
func TestInterceptListenerIsRefusedAsProxyToMeta(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if code, stdout, stderr := command(t, environ(), "ca", "init", "--dir", dir); code != 0 {
		t.Fatalf("ca init: exit code %d, want 0\n%s%s", code, stdout, stderr)
	}
	env := environ("INTERCEPT_LISTEN=127.0.0.1:8082", "INTERCEPT_CA_FILE="+dir+"/igproxy-ca.pem", "INTERCEPT_CA_KEY_FILE="+dir+"/igproxy-ca.key")
	for via, want := range map[string]int{"http://127.0.0.1:8082": 2, "http://localhost:8082": 2, "http://127.0.0.1:3128": 0} {
		code, stdout, stderr := command(t, append(env, "HTTPS_PROXY="+via), "check")
		if said := stdout + stderr; code != want || want == 2 && !strings.Contains(said, "HTTPS_PROXY leads to igproxy's own listener, intercept.listen") {
			t.Errorf("HTTPS_PROXY=%s: exit code %d, want %d, and for 2 an error that names intercept.listen\n%s", via, code, want, said)
		}
	}
	if code, stdout, _ := command(t, append(env, "HTTPS_PROXY=http://127.0.0.1:8082", "IGPROXY_UPSTREAM_PROXY=none"), "check"); code != 0 {
		t.Errorf("with upstream.proxy: none: exit code %d, want 0\n%s", code, stdout)
	}
}

// If HTTPS_PROXY named a listener for apps or the admin listener, calls to Meta would reach igproxy
// itself, which would refuse them.
func TestAppAndAdminListenersAreRefusedAsProxyToMeta(t *testing.T) {
	t.Parallel()
	env := environ("LISTEN=127.0.0.1:8081,127.0.0.1:8083", "ADMIN_LISTEN=127.0.0.1:9091")
	for via, want := range map[string]string{"http://127.0.0.1:8081": "listen", "http://localhost:8083": "listen", "http://127.0.0.1:9091": "admin.listen", "http://127.0.0.1:8082": ""} {
		code, stdout, stderr := command(t, append(env, "HTTPS_PROXY="+via), "check")
		if said := stdout + stderr; want == "" && code != 0 || want != "" && (code != 2 || !strings.Contains(said, "HTTPS_PROXY leads to igproxy's own listener, "+want+";")) {
			t.Errorf("HTTPS_PROXY=%s: exit code %d, want 2 with an error that names the listener %q, or 0 if this name is empty\n%s", via, code, want, said)
		}
	}
}

// If the cause of a failure did not name the proxy, an error of the proxy would look like an error
// of Instagram.
func TestErrorsOfAProxyNameTheProxy(t *testing.T) {
	t.Parallel()
	answering := func(answer string) string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = conn.Write([]byte(answer))
			_ = conn.Close()
		}))
		t.Cleanup(s.Close)
		return strings.TrimPrefix(s.URL, "http://")
	}
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	must(t, closed.Close())
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { _ = silent.Close() })
	for name, c := range map[string]struct{ at, want string }{
		"wrong credentials": {answering("HTTP/1.1 407 Proxy Authentication Required canary\r\n\r\n"), "the proxy %s answered 407"},
		"not allowed":       {answering("HTTP/1.1 403 canary\r\n\r\n"), "the proxy %s answered 403"},
		"not running":       {closed.Addr().String(), "refused, through the proxy %s"},
		"hangs up":          {answering(""), "closed, through the proxy %s"},
		"silent":            {silent.Addr().String(), "timeout, through the proxy %s"},
	} {
		target, want := "https://0.0.0.0:1", fmt.Sprintf(c.want, c.at)
		env := append(environ("UPSTREAM_URL="+target, "UPSTREAM_LOGIN_URL="+target, "THREADS_URL="+target, "FACEBOOK_URL="+target, "UPSTREAM_RETRIES=0", "UPSTREAM_TIMEOUT=2s", "PASSTHROUGH_TIMEOUT=2s"),
			"HTTPS_PROXY=http://user:canary@"+c.at)
		code, stdout, stderr := command(t, env, "check", "--online")
		if code != 1 || !strings.Contains(stdout, want) || strings.Contains(stdout+stderr, "canary") {
			t.Errorf("%s: check: exit code %d, want 1 with %q, and without the credentials or the proxy's text\n%s%s", name, code, want, stdout, stderr)
		}
		p := start(t, env, "serve")
		p.Listening(t)
		p.ask(t, "IGAA-proxied")
		p.fetch(t, "/me")
		text := p.settled(t)
		if line := fmt.Sprint(text.Lines("listening")[0]["egress"]); line != "through proxy "+c.at+" (0.0.0.0:1)" {
			t.Errorf("%s: egress %q, want \"through proxy %s (0.0.0.0:1)\"", name, line, c.at)
		}
		if n := strings.Count(text.String(), `"cause":"`+want+`"`); n != 2 || strings.Contains(text.String(), "canary") {
			t.Errorf("%s: %d lines name the proxy, want 2, and no line with the credentials or the proxy's text:\n%s", name, n, text)
		}
	}
}

// If connections in use were never replaced, a busy sidecar would not notice that a host name now
// resolves to another address.
func TestKeptConnectionsToMetaAreReplacedInTime(t *testing.T) {
	t.Parallel()
	type life struct{ first, last time.Time }
	var mu sync.Mutex // protects lives
	lives := map[string]life{}
	var failed atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		l, known := lives[r.RemoteAddr]
		if !known {
			l.first = time.Now()
		}
		l.last = time.Now()
		lives[r.RemoteAddr] = l
		mu.Unlock()
		says(200, "application/json", goodAnswer)(w, r)
	}))
	t.Cleanup(s.Close)
	p := serve(t, "UPSTREAM_URL="+s.URL, "UPSTREAM_MAX_CONNECTION_AGE=1s")
	rounds := 0
	for start := time.Now(); time.Since(start) < 3500*time.Millisecond; rounds++ { // no pause between rounds
		crowd(4, func(i int) {
			path := "/me"
			if i%2 == 0 {
				path = exchangePath(fmt.Sprintf("IGAA-%d-%d", rounds, i))
			}
			if r, err := fetch(t.Context(), http.DefaultClient, p.URL+path); err != nil || r.status != 200 {
				failed.Add(1)
			}
		})
	}
	mu.Lock()
	defer mu.Unlock()
	for _, l := range lives {
		if age := l.last.Sub(l.first); age > 1500*time.Millisecond { // the last call may begin just before 1s
			t.Errorf("a connection was used for %s, want at most 1.5s", age)
		}
	}
	// The four concurrent calls of a round need four connections. All four must have been replaced
	// at least once, but most calls must reuse a connection.
	if len(lives) < 8 || len(lives) > rounds/2 || failed.Load() > 0 {
		t.Errorf("%d connections (want 8 to %d) for %d calls, of which %d failed (want 0)", len(lives), rounds/2, 4*rounds, failed.Load())
	}
}
