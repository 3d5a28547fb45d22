package integration

// The leader of an exchange is the sidecar that has the lease. The followers are the sidecars that
// wait for its answer. In these tests the leader dies or is slow, or Redis loses the lease. The
// followers still get an answer, and Instagram gets at most one extra call.

import (
	"syscall"
	"testing"
	"time"

	"github.com/igproxy/igproxy/cache/redistest"
	"github.com/igproxy/igproxy/proxy/mock"
)

const lease = 1500 * time.Millisecond // default of coalesce.lease

// waiting starts a caller at each sidecar and returns a channel with the responses.
func waiting(t *testing.T, all []*process, short string) <-chan response {
	answers := make(chan response, len(all))
	for _, p := range all {
		go func() { // ends when the caller has its response
			r, _ := p.try(t.Context(), short)
			answers <- r
		}()
	}
	return answers
}

func TestFollowersAreAnsweredAfterTheLeaderIsKilled(t *testing.T) {
	ig, upstream := instagram(t, mock.ServerOptions{})
	ig.SetLatency(time.Minute)
	redis := redistest.Start(t)
	all := fleet(t, 4, append(singleRedis(redis), "UPSTREAM_URL="+upstream.URL, patientRedis)...)
	leader := all[0]
	gone := make(chan struct{})
	go func() { _, _ = leader.try(t.Context(), "IGAA-killed"); close(gone) }()
	eventually(t, "the leader calls Instagram", func() bool { return ig.Calls() == 1 })
	answers := waiting(t, all[1:], "IGAA-killed")
	ig.SetLatency(0)
	killed := time.Now()
	_ = leader.Cmd.Process.Signal(syscall.SIGKILL)
	<-gone
	for range all[1:] {
		if r := <-answers; r.status != 200 || !contains(ig.Issued("IGAA-killed"), r.token()) {
			t.Errorf("a follower got %d %s, want 200 with an issued token", r.status, r.body)
		}
	}
	// The leader may have renewed the lease just before the kill. The followers then wait for the
	// whole lease, and need up to 300 ms more to poll Redis and to exchange the token. The
	// additional second is for a busy machine.
	if took := time.Since(killed); took > lease+300*time.Millisecond+time.Second {
		t.Errorf("the last follower was answered after %s, want at most about %s", took, lease+300*time.Millisecond)
	} else {
		t.Logf("the last follower was answered %s after the leader's death (lease %s)", took.Round(time.Millisecond), lease)
	}
	if ig.Calls() > 2 {
		t.Errorf("%d calls, want at most 2", ig.Calls())
	}
}

func TestSlowExchangeKeepsItsLease(t *testing.T) {
	t.Parallel()
	ig, upstream := instagram(t, mock.ServerOptions{})
	ig.SetLatency(2 * lease)
	redis := redistest.Start(t)
	all := fleet(t, 4, append(singleRedis(redis), "UPSTREAM_URL="+upstream.URL, patientRedis)...)
	answers := waiting(t, all, "IGAA-slow")
	for range all {
		if r := <-answers; r.status != 200 {
			t.Errorf("got %d %s, want 200", r.status, r.body)
		}
	}
	if ig.Calls() != 1 {
		t.Errorf("%d calls for an exchange of %s, want 1", ig.Calls(), 2*lease)
	}
}

func TestCallersAreAnsweredIfRedisIsFlushedDuringAnExchange(t *testing.T) {
	t.Parallel()
	ig, upstream := instagram(t, mock.ServerOptions{})
	ig.SetLatency(time.Second)
	redis := redistest.Start(t)
	all := fleet(t, 4, append(singleRedis(redis), "UPSTREAM_URL="+upstream.URL, patientRedis)...)
	answers := waiting(t, all, "IGAA-flushed")
	eventually(t, "the exchange is in flight", func() bool { return ig.Calls() == 1 })
	redis.Do("FLUSHALL")
	for range all {
		if r := <-answers; r.status != 200 || !contains(ig.Issued("IGAA-flushed"), r.token()) {
			t.Errorf("got %d %s, want 200 with an issued token", r.status, r.body)
		}
	}
	if ig.Calls() > 2 {
		t.Errorf("%d calls, want at most 2", ig.Calls())
	}
}

// A follower waits for at most coalesce.wait. Then it exchanges the token itself.
func TestFollowerExchangesTheTokenItselfAfterItsMaximumWait(t *testing.T) {
	t.Parallel()
	ig, upstream := instagram(t, mock.ServerOptions{})
	ig.SetLatency(3 * time.Second)
	redis := redistest.Start(t)
	all := fleet(t, 2, append(singleRedis(redis), "UPSTREAM_URL="+upstream.URL, patientRedis, "COALESCE_WAIT=500ms")...)
	answers := waiting(t, all, "IGAA-bounded")
	for range all {
		if r := <-answers; r.status != 200 {
			t.Errorf("got %d %s, want 200", r.status, r.body)
		}
	}
	if ig.Calls() != 2 {
		t.Errorf("%d calls, want 2: the second sidecar waits for 500ms and then calls Instagram", ig.Calls())
	}
}
