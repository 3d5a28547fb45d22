package cache

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/igproxy/igproxy/cache/redistest"
)

// issuing is the cache of one process, with one app's keys for entries and for the index.
type issuing struct {
	purgeable
	index *Keys
}

func issuingApp(t *testing.T, c *Cache) issuing {
	t.Helper()
	p := purgeableApp(t, c, "secret", "1")
	index, err := NewKeys(KeysOptions{Secret: []byte("secret"), AppID: "1", Scope: "index", Purges: p.purges})
	if err != nil {
		t.Fatal(err)
	}
	return issuing{p, index}
}

// exchange stores a long-lived token as the answer to the exchange of a short-lived one.
func (p issuing) exchange(short, long string) {
	p.t.Helper()
	cl := p.Claim(p.t.Context(), p.keys.Derive(short))
	cl.Index(p.index.Derive(long))
	cl.Remember(lasting(long), nil)
	p.pending.Wait()
}

// revoke calls Revoke and returns its result.
func (p issuing) revoke(long string) Revocation {
	p.t.Helper()
	result := make(chan Revocation, 1)
	p.Revoke(p.purges, []Key{p.index.Derive("nothing"), p.index.Derive(long)}, func(r Revocation) { result <- r })
	select {
	case r := <-result:
		return r
	case <-time.After(10 * time.Second):
		p.t.Fatal("Revoke did not call done")
		return ""
	}
}

func (p issuing) wantRevocation(long string, want Revocation) {
	p.t.Helper()
	if got := p.revoke(long); got != want {
		p.t.Errorf("revoking %s: got %s, want %s", long, got, want)
	}
}

func TestOnlyTheRevokedTokenIsForgotten(t *testing.T) {
	p := issuingApp(t, newCache(t, Options{}))
	for i := range 100 {
		p.exchange(fmt.Sprint("short-", i), fmt.Sprint("long-", i))
	}
	p.store("short-not-indexed")
	p.wantRevocation("long-7", Dropped)
	p.wantRevocation("garbage", NotFound)
	p.wantRevocation("short-not-indexed", NotFound)
	for i := range 100 {
		if got := p.tier(fmt.Sprint("short-", i)); (got == "") != (i == 7) {
			t.Errorf("token %d: the tier is %q; found: got %v, want %v", i, got, got != "", i != 7)
		}
	}
	p.exchange("short-7", "long-new")
	p.wantRevocation("long-7", NotFound)
	if got := p.tier("short-7"); got != TierMemory {
		t.Errorf("the new answer for short-7, after long-7 is revoked again: the tier is %q, want %q", got, TierMemory)
	}
	p.wantRevocation("long-new", Dropped)
	if got := p.tier("short-7"); got != "" {
		t.Errorf("the new answer for short-7, after its token is revoked: the tier is %q, want none", got)
	}
}

// revokeInAFleet revokes a token in a process that got the entry from Redis, and checks that all
// processes forget the entry.
func revokeInAFleet(t *testing.T, o RedisOptions) {
	t.Helper()
	var all []issuing
	for range 3 {
		all = append(all, issuingApp(t, fleet(t, o, nil)))
	}
	for round := range 2 {
		long := fmt.Sprint("long-", round)
		all[0].exchange("short", long)
		all[0].exchange("other", "other-long")
		for i, p := range all {
			if short, other := p.tier("short"), p.tier("other"); short == "" || other == "" {
				t.Fatalf("process %d: the tier of short is %q, the tier of other is %q; want a tier for each", i, short, other)
			}
		}
		all[1].wantRevocation(long, Dropped)
		for i, p := range all {
			eventually(t, fmt.Sprintf("process %d forgets the revoked token", i), func() bool { return p.tier("short") == "" })
			if got := p.tier("other"); got != TierMemory {
				t.Errorf("process %d: the tier of other is %q, want %q", i, got, TierMemory)
			}
			p.wantRevocation(long, NotFound)
		}
	}
}

