package cache

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/igproxy/igproxy/cache/redistest"
)

// purgeable is one process's cache and the keys of one app in it.
type purgeable struct {
	t *testing.T
	*Cache
	epoch *Epoch
	keys  *Keys
}

func purgeableApp(t *testing.T, c *Cache, secret, app string) purgeable {
	t.Helper()
	e, err := c.Epoch(KeysOptions{Secret: []byte(secret), AppID: app, Scope: "whatever"})
	if err != nil {
		t.Fatal(err)
	}
	k, err := NewKeys(KeysOptions{Secret: []byte(secret), AppID: app, Scope: "exchange", Epoch: e})
	if err != nil {
		t.Fatal(err)
	}
	return purgeable{t, c, e, k}
}

func (p purgeable) store(token string) {
	p.t.Helper()
	remember(p.Cache, p.keys.Derive(token), Entry{Value: []byte(token), Expires: time.Now().Add(time.Hour)})
}

// tier is where a token is found; empty: nowhere.
func (p purgeable) tier(token string) Tier {
	p.t.Helper()
	_, tier, _ := look(p.t.Context(), p.Cache, p.keys.Derive(token))
	return tier
}

func TestAPurgeOfAllForgetsOneAppAndNoOther(t *testing.T) {
	c := newCache(t, Options{})
	one, other := purgeableApp(t, c, "secret", "1"), purgeableApp(t, c, "secret", "2")
	for i := range 300 {
		one.store(fmt.Sprint(i))
		other.store(fmt.Sprint(i))
	}
	if err := c.PurgeAll(t.Context(), one.epoch); err != nil {
		t.Fatal(err)
	}
	for i := range 300 {
		if one.tier(fmt.Sprint(i)) != "" || other.tier(fmt.Sprint(i)) != TierMemory {
			t.Fatalf("%d: found in %q, and the other app's in %q", i, one.tier(fmt.Sprint(i)), other.tier(fmt.Sprint(i)))
		}
	}
	eventually(t, "the room is given back", func() bool { return c.Len() == 300 })
	one.store("0")
	if one.tier("0") != TierMemory {
		t.Error("nothing is remembered after a purge")
	}
	again := purgeableApp(t, c, "secret", "1") // as a reload builds it
	if again.epoch != one.epoch || again.tier("0") != TierMemory {
		t.Error("a reload loses the epoch")
	}
}

func TestEpochsOfNobodyAreLetGo(t *testing.T) {
	c := newCache(t, Options{})
	one, other := purgeableApp(t, c, "secret", "1"), purgeableApp(t, c, "secret", "2")
	c.Retain([]*Epoch{one.epoch})
	if len(c.epochs) != 1 || purgeableApp(t, c, "secret", "1").epoch != one.epoch || purgeableApp(t, c, "secret", "2").epoch == other.epoch {
		t.Errorf("%d epochs are kept", len(c.epochs))
	}
}

func TestAPurgeOfOneTokenForgetsThatOne(t *testing.T) {
	c := newCache(t, Options{})
	p := purgeableApp(t, c, "secret", "1")
	p.store("this")
	p.store("that")
	if err := c.PurgeKeys(t.Context(), p.epoch, []Key{p.keys.Derive("this")}, time.Hour); err != nil {
		t.Fatal(err)
	}
	if p.tier("this") != "" || p.tier("that") != TierMemory {
		t.Errorf("this is in %q, that in %q", p.tier("this"), p.tier("that"))
	}
	p.store("this")
	if p.tier("this") != TierMemory {
		t.Error("it is not remembered again")
	}
}

// What a call that was under way brings is of before the purge: it is answered and not remembered, and its key finds nothing.
func TestWhatWasAskedForBeforeAPurgeIsNotRememberedAfterIt(t *testing.T) {
	redis := redistest.Start(t)
	c := fleet(t, single(redis), nil)
	p := purgeableApp(t, c, "secret", "1")
	before := p.keys.Derive("token")
	cl := c.Claim(t.Context(), before)
	if err := c.PurgeAll(t.Context(), p.epoch); err != nil {
		t.Fatal(err)
	}
	cl.Remember(Entry{Value: []byte("old"), Expires: time.Now().Add(time.Hour)}, nil)
	if _, ok := c.Recall(before); ok || p.tier("token") != "" {
		t.Error("it was remembered")
	}
	late := c.Claim(t.Context(), before)
	if late.Outcome != Alone {
		t.Errorf("a key of before the purge: %s", late.Outcome)
	}
	if keys := redis.Keys(); strings.Count(fmt.Sprint(keys), ":v") > 1 { // the journal's
		t.Errorf("it was stored in Redis: %v", keys)
	}
}

func fleetOf(t *testing.T, o RedisOptions, n int) (all []purgeable, other purgeable) {
	t.Helper()
	for range n {
		all = append(all, purgeableApp(t, fleet(t, o, nil), "secret", "1"))
	}
	return all, purgeableApp(t, all[0].Cache, "secret", "2")
}

