package integration

// Redis stops, hangs, loses its data or returns wrong replies. A call is never sent with the token
// of another user. If igproxy does not know the successor, it sends the call unchanged.

import (
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/igproxy/igproxy/cache/redistest"
	"github.com/igproxy/igproxy/proxy/mock"
)

// refreshRecord uses a token until it is refreshed, and returns its successor and the key of its
// record in Redis. Other keys appear during the refresh too, but they expire.
func (m *renewing) refreshRecord(t *testing.T, p *process, redis *redistest.Server, long string) (next, key string) {
	t.Helper()
	known := redis.Keys()
	open := m.holdBefore(t)
	p.uses(t, long)
	m.holds(t)
	during := redis.Keys()
	open()
	next = m.successor(t, p, long)
	eventually(t, "the other new keys have expired", func() bool {
		left := slices.DeleteFunc(redis.Keys(), func(k string) bool { return slices.Contains(known, k) || !slices.Contains(during, k) })
		if len(left) == 1 {
			key = left[0]
		}
		return len(left) == 1
	})
	return next, key
}

func TestTheRecordOfAnotherTokenIsNotUsed(t *testing.T) {
	t.Parallel()
	meta, redis, all := keptBy(t, 1)
	mine, foreign := meta.oldLong(t, "IGAA-mine"), meta.oldLong(t, "IGAA-foreign")
	_, key := meta.refreshRecord(t, all[0], redis, mine)
	other, otherKey := meta.refreshRecord(t, all[0], redis, foreign)
	redis.Do("COPY", otherKey, key, "REPLACE")
	late := fleet(t, 1, append(append(keeping(once), singleRedis(redis)...), "UPSTREAM_URL="+meta.url)...)[0]
	late.uses(t, mine)
	if got := meta.lastToken(); got != mine {
		t.Errorf("the call was sent with %s, want the token itself, %s (the other user's successor is %s)", got, mine, other)
	}
	meta.successor(t, late, mine) // the token is refreshed again, as if it had no record
	late.uses(t, foreign)
	if got := meta.lastToken(); got != other {
		t.Errorf("the call of the other user was sent with %s, want the successor %s", got, other)
	}
}

// The memory tier has only 1 KiB, so nearly every call reads its record from Redis.
func TestLyingRedisNeverGivesAnotherUsersSuccessor(t *testing.T) {
	t.Parallel()
	const tokens, calls = 12, 60
	meta, redis := newRenewing(t, mock.Options{Secret: appSecret}), redistest.Start(t)
	liar := redistest.StartLiar(t, redis)
	p := serve(t, append(keeping(once), "UPSTREAM_URL="+meta.url, "REDIS_MODE=single", "REDIS_URL="+liar.URL(), "CACHE_MAX_BYTES=1KiB", "LOG_LEVEL=info")...)
	longs := make([]string, tokens)
	for i := range longs {
		longs[i] = meta.oldLong(t, fmt.Sprintf("IGAA-lied-%d", i))
	}
	for _, long := range longs {
		meta.successor(t, p, long)
	}
	meta.take()
	for _, lie := range redistest.Lies {
		liar.SetLie(lie, 4)
		crowd(6, func(caller int) {
			for n := range calls {
				i := (caller + 5*n) % tokens
				r, err := fetch(t.Context(), noKeepAlive, p.URL+mePath(longs[i])+"&user="+strconv.Itoa(i))
				if err != nil || r.status != 200 {
					t.Errorf("%s: got %d %s, %v; want 200", lie, r.status, r.body, err)
				}
			}
		})
	}
	replaced := 0
	for _, call := range meta.take() {
		i, _ := strconv.Atoi(call.Get("user"))
		switch sent := call.Get("access_token"); {
		case sent == longs[i]:
		case meta.descends(sent, longs[i]):
			replaced++
		default:
			t.Errorf("the call of user %d was sent with %s, want %s or a token that descends from it", i, sent, longs[i])
		}
	}
	if all := 6 * calls * len(redistest.Lies); replaced < all/10 || liar.LieCount() < 50 {
		t.Errorf("%d of %d calls were sent with a successor, want at least a tenth; %d lies were told, want at least 50", replaced, all, liar.LieCount())
	}
}