func TestRevokedTokenIsForgottenByTheWholeFleet(t *testing.T) {
	t.Parallel()
	t.Run("single", func(t *testing.T) { revokeInAFleet(t, single(redistest.Start(t))) })
	t.Run("cluster", func(t *testing.T) {
		cluster := redistest.StartCluster(t)
		revokeInAFleet(t, RedisOptions{Mode: ModeCluster, Addrs: strings.Split(cluster.Addrs(), ",")})
	})
	t.Run("no scripts", func(t *testing.T) {
		revokeInAFleet(t, user(redistest.Start(t), "noscripts", strings.Replace(documented, "+eval +evalsha", "", 1)))
	})
}

func TestRevokedEntryIsDeletedFromRedis(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	p := issuingApp(t, fleet(t, single(redis), nil))
	p.exchange("short", "long")
	keys, sealed := redis.Keys(), redis.Dump()
	if len(keys) != 2 || strings.Contains(fmt.Sprint(sealed), "long") || strings.Contains(fmt.Sprint(sealed), "short") {
		t.Fatalf("Redis has %q, want two sealed values: the entry and its value in the index", sealed)
	}
	for _, key := range keys {
		if ttl := redis.TTL(key); ttl <= 0 {
			t.Errorf("%s: got the TTL %v, want more than 0", key, ttl)
		}
	}
	p.wantRevocation("long", Dropped)
	if got := redis.Keys(); !slices.Equal(got, []string{p.redis.marksKey(p.purges)}) {
		t.Errorf("Redis has the keys %q, want only the set of purges", got)
	}
}

// One round trip stores the entry and its value in the index.
func TestStoringTheIndexCostsNoExtraRoundTrip(t *testing.T) {
	t.Parallel()
	p := issuingApp(t, fleet(t, single(redistest.Start(t)), nil))
	p.exchange("first", "long") // loads the script and opens a connection
	uses := func() uint32 { s := p.redis.client.Load().PoolStats(); return s.Hits + s.Misses }
	least := uint32(100)
	for i := range 20 { // several times, because reading the purges may add a round trip
		before := uses()
		p.exchange(fmt.Sprint("short-", i), fmt.Sprint("long-", i))
		least = min(least, uses()-before)
	}
	if least != 2 {
		t.Errorf("an exchange took %d round trips, want 2: the claim and the publish", least)
	}
}

