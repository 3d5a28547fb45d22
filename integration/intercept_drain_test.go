package integration

import (
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/igproxy/igproxy/integration/harness"
	"github.com/igproxy/igproxy/proxy/mock"
)

// After SIGTERM, igproxy still answers the intercepted requests in flight, over HTTP/1.1 and
// HTTP/2.
func TestDrainAnswersInterceptedRequestsInFlight(t *testing.T) {
	t.Parallel()
	const requests = 60
	ig, upstream := instagram(t, mock.ServerOptions{})
	ig.SetLatency(time.Second)
	p := harness.Intercept(t, harness.Binary, "UPSTREAM_URL="+upstream.URL)
	clients := []*http.Client{p.Client(t, false), p.Client(t, true)}
	var sent, answered atomic.Int32
	traced := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) { sent.Add(1) }})
	done := make(chan struct{})
	go func() { // the test waits for it below
		defer close(done)
		crowd(requests, func(i int) {
			target := "https://" + metaHost + exchangePath("IGAA-drain-"+string(rune('a'+i%10)))
			if r, err := fetch(traced, clients[i%2], target); err == nil && r.status == 200 && r.token() != "" {
				answered.Add(1)
			} else {
				t.Errorf("got %d, %v; want 200 with a token", r.status, err)
			}
		})
	}()
	eventually(t, "all requests have been sent and ten exchanges are in flight", func() bool { return sent.Load() == requests && ig.Calls() == 10 })
	if err := p.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-done
	if code := p.Wait(t); code != 0 || answered.Load() != requests || ig.Calls() != 10 {
		t.Errorf("exit code %d, want 0; %d of %d requests were answered, want all; %d calls, want 10", code, answered.Load(), requests, ig.Calls())
	}
}
