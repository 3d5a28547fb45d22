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

// The claim on real Redis: what the scripts do, what plain commands do in their place, and in each of the modes.

// fleet is one process's cache on a real Redis. Its budget is wide: these tests are about right answers on a noisy machine.
func fleet(t *testing.T, o RedisOptions, log *slog.Logger) *Cache {
	t.Helper()
	o.Lease, o.Wait, o.Timeout, o.StoreTimeout = time.Second, 10*time.Second, time.Second, time.Second
	c, err := New(Options{MaxEntries: 100, Redis: &o, Logger: log})
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
		t.Fatalf("%s: %s, want %s", who, cl.Outcome, want)
	}
}

// leadAndFollow is the story every Redis must be good for: one leads, the others wait and get its answer, later ones find it.
func leadAndFollow(t *testing.T, o RedisOptions, k Key) {
	t.Helper()
	want := Entry{Value: []byte("token"), Expires: time.Now().Add(time.Hour).Truncate(time.Millisecond)}
	leader := fleet(t, o, nil).Claim(t.Context(), k)
	wantOutcome(t, "the first", leader, Leader)
	var wg sync.WaitGroup
	for i := range 3 {
		c := fleet(t, o, nil)
		wg.Go(func() {
			cl := c.Claim(t.Context(), k)
			if cl.Outcome != Followed || !bytes.Equal(cl.Entry.Value, want.Value) || !cl.Entry.Expires.Equal(want.Expires) {
				t.Errorf("follower %d: %s with %q", i, cl.Outcome, cl.Entry.Value)
			}
		})
	}
	time.Sleep(1200 * time.Millisecond) // longer than the lease: real Redis has real time
	leader.Remember(want, nil)
	wg.Wait()
	late := fleet(t, o, nil).Claim(t.Context(), k)
	wantOutcome(t, "the late one", late, Hit)
}

// failAndTell: the followers get the leader's failure, and nobody leads while it is fresh.
func failAndTell(t *testing.T, o RedisOptions, k Key) {
	t.Helper()
	leader := fleet(t, o, nil).Claim(t.Context(), k)
	wantOutcome(t, "the first", leader, Leader)
	told := make(chan *Claim)
	follower := fleet(t, o, nil)
	go func() { told <- follower.Claim(context.Background(), k) }() // ends within Wait
	leader.Fail(Entry{Value: []byte("down"), Expires: time.Now().Add(2 * time.Second)})
	if cl := <-told; cl.Outcome != Failed || string(cl.Entry.Value) != "down" {
		t.Errorf("the follower: %s with %q", cl.Outcome, cl.Entry.Value)
	}
	next := fleet(t, o, nil).Claim(t.Context(), k)
	wantOutcome(t, "the next while the failure is fresh", next, Failed)
}

func TestOneLeadsAndTheOthersGetItsAnswer(t *testing.T) {
	server := redistest.Start(t)
	sentinels := redistest.StartSentinels(t)
	cluster := redistest.StartCluster(t)
	plain := redistest.Start(t, redistest.Options{Args: []string{"--rename-command", "EVAL", "", "--rename-command", "EVALSHA", ""}})
	for name, o := range map[string]RedisOptions{
		"single":          single(server),
		"without scripts": single(plain),
		"sentinel":        {Mode: ModeSentinel, Addrs: strings.Split(sentinels.Addrs(), ","), MasterName: redistest.MasterName},
		"cluster":         {Mode: ModeCluster, Addrs: strings.Split(cluster.Addrs(), ",")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Run("answer", func(t *testing.T) { leadAndFollow(t, o, keyOf(t, "answer")) })
			t.Run("failure", func(t *testing.T) { failAndTell(t, o, keyOf(t, "failure")) })
			t.Run("hint", func(t *testing.T) { hintAndTell(t, o) })
		})
	}
}

func TestScriptsAreLoadedAgainAfterAFlush(t *testing.T) {
	server := redistest.Start(t)
	c := fleet(t, single(server), nil)
	for _, name := range []string{"before", "after"} {
		cl := c.Claim(t.Context(), keyOf(t, name))
		wantOutcome(t, name, cl, Leader)
		cl.Release()
		server.Do("SCRIPT", "FLUSH")
	}
}

