package integration

// Many sidecars on one Redis act as one. If several of them get the same short-lived token at the
// same time, Instagram is called once, and all callers get the same answer. The sidecar that has
// the lease and calls Instagram is the leader; the others, which wait for its answer, are
// followers.

import (
	"fmt"
	"net"
	"os/exec"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/igproxy/igproxy/cache/redistest"
	"github.com/igproxy/igproxy/integration/harness"
	"github.com/igproxy/igproxy/proxy/mock"
)

// patientRedis raises redis.timeout for tests that count calls: if Redis is slow on a busy machine,
// a sidecar that stops waiting for Redis calls Instagram itself.
const patientRedis = "REDIS_TIMEOUT=250ms"

// fleet starts n sidecars with the same settings.
func fleet(t *testing.T, n int, settings ...string) []*process {
	t.Helper()
	all := make([]*process, n)
	for i := range all {
		all[i] = start(t, environ(append(slices.Clone(settings), adminSocket(t))...), "serve")
	}
	for _, p := range all {
		p.Listening(t)
	}
	return all
}

// fast starts n sidecars with the same settings. Their binary is built without the race detector.
func fast(t testing.TB, n int, settings ...string) []*process {
	t.Helper()
	path := harness.Plain(t)
	all := make([]*process, n)
	for i := range all {
		all[i] = startCommand(t, environ(settings...), exec.Command(path, "serve"))
		all[i].Listening(t)
	}
	return all
}

func singleRedis(redis *redistest.Server) []string {
	return []string{"REDIS_MODE=single", "REDIS_URL=" + redis.URL()}
}

// tally counts the answers that a crowd of callers got.
type tally struct{ right, wrong, failed atomic.Int64 }

func (c *tally) String() string {
	return fmt.Sprintf("%d right answers, %d wrong, %d failed", c.right.Load(), c.wrong.Load(), c.failed.Load())
}

// count adds a response. A call has failed if err is not nil or the status is not 200. A response
// with status 200 is right if Instagram issued its token for this short-lived token, and wrong if
// not.
func (c *tally) count(ig *mock.Instagram, short string, r response, err error) {
	switch issued := ig.Issued(short); {
	case err != nil || r.status != 200:
		c.failed.Add(1)
	case !contains(issued, r.token()):
		c.wrong.Add(1)
	default:
		c.right.Add(1)
	}
}

func contains(list []string, s string) bool {
	for _, item := range list {
		if item == s {
			return true
		}
	}
	return false
}

func TestEightHundredCallersOfEightSidecarsCauseOneCall(t *testing.T) {
	const sidecars, callers = 8, 100
	ig, upstream := instagram(t, mock.ServerOptions{})
	ig.SetLatency(300 * time.Millisecond)
	redis := redistest.Start(t)
	all := fleet(t, sidecars, append(singleRedis(redis), "UPSTREAM_URL="+upstream.URL, patientRedis)...)
	var got tally
	var tokens sync.Map
	crowd(sidecars*callers, func(i int) {
		r, err := all[i%sidecars].try(t.Context(), "IGAA-fleet")
		got.count(ig, "IGAA-fleet", r, err)
		tokens.Store(r.token(), true)
	})
	different := 0
	tokens.Range(func(any, any) bool { different++; return true })
	if got.right.Load() != sidecars*callers || ig.Calls() != 1 || different != 1 {
		t.Errorf("%s, want %d right answers; got %d different tokens, want 1; %d calls, want 1", &got, sidecars*callers, different, ig.Calls())
	}
}

func TestEightSidecarsShareAThousandTokens(t *testing.T) {
	const sidecars, tokens = 8, 1000
	ig, upstream := instagram(t, mock.ServerOptions{})
	ig.SetLatency(50 * time.Millisecond)
	redis := redistest.Start(t)
	all := fast(t, sidecars, append(singleRedis(redis), "UPSTREAM_URL="+upstream.URL, "REDIS_TIMEOUT=1s", "COALESCE_LEASE=6s")...)
	var got tally
	next := make(chan int)
	var wg sync.WaitGroup
	for range 64 { // concurrent callers
		wg.Go(func() {
			for i := range next {
				short := fmt.Sprintf("IGAA-many-%d", i/sidecars)
				r, err := all[i%sidecars].try(t.Context(), short)
				got.count(ig, short, r, err)
			}
		})
	}
	for i := range sidecars * tokens {
		next <- i
	}
	close(next)
	wg.Wait()
	if got.right.Load() != sidecars*tokens {
		t.Errorf("%s; want %d right answers", &got, sidecars*tokens)
	}
	if perToken := float64(ig.Calls()) / tokens; perToken > 1.02 {
		t.Errorf("%.3f calls per token, want at most 1.02", perToken)
	}
}

