package integration

// A sidecar that fails without an answer from Meta releases the lease and does not share the
// failure. The other sidecars then call Meta themselves, at once.

import (
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/igproxy/igproxy/cache/redistest"
	"github.com/igproxy/igproxy/proxy/mock"
)

func TestFailureOfOneSidecarIsNotSharedWithTheFleet(t *testing.T) {
	t.Parallel()
	for name, trouble := range map[string]struct {
		// url returns the upstream URL of the sidecar in trouble. status is the status of this
		// sidecar's answer. during, if not nil, runs while this sidecar exchanges the token.
		url    func(t *testing.T, asked chan<- struct{}) string
		status int
		during func(t *testing.T, troubled *process, asked <-chan struct{})
	}{
		"unreached": {nowhere, 503, nil},
		"timeout":   {silence, 504, nil},
		"resumed after a stop": {silence, 504, func(t *testing.T, troubled *process, asked <-chan struct{}) {
			<-asked
			_ = troubled.Cmd.Process.Signal(syscall.SIGSTOP)
			time.Sleep(lease + time.Second) // longer than the lease and the timeout
			_ = troubled.Cmd.Process.Signal(syscall.SIGCONT)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ig, upstream := instagram(t, mock.ServerOptions{})
			asked := make(chan struct{}, 10)
			settings := append(singleRedis(redistest.Start(t)), patientRedis, "UPSTREAM_RETRIES=0")
			troubled := serve(t, append(settings, "UPSTREAM_TIMEOUT=1s", "UPSTREAM_URL="+trouble.url(t, asked))...)
			healthy := serve(t, append(settings, "UPSTREAM_URL="+upstream.URL)...)
			failed := make(chan response, 1)
			go func() { // ends when the sidecar has answered
				r, _ := troubled.try(t.Context(), "IGAA-1")
				failed <- r
			}()
			if trouble.during != nil {
				trouble.during(t, troubled, asked)
			}
			if r := <-failed; r.status != trouble.status {
				t.Errorf("the sidecar in trouble answers %d %s, want %d", r.status, r.body, trouble.status)
			}
			start := time.Now()
			if r := healthy.ask(t, "IGAA-1"); r.status != 200 || !contains(ig.Issued("IGAA-1"), r.token()) {
				t.Errorf("the healthy sidecar answers %d %s, want 200 with an issued token", r.status, r.body)
			}
			// If the lease were not released, the healthy sidecar would wait for up to 1.5 seconds.
			if took := time.Since(start); took > 900*time.Millisecond {
				t.Errorf("the healthy sidecar answered after %s, want at most 900ms", took)
			}
			if ig.Calls() != 1 {
				t.Errorf("%d calls from the healthy sidecar, want 1", ig.Calls())
			}
		})
	}
}

// The leader, which is the sidecar that has the lease, is suspended (SIGSTOP) during its exchange.
// Another sidecar then gets an answer from Meta. When the leader continues, it does not replace
// that answer.
func TestLeaderThatWasSuspendedDoesNotReplaceANewerAnswer(t *testing.T) {
	t.Parallel()
	ig, upstream := instagram(t, mock.ServerOptions{})
	asked := make(chan struct{}, 10)
	settings := append(singleRedis(redistest.Start(t)), patientRedis, "UPSTREAM_RETRIES=0")
	troubled := serve(t, append(settings, "UPSTREAM_TIMEOUT=1s", "UPSTREAM_URL="+silence(t, asked))...)
	healthy := fleet(t, 2, append(settings, "UPSTREAM_URL="+upstream.URL)...)
	failed := make(chan response, 1)
	go func() { // ends when the sidecar has answered
		r, _ := troubled.try(t.Context(), "IGAA-1")
		failed <- r
	}()
	<-asked
	_ = troubled.Cmd.Process.Signal(syscall.SIGSTOP)
	first := healthy[0].ask(t, "IGAA-1")
	_ = troubled.Cmd.Process.Signal(syscall.SIGCONT)
	<-failed
	second := healthy[1].ask(t, "IGAA-1")
	if first.status != 200 || second.status != 200 || first.token() != second.token() || ig.Calls() != 1 {
		t.Errorf("the healthy sidecars answered %d and %d, want 200 twice; the tokens are the same: %v, want true; the healthy sidecars made %d calls, want 1",
			first.status, second.status, first.token() == second.token(), ig.Calls())
	}
}

// nowhere returns the URL of a closed port.
func nowhere(t *testing.T, _ chan<- struct{}) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	return "http://" + l.Addr().String()
}

// silence returns the URL of a server that accepts connections and never answers. The parameter
// asked receives a value for each connection.
func silence(t *testing.T, asked chan<- struct{}) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() { // ends when the listener is closed
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			defer c.Close()
			asked <- struct{}{}
		}
	}()
	return "http://" + l.Addr().String()
}
