package cache

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/igproxy/igproxy/cache/redistest"
)

// purgeable is a process's cache and the keys of one app.
type purgeable struct {
	t *testing.T
	*Cache
	purges *Purges
	keys   *Keys
}

func purgeableApp(t *testing.T, c *Cache, secret, app string) purgeable {
	t.Helper()
	e, err := c.Purges(KeysOptions{Secret: []byte(secret), AppID: app, Scope: "whatever"})
	if err != nil {
		t.Fatal(err)
	}
	k, err := NewKeys(KeysOptions{Secret: []byte(secret), AppID: app, Scope: "exchange", Purges: e})
	if err != nil {
		t.Fatal(err)
	}
	return purgeable{t, c, e, k}
}

func (p purgeable) store(token string) {
	p.t.Helper()
	remember(p.Cache, p.keys.Derive(token), Entry{Value: []byte(token), Expires: time.Now().Add(time.Hour)})
}

// tier returns the tier where a token is found, or "".
func (p purgeable) tier(token string) Tier {
	p.t.Helper()
	_, tier, _ := look(p.t.Context(), p.Cache, p.keys.Derive(token))
	return tier
}

func TestPurgeAllAffectsOnlyItsApp(t *testing.T) {
	c := newCache(t, Options{})
	one, other := purgeableApp(t, c, "secret", "1"), purgeableApp(t, c, "secret", "2")
	for i := range 300 {
		one.store(fmt.Sprint(i))
		other.store(fmt.Sprint(i))
	}
	if err := c.PurgeAll(t.Context(), one.purges); err != nil {
		t.Fatal(err)
	}
	for i := range 300 {
		if one.tier(fmt.Sprint(i)) != "" || other.tier(fmt.Sprint(i)) != TierMemory {
			t.Fatalf("token %d: tier in the purged app %q, want a miss; tier in the other app %q, want %q", i, one.tier(fmt.Sprint(i)), other.tier(fmt.Sprint(i)), TierMemory)
		}
	}
	eventually(t, "the entries are removed", func() bool { return c.Len() == 300 })
	one.store("0")
	if one.tier("0") != TierMemory {
		t.Errorf("an entry that was stored after the purge: tier %q, want %q", one.tier("0"), TierMemory)
	}
	again := purgeableApp(t, c, "secret", "1") // as after a reload
	if again.purges != one.purges || again.tier("0") != TierMemory {
		t.Errorf("after a reload: same Purges: %v, want true; tier %q, want %q", again.purges == one.purges, again.tier("0"), TierMemory)
	}
}

func TestPurgesOfRemovedAppsAreDropped(t *testing.T) {
	c := newCache(t, Options{})
	one, other := purgeableApp(t, c, "secret", "1"), purgeableApp(t, c, "secret", "2")
	c.Retain([]*Purges{one.purges})
	n := len(c.purges)
	oneAgain, otherAgain := purgeableApp(t, c, "secret", "1"), purgeableApp(t, c, "secret", "2")
	if n != 1 || oneAgain.purges != one.purges || otherAgain.purges == other.purges {
		t.Errorf("Purges kept: %d, want 1; retained Purges kept: %v, want true; unused Purges kept: %v, want false", n, oneAgain.purges == one.purges, otherAgain.purges == other.purges)
	}
}

func TestPurgeOfOneTokenAffectsOnlyThatToken(t *testing.T) {
	c := newCache(t, Options{})
	p := purgeableApp(t, c, "secret", "1")
	p.store("this")
	p.store("that")
	if err := c.PurgeKeys(t.Context(), p.purges, []Key{p.keys.Derive("this")}); err != nil {
		t.Fatal(err)
	}
	if p.tier("this") != "" || p.tier("that") != TierMemory {
		t.Errorf("the purged token is in %q, want a miss; the other token is in %q, want %q", p.tier("this"), p.tier("that"), TierMemory)
	}
	p.store("this")
	if p.tier("this") != TierMemory {
		t.Errorf("an entry that was stored after the purge of its token: tier %q, want %q", p.tier("this"), TierMemory)
	}
}

