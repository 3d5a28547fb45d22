package cache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/igproxy/igproxy/cache/redistest"
)

// These tests claim tokens on a real Redis, in every mode, with scripts and with plain commands.

// fleet returns the cache of one process of a fleet on a real Redis. Its timeouts are long, because
// these tests are about correct answers, not about speed.
func fleet(t *testing.T, o RedisOptions, log *slog.Logger) *Cache {
	t.Helper()
	o.Lease, o.Wait, o.Timeout, o.StoreTimeout = time.Second, 10*time.Second, time.Second, time.Second
	c, err := New(Options{MaxBytes: 1 << 20, Redis: &o, Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(context.Background()); err != nil {
			t.Errorf("closing the cache: %v", err)
		}
	})
	return c
}

func single(s *redistest.Server) RedisOptions {
	return RedisOptions{Mode: ModeSingle, URL: s.URL()}
}

func wantOutcome(t *testing.T, who string, cl *Claim, want Outcome) {
	t.Helper()
	if cl.Outcome != want {
		t.Fatalf("%s: got the outcome %s, want %s", who, cl.Outcome, want)
	}
}

// leadAndFollow checks what must hold on every Redis: one process leads, the others wait and get
// its answer, and later processes find the answer.
func leadAndFollow(t *testing.T, o RedisOptions, k Key) {
	t.Helper()
	want := Entry{Value: []byte("token"), Expires: time.Now().Add(time.Hour).Truncate(time.Millisecond)}
	leader := fleet(t, o, nil).Claim(t.Context(), k)
	wantOutcome(t, "the first claim", leader, Leader)
	var wg sync.WaitGroup
	for i := range 3 {
		c := fleet(t, o, nil)
		wg.Go(func() {
			cl := c.Claim(t.Context(), k)
			if cl.Outcome != Followed || !bytes.Equal(cl.Entry.Value, want.Value) || !cl.Entry.Expires.Equal(want.Expires) {
				t.Errorf("follower %d: got the outcome %s, want %s; got the entry %q until %s, want %q until %s", i, cl.Outcome, Followed, cl.Entry.Value, cl.Entry.Expires, want.Value, want.Expires)
			}
		})
	}
	time.Sleep(1200 * time.Millisecond) // longer than the lease, so that the leader has to renew it
	leader.Remember(want, nil)
	wg.Wait()
	late := fleet(t, o, nil).Claim(t.Context(), k)
	wantOutcome(t, "a claim after the answer was stored", late, Hit)
}

// failAndShare checks that followers get the leader's failure, and that no process leads while the
// failure is fresh.
func failAndShare(t *testing.T, o RedisOptions, k Key) {
	t.Helper()
	leader := fleet(t, o, nil).Claim(t.Context(), k)
	wantOutcome(t, "the first claim", leader, Leader)
	claimed := make(chan *Claim)
	follower := fleet(t, o, nil)
	go func() { claimed <- follower.Claim(context.Background(), k) }() // ends within RedisOptions.Wait
	leader.Fail(Entry{Value: []byte("down"), Expires: time.Now().Add(2 * time.Second)})
	if cl := <-claimed; cl.Outcome != Failed || string(cl.Entry.Value) != "down" {
		t.Errorf("the follower: got %s with %q, want %s with \"down\"", cl.Outcome, cl.Entry.Value, Failed)
	}
	next := fleet(t, o, nil).Claim(t.Context(), k)
	wantOutcome(t, "a claim while the failure is fresh", next, Failed)
}

func TestFollowersGetTheLeadersAnswerOrFailure(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	sentinels := redistest.StartSentinels(t)
	cluster := redistest.StartCluster(t)
	for name, o := range map[string]RedisOptions{
		"single":   single(server),
		"sentinel": {Mode: ModeSentinel, Addrs: strings.Split(sentinels.Addrs(), ","), MasterName: redistest.MasterName},
		"cluster":  {Mode: ModeCluster, Addrs: strings.Split(cluster.Addrs(), ",")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Run("answer", func(t *testing.T) { leadAndFollow(t, o, keyOf(t, "answer")) })
			t.Run("failure", func(t *testing.T) { failAndShare(t, o, keyOf(t, "failure")) })
		})
	}
}

