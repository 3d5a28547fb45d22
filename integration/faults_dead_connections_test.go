package integration

// Trouble with single connections to Meta must not become an outage. Connections may die silently:
// a NAT device or firewall loses its state, so no FIN arrives, but new connections work. And a
// server at Meta's edge may close connections after some requests, or allow only one HTTP/2 stream
// at a time.

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/igproxy/igproxy/integration/harness"
	"github.com/igproxy/igproxy/proxy/mock"
)

// nginxPath returns the path of nginx, which some distributions do not put into a user's PATH.
func nginxPath(t *testing.T) string {
	t.Helper()
	for _, path := range []string{"nginx", "/usr/sbin/nginx", "/usr/local/sbin/nginx", "/opt/homebrew/bin/nginx"} {
		if found, err := exec.LookPath(path); err == nil {
			return found
		}
	}
	t.Fatal("nginx is not installed: run make deps")
	return ""
}

const nginxEdgeConf = `daemon off;
master_process off; # one process, so that a signal ends all of nginx
pid DIR/nginx.pid;
error_log DIR/error.log warn;
events { worker_connections 2048; }
http {
  access_log off;
  client_body_temp_path DIR/body;
  proxy_temp_path DIR/proxy;
  fastcgi_temp_path DIR/fastcgi;
  uwsgi_temp_path DIR/uwsgi;
  scgi_temp_path DIR/scgi;
  keepalive_requests REQUESTS;
  http2_max_concurrent_streams STREAMS;
  upstream standin { server TARGET; keepalive 64; }
  server {
    listen ADDR ssl http2;
    ssl_certificate CERT;
    ssl_certificate_key KEY;
    location / { proxy_pass http://standin; proxy_http_version 1.1; proxy_set_header Connection ""; }
  }
}
`

// nginxEdge starts nginx with TLS and HTTP/2 in front of the stand-in, whose address is target.
// requests is the number of requests after which nginx closes a connection, and streams is the
// number of streams that nginx allows on a connection at a time. nginx ends with the test.
func nginxEdge(t *testing.T, target string, requests, streams int) (base, caFile string) {
	t.Helper()
	dir := t.TempDir()
	authority := harness.NewAuthority(t)
	certPEM, keyPEM := authority.Sign(t, "edge", "localhost")
	cert, key := file(t, "edge.pem", certPEM), file(t, "edge-key.pem", keyPEM)
	addr := harness.Address(t)
	conf := filepath.Join(dir, "nginx.conf")
	text := strings.NewReplacer("DIR", dir, "REQUESTS", fmt.Sprint(requests), "STREAMS", fmt.Sprint(streams), "TARGET", target, "ADDR", addr,
		"CERT", cert, "KEY", key).Replace(nginxEdgeConf)
	must(t, os.WriteFile(conf, []byte(text), 0o600))
	cmd := exec.Command(nginxPath(t), "-c", conf, "-e", filepath.Join(dir, "error.log"))
	must(t, cmd.Start())
	exited := make(chan struct{})
	go func() { _ = cmd.Wait(); close(exited) }() // ends with the process
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-exited
		if t.Failed() {
			log, _ := os.ReadFile(filepath.Join(dir, "error.log"))
			t.Logf("nginx: %s", log)
		}
	})
	client := authority.Client(t, nil, false)
	eventually(t, "nginx listens", func() bool {
		_, err := fetch(t.Context(), client, "https://"+addr+"/nothing")
		return err == nil
	})
	return "https://" + addr, authority.File
}

// results counts responses by status.
type results struct {
	mu  sync.Mutex
	all map[int]int
}

func (r *results) add(status int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.all == nil {
		r.all = map[int]int{}
	}
	r.all[status]++
}