// The answer to a call that was in flight during a purge is returned but not stored, and the key
// from before the purge finds nothing.
func TestAnswerRequestedBeforeAPurgeIsNotStored(t *testing.T) {
	redis := redistest.Start(t)
	c := fleet(t, single(redis), nil)
	p := purgeableApp(t, c, "secret", "1")
	before := p.keys.Derive("token")
	cl := c.Claim(t.Context(), before)
	if err := c.PurgeAll(t.Context(), p.purges); err != nil {
		t.Fatal(err)
	}
	cl.Remember(Entry{Value: []byte("old"), Expires: time.Now().Add(time.Hour)}, nil)
	_, ok := c.Recall(before)
	if tier := p.tier("token"); ok || tier != "" {
		t.Errorf("the answer: in memory under the old key: %v, want false; tier under the new key %q, want a miss", ok, tier)
	}
	late := c.Claim(t.Context(), before)
	if late.Outcome != Alone {
		t.Errorf("a key from before the purge: got %s, want %s", late.Outcome, Alone)
	}
	c.pending.Wait()
	if keys := redis.Keys(); strings.Contains(fmt.Sprint(keys), ":v") {
		t.Errorf("Redis has the keys %v, want no value (a key that ends with :v)", keys)
	}
}

func fleetOf(t *testing.T, o RedisOptions, n int) (all []purgeable, other purgeable) {
	t.Helper()
	for range n {
		all = append(all, purgeableApp(t, fleet(t, o, nil), "secret", "1"))
	}
	return all, purgeableApp(t, all[0].Cache, "secret", "2")
}

// purgeAFleet checks purges of one token and of a whole app across several processes.
func purgeAFleet(t *testing.T, o RedisOptions) {
	t.Helper()
	all, other := fleetOf(t, o, 3)
	for _, token := range []string{"one", "two"} {
		all[0].store(token)
		other.store(token)
		for _, p := range all {
			eventually(t, "every process finds the token", func() bool { return p.tier(token) != "" })
			if _, ok := p.Recall(p.keys.Derive(token)); !ok {
				t.Fatalf("token %s: not found in memory, want its entry", token)
			}
		}
	}
	if err := all[1].PurgeKeys(t.Context(), all[1].purges, []Key{all[1].keys.Derive("one")}); err != nil {
		t.Fatal(err)
	}
	for i, p := range all {
		eventually(t, fmt.Sprintf("process %d forgets the purged token", i), func() bool { return p.tier("one") == "" })
		if tier := p.tier("two"); tier != TierMemory {
			t.Errorf("process %d: tier of the other token %q, want %q", i, tier, TierMemory)
		}
	}
	if err := all[2].PurgeAll(t.Context(), all[2].purges); err != nil {
		t.Fatal(err)
	}
	for i, p := range all {
		eventually(t, fmt.Sprintf("process %d forgets all tokens", i), func() bool { return p.tier("two") == "" })
	}
	late := purgeableApp(t, fleet(t, o, nil), "secret", "1")
	late.Learn(t.Context())
	if tier := late.tier("two"); tier != "" {
		t.Errorf("a process that started later: tier of a purged token %q, want a miss", tier)
	}
	late.store("three")
	for i, p := range all {
		eventually(t, fmt.Sprintf("process %d finds what was stored after the purge", i), func() bool { return p.tier("three") != "" })
	}
	if other.tier("one") == "" || other.tier("two") == "" {
		t.Errorf("the other app: tier of token one %q, tier of token two %q; want no miss", other.tier("one"), other.tier("two"))
	}
}

func TestPurgeReachesTheWholeFleet(t *testing.T) {
	t.Parallel()
	t.Run("single", func(t *testing.T) { purgeAFleet(t, single(redistest.Start(t))) })
	t.Run("cluster", func(t *testing.T) {
		cluster := redistest.StartCluster(t)
		purgeAFleet(t, RedisOptions{Mode: ModeCluster, Addrs: strings.Split(cluster.Addrs(), ",")})
	})
}