// If the leader's exchange fails, its followers answer with the same failure. They do not call
// Instagram one after another.
func TestFollowersGetMetasErrorFromTheLeader(t *testing.T) {
	ig, upstream := instagram(t, mock.ServerOptions{})
	ig.SetLatency(300 * time.Millisecond)
	redis := redistest.Start(t)
	all := fleet(t, 8, append(singleRedis(redis), "UPSTREAM_URL="+upstream.URL, patientRedis, "UPSTREAM_RETRIES=0")...)
	for fault, want := range map[string]struct{ status, code int }{"down-fleet": {502, 2}, "permission-fleet": {403, 10}, "expired-fleet": {400, 190}} {
		var same atomic.Int32
		crowd(80, func(i int) {
			r, err := all[i%8].try(t.Context(), fault)
			if err == nil && r.status == want.status && r.graphError(t).Code == want.code {
				same.Add(1)
			}
		})
		if calls := ig.CallsFor(fault); same.Load() != 80 || calls != 1 {
			t.Errorf("%s: %d of 80 callers got status %d with code %d, want all; %d calls, want 1", fault, same.Load(), want.status, want.code, calls)
		}
	}
}

// A sidecar that cannot reach Meta must not cause failures for the callers of other sidecars.
func TestFollowersDoNotGetTheLeadersConnectionFailure(t *testing.T) {
	t.Parallel()
	_, upstream := instagram(t, mock.ServerOptions{})
	nowhere, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	arrived := make(chan struct{}, 10)
	go func() { // ends with its listener
		for {
			c, err := nowhere.Accept()
			if err != nil {
				return
			}
			arrived <- struct{}{}
			time.AfterFunc(300*time.Millisecond, func() { c.Close() })
		}
	}()
	t.Cleanup(func() { nowhere.Close() })
	settings := append(singleRedis(redistest.Start(t)), patientRedis, "UPSTREAM_RETRIES=0")
	cutOff := serve(t, append(settings, "UPSTREAM_URL=http://"+nowhere.Addr().String())...)
	healthy := serve(t, append(settings, "UPSTREAM_URL="+upstream.URL)...)
	done := make(chan response, 1)
	go func() { // ends when the caller has its answer
		r, _ := cutOff.try(t.Context(), "IGAA-1")
		done <- r
	}()
	<-arrived // now cutOff has the lease
	if r := healthy.ask(t, "IGAA-1"); r.status != 200 {
		t.Errorf("the healthy sidecar answers %d %s, want 200", r.status, r.body)
	}
	if r := <-done; r.status != 503 {
		t.Errorf("the sidecar that is cut off answers %d %s, want 503", r.status, r.body)
	}
}

func TestCoalescingCanBeTurnedOff(t *testing.T) {
	t.Parallel()
	ig, upstream := instagram(t, mock.ServerOptions{})
	ig.SetLatency(300 * time.Millisecond)
	redis := redistest.Start(t)
	all := fleet(t, 4, append(singleRedis(redis), "UPSTREAM_URL="+upstream.URL, patientRedis, "COALESCE_ENABLED=false")...)
	crowd(4, func(i int) {
		if r, err := all[i].try(t.Context(), "IGAA-each"); err != nil || r.status != 200 {
			t.Errorf("got %d, %v; want 200", r.status, err)
		}
	})
	if ig.Calls() != 4 {
		t.Errorf("%d calls, want 4, one for each sidecar", ig.Calls())
	}
	eventually(t, "a fifth sidecar finds what was stored", func() bool {
		r := fleet(t, 1, append(singleRedis(redis), "UPSTREAM_URL="+upstream.URL)...)[0].ask(t, "IGAA-each")
		return r.header.Get("Cache-Status") != "igproxy; fwd=miss; stored"
	})
}