// An answer larger than maxKept is stored in Redis only. An answer larger than maxStored is not
// stored at all, and the next claim gets the lease.
func TestLargeValuesAreOnlyInRedisAndHugeValuesNowhere(t *testing.T) {
	t.Parallel()
	o, r := single(redistest.Start(t)), &recorder{}
	o.Lease, o.Wait, o.Timeout, o.StoreTimeout = time.Second, 10*time.Second, patient, patient
	for _, c := range []struct {
		size int
		next Outcome
	}{{maxKept + 1, Hit}, {maxStored, Hit}, {maxStored + 1, Leader}} {
		k := keyOf(t, fmt.Sprint("large", c.size))
		first := newCache(t, Options{Redis: &o, Observer: r})
		leader := first.Claim(t.Context(), k)
		wantOutcome(t, "the first claim", leader, Leader)
		leader.Remember(Entry{Value: make([]byte, c.size), Expires: time.Now().Add(time.Hour)}, nil)
		first.pending.Wait()
		for _, other := range []*Cache{first, newCache(t, Options{Redis: &o})} {
			cl := other.Claim(t.Context(), k)
			wantOutcome(t, fmt.Sprintf("%d bytes, the next claim", c.size), cl, c.next)
			if c.next == Hit && (cl.Tier != TierRedis || len(cl.Entry.Value) != c.size) {
				t.Errorf("a value of %d bytes: got %d bytes from %s, want all bytes from Redis", c.size, len(cl.Entry.Value), cl.Tier)
			}
			cl.Release()
			other.pending.Wait()
		}
	}
	if r.of("store redis oversize") != 1 || r.of("store redis stored") != 2 || r.of("store memory oversize") != 3 {
		t.Errorf("counted %v, want 2 stores in Redis, 1 value too large for Redis and 3 too large for memory", r.all())
	}
}

func TestScriptsAreLoadedAgainAfterAFlush(t *testing.T) {
	server := redistest.Start(t)
	c := fleet(t, single(server), nil)
	for _, name := range []string{"before", "after"} {
		cl := c.Claim(t.Context(), keyOf(t, name))
		wantOutcome(t, name+" the flush", cl, Leader)
		cl.Release()
		server.Do("SCRIPT", "FLUSH")
	}
}

func TestHitInRedisTakesOneCommand(t *testing.T) {
	server := redistest.Start(t)
	k := keyOf(t, "warm")
	fleet(t, single(server), nil).Claim(t.Context(), k).Remember(Entry{Value: []byte("token"), Expires: time.Now().Add(time.Hour)}, nil)
	reader := fleet(t, single(server), nil)
	wantOutcome(t, "another key, to open the connection", reader.Claim(t.Context(), keyOf(t, "cold")), Leader)
	eventually(t, "the value is stored", func() bool { return server.TTL("igproxy:{"+k.ID().String()+"}:v") > 0 })
	server.Do("CONFIG", "RESETSTAT")
	wantOutcome(t, "the warm key", reader.Claim(t.Context(), k), Hit)
	stats := fmt.Sprint(server.Do("INFO", "commandstats"))
	if !strings.Contains(stats, "cmdstat_evalsha:calls=1,") || !strings.Contains(stats, "cmdstat_get:calls=1,") || strings.Contains(stats, "cmdstat_eval:") {
		t.Errorf("the commands of a hit: got %s, want one EVALSHA with one GET in it", stats)
	}
}

func TestLeaseOfAKilledLeaderExpires(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	k := keyOf(t, "killed")
	killed := fleet(t, single(server), nil).Claim(t.Context(), k)
	killed.lease.stop() // no more renewals
	start := time.Now()
	next := fleet(t, single(server), nil).Claim(t.Context(), k)
	wantOutcome(t, "the next claim", next, Leader)
	// The wait is shorter than the lease of 1s, which began before the next claim.
	if took := time.Since(start); took < 500*time.Millisecond {
		t.Errorf("the next claim got the lease after %s, want at least 500ms", took)
	}
	killed.Remember(Entry{Value: []byte("late"), Expires: time.Now().Add(time.Hour)}, nil)
	if winner, lost := next.Remember(Entry{Value: []byte("later"), Expires: time.Now().Add(time.Hour)}, nil); lost {
		t.Logf("the next leader got %q", winner.Value) // happens only if the next leader has lost its lease, too
	}
	eventually(t, "the answer that was stored first wins", func() bool {
		cl := fleet(t, single(server), nil).Claim(t.Context(), k)
		return cl.Outcome == Hit && string(cl.Entry.Value) == "late"
	})
}

