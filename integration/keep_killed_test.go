package integration

// These tests kill a sidecar at each step of a refresh. The token itself stays valid, so calls
// through another sidecar succeed. If the successor was not stored, that sidecar refreshes the
// token.

import (
	"syscall"
	"testing"
)

// kill kills a sidecar as the kernel does when memory is short.
func (p *process) kill() {
	_ = p.Cmd.Process.Signal(syscall.SIGKILL) // it may have ended already
	<-p.Exited
}

// survives kills the first sidecar if it still runs. Then it checks that the second sidecar sends
// its first call with the token itself and later calls with a successor, and that calls succeed
// even after the token has ended.
func (m *renewing) survives(t *testing.T, first, second *process, long string) {
	t.Helper()
	first.kill()
	second.uses(t, long)
	if got := m.lastToken(); got != long {
		t.Errorf("token of the first call after the kill: got %q, want the token itself, %q", got, long)
	}
	m.successor(t, second, long)
	m.Age(keptLife - 2*day) // the token ends
	if !m.refusesDirectly(t, long) {
		t.Error("Meta accepts the token after its end, want a refusal with code 190")
	}
	second.uses(t, long)
}

func TestTokenLivesOnIfItsSidecarIsKilledBeforeTheRefresh(t *testing.T) {
	t.Parallel()
	meta, redis, all := keptBy(t, 1, often, "KEEP_MAX_PER_MINUTE=1")
	other := fleet(t, 1, append(append(keeping(often), singleRedis(redis)...), "UPSTREAM_URL="+meta.url)...)[0]
	busy, long := meta.newLong(t, all[0], "IGAA-busy"), meta.newLong(t, all[0], "IGAA-waits")
	meta.successor(t, all[0], busy) // this uses up KEEP_MAX_PER_MINUTE, so the next refresh begins in a minute
	all[0].uses(t, long)
	eventually(t, "the token waits for its refresh", func() bool { return all[0].metric(t, `igproxy_keep_waiting{app="default"}`) >= 1 })
	meta.survives(t, all[0], other, long)
	if got := meta.RefreshesFor(long); got != 1 {
		t.Errorf("%d refreshes, want 1", got)
	}
}

func TestTokenLivesOnIfItsSidecarIsKilledWhileTheRefreshHangs(t *testing.T) {
	t.Parallel()
	meta, _, all := keptBy(t, 2, often)
	long := meta.newLong(t, all[0], "IGAA-hangs")
	open := meta.holdBefore(t)
	all[0].uses(t, long)
	meta.holds(t)
	all[1].uses(t, long) // all[0] has reserved the refresh, so all[1] does not begin one
	if got := meta.lastToken(); got != long {
		t.Errorf("token of a call during the refresh: got %q, want the token itself, %q", got, long)
	}
	all[0].kill()
	eventually(t, "the refresh ends with the sidecar", func() bool { return meta.held.Load() == 0 })
	open()
	meta.survives(t, all[0], all[1], long)
}

func TestTokenLivesOnIfItsSidecarIsKilledAfterMetaRefreshedTheToken(t *testing.T) {
	t.Parallel()
	meta, _, all := keptBy(t, 2, often)
	long := meta.newLong(t, all[0], "IGAA-answered")
	open := meta.holdAfter(t)
	all[0].uses(t, long)
	meta.holds(t)
	if got := len(meta.Issued(long)); got != 1 {
		t.Fatalf("%d successors were issued, want 1", got)
	}
	all[0].kill()
	open()
	meta.survives(t, all[0], all[1], long)
	if got := meta.RefreshesFor(long); got != 2 {
		t.Errorf("%d refreshes, want 2, because the successor from the first one is lost", got)
	}
}

func TestSidecarThatIsKilledAfterItsRefreshLosesNoSuccessor(t *testing.T) {
	t.Parallel()
	meta, _, all := keptBy(t, 2)
	long := meta.newLong(t, all[0], "IGAA-stored")
	next := meta.successor(t, all[0], long)
	all[0].kill()
	all[1].uses(t, long)
	if meta.lastToken() != next || meta.RefreshesFor(long) != 1 {
		t.Errorf("%d refreshes, want 1; the other sidecar sends the successor: %v, want true", meta.RefreshesFor(long), meta.lastToken() == next)
	}
}