// A purge that is made during an outage is written to Redis afterwards, and again after Redis has
// lost its data. The other sidecars learn of the purge once Redis is back.
func TestPurgeSurvivesRedisOutages(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	all, _ := fleetOf(t, single(redis), 2)
	all[0].store("token")
	eventually(t, "the other process finds the token", func() bool { return all[1].tier("token") != "" })
	redis.Kill()
	if err := all[0].PurgeAll(t.Context(), all[0].purges); err == nil || strings.Contains(err.Error(), redis.Addr()) {
		t.Errorf("a purge while Redis is down: got %v, want an error without the address of Redis", err)
	}
	if _, ok := all[1].Recall(all[1].keys.Derive("token")); !ok {
		t.Error("the other process after Redis was killed: no entry in memory, want the entry")
	}
	redis.Restart()
	eventually(t, "the other process learns of the purge", func() bool { _, ok := all[1].Recall(all[1].keys.Derive("token")); return !ok })
	redis.Do("FLUSHALL")
	eventually(t, "the marks are written again", func() bool { return fmt.Sprint(redis.Do("DBSIZE")) != "0" })
}

func TestSortedSetOfPurgesIsUnreadableBoundedAndExpires(t *testing.T) {
	redis := redistest.Start(t)
	all, _ := fleetOf(t, single(redis), 1)
	p := all[0]
	if n := fmt.Sprint(redis.Do("DBSIZE")); n != "0" {
		t.Errorf("before the first purge: %s keys in Redis, want 0", n)
	}
	k := p.keys.Derive("token")
	for range 20 { // repeated purges of a token leave one member
		if err := p.PurgeKeys(t.Context(), p.purges, []Key{k}); err != nil {
			t.Fatal(err)
		}
		if _, err := p.readPurges(t.Context(), p.purges); err != nil {
			t.Fatal(err)
		}
	}
	name := p.redis.marksKey(p.purges)
	text := fmt.Sprint(redis.Do("ZRANGE", name, "0", "-1"))
	if text == "[]" || strings.Contains(text, string(k.id[:8])) || strings.Contains(text, "token") {
		t.Errorf("the set: got %q, want members without the token and its ID", text)
	}
	if n := fmt.Sprint(redis.Do("ZCARD", name)); n != "1" {
		t.Errorf("%s members for one token, want 1", n)
	}
	if ttl := fmt.Sprint(redis.Do("PTTL", name)); ttl == "-1" {
		t.Errorf("TTL of the set: got %s, want a time in ms", ttl)
	}
}

// If Redis loses its data, several processes may write the same marks at once, each in its own
// members. If all these members stayed, one read would not return all marks, and the marks that the
// read leaves out would be written again and again.
func TestSortedSetOfPurgesKeepsOneMemberForEachMark(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	const processes, tokens = 8, 200 // more members than one read returns
	all, _ := fleetOf(t, single(redis), processes)
	var keys []Key
	for i := range tokens {
		keys = append(keys, all[0].keys.Derive(fmt.Sprint("token ", i)))
	}
	if err := all[0].PurgeKeys(t.Context(), all[0].purges, keys); err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		eventually(t, "every process knows the purges", func() bool { return len(p.purges.current().tokens) == tokens })
		if err := p.redis.writeMarks(t.Context(), p.purges, p.purges.current().list(), nil); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "each mark has one member", func() bool {
		return fmt.Sprint(redis.Do("ZCARD", all[0].redis.marksKey(all[0].purges))) == fmt.Sprint(tokens)
	})
	for i, p := range all {
		if n := len(p.purges.current().tokens); n != tokens {
			t.Errorf("process %d knows %d purges, want %d", i, n, tokens)
		}
	}
}