// A leader that lost its lease returns the answer that was stored first, not its own.
func TestLateLeaderReturnsTheFirstStoredAnswer(t *testing.T) {
	server := redistest.Start(t)
	k := keyOf(t, "late")
	late := fleet(t, single(server), nil).Claim(t.Context(), k)
	late.lease.gone.Store(true)
	server.Do("FLUSHALL")
	first := fleet(t, single(server), nil).Claim(t.Context(), k)
	wantOutcome(t, "the claim after the flush", first, Leader)
	first.Remember(Entry{Value: []byte("first"), Expires: time.Now().Add(time.Hour)}, nil)
	eventually(t, "the first answer is stored", func() bool { return server.TTL("igproxy:{"+k.ID().String()+"}:v") > 0 })
	mine := Entry{Value: []byte("mine"), Expires: time.Now().Add(time.Hour)}
	late.cache.patience = 10 * time.Second
	if winner, lost := late.Remember(mine, nil); !lost || string(winner.Value) != "first" {
		t.Errorf("the winner: got %q, want \"first\"; lost: got %v, want true", winner.Value, lost)
	}
	if e, ok := late.cache.Recall(k); !ok || string(e.Value) != "first" {
		t.Errorf("recalled %q, found %v; want \"first\", found true", e.Value, ok)
	}
}

// A token replaces a refusal even if the refusal was stored first.
func TestTokenReplacesStoredRefusal(t *testing.T) {
	server := redistest.Start(t)
	k := keyOf(t, "better")
	first, second := fleet(t, single(server), nil), fleet(t, single(server), nil)
	late := second.Claim(t.Context(), k)
	server.Do("FLUSHALL")
	first.Claim(t.Context(), k).Remember(Entry{Value: []byte("refusal"), Expires: time.Now().Add(time.Hour)}, nil)
	eventually(t, "the refusal is stored", func() bool { return server.TTL("igproxy:{"+k.ID().String()+"}:v") > 0 })
	late.Remember(Entry{Value: []byte("token"), Expires: time.Now().Add(time.Hour)}, func(stored Entry) bool { return string(stored.Value) == "refusal" })
	eventually(t, "the token has replaced the refusal", func() bool {
		cl := fleet(t, single(server), nil).Claim(t.Context(), k)
		return cl.Outcome == Hit && string(cl.Entry.Value) == "token"
	})
}

// documented has the permissions that docs/fleet.md gives a user.
const documented = "~igproxy:* +ping +get +set +del +eval +evalsha +time +zadd +zrange +zrem +pexpire"

func user(server *redistest.Server, name, rules string) RedisOptions {
	server.Do(append([]string{"ACL", "SETUSER", name, "on", ">pw"}, strings.Fields(rules)...)...)
	return RedisOptions{Mode: ModeSingle, URL: "redis://" + name + ":pw@" + server.Addr()}
}

func TestDocumentedPermissionsAreSufficientAndNecessary(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	enough := user(server, "enough", documented)
	leadAndFollow(t, enough, keyOf(t, "enough"))
	failAndShare(t, enough, keyOf(t, "enough to fail"))
	purgeAFleet(t, enough)
	if err := fleet(t, enough, nil).Check(t.Context()); err != nil {
		t.Errorf("check with the documented permissions: got the error %v, want nil", err)
	}
	for _, right := range strings.Fields(documented)[1:] {
		o := user(server, "without"+right[1:], strings.Replace(documented+" ", right+" ", "", 1))
		err := fleet(t, o, nil).Check(t.Context())
		if err == nil || !strings.Contains(err.Error(), "give the user ") || !strings.Contains(err.Error(), right) {
			t.Errorf("without %s: check returned %v, want an error that names the permission", right, err)
		}
	}
	err := fleet(t, user(server, "otherkeys", strings.Replace(documented, "~igproxy:*", "~other:*", 1)), nil).Check(t.Context())
	if err == nil || !strings.Contains(err.Error(), "~igproxy:*") {
		t.Errorf("without access to its keys: check returned %v, want an error that names the keys", err)
	}
}

// Regression test: without the permission to store, every store fails. The fault must be logged
// once, not for every store.
func TestMissingPermissionIsLoggedOnce(t *testing.T) {
	server := redistest.Start(t)
	var log safeBuilder
	c := fleet(t, user(server, "noset", strings.Replace(documented, "+set ", "", 1)), slog.New(slog.NewTextHandler(&log, nil)))
	for i := range 10 {
		cl := c.Claim(t.Context(), keyOf(t, fmt.Sprint(i)))
		cl.Remember(Entry{Value: []byte("token"), Expires: time.Now().Add(time.Hour)}, nil)
	}
	eventually(t, "the missing permission is logged", func() bool { return strings.Contains(log.String(), "level=ERROR") })
	if text := log.String(); strings.Count(text, "level=ERROR") != 1 || !strings.Contains(text, "kind=permission") || !strings.Contains(text, "check --online") {
		t.Errorf("want one error of kind permission that names check --online; the log:\n%s", text)
	}
}