// Redis may return a value that belongs to another key, because replies on a connection were mixed
// up, or because an attacker with write access stored it there. Such a value must not make igproxy
// forget an entry.
func TestIndexValueOfAnotherKeyMakesIgproxyForgetNothing(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	p := issuingApp(t, fleet(t, single(redis), nil))
	p.exchange("short", "long")
	p.exchange("victim", "victim-long")
	reader := issuingApp(t, fleet(t, single(redis), nil)) // has nothing in memory
	own, victim := p.redis.indexKey(p.index.Derive("long")), p.redis.indexKey(p.index.Derive("victim-long"))
	stored := redis.Dump()
	plain := p.keys.Derive("victim").indexValue()
	asValue, err := seal(p.index.Derive("long"), sealedValue, Entry{Value: plain, Expires: time.Now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	tooShort, err := seal(p.index.Derive("long"), sealedIndexValue, Entry{Value: plain[1:], Expires: time.Now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{"of another token": stored[victim], "plain": string(plain), "empty": "",
		"of another kind": string(asValue), "too short": string(tooShort)} {
		redis.Set(own, value)
		if got := reader.revoke("long"); got != NotFound {
			t.Errorf("%s: got %s, want %s", name, got, NotFound)
		}
	}
	if other, short, marks := reader.tier("victim"), reader.tier("short"), fmt.Sprint(redis.Do("ZCARD", p.redis.marksKey(p.purges))); other == "" || short == "" || marks != "0" {
		t.Errorf("the tier of victim is %q, the tier of short is %q; want a tier for each; got %s marks, want 0", other, short, marks)
	}
	redis.Set(own, stored[own])
	reader.wantRevocation("long", Dropped)
	if reader.tier("victim") == "" {
		t.Error("after long is revoked: victim is not found, want it found")
	}
}

// Tokens that igproxy has never seen cost a bounded number of Redis commands per second.
func TestRevocationsOfUnknownTokensCostFewRedisCommands(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	p := issuingApp(t, fleet(t, single(redis), nil))
	redis.Do("CONFIG", "RESETSTAT")
	const tokens = 5000
	results := make(chan Revocation, tokens)
	start := time.Now()
	for i := range tokens {
		p.Revoke(p.purges, []Key{p.index.Derive(fmt.Sprint("garbage", i))}, func(r Revocation) { results <- r })
	}
	most := maxLookups * (2 + int(time.Since(start)/time.Second))
	count := map[Revocation]int{}
	for range tokens {
		count[<-results]++
	}
	_, stats, _ := strings.Cut(fmt.Sprint(redis.Do("INFO", "commandstats")), "cmdstat_get:calls=")
	gets := 0
	_, _ = fmt.Sscan(strings.SplitN(stats, ",", 2)[0], &gets)
	if gets > most || gets == 0 || count[Dropped] > 0 || count[Skipped] < tokens-most {
		t.Errorf("%d GET commands reached Redis, want 1 to %d; the results are %v, want no %q and at least %d times %q", gets, most, count, Dropped, tokens-most, Skipped)
	}
	if p.Health().State != "ok" {
		t.Errorf("health %+v after many unknown tokens, want ok", p.Health())
	}
}

// During a Redis outage, a process forgets a revoked token only if it got that token from upstream.
// The other processes learn of the revocation when Redis is back.
func TestRevocationDuringARedisOutageIsSharedLater(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	p, other := issuingApp(t, fleet(t, single(redis), nil)), issuingApp(t, fleet(t, single(redis), nil))
	p.exchange("short", "long")
	if other.tier("short") == "" {
		t.Fatal("the other process does not find short, want the entry of the first process")
	}
	redis.Kill()
	other.wantRevocation("long", NoLookup)
	p.wantRevocation("long", Dropped)
	if got := p.tier("short"); got != "" {
		t.Errorf("after long is revoked: the tier of short is %q, want none", got)
	}
	redis.Restart()
	eventually(t, "the other process forgets the entry", func() bool { return other.tier("short") == "" })
}

// The tag of an entry (see index.go) is removed together with the entry, when the entry is evicted,
// is replaced, or expires.
func TestIndexInMemoryKeepsNothingOfRemovedEntries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, Options{MaxBytes: 100 << 10})
		p := issuingApp(t, c)
		for i := range 2000 { // most are evicted, and some are replaced
			p.exchange(fmt.Sprint("short-", i%1500), fmt.Sprint("long-", i))
		}
		tags := func() int {
			c.memory.tags.mu.Lock()
			defer c.memory.tags.mu.Unlock()
			return len(c.memory.tags.count)
		}
		c.memory.entries.CleanUp()
		synctest.Wait()
		if n := tags(); n != c.Len() || n == 0 {
			t.Errorf("%d tags for %d entries, want the same number, above 0", n, c.Len())
		}
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if n := tags(); n != 0 || c.Len() != 0 {
			t.Errorf("%d tags and %d entries are left after all entries have expired, want 0 of each", n, c.Len())
		}
	})
}

func TestNewEntryOfARevokedTokenCanBeRevokedToo(t *testing.T) {
	p := issuingApp(t, newCache(t, Options{}))
	for round := range 3 { // each revocation gives the next entry of the token another name
		long := fmt.Sprint("long-", round)
		p.exchange("short", long)
		p.wantRevocation(long, Dropped)
	}
	p.exchange("short", "long")
	if err := p.PurgeAll(t.Context(), p.purges); err != nil {
		t.Fatal(err)
	}
	p.wantRevocation("long", NotFound)
}