// An entry from before a purge is a miss in every tier.
func TestEntryFromBeforeAPurgeIsNeverFound(t *testing.T) {
	t.Parallel()
	purges := map[string]func(p purgeable) error{
		"one token": func(p purgeable) error { return p.PurgeKeys(p.t.Context(), p.purges, []Key{p.keys.Derive("token")}) },
		"all":       func(p purgeable) error { return p.PurgeAll(p.t.Context(), p.purges) },
	}
	for what, purge := range purges {
		t.Run(what, func(t *testing.T) {
			redis := redistest.Start(t)
			all, _ := fleetOf(t, single(redis), 2)
			p, cold := all[0], all[1]
			p.store("token")
			eventually(t, "the entry is in Redis", func() bool { return len(redis.Keys()) == 1 })
			stored, late := redis.Dump(), p.Claim(t.Context(), p.keys.Derive("another"))
			late.Release()
			before := p.keys.Derive("token")
			if err := purge(p); err != nil {
				t.Fatal(err)
			}
			if tier := p.tier("token"); tier != "" {
				t.Errorf("after the purge: tier %q, want a miss", tier)
			}
			for name, value := range stored { // as after a failover to a lagging replica, or a replay
				redis.Set(name, value)
			}
			if tier := p.tier("token"); tier != "" {
				t.Errorf("after the entry was restored in Redis: tier %q, want a miss", tier)
			}
			claim := p.Claim(t.Context(), before) // as a call that was in flight during the purge does
			claim.Remember(Entry{Value: []byte("late"), Expires: time.Now().Add(time.Hour)}, nil)
			p.pending.Wait()
			if tier := p.tier("token"); tier != "" {
				t.Errorf("after an entry was remembered late: tier %q, want a miss", tier)
			}
			eventually(t, "the other process forgets the token", func() bool { return cold.tier("token") == "" })
			if _, err := cold.redis.publish(before, "owner", []byte(stored[redis.Keys()[0]]), time.Hour, nil, sealedIndex{}); err != nil {
				t.Fatal(err)
			}
			if tier := cold.tier("token"); tier != "" {
				t.Errorf("the other process, after an entry was published late: tier %q, want a miss", tier)
			}
		})
	}
}

func TestPurgeIsLoggedWithoutTokens(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	var log safeBuilder
	learner := purgeableApp(t, fleet(t, single(redis), slog.New(slog.NewTextHandler(&log, nil))), "secret", "1")
	asked := purgeableApp(t, fleet(t, single(redis), nil), "secret", "1")
	if err := asked.PurgeKeys(context.Background(), asked.purges, []Key{asked.keys.Derive("a-token")}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the purge of the token is logged", func() bool { return strings.Count(log.String(), "purge received") == 1 })
	if err := asked.PurgeAll(context.Background(), asked.purges); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the purge of everything is logged", func() bool { return strings.Count(log.String(), "purge received") == 2 })
	learner.Learn(t.Context()) // already known, so not logged again
	if n := strings.Count(log.String(), "purge received"); n != 2 || strings.Contains(log.String(), "a-token") {
		t.Errorf("%d purges were logged, want 2, and no token; the log:\n%s", n, log.String())
	}
}

// Regression test: the breaker's probe reads the purges, and the breaker ignores errors about a
// single key. While the key of the purges was not a sorted set, the probe got only such errors, so
// the breaker never closed again.
func TestBreakerClosesEvenIfTheKeyOfThePurgesIsNotASortedSet(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	c := fleet(t, single(server), nil)
	p := purgeableApp(t, c, "secret", "1")
	server.Set(c.redis.marksKey(p.purges), "not a sorted set")
	for c.Health().State == "ok" {
		_ = c.redis.do(t.Context(), "claim", time.Second, func(context.Context, *client) error { return context.DeadlineExceeded })
	}
	eventually(t, "Redis is used again", func() bool { return c.Health().State == "ok" })
	if err := c.PurgeAll(t.Context(), p.purges); err == nil || !strings.Contains(err.Error(), kindWrongType) {
		t.Errorf("a purge that is not shared: got %v, want an error of kind %s", err, kindWrongType)
	}
}