// purgeAFleet is the story for every kind of Redis.
func purgeAFleet(t *testing.T, o RedisOptions) {
	t.Helper()
	all, other := fleetOf(t, o, 3)
	for _, token := range []string{"one", "two"} {
		all[0].store(token)
		other.store(token)
		for _, p := range all {
			eventually(t, "it is found everywhere", func() bool { return p.tier(token) != "" })
			if _, ok := p.Recall(p.keys.Derive(token)); !ok {
				t.Fatal("not in memory")
			}
		}
	}
	if err := all[1].PurgeKeys(t.Context(), all[1].epoch, []Key{all[1].keys.Derive("one")}, time.Hour); err != nil {
		t.Fatal(err)
	}
	for i, p := range all {
		eventually(t, fmt.Sprintf("%d forgets one", i), func() bool { return p.tier("one") == "" })
		if p.tier("two") != TierMemory {
			t.Errorf("%d forgot the other", i)
		}
	}
	if err := all[2].PurgeAll(t.Context(), all[2].epoch); err != nil {
		t.Fatal(err)
	}
	for i, p := range all {
		eventually(t, fmt.Sprintf("%d forgets all", i), func() bool { return p.tier("two") == "" })
	}
	late := purgeableApp(t, fleet(t, o, nil), "secret", "1")
	late.Learn(t.Context())
	if late.tier("two") != "" {
		t.Error("a process that came later finds what was purged")
	}
	late.store("three")
	for i, p := range all {
		eventually(t, fmt.Sprintf("%d finds what was stored since", i), func() bool { return p.tier("three") != "" })
	}
	if other.tier("one") == "" || other.tier("two") == "" {
		t.Error("another app's entries were purged")
	}
}

func TestAPurgeReachesTheWholeFleet(t *testing.T) {
	t.Run("single", func(t *testing.T) { purgeAFleet(t, single(redistest.Start(t))) })
	t.Run("cluster", func(t *testing.T) {
		cluster := redistest.StartCluster(t)
		purgeAFleet(t, RedisOptions{Mode: ModeCluster, Addrs: strings.Split(cluster.Addrs(), ",")})
	})
}

// A sidecar that was cut off hears of the purge when Redis is back; one that purges while Redis is away tells it then; and a Redis that
// comes back empty is told again.
func TestAPurgeSurvivesRedis(t *testing.T) {
	redis := redistest.Start(t)
	all, _ := fleetOf(t, single(redis), 2)
	all[0].store("token")
	eventually(t, "it is found everywhere", func() bool { return all[1].tier("token") != "" })
	redis.Kill()
	if err := all[0].PurgeAll(t.Context(), all[0].epoch); err == nil || strings.Contains(err.Error(), redis.Addr()) {
		t.Errorf("Redis could not be told, and nobody says so: %v", err)
	}
	if _, ok := all[1].Recall(all[1].keys.Derive("token")); !ok {
		t.Error("who is cut off has nothing from its memory")
	}
	redis.Restart()
	eventually(t, "the other one hears of it", func() bool { _, ok := all[1].Recall(all[1].keys.Derive("token")); return !ok })
	redis.Do("FLUSHALL")
	eventually(t, "the journal is written again", func() bool { return fmt.Sprint(redis.Do("DBSIZE")) != "0" })
}

func TestTheJournalIsUnreadableAndBounded(t *testing.T) {
	redis := redistest.Start(t)
	all, _ := fleetOf(t, single(redis), 1)
	p := all[0]
	if fmt.Sprint(redis.Do("DBSIZE")) != "0" {
		t.Error("there is a journal before anything was purged")
	}
	k := p.keys.Derive("a token that nobody may see")
	if err := p.PurgeKeys(t.Context(), p.epoch, []Key{k}, time.Hour); err != nil {
		t.Fatal(err)
	}
	name, _, _ := p.redis.keys(p.epoch.key)
	text := fmt.Sprint(redis.Do("GET", name))
	if len(text) == 0 || strings.Contains(text, string(k.id[:8])) || bytes.Contains([]byte(text), []byte("token")) {
		t.Errorf("the journal is readable: %q", text)
	}
	if ttl := fmt.Sprint(redis.Do("PTTL", name)); ttl == "-1" {
		t.Error("the journal has no end")
	}
	p.store("kept until there are too many")
	var many []Key
	for i := range maxMarks + 1 {
		many = append(many, p.keys.Derive(fmt.Sprint(i)))
	}
	if err := p.PurgeKeys(t.Context(), p.epoch, many, time.Hour); err != nil {
		t.Fatal(err)
	}
	if p.epoch.number.Load() == 0 || len(p.epoch.purged) > 0 || p.tier("kept until there are too many") != "" {
		t.Errorf("%d marks, epoch %d", len(p.epoch.purged), p.epoch.number.Load())
	}
}