// A sidecar that has the successor in memory sends it without Redis. Another sidecar sends the call
// unchanged. It does not refresh the token, because it cannot reserve the refresh.
func TestCallsWithKeptTokensSucceedDuringAnOutageOfRedis(t *testing.T) {
	t.Parallel()
	meta, redis, all := keptBy(t, 2, often)
	long := meta.newLong(t, all[0], "IGAA-outage")
	meta.successor(t, all[0], long)
	redis.Kill()
	all[0].uses(t, long)
	if got := meta.lastToken(); !meta.descends(got, long) {
		t.Errorf("the sidecar that knows the successor sent %s, want a successor of %s", got, long)
	}
	refreshes := meta.RefreshesFor(long)
	all[1].uses(t, long)
	if got := meta.lastToken(); got != long {
		t.Errorf("the other sidecar sent %s, want the app's token %s", got, long)
	}
	eventually(t, "the reservation has failed", func() bool {
		return all[1].metric(t, `igproxy_keep_refreshes_total{app="default",outcome="failed"}`) >= 1
	})
	if got := meta.RefreshesFor(long); got != refreshes {
		t.Errorf("%d refreshes during the outage, want 0", got-refreshes)
	}
	redis.Restart() // empty
	eventually(t, "the record is stored again", func() bool { all[0].uses(t, long); return len(redis.Keys()) > 0 })
	eventually(t, "the other sidecar sends a successor", func() bool {
		all[1].uses(t, long)
		return meta.descends(meta.lastToken(), long)
	})
	all[0].uses(t, long)
	if got := meta.lastToken(); !meta.descends(got, long) {
		t.Errorf("the first sidecar sent %s, want a successor of %s", got, long)
	}
}

func TestAFlushOfRedisLosesNoSuccessorThatASidecarKnows(t *testing.T) {
	t.Parallel()
	meta, redis, all := keptBy(t, 1, often)
	long := meta.newLong(t, all[0], "IGAA-flushed")
	meta.successor(t, all[0], long)
	redis.Do("FLUSHALL")
	eventually(t, "the record is stored again", func() bool { all[0].uses(t, long); return len(redis.Keys()) > 0 })
	if meta.lastToken() == long {
		t.Errorf("the sidecar sent the app's token %s, want its successor", long)
	}
	late := fleet(t, 1, append(append(keeping(often), singleRedis(redis)...), "UPSTREAM_URL="+meta.url)...)[0]
	late.uses(t, long)
	if got := meta.lastToken(); !meta.descends(got, long) {
		t.Errorf("a sidecar that started later sent %s, want a successor of %s", got, long)
	}
	if got := meta.RefreshesFor(long); got != 1 {
		t.Errorf("%d refreshes of the token, want 1", got)
	}
}

// Meta issues a successor, but igproxy cannot store it in Redis. Calls still succeed: they are sent
// with the token itself, or with a successor that is in this sidecar's memory.
func TestCallsSucceedAfterRedisDiesDuringARefresh(t *testing.T) {
	t.Parallel()
	meta, redis, all := keptBy(t, 1, often)
	long := meta.newLong(t, all[0], "IGAA-unstored")
	open := meta.holdAfter(t)
	all[0].uses(t, long)
	meta.holds(t)
	redis.Kill()
	open()
	eventually(t, "the refresh has ended", func() bool {
		return len(all[0].Log.Lines("token not refreshed"))+len(all[0].Log.Lines("token refreshed")) > 0
	})
	all[0].uses(t, long)
	if sent := meta.lastToken(); sent != long && !meta.descends(sent, long) {
		t.Errorf("the call was sent with %s, want the app's token %s or one of its successors", sent, long)
	}
	redis.Restart()
	meta.successor(t, all[0], long)
}

// During the outage igproxy cannot delete the revoked successor from Redis. If a call with the
// successor is refused, igproxy sends the call again with the token itself.
func TestARevokedSuccessorIsReplacedEvenDuringAnOutageOfRedis(t *testing.T) {
	t.Parallel()
	meta, redis, all := keptBy(t, 1)
	long := meta.newLong(t, all[0], "IGAA-both")
	next := meta.successor(t, all[0], long)
	redis.Kill()
	meta.Revoke(next, 460)
	for range 5 {
		all[0].uses(t, long)
		if got := meta.lastToken(); got != long {
			t.Errorf("the last call to Meta had the token %s, want the app's token %s", got, long)
		}
	}
	redis.Restart()
	eventually(t, "the successor is dropped", func() bool {
		tried := meta.CallsFor(next)
		all[0].uses(t, long)
		return meta.CallsFor(next) == tried
	})
}

// A sidecar that has no copy of the record waits for Redis for at most redis.timeout, and not at
// all once it has logged "redis degraded".
func TestAHangingRedisDelaysCallsByItsTimeoutAtMost(t *testing.T) {
	t.Parallel()
	const calls = 40
	meta, redis, all := keptBy(t, 2)
	long := meta.newLong(t, all[0], "IGAA-hanging")
	next := meta.successor(t, all[0], long)
	redis.Pause()
	slow := 0
	for i := range calls {
		r := all[1].fetch(t, mePath(long))
		if r.status != 200 || meta.lastToken() != long {
			t.Errorf("response: got %d %s, want 200; token of the call: got %s, want the app's token %s", r.status, r.body, meta.lastToken(), long)
		}
		if r.took > 200*time.Millisecond { // redis.timeout is 250 ms here
			slow++
		}
		if r.took > 2*time.Second {
			t.Errorf("call %d took %s, want at most 2s", i, r.took)
		}
	}
	if slow > calls/2 {
		t.Errorf("%d of %d calls waited for Redis, want at most half of them", slow, calls)
	}
	redis.Resume()
	eventually(t, "the successor is found", func() bool { all[1].uses(t, long); return meta.lastToken() == next })
}