// Regression test: an access list that was written for an earlier version does not permit the
// commands for purges. When Redis denied them, the breaker opened.
func TestMissingPurgePermissionsDisableOnlyPurges(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	o := user(server, "old", "~igproxy:* +ping +get +set +del +eval +evalsha")
	var log safeBuilder
	c := fleet(t, o, slog.New(slog.NewTextHandler(&log, nil)))
	p := purgeableApp(t, c, "secret", "1")
	eventually(t, "the missing permission is logged", func() bool { return strings.Contains(log.String(), "operation=purge kind=permission") })
	eventually(t, "Redis has denied more than faultsToOpen reads of the purges", func() bool {
		_, stats, _ := strings.Cut(fmt.Sprint(server.Do("INFO", "commandstats")), "cmdstat_time:")
		_, denied, _ := strings.Cut(stats, "rejected_calls=")
		n := 0
		_, _ = fmt.Sscan(strings.SplitN(denied, ",", 2)[0], &n)
		return n > faultsToOpen
	})
	leadAndFollow(t, o, keyOf(t, "token"))
	if h := c.Health(); h.State != "ok" {
		t.Errorf("the health of Redis: got %+v, want the state ok", h)
	}
	if err := c.PurgeAll(t.Context(), p.purges); err == nil || !strings.Contains(err.Error(), "check --online") {
		t.Errorf("a purge that is not shared returned %v, want an error that names check --online", err)
	}
}

// Where scripts are denied, values are shared but no process waits for another.
func TestWithoutScriptsValuesAreShared(t *testing.T) {
	renamed := redistest.Start(t, redistest.Options{Args: []string{"--rename-command", "EVAL", "", "--rename-command", "EVALSHA", ""}})
	server := redistest.Start(t)
	for name, o := range map[string]RedisOptions{
		"EVAL renamed":   single(renamed),
		"no permission":  user(server, "noeval", strings.Replace(strings.Replace(documented, "+evalsha", "", 1), "+eval", "", 1)),
		"EVALSHA denied": user(server, "noevalsha", strings.Replace(documented, "+evalsha", "", 1)),
		"EVAL denied":    user(server, "nofulleval", strings.Replace(documented, "+eval ", "", 1)),
	} {
		t.Run(name, func(t *testing.T) {
			var log safeBuilder
			c, other := fleet(t, o, slog.New(slog.NewTextHandler(&log, nil))), fleet(t, o, nil)
			k := keyOf(t, name)
			first := c.Claim(t.Context(), k)
			wantOutcome(t, "the first claim", first, Alone)
			wantOutcome(t, "another process meanwhile", other.Claim(t.Context(), k), Alone)
			first.Remember(Entry{Value: []byte("first"), Expires: time.Now().Add(time.Hour)}, nil)
			c.pending.Wait()
			late := fleet(t, o, nil)
			cl := late.Claim(t.Context(), k)
			if cl.Outcome != Hit || string(cl.Entry.Value) != "first" {
				t.Errorf("the next claim: got %s with %q, want %s with \"first\"", cl.Outcome, cl.Entry.Value, Hit)
			}
			for i := range 5 {
				wantOutcome(t, "a new token", c.Claim(t.Context(), keyOf(t, fmt.Sprint(name, i))), Alone)
			}
			if n := strings.Count(log.String(), "redis denies scripts"); n != 1 || c.Health().State != "ok" {
				t.Errorf("the denial was logged %d times, want 1; health %+v, want ok; the log:\n%s", n, c.Health(), log.String())
			}
			if err := c.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "give the user +eval") {
				t.Errorf("check returned %v, want an error that names +eval", err)
			}
		})
	}
}

