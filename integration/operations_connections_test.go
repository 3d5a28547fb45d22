package integration

// igproxy limits the number of connections and what each may cost. The tests open more connections
// than there are file descriptors or than server.max_connections allows, send slowly, and never
// read answers. Other clients are answered meanwhile or, if they have to wait for a descriptor or a
// slot, as soon as one is free.

import (
	"bufio"
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
	"github.com/igproxy/igproxy/proxy/mock"
)

// dialApp opens a raw connection to the sidecar. The connection is closed at the end of the test.
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

// descriptors returns the number of files and sockets that the process has open.
func (p *process) descriptors(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.Cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

func TestIgproxyRecoversAfterFileDescriptorsRunOut(t *testing.T) {
	const limit, crowd = 96, 500
	ig, upstream := instagram(t, mock.ServerOptions{})
	ig.SetLatency(100 * time.Millisecond)
	p := startCommand(t, environ("UPSTREAM_URL="+upstream.URL), exec.Command("sh", "-c", fmt.Sprintf(`ulimit -n %d; exec "$0" serve`, limit), harness.Binary))
	p.Listening(t)
	known := p.ask(t, "IGAA-known")
	most := 0
	for range 2 { // igproxy must recover more than once
		conns := make([]net.Conn, crowd)
		for i := range conns {
			conns[i] = p.dialApp(t)
			_, _ = io.WriteString(conns[i], rawExchange(fmt.Sprintf("IGAA-crowd-%d", i)))
		}
		eventually(t, "the descriptors have run out", func() bool { most = max(most, p.descriptors(t)); return most >= limit-2 })
		time.Sleep(time.Second) // igproxy has no descriptors for a while
		for _, c := range conns {
			_ = c.Close()
		}
		gone := time.Now()
		eventually(t, "a new token is exchanged again", func() bool {
			r, err := fetch(t.Context(), noKeepAlive, p.URL+exchangePath(fmt.Sprint("IGAA-after-", time.Now().UnixNano())))
			return err == nil && r.status == 200
		})
		took := time.Since(gone)
		t.Logf("at most %d descriptors; igproxy answers %s after the connections were closed (promised: 2s)", most, took.Round(time.Millisecond))
		if took > 5*time.Second { // allows for a busy machine
			t.Errorf("igproxy took %s to recover, want about 2s (at most 5s on a busy machine)", took)
		}
	}
	if r := p.ask(t, "IGAA-known"); r.token() != known.token() {
		t.Errorf("the known token got %d with the token %q, want %q as before", r.status, r.token(), known.token())
	}
	if n := strings.Count(p.settled(t).String(), "Accept error"); n > 200 {
		t.Errorf("logged %d times that connections cannot be accepted, want at most 200, because more would be a busy loop", n)
	} else {
		t.Logf("logged %d times that connections cannot be accepted", n)
	}
	if n := len(p.Log.Lines("breaker changed")); n > 0 {
		t.Errorf("igproxy's own lack of descriptors changed the breaker for Instagram %d times, want 0", n)
	}
}

func TestSlowHeadersTimeOutAndOtherRequestsAreAnswered(t *testing.T) {
	const slow = 300
	_, upstream := instagram(t, mock.ServerOptions{})
	p := serve(t, "UPSTREAM_URL="+upstream.URL, "SERVER_READ_HEADER_TIMEOUT=1s")
	var ended atomic.Int32
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	start := time.Now()
	for range slow {
		c := p.dialApp(t)
		wg.Go(func() { // sends one byte at a time until igproxy closes the connection
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
	eventually(t, "the slow connections are closed", func() bool {
		if n++; ended.Load() < slow {
			answers(t, p, fmt.Sprintf("meanwhile-%d", n), 1)
		}
		return ended.Load() == slow
	})
	t.Logf("%d slow connections ended after %s (server.read_header_timeout 1s), %d other requests were answered meanwhile", slow, time.Since(start).Round(time.Millisecond), n)
	if took := time.Since(start); took > 10*time.Second || n < 10 {
		t.Errorf("the slow connections were closed after %s (want at most 10s); %d other requests were answered meanwhile (want at least 10)", took, n)
	}
}

func TestFullConnectionLimitClosesIdleConnectionsFirst(t *testing.T) {
	t.Parallel()
	const bound, waiting = 40, 60
	ig, upstream := instagram(t, mock.ServerOptions{})
	p := serve(t, "UPSTREAM_URL="+upstream.URL, fmt.Sprintf("SERVER_MAX_CONNECTIONS=%d", bound))
	known := p.ask(t, "IGAA-known")

	// Idle connections take all slots.
	var kept []net.Conn
	for range bound {
		c := p.dialApp(t)
		_, _ = io.WriteString(c, rawExchange("IGAA-known"))
		if res, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || res.StatusCode != 200 {
			t.Fatalf("got %v, %v; want 200", res, err)
		}
		kept = append(kept, c)
	}

	// New connections, each with a slow call, replace the idle ones at once. All further
	// connections have to wait, even those with requests for known tokens.
	ig.SetLatency(2 * time.Second)
	calls := ig.Calls()
	answered := make(chan string, bound+waiting) // what is wrong with each response; "" if it is right
	ask := func(token string) {
		go func() { // ends when the request has its answer
			r, err := fetch(t.Context(), noKeepAlive, p.URL+exchangePath(token))
			switch {
			case err != nil:
				answered <- fmt.Sprintf("%s: got %v, want 200", token, err)
			case r.status != 200 || token == "IGAA-known" && r.token() != known.token():
				answered <- fmt.Sprintf("%s: got %d %s, want 200, and for IGAA-known the token %s", token, r.status, r.body, known.token())
			default:
				answered <- ""
			}
		}()
	}
	for i := range bound {
		ask(fmt.Sprintf("IGAA-cold-%d", i))
	}
	eventually(t, "each slot has a call", func() bool { return ig.Calls() == calls+bound })
	begun := time.Now()
	for range waiting {
		ask("IGAA-known")
	}
	for _, c := range kept {
		_ = c.SetReadDeadline(time.Now().Add(patience))
		if _, err := c.Read(make([]byte, 1)); err != io.EOF {
			t.Fatalf("an idle connection: %v, want EOF", err)
		}
	}
	if n := len(answered); n > 0 && time.Since(begun) < time.Second {
		t.Errorf("%d requests beyond the limit were answered within a second, want 0", n)
	}
	for range bound + waiting {
		if problem := <-answered; problem != "" {
			t.Error(problem)
		}
	}
	t.Logf("%d requests beyond the limit were answered within %s", waiting, time.Since(begun).Round(time.Millisecond))

	// Connections that send nothing hardly delay other requests.
	for range 2 * bound {
		p.dialApp(t)
	}
	start := time.Now()
	answers(t, p, "after", 1)
	if took := time.Since(start); took > 10*time.Second { // allows for a busy machine
		t.Errorf("with silent connections in all slots an answer took %s, want at most 10s", took)
	}
}

func TestClientsThatNeverReadAreDisconnected(t *testing.T) {
	t.Parallel()
	const clients = 20
	_, upstream := instagram(t, mock.ServerOptions{})
	p := serve(t, "UPSTREAM_URL="+upstream.URL, "UPSTREAM_TIMEOUT=2s", "COALESCE_WAIT=100ms", "SERVER_WRITE_TIMEOUT=4s")
	answers(t, p, "known", 1)
	goroutines := p.metric(t, "go_goroutines")
	// The small receive buffer fills soon, so igproxy's writes to these clients soon block.
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
		wg.Go(func() { // sends requests and never reads an answer
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
	eventually(t, "the clients that never read are disconnected", func() bool {
		n++
		answers(t, p, fmt.Sprintf("meanwhile-%d", n), 1)
		most = max(most, p.metric(t, "go_goroutines"))
		return ended.Load() == clients
	})
	t.Logf("%.0f goroutines before, at most %.0f with %d clients that do not read; %d others answered meanwhile", goroutines, most, clients, n)
	if most > goroutines+4*clients+20 {
		t.Errorf("%.0f more goroutines with %d clients that never read, want at most %d", most-goroutines, clients, 4*clients+20)
	}
	eventually(t, "the goroutines of these clients have ended", func() bool { return p.metric(t, "go_goroutines") <= goroutines+5 })
}
