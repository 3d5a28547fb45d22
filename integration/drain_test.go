package integration

// SIGTERM starts the drain: readiness fails at once, requests in flight are answered, their answers
// are stored in Redis, and the exit code is 0. A second signal ends the process immediately.

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/igproxy/igproxy/cache/redistest"
	"github.com/igproxy/igproxy/proxy/mock"
)

func TestDrainAnswersRequestsInFlight(t *testing.T) {
	ig, upstream := instagram(t, mock.ServerOptions{})
	ig.SetLatency(time.Second)
	redis := redistest.Start(t)
	p := serve(t, "UPSTREAM_URL="+upstream.URL, "REDIS_MODE=single", "REDIS_URL="+redis.URL())
	var sent, answered atomic.Int32
	traced := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) { sent.Add(1) }})
	done := make(chan struct{})
	go func() {
		crowd(100, func(i int) {
			if r, err := p.try(traced, "IGAA-drain-"+string(rune('a'+i%10))); err == nil && r.status == 200 {
				answered.Add(1)
			}
		})
		close(done)
	}()
	eventually(t, "a hundred requests have been sent and ten exchanges are in flight", func() bool { return sent.Load() == 100 && ig.Calls() == 10 })
	// Connections are accepted in order, so when a later connection has a response, all hundred
	// connections have been accepted.
	if r, err := fetch(t.Context(), noKeepAlive, p.URL+"/access_token"); err != nil || r.status != 400 {
		t.Fatalf("got %d, %v; want 400", r.status, err)
	}
	if err := p.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, "/readyz reports that the sidecar drains", func() bool {
		r, err := fetch(t.Context(), noKeepAlive, p.Admin+"/readyz")
		return err == nil && r.status == 503 && strings.Contains(r.body, `"draining":true`)
	})
	<-done
	if code := p.Wait(t); code != 0 || answered.Load() != 100 {
		t.Errorf("exit code %d with %d of 100 requests answered, want 0 with all of them", code, answered.Load())
	}
	if n := len(redis.Dump()); n != 20 { // ten answers, each with an entry in the index of long-lived tokens
		t.Errorf("%d entries in Redis after the drain, want 20", n)
	}
	if len(p.Log.Lines("stopped")) != 1 {
		t.Error("the log does not say that igproxy stopped")
	}
}

// A request on an accepted connection is answered even if it arrives after the signal.
func TestDrainAnswersRequestsOnEarlierConnections(t *testing.T) {
	_, upstream := instagram(t, mock.ServerOptions{})
	p := serve(t, "UPSTREAM_URL="+upstream.URL)
	c, err := net.Dial("tcp", strings.TrimPrefix(p.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	// Connections are accepted in order, so when a later connection has a response, c has been
	// accepted.
	if r, err := fetch(t.Context(), noKeepAlive, p.URL+"/access_token"); err != nil || r.status != 400 {
		t.Fatalf("got %d, %v; want 400", r.status, err)
	}
	if err := p.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, "new connections are refused", func() bool {
		late, err := net.Dial("tcp", c.RemoteAddr().String())
		if err == nil {
			_ = late.Close()
		}
		return err != nil
	})
	fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", exchangePath("IGAA-drain-late"))
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatalf("a request on an accepted connection was dropped: %v", err)
	}
	defer res.Body.Close()
	if res.StatusCode != 200 || !res.Close {
		t.Errorf("got %d, Connection: close %v; want 200 and true", res.StatusCode, res.Close)
	}
	if code := p.Wait(t); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}

func TestSecondSignalStopsImmediately(t *testing.T) {
	ig, upstream := instagram(t, mock.ServerOptions{})
	p := serve(t, "UPSTREAM_URL="+upstream.URL)
	gone := make(chan struct{})
	go func() { _, _ = p.try(t.Context(), "hang-1"); close(gone) }()
	eventually(t, "an exchange hangs", func() bool { return ig.Calls() == 1 })
	_ = p.Cmd.Process.Signal(syscall.SIGTERM)
	eventually(t, "the sidecar drains", func() bool { return len(p.Log.Lines("draining")) == 1 })
	_ = p.Cmd.Process.Signal(syscall.SIGTERM)
	if code := p.Wait(t); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	<-gone
}