// Even without scripts, the first stored value wins, unless it cannot be decrypted.
func TestWithoutScriptsOnlyUnreadableValuesAreReplaced(t *testing.T) {
	server := redistest.Start(t)
	c := fleet(t, single(server), nil)
	c.redis.denied("test")
	k := keyOf(t, "token")
	value, _, _ := c.redis.keys(k)
	server.Set(value, "no seal")
	cl := c.Claim(t.Context(), k)
	wantOutcome(t, "a value that cannot be decrypted", cl, Alone)
	cl.Remember(Entry{Value: []byte("first"), Expires: time.Now().Add(time.Hour)}, nil)
	c.pending.Wait()
	fleet(t, single(server), nil).Claim(t.Context(), keyOf(t, "another"))
	late := c.redis
	sealed, err := seal(k, sealedValue, Entry{Value: []byte("second"), Expires: time.Now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	winner, err := late.publish(k, "owner", sealed, time.Hour, nil, sealedIndex{})
	if e, errOpen := open(k, sealedValue, winner, time.Now()); err != nil || errOpen != nil || string(e.Value) != "first" {
		t.Errorf("the winner is %q, want \"first\"; publish returned the error %v and open %v, want nil from both", e.Value, err, errOpen)
	}
}

// The replies marked true come from servers, proxies and managed services that do not offer scripts
// or do not permit them. The other replies only look similar.
func TestScriptDenialIsRecognizedInEveryWording(t *testing.T) {
	for text, denied := range map[string]bool{
		"ERR unknown command 'EVALSHA', with args beginning with: ":                        true,
		"ERR unknown command `evalsha`":                                                    true,
		"NOPERM this user has no permissions to run the 'evalsha' command":                 true,
		"NOPERM User igproxy has no permissions to run the 'eval' command":                 true,
		"ERR command not allowed":                                                          true,
		"ERR 'EVAL' command is not supported":                                              true,
		"ERR unsupported command":                                                          true,
		"ERR Command is not available: 'EVAL'":                                             true,
		"ERR eval is disabled":                                                             true,
		"NOPERM this user has no permissions to access one of the keys used as arguments":  false,
		"ERR The user executing the script can't run this command or subcommand script: 1": false,
		"OOM command not allowed when used memory > 'maxmemory'.":                          false,
		"MISCONF Commands that may modify the data set are disabled":                       false,
		"ERR Error running script":                                                         false,
		"WRONGTYPE Operation against a key holding the wrong kind of value":                false,
	} {
		if got := kindOf(scriptError(replied(text))); (got == kindNoScript) != denied {
			t.Errorf("%q: scripts are denied: got %t, want %t; the kind is %s", text, !denied, denied, got)
		}
	}
}

// safeBuilder is a log that can be read while it is written to.
type safeBuilder struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *safeBuilder) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *safeBuilder) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// If a connection returns replies that belong to other commands, the cache detects this and
// replaces all connections.
func TestDesynchronizedConnectionIsDropped(t *testing.T) {
	server := redistest.Start(t)
	liar := redistest.StartLiar(t, server)
	c := fleet(t, RedisOptions{Mode: ModeSingle, URL: liar.URL()}, nil)
	for i := range 20 {
		cl := c.Claim(t.Context(), keyOf(t, fmt.Sprint("before", i)))
		wantOutcome(t, "while the connection is in step", cl, Leader)
		cl.Release()
	}
	before := c.redis.client.Load()
	liar.SetLie(redistest.Shift, 1)
	// This may take several tries, because a wrong reply can look like an error.
	eventually(t, "the connections are replaced", func() bool {
		c.Claim(t.Context(), keyOf(t, "shifted")).Release()
		c.pending.Wait()
		return c.redis.client.Load() != before
	})
	liar.SetLie(redistest.Truth, 1)
	eventually(t, "Redis is used again", func() bool {
		cl := c.Claim(t.Context(), keyOf(t, "after"))
		defer cl.Release()
		return cl.Outcome == Leader
	})
	_, _, err := c.redis.run(t.Context(), c.redis.client.Load(), releaseScript, keyOf(t, "after"), "another", "", 0)
	if errors.Is(err, errDesync) {
		t.Errorf("a script on the new connections: got the error %v, want any result except this error", err)
	}
}

// Regression test: scripts that were denied once were never tried again.
func TestDeniedScriptsAreTriedAgainAfterAMinute(t *testing.T) {
	server := redistest.Start(t)
	o := user(server, "some", strings.Replace(strings.Replace(documented, "+evalsha", "", 1), "+eval", "", 1))
	c := fleet(t, o, nil)
	wantOutcome(t, "while scripts are denied", c.Claim(t.Context(), keyOf(t, "denied")), Alone)
	server.Do("ACL", "SETUSER", "some", "+eval", "+evalsha")
	wantOutcome(t, "right after scripts are permitted again", c.Claim(t.Context(), keyOf(t, "soon")), Alone)
	c.redis.noScript.Store(time.Now().UnixNano()) // as if a minute (withoutScripts) had passed
	wantOutcome(t, "a minute after scripts are permitted again", c.Claim(t.Context(), keyOf(t, "permitted")), Leader)
}