// Nobody who can write to Redis can make a process forget, or remember.
func TestAForgedJournalIsNotHeard(t *testing.T) {
	redis := redistest.Start(t)
	all, other := fleetOf(t, single(redis), 1)
	p := all[0]
	p.store("token")
	name, _, _ := p.redis.keys(p.epoch.key)
	if err := other.PurgeAll(t.Context(), other.epoch); err != nil {
		t.Fatal(err)
	}
	theirs, _, _ := other.redis.keys(other.epoch.key)
	sealed, err := p.redis.journal(t.Context(), other.epoch.key)
	if err != nil || sealed == nil || theirs == name {
		t.Fatal(err)
	}
	for _, forged := range []string{string(sealed), "", "nonsense", strings.Repeat("\x01", 100)} {
		redis.Do("SET", name, forged)
		if _, err := p.look(t.Context(), p.epoch); err != nil || p.tier("token") != TierMemory {
			t.Errorf("%.20q was heard: %v", forged, err)
		}
	}
}

// A sidecar does not go back to an epoch of before, whatever Redis holds.
func TestAnOldJournalIsWrittenOver(t *testing.T) {
	redis := redistest.Start(t)
	all, _ := fleetOf(t, single(redis), 1)
	p := all[0]
	name, _, _ := p.redis.keys(p.epoch.key)
	var first []byte
	for range 2 {
		if err := p.PurgeAll(t.Context(), p.epoch); err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first, _ = p.redis.journal(t.Context(), p.epoch.key)
		}
	}
	number := p.epoch.number.Load()
	redis.Do("SET", name, string(first))
	if err := p.tell(t.Context(), p.epoch); err != nil || p.epoch.number.Load() != number {
		t.Errorf("%v, epoch %d, want %d", err, p.epoch.number.Load(), number)
	}
	if now, _ := p.redis.journal(t.Context(), p.epoch.key); bytes.Equal(now, first) {
		t.Error("the old journal stays")
	}
}

// Whatever the order in which processes purge and hear of each other, in the end all know the same.
func TestJournalsConverge(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const processes = 3
		now := time.UnixMilli(1_800_000_000_000)
		all := make([]*Epoch, processes)
		for i := range all {
			all[i], _ = newEpoch(KeysOptions{Secret: []byte("secret")})
		}
		var stored []byte // in Redis
		look := func(i int) {
			_, _, more, err := all[i].merge(stored, now)
			if err != nil {
				t.Fatal(err)
			}
			if more {
				stored = all[i].journal(now)
			}
		}
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			i := rapid.IntRange(0, processes-1).Draw(t, "process")
			now = now.Add(time.Duration(rapid.IntRange(0, 3).Draw(t, "ms")) * time.Millisecond)
			switch rapid.IntRange(0, 4).Draw(t, "what") {
			case 0:
				all[i].next(now)
			case 1:
				var id ID
				id[0] = byte(rapid.IntRange(0, 3).Draw(t, "token"))
				all[i].mark([]Key{{id: id}}, now, now.Add(time.Hour))
			case 2:
				stored = nil // Redis comes back empty
			default:
				look(i)
			}
		}
		for range 2 * processes {
			for i := range all {
				look(i)
			}
		}
		want := fmt.Sprint(all[0].number.Load(), all[0].purged)
		for _, e := range all[1:] {
			if got := fmt.Sprint(e.number.Load(), e.purged); got != want {
				t.Fatalf("got %s, want %s", got, want)
			}
		}
	})
}

func FuzzJournal(f *testing.F) {
	e, _ := newEpoch(KeysOptions{Secret: []byte("secret")})
	e.next(time.UnixMilli(1000))
	e.mark([]Key{{id: ID{1}}}, time.UnixMilli(2000), time.UnixMilli(1<<50))
	f.Add(e.journal(time.UnixMilli(3000)))
	f.Add([]byte{})
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, journal []byte) {
		e, _ := newEpoch(KeysOptions{Secret: []byte("secret")})
		e.next(time.UnixMilli(1500))
		_, _, _, err := e.merge(journal, time.UnixMilli(3000))
		if e.number.Load() < 1500 || err != nil && e.number.Load() != 1500 {
			t.Errorf("went back, or took in what it refused: %d, %v", e.number.Load(), err)
		}
		if later, ids, more, err := e.merge(e.journal(time.UnixMilli(3000)), time.UnixMilli(3000)); later || len(ids) > 0 || more || err != nil {
			t.Errorf("its own journal is news: %v, %d, %v, %v", later, len(ids), more, err)
		}
	})
}

// What is said in the log names nobody.
func TestAPurgeIsLoggedWithoutTokens(t *testing.T) {
	redis := redistest.Start(t)
	var log safeBuilder
	hearing := purgeableApp(t, fleet(t, single(redis), slog.New(slog.NewTextHandler(&log, nil))), "secret", "1")
	asked := purgeableApp(t, fleet(t, single(redis), nil), "secret", "1")
	if err := asked.PurgeKeys(context.Background(), asked.epoch, []Key{asked.keys.Derive("a-token")}, time.Hour); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the token's purge is told", func() bool { return strings.Contains(log.String(), "what=tokens") })
	if err := asked.PurgeAll(context.Background(), asked.epoch); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the purge of all is told", func() bool { return strings.Contains(log.String(), "what=all") })
	hearing.Learn(t.Context()) // once more says nothing
	if n := strings.Count(log.String(), "purged"); n != 2 || strings.Contains(log.String(), "a-token") {
		t.Errorf("told %d times: %s", n, log.String())
	}
}