// nginx plays Meta's edge, and closes each connection after some requests (nginx's default is
// 1,000), or allows only a few streams at a time. No call fails.
func TestGracefullyClosedConnectionsCostNoCall(t *testing.T) {
	t.Parallel()
	const callers = 60
	for _, c := range []struct{ requests, streams, tokens int }{{1, 128, 600}, {2, 1, 600}, {10, 2, 900}, {1000, 128, 2400}} {
		t.Run(fmt.Sprintf("%d requests, %d streams", c.requests, c.streams), func(t *testing.T) {
			ig, upstream := instagram(t, mock.ServerOptions{})
			ig.SetLatency(20 * time.Millisecond)
			edge, ca := nginxEdge(t, upstream.Addr, c.requests, c.streams)
			p := fast(t, 1, "UPSTREAM_URL="+edge, "UPSTREAM_LOGIN_URL="+edge, "UPSTREAM_CA_FILE="+ca, "LOG_LEVEL=info", "APP_ID="+appID,
				"REDIRECT_URIS="+callback, "UPSTREAM_RETRIES=0")[0]
			var exchanges, codes results
			next := make(chan int)
			var all sync.WaitGroup
			for range callers {
				all.Go(func() {
					for i := range next {
						if i%10 == 0 {
							if r, err := callBack(t.Context(), p, appID, fmt.Sprintf("AQ-code-%d", i)); err == nil {
								codes.add(r.status)
							}
							continue
						}
						if r, err := p.try(t.Context(), fmt.Sprintf("IGAA-%d", i)); err == nil {
							exchanges.add(r.status)
						}
					}
				})
			}
			for i := range c.tokens {
				next <- i
			}
			close(next)
			all.Wait()
			if exchanges.all[200] != c.tokens*9/10 || codes.all[200] != c.tokens/10 {
				t.Errorf("responses by status: exchanges: got %v, want map[200:%d]; codes: got %v, want map[200:%d]", exchanges.all, c.tokens*9/10, codes.all, c.tokens/10)
			}
			if changes := p.sum(t, "igproxy_breaker_changes_total"); changes != 0 {
				t.Errorf("the breaker changed %v times, want 0", changes)
			}
		})
	}
}

// Each dead connection may cost one call. Calls of any kind succeed if they start more than three
// seconds after the connections died, and no code is ever lost.
func TestDeadConnectionsCostAtMostOneCallEach(t *testing.T) {
	t.Parallel()
	const kept = 12
	for _, kind := range []string{"exchange", "code", "passed through"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			ig, upstream := instagram(t, mock.ServerOptions{TLS: true})
			way := newRelay(t, upstream.Addr)
			base := "https://" + way.addr
			p := serve(t, "UPSTREAM_URL="+base, "UPSTREAM_LOGIN_URL="+base, "UPSTREAM_CA_FILE="+caFile(t, upstream), "UPSTREAM_TIMEOUT=2s",
				"PASSTHROUGH_TIMEOUT=2s", "APP_ID="+appID, "REDIRECT_URIS="+callback)
			long, pool := p.ask(t, "IGAA-profile").token(), "tokens"
			call := func(n int) (response, error) { return p.try(t.Context(), fmt.Sprintf("IGAA-%d", n)) }
			switch kind {
			case "code":
				call = func(n int) (response, error) { return callBack(t.Context(), p, appID, fmt.Sprintf("AQ-code-%d", n)) }
			case "passed through":
				pool = "passthrough"
				call = func(int) (response, error) {
					return fetch(t.Context(), http.DefaultClient, p.URL+"/me?fields=user_id&access_token="+long)
				}
			}
			ig.SetLatency(200 * time.Millisecond) // so that each caller opens its own connection
			crowd(kept, func(i int) {
				if r, err := call(1000 + i); err != nil || r.status != 200 {
					t.Errorf("warming up: got %d, %v; want 200", r.status, err)
				}
			})
			ig.SetLatency(0)
			way.freeze()
			var lost, late atomic.Int32
			var all sync.WaitGroup
			start := time.Now()
			for n := range 40 { // ten per second
				all.Go(func() {
					began := time.Since(start)
					if r, err := call(2000 + n); err != nil || r.status != 200 {
						if lost.Add(1); began > 3*time.Second { // by then igproxy has closed the dead idle connections
							late.Add(1)
						}
					}
				})
				pauseFor(t.Context(), 100*time.Millisecond)
			}
			all.Wait()
			t.Logf("%d calls lost with %d dead connections", lost.Load(), kept)
			if n := lost.Load(); n > kept || late.Load() > 0 || kind == "code" && n > 0 {
				t.Errorf("%d calls of kind %s were lost (want at most %d, or 0 of kind code); %d of them started after more than 3 s (want 0)", n, kind, kept, late.Load())
			}
			if changes := p.sum(t, "igproxy_breaker_changes_total"); changes != 0 {
				t.Errorf("the breaker changed %v times, want 0", changes)
			}
			// A code is sent on a new connection, which cannot be dead.
			if dead := p.sum(t, "igproxy_upstream_silent_connections_total", `pool="`+pool+`"`); dead == 0 && kind != "code" {
				t.Errorf("no silent connection is counted for the pool %s", pool)
			}
			named := slices.ContainsFunc(p.settled(t).Lines("request"), func(line map[string]any) bool { return line["cause"] == "a kept connection stayed silent" })
			if lost.Load() > 0 && !named {
				t.Error("no line of the log has the cause \"a kept connection stayed silent\"")
			}
		})
	}
}

