package integration

// Connections are bounded, and so is what each may cost: more than there are descriptors for, some that send a byte now and then, a flood
// beyond server.max_connections, others that never read what they asked for. Meanwhile and afterwards the rest is answered.

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/igproxy/igproxy/integration/harness"
	"github.com/igproxy/igproxy/proxy/proxytest"
)

// dialApp opens a raw connection to the sidecar; it ends with the test at the latest.
func (p *process) dialApp(t *testing.T) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(p.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func rawExchange(token string) string {
	return "GET " + exchangePath(token) + " HTTP/1.1\r\nHost: localhost\r\n\r\n"
}

// descriptors are how many files and sockets the process has open.
func (p *process) descriptors(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.Cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

func TestOutOfDescriptorsItLivesAndRecovers(t *testing.T) {
	const limit, crowd = 96, 500
	ig, upstream := instagram(t, proxytest.ServerOptions{})
	ig.SetLatency(100 * time.Millisecond)
	p := startCommand(t, environ("UPSTREAM_URL="+upstream.URL), exec.Command("sh", "-c", fmt.Sprintf(`ulimit -n %d; exec "$0" serve`, limit), harness.Binary))
	p.Listening(t)
	known := p.ask(t, "IGAA-known")
	most := 0
	for range 2 { // what it takes once, it takes again
		conns := make([]net.Conn, crowd)
		for i := range conns {
			conns[i] = p.dialApp(t)
			_, _ = io.WriteString(conns[i], rawExchange(fmt.Sprintf("IGAA-crowd-%d", i)))
		}
		eventually(t, "descriptors are out", func() bool { most = max(most, p.descriptors(t)); return most >= limit-2 })
		time.Sleep(time.Second) // of hardship
		for _, c := range conns {
			_ = c.Close()
		}
		gone := time.Now()
		eventually(t, "a new token is exchanged again", func() bool {
			r, err := fetch(t.Context(), noKeepAlive, p.URL+exchangePath(fmt.Sprint("IGAA-after-", time.Now().UnixNano())))
			return err == nil && r.status == 200
		})
		took := time.Since(gone)
		t.Logf("at most %d descriptors; answers again %s after the crowd has gone (promised: 2s)", most, took.Round(time.Millisecond))
		if took > 5*time.Second { // the machine may be busy
			t.Errorf("it took %s to recover, want about 2s at most", took)
		}
	}
	if r := p.ask(t, "IGAA-known"); r.token() != known.token() {
		t.Errorf("the known token got %d", r.status)
	}
	if n := strings.Count(p.settled(t).String(), "Accept error"); n > 200 {
		t.Errorf("said %d times that connections cannot be accepted: a busy loop", n)
	} else {
		t.Logf("said %d times that connections cannot be accepted", n)
	}
	if n := len(p.Log.Lines("breaker changed")); n > 0 {
		t.Errorf("our own lack of descriptors changed Instagram's breaker %d times", n)
	}
}

func TestSlowHeadersAreEndedAndOthersAreAnswered(t *testing.T) {
	const slow = 300
	_, upstream := instagram(t, proxytest.ServerOptions{})
	p := serve(t, "UPSTREAM_URL="+upstream.URL, "SERVER_READ_HEADER_TIMEOUT=1s")
	var ended atomic.Int32
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	start := time.Now()
	for range slow {
		c := p.dialApp(t)
		wg.Go(func() { // a byte now and then, until it is ended
			defer ended.Add(1)
			for _, b := range []byte(rawExchange("IGAA-" + strings.Repeat("slow", 500))) {
				if _, err := c.Write([]byte{b}); err != nil || ctx.Err() != nil {
					return
				}
				time.Sleep(50 * time.Millisecond)
			}
		})
	}
	n := 0
	eventually(t, "the slow ones are ended", func() bool {
		if n++; ended.Load() < slow {
			answers(t, p, fmt.Sprintf("meanwhile-%d", n), 1)
		}
		return ended.Load() == slow
	})
	t.Logf("%d slow connections ended after %s (server.read_header_timeout 1s), %d others answered meanwhile", slow, time.Since(start).Round(time.Millisecond), n)
	if took := time.Since(start); took > 10*time.Second || n < 10 {
		t.Errorf("the slow ones were ended after %s, %d others were answered meanwhile", took, n)
	}
}

func TestAFloodOfConnectionsGetsHitsAndAQuick503(t *testing.T) {
	const bound = 40
	ig, upstream := instagram(t, proxytest.ServerOptions{})
	p := serve(t, "UPSTREAM_URL="+upstream.URL, fmt.Sprintf("SERVER_MAX_CONNECTIONS=%d", bound))
	kept := &http.Client{Transport: &http.Transport{}}
	defer kept.CloseIdleConnections()
	known, err := fetch(t.Context(), kept, p.URL+exchangePath("IGAA-known"))
	if err != nil || known.status != 200 {
		t.Fatalf("got %d, %v", known.status, err)
	}

	// All places are taken by those who wait for Instagram. The kept connection makes room.
	var busy []net.Conn
	for i := 0; ig.Calls() < bound+1 && i < 2*bound; i++ {
		c, calls := p.dialApp(t), ig.Calls()
		_, _ = io.WriteString(c, rawExchange(fmt.Sprintf("hang-busy-%d", i)))
		busy = append(busy, c)
		eventually(t, "it waits for Instagram, or is one too many because the kept one was not yet idle", func() bool {
			_ = c.SetReadDeadline(time.Now().Add(time.Millisecond))
			n, _ := c.Read(make([]byte, 1))
			return ig.Calls() > calls || n > 0
		})
	}
	calls := ig.Calls()
	if calls != bound+1 {
		t.Fatalf("%d calls, want one for each of %d places and one before", calls, bound)
	}
	var hits, refused atomic.Int32
	var slowest atomic.Int64
	crowd(100, func(i int) {
		token := "IGAA-known"
		if i%2 == 0 {
			token = fmt.Sprintf("IGAA-cold-%d", i)
		}
		r, err := fetch(t.Context(), noKeepAlive, p.URL+exchangePath(token))
		switch {
		case err != nil:
			t.Errorf("a connection beyond the bound: %v", err)
		case r.status == 200 && r.token() == known.token() && i%2 == 1:
			hits.Add(1)
		case r.status == 503 && r.header.Get("Retry-After") == "1" && r.graphError(t).Transient && i%2 == 0:
			refused.Add(1)
		default:
			t.Errorf("got %d %s", r.status, r.body)
		}
		for took := int64(r.took); took > slowest.Load(); {
			slowest.Store(took)
		}
	})
	if hits.Load() != 50 || refused.Load() != 50 || ig.Calls() != calls {
		t.Errorf("%d hits and %d refusals, %d calls; want 50, 50 and none", hits.Load(), refused.Load(), ig.Calls()-calls)
	}
	t.Logf("the slowest of 100 beyond the bound was answered in %s", time.Duration(slowest.Load()).Round(time.Millisecond))
	if d := time.Duration(slowest.Load()); d > 3*time.Second {
		t.Errorf("beyond the bound an answer took %s", d)
	}

	// Silent ones beyond it hold the rest up for a second, no longer.
	for range 2 * bound {
		p.dialApp(t)
	}
	eventually(t, "a hit is served among silent connections", func() bool {
		r, err := fetch(t.Context(), noKeepAlive, p.URL+exchangePath("IGAA-known"))
		return err == nil && r.status == 200
	})
	for _, c := range busy {
		_ = c.Close()
	}
	eventually(t, "cold tokens are exchanged again", func() bool {
		r, err := fetch(t.Context(), noKeepAlive, p.URL+exchangePath("IGAA-after"))
		return err == nil && r.status == 200
	})
}

func TestClientsThatNeverReadAreEnded(t *testing.T) {
	const clients = 20
	_, upstream := instagram(t, proxytest.ServerOptions{})
	p := serve(t, "UPSTREAM_URL="+upstream.URL, "UPSTREAM_TIMEOUT=300ms", "COALESCE_WAIT=100ms", "SERVER_WRITE_TIMEOUT=2s")
	answers(t, p, "known", 1)
	goroutines := p.metric(t, "go_goroutines")
	deaf := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { _ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 2048) })
	}}
	var wg sync.WaitGroup
	defer wg.Wait()
	var ended atomic.Int32
	for range clients {
		c, err := deaf.DialContext(t.Context(), "tcp", strings.TrimPrefix(p.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		_ = c.SetWriteDeadline(time.Now().Add(patience))
		wg.Go(func() { // asks, and never reads an answer
			requests := []byte(strings.Repeat(rawExchange("IGAA-known-0"), 50))
			for {
				if _, err := c.Write(requests); err != nil {
					if !os.IsTimeout(err) {
						ended.Add(1)
					}
					return
				}
			}
		})
	}
	most := 0.0
	n := 0
	eventually(t, "those who never read are ended", func() bool {
		n++
		answers(t, p, fmt.Sprintf("meanwhile-%d", n), 1)
		most = max(most, p.metric(t, "go_goroutines"))
		return ended.Load() == clients
	})
	t.Logf("%.0f goroutines before, at most %.0f with %d deaf clients; %d others answered meanwhile", goroutines, most, clients, n)
	if most > goroutines+4*clients+20 {
		t.Errorf("%.0f goroutines for %d clients", most-goroutines, clients)
	}
	eventually(t, "their goroutines are gone", func() bool { return p.metric(t, "go_goroutines") <= goroutines+5 })
}