func TestAWarmHitIsOneCommand(t *testing.T) {
	server := redistest.Start(t)
	k := keyOf(t, "warm")
	fleet(t, single(server), nil).Claim(t.Context(), k).Remember(Entry{Value: []byte("token"), Expires: time.Now().Add(time.Hour)}, nil)
	reader := fleet(t, single(server), nil)
	wantOutcome(t, "another key, for the connection", reader.Claim(t.Context(), keyOf(t, "cold")), Leader)
	eventually(t, "the value is stored", func() bool { return server.TTL("igproxy:{"+k.ID().String()+"}:v") > 0 })
	server.Do("CONFIG", "RESETSTAT")
	wantOutcome(t, "a warm one", reader.Claim(t.Context(), k), Hit)
	stats := fmt.Sprint(server.Do("INFO", "commandstats"))
	if !strings.Contains(stats, "cmdstat_evalsha:calls=1,") || !strings.Contains(stats, "cmdstat_get:calls=1,") || strings.Contains(stats, "cmdstat_eval:") {
		t.Errorf("a hit is one EVALSHA with one GET in it; Redis counted\n%s", stats)
	}
}

func TestALeaseEndsWithoutItsOwner(t *testing.T) {
	server := redistest.Start(t)
	k := keyOf(t, "killed")
	killed := fleet(t, single(server), nil).Claim(t.Context(), k)
	killed.lease.stop().wait() // nobody renews it
	start := time.Now()
	next := fleet(t, single(server), nil).Claim(t.Context(), k)
	wantOutcome(t, "the next", next, Leader)
	if took := time.Since(start); took < 500*time.Millisecond {
		t.Errorf("the lease of 1s ended after %s", took)
	}
	killed.Remember(Entry{Value: []byte("late"), Expires: time.Now().Add(time.Hour)}, nil)
	if winner, lost := next.Remember(Entry{Value: []byte("later"), Expires: time.Now().Add(time.Hour)}, nil); lost {
		t.Logf("adopted %q", winner.Value) // only where its lease was lost as well
	}
	eventually(t, "the first one stored wins", func() bool {
		cl := fleet(t, single(server), nil).Claim(t.Context(), k)
		return cl.Outcome == Hit && string(cl.Entry.Value) == "late"
	})
}

// A leader whose lease was lost gives the answer that was stored first, not its own.
func TestALateLeaderAdoptsTheFirstAnswer(t *testing.T) {
	server := redistest.Start(t)
	k := keyOf(t, "late")
	late := fleet(t, single(server), nil).Claim(t.Context(), k)
	late.lease.gone.Store(true)
	server.Do("FLUSHALL")
	first := fleet(t, single(server), nil).Claim(t.Context(), k)
	wantOutcome(t, "the first", first, Leader)
	first.Remember(Entry{Value: []byte("first"), Expires: time.Now().Add(time.Hour)}, nil)
	eventually(t, "it is stored", func() bool { return server.TTL("igproxy:{"+k.ID().String()+"}:v") > 0 })
	mine := Entry{Value: []byte("mine"), Expires: time.Now().Add(time.Hour)}
	late.cache.patience = 10 * time.Second
	if winner, lost := late.Remember(mine, nil); !lost || string(winner.Value) != "first" {
		t.Errorf("got %q, want the one stored first", winner.Value)
	}
	if e, ok := late.cache.Recall(k); !ok || string(e.Value) != "first" {
		t.Errorf("memory holds %q", e.Value)
	}
}

// A token beats a refusal that was stored first.
func TestABetterEntryReplacesTheFirst(t *testing.T) {
	server := redistest.Start(t)
	k := keyOf(t, "better")
	first, second := fleet(t, single(server), nil), fleet(t, single(server), nil)
	late := second.Claim(t.Context(), k)
	server.Do("FLUSHALL")
	first.Claim(t.Context(), k).Remember(Entry{Value: []byte("refusal"), Expires: time.Now().Add(time.Hour)}, nil)
	eventually(t, "the refusal is stored", func() bool { return server.TTL("igproxy:{"+k.ID().String()+"}:v") > 0 })
	late.Remember(Entry{Value: []byte("token"), Expires: time.Now().Add(time.Hour)}, func(stored Entry) bool { return string(stored.Value) == "refusal" })
	eventually(t, "the token has replaced it", func() bool {
		cl := fleet(t, single(server), nil).Claim(t.Context(), k)
		return cl.Outcome == Hit && string(cl.Entry.Value) == "token"
	})
}