// The breaker still detects that Meta hangs. Timeouts on reused connections do not count as
// failures, but timeouts on the new connections that follow do.
func TestHangingMetaOpensTheBreaker(t *testing.T) {
	t.Parallel()
	ig := newEdge(t, nil)
	p := serve(t, "UPSTREAM_URL="+ig.URL, "UPSTREAM_TIMEOUT=500ms", "BREAKER_FAILURES=5")
	crowd(4, func(i int) { _, _ = p.try(t.Context(), fmt.Sprintf("IGAA-warm-%d", i)) })
	ig.SetFault("hang")
	before := ig.asked("")
	for i := 0; p.breaker(t) == "closed"; i++ {
		if i > 20 {
			t.Fatal("the breaker is still closed after more than 20 calls")
		}
		if r := p.ask(t, fmt.Sprintf("IGAA-%d", i)); r.status != 504 {
			t.Errorf("got %d %s, want 504", r.status, r.body)
		}
	}
	if calls := ig.asked("") - before; calls > 5+4 { // five failures, and four timeouts on reused connections
		t.Errorf("%d calls before the breaker opened, want at most 9", calls)
	}
}

// A worker keeps requesting one token for which every call to Meta fails. This must not affect
// requests for other tokens.
func TestTokenThatAlwaysFailsDoesNotAffectOthers(t *testing.T) {
	t.Parallel()
	ig := newEdge(t, nil)
	p := serve(t, "UPSTREAM_URL="+ig.URL, "BREAKER_OPEN=1s")
	var repeated, asked int
	for i := range 60 {
		r := p.ask(t, "down-1")
		if e := r.graphError(t); r.status != 502 || e.Code != 2 || !within(r.header.Get("Retry-After"), 30*time.Second) {
			t.Fatalf("the bad token: got %d %s, Retry-After %q; want 502 with code 2 and Retry-After", r.status, r.body, r.header.Get("Retry-After"))
		}
		if strings.Contains(r.header.Get("Cache-Status"), "failed a moment ago") {
			repeated++
		} else {
			asked++
		}
		if i%20 == 10 {
			if healthy := p.ask(t, fmt.Sprintf("IGAA-%d", i)); healthy.status != 200 {
				t.Errorf("another user got %d %s, want 200", healthy.status, healthy.body)
			}
		}
		pauseFor(t.Context(), 50*time.Millisecond)
	}
	// After the first failure the token is paused for 1 s, and after the second for 2 s. Each
	// request that reaches Instagram has one retry.
	if calls := ig.asked("down-1"); asked > 3 || calls > 6 || repeated == 0 {
		t.Errorf("%d requests reached Instagram in 3 s (want at most 3), with %d calls (want at most 6); %d requests got a remembered failure (want some)", asked, calls, repeated)
	}
	if changes := p.sum(t, "igproxy_breaker_changes_total"); changes != 0 {
		t.Errorf("the breaker changed %v times, want 0", changes)
	}
}

// A batch job refreshes more tokens at once than upstream.max_in_flight allows, and Meta does not
// answer these calls. Logins still work, because exchanges have their own limit.
func TestHangingRefreshesDoNotBlockLogins(t *testing.T) {
	t.Parallel()
	const most = 2
	ig := newEdge(t, nil)
	p := serve(t, "UPSTREAM_URL="+ig.URL, "UPSTREAM_TIMEOUT=4s", fmt.Sprintf("UPSTREAM_MAX_IN_FLIGHT=%d", most))
	ctx, leave := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { // ends when its callers disconnect
		defer close(done)
		crowd(50, func(i int) {
			_, _ = fetch(ctx, http.DefaultClient, fmt.Sprintf("%s/refresh_access_token?grant_type=ig_refresh_token&access_token=hang-%d", p.URL, i))
		})
	}()
	eventually(t, "the refreshes are in flight", func() bool { return p.sum(t, "igproxy_upstream_in_flight") == most })
	for i := range 10 {
		if r := p.ask(t, fmt.Sprintf("IGAA-%d", i)); r.status != 200 || r.took > noise {
			t.Errorf("an exchange got %d %s after %s, want 200 at once", r.status, r.body, r.took)
		}
	}
	leave()
	<-done
}

// pauseFor waits for d, or until ctx ends. Tests call it between requests, because the users of an
// app do not send all requests at once.
func pauseFor(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