// One permission less than the documented line: Redis is left alone, and the log says which is missing, once.
func TestAMissingPermissionIsNamed(t *testing.T) {
	server := redistest.Start(t)
	for user, c := range map[string]struct{ rules, kind string }{
		"noget":  {"~igproxy:* +set +del +eval +evalsha +ping", "permission_get"},
		"noset":  {"~igproxy:* +get +del +eval +evalsha +ping", "permission_set"},
		"nodel":  {"~igproxy:* +get +set +eval +evalsha +ping", "permission_del"},
		"nokeys": {"~other:* +get +set +del +eval +evalsha +ping", "permission_keys"},
	} {
		server.Do(append([]string{"ACL", "SETUSER", user, "on", ">pw"}, strings.Fields(c.rules)...)...)
		t.Run(user, func(t *testing.T) {
			var log safeBuilder
			cache := fleet(t, RedisOptions{Mode: ModeSingle, URL: "redis://" + user + ":pw@" + server.Addr()}, slog.New(slog.NewTextHandler(&log, nil)))
			for i := range 10 {
				cl := cache.Claim(t.Context(), keyOf(t, fmt.Sprint(i)))
				cl.Remember(Entry{Value: []byte("token"), Expires: time.Now().Add(time.Hour)}, nil)
			}
			eventually(t, "it is complained of", func() bool { return strings.Contains(log.String(), "level=ERROR") })
			if text := log.String(); strings.Count(text, "level=ERROR") != 1 || !strings.Contains(text, "kind="+c.kind) {
				t.Errorf("the log:\n%s", text)
			}
			if err := cache.Check(t.Context(), keyOf(t, "check")); err == nil || !strings.HasPrefix(err.Error(), c.kind+": ") {
				t.Errorf("check says %v, want %s", err, c.kind)
			}
		})
	}
	server.Do("ACL", "SETUSER", "enough", "on", ">pw", "~igproxy:*", "+get", "+set", "+del", "+eval", "+evalsha", "+ping")
	enough := RedisOptions{Mode: ModeSingle, URL: "redis://enough:pw@" + server.Addr()}
	leadAndFollow(t, enough, keyOf(t, "enough"))
	if err := fleet(t, enough, nil).Check(t.Context(), keyOf(t, "check")); err != nil {
		t.Errorf("check with the documented permissions: %v", err)
	}
	server.Do("ACL", "SETUSER", "noeval", "on", ">pw", "~igproxy:*", "+get", "+set", "+del", "+ping")
	var log safeBuilder
	plain := fleet(t, RedisOptions{Mode: ModeSingle, URL: "redis://noeval:pw@" + server.Addr()}, slog.New(slog.NewTextHandler(&log, nil)))
	for i := range 5 {
		wantOutcome(t, "without scripts", plain.Claim(t.Context(), keyOf(t, fmt.Sprint("plain", i))), Leader)
	}
	if n := strings.Count(log.String(), "redis forbids scripts"); n != 1 {
		t.Errorf("said %d times that scripts are forbidden, want once:\n%s", n, log.String())
	}
}

// safeBuilder is a log that is read while it is written.
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

// A connection that hands out other questions' answers is found out, and all connections are made anew.
func TestAConnectionOutOfStepIsDropped(t *testing.T) {
	server := redistest.Start(t)
	liar := redistest.StartLiar(t, server)
	c := fleet(t, RedisOptions{Mode: ModeSingle, URL: liar.URL()}, nil)
	for i := range 20 {
		cl := c.Claim(t.Context(), keyOf(t, fmt.Sprint("before", i)))
		wantOutcome(t, "while it is in step", cl, Leader)
		cl.Release()
	}
	before := c.redis.client.Load()
	liar.Tell(redistest.Shift, 1)
	eventually(t, "the connections are made anew", func() bool { // one that says what an error would may pass for an error
		c.Claim(t.Context(), keyOf(t, "shifted")).Release()
		c.pending.Wait()
		return c.redis.client.Load() != before
	})
	liar.Tell(redistest.Truth, 1)
	eventually(t, "it is in step again", func() bool {
		cl := c.Claim(t.Context(), keyOf(t, "after"))
		defer cl.Release()
		return cl.Outcome == Leader
	})
	_, _, err := c.redis.run(t.Context(), c.redis.client.Load(), releaseScript, keyOf(t, "after"), "another", "", 0)
	if errors.Is(err, errDesync) {
		t.Errorf("a reply to this question was refused: %v", err)
	}
}

// Scripts that were forbidden for a while were never tried again.
func TestScriptsAreTriedAgainAfterAWhile(t *testing.T) {
	server := redistest.Start(t)
	server.Do("ACL", "SETUSER", "some", "on", ">pw", "~igproxy:*", "+get", "+set", "+del", "+ping")
	c := fleet(t, RedisOptions{Mode: ModeSingle, URL: "redis://some:pw@" + server.Addr()}, nil)
	c.Claim(t.Context(), keyOf(t, "forbidden")).Release()
	if !c.redis.plain() {
		t.Fatal("plain commands do not serve")
	}
	server.Do("ACL", "SETUSER", "some", "+eval", "+evalsha")
	c.redis.plainTo.Store(time.Now().UnixNano()) // the while is over
	server.Do("CONFIG", "RESETSTAT")
	wantOutcome(t, "allowed again", c.Claim(t.Context(), keyOf(t, "allowed")), Leader)
	if stats := fmt.Sprint(server.Do("INFO", "commandstats")); c.redis.plain() || count(stats, "cmdstat_evalsha") == 0 {
		t.Errorf("scripts are not used:\n%s", stats)
	}
}
