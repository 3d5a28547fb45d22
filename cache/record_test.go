package cache

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/igproxy/igproxy/cache/redistest"
)

// replaceBy returns a change for Update that always replaces the record.
func replaceBy(value string) func(Entry, bool) (Entry, bool) {
	return func(Entry, bool) (Entry, bool) { return lasting(value), true }
}

// mustUpdate updates a record and checks that it was replaced.
func mustUpdate(t *testing.T, c *Cache, k Key, value string) {
	t.Helper()
	if e, replaced, err := c.Update(k, replaceBy(value)); err != nil || !replaced || string(e.Value) != value {
		t.Fatalf("Update: got %q, want %q; replaced %v, want true; error %v, want nil", e.Value, value, replaced, err)
	}
}

// wantRecord checks what Load returns; "" means that there is no record.
func wantRecord(t *testing.T, what string, c *Cache, k Key, maxAge time.Duration, want string) {
	t.Helper()
	if e, found := c.Load(t.Context(), k, maxAge); found != (want != "") || string(e.Value) != want {
		t.Errorf("%s: got %q, want %q; found %v, want %v", what, e.Value, want, found, want != "")
	}
}

func TestRecordIsReplacedAndSeenByTheFleet(t *testing.T) {
	for name, lease := range map[string]time.Duration{"with scripts": testLease, "without scripts": 0} {
		t.Run(name, func(t *testing.T) {
			o := patiently(redistest.Start(t))
			o.Lease = lease
			one, _ := over(t, o)
			other, _ := over(t, o)
			k := keyOf(t, "token")
			wantRecord(t, "at first", one, k, 0, "")
			mustUpdate(t, one, k, "first")
			wantRecord(t, "in the other process", other, k, time.Hour, "first")
			mustUpdate(t, one, k, "second")
			wantRecord(t, "a young copy in the other process", other, k, time.Hour, "first")
			wantRecord(t, "Redis, through the other process", other, k, 0, "second")
		})
	}
}

// Update must not overwrite another process's record before the function change has seen it, even
// if this process has an older copy or no copy.
func TestUpdateSeesWhatOtherProcessesStored(t *testing.T) {
	o := patiently(redistest.Start(t))
	o.Lease = testLease
	caches := make([]*Cache, 5)
	for i := range caches {
		caches[i], _ = over(t, o)
	}
	k := keyOf(t, "token")
	var all sync.WaitGroup
	for _, c := range caches {
		all.Go(func() {
			for range 4 {
				for done := false; !done; {
					_, done, _ = c.Update(k, func(e Entry, _ bool) (Entry, bool) { return lasting(string(e.Value) + "x"), true })
				}
			}
		})
	}
	all.Wait()
	wantRecord(t, "after 20 updates", caches[0], k, 0, strings.Repeat("x", 20))
}

func TestUpdateKeepsTheRecordIfTheChangeIsDeclined(t *testing.T) {
	o := patiently(redistest.Start(t))
	c, _ := over(t, o)
	k := keyOf(t, "token")
	mustUpdate(t, c, k, "first")
	e, replaced, err := c.Update(k, func(e Entry, found bool) (Entry, bool) { return lasting("second"), !found })
	if err != nil || replaced || string(e.Value) != "first" {
		t.Errorf("got %q, want %q; replaced %v, want false; error %v, want nil", e.Value, "first", replaced, err)
	}
}

// A copy in memory is used while Redis is down, and is stored again when Redis has lost it.
func TestRecordSurvivesAFlushAndAnOutageOfRedis(t *testing.T) {
	server := redistest.Start(t)
	c, _ := over(t, patiently(server))
	k := keyOf(t, "token")
	mustUpdate(t, c, k, "first")
	server.Do("FLUSHALL")
	wantRecord(t, "after a flush", c, k, 0, "first")
	c.pending.Wait()
	other, _ := over(t, patiently(server))
	wantRecord(t, "in another process", other, k, 0, "first")
	server.Kill()
	wantRecord(t, "during an outage", c, k, 0, "first")
	if _, replaced, err := c.Update(k, replaceBy("second")); err == nil || replaced {
		t.Errorf("an update during an outage: replaced %v, want false; got the error %v, want an error", replaced, err)
	}
	wantRecord(t, "after the failed update", c, k, time.Hour, "first")
}

// igproxy learns the end of a token only once, when Meta issues the token. If Redis cannot store
// the record at that moment, the copy in memory is stored later.
func TestNewRecordIsStoredLaterIfRedisRefusesWrites(t *testing.T) {
	server := redistest.Start(t)
	c, _ := over(t, patiently(server))
	k, second := keyOf(t, "token"), keyOf(t, "second")
	mustUpdate(t, c, second, "first")
	server.Do("CONFIG", "SET", "min-replicas-to-write", "1") // Redis refuses writes
	c.UpdateLater(k, replaceBy("learnt"))
	c.UpdateLater(second, replaceBy("later"))
	c.pending.Wait()
	wantRecord(t, "while Redis stores nothing", c, k, time.Hour, "learnt")
	wantRecord(t, "a record that Redis has", c, second, time.Hour, "later")
	server.Do("CONFIG", "SET", "min-replicas-to-write", "0")
	c.Learn(t.Context())
	wantRecord(t, "in this process", c, k, 0, "learnt")
	wantRecord(t, "the record that Redis has", c, second, 0, "first")
	c.pending.Wait()
	other, _ := over(t, patiently(server))
	wantRecord(t, "in another process", other, k, 0, "learnt")
}

// Redis is not trusted: the record of another token cannot be decrypted.
func TestRecordOfAnotherTokenIsAMiss(t *testing.T) {
	server := redistest.Start(t)
	c, _ := over(t, patiently(server))
	mine, foreign := keyOf(t, "mine"), keyOf(t, "foreign")
	mustUpdate(t, c, foreign, "the record of another user")
	name := func(k Key) string { value, _, _ := c.redis.keys(k); return value }
	server.Do("COPY", name(foreign), name(mine))
	wantRecord(t, "another token's bytes", c, mine, 0, "")
	mustUpdate(t, c, mine, "my own")
	wantRecord(t, "after an update", c, mine, 0, "my own")
	for name, value := range server.Dump() {
		if strings.Contains(name+value, "own") || strings.Contains(name+value, "user") {
			t.Errorf("Redis has %q = %q, want no plain text", name, value)
		}
	}
}

func TestRecordIsPurged(t *testing.T) {
	server := redistest.Start(t)
	c, _ := over(t, patiently(server))
	p, err := c.Purges(KeysOptions{Secret: []byte("secret"), AppID: "app"})
	if err != nil {
		t.Fatal(err)
	}
	keys, err := NewKeys(KeysOptions{Secret: []byte("secret"), AppID: "app", Scope: "records", Purges: p})
	if err != nil {
		t.Fatal(err)
	}
	before := keys.Derive("token")
	mustUpdate(t, c, before, "first")
	if err := c.PurgeKeys(t.Context(), p, []Key{before}); err != nil {
		t.Fatal(err)
	}
	wantRecord(t, "the old key", c, before, time.Hour, "")
	wantRecord(t, "the new key", c, keys.Derive("token"), 0, "")
	if _, _, err := c.Update(before, replaceBy("late")); err == nil {
		t.Error("an update under a purged key: got the error nil, want an error")
	}
}

func TestWithoutRedisARecordStaysInMemoryUntilItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, Options{})
		k := keyOf(t, "token")
		mustUpdate(t, c, k, "first")
		time.Sleep(time.Minute)
		wantRecord(t, "after a minute", c, k, 0, "first")
		c.UpdateLater(k, replaceBy("second"))
		wantRecord(t, "after an update", c, k, 0, "second")
		time.Sleep(time.Hour)
		wantRecord(t, "after its end", c, k, 0, "")
	})
}

func TestRecordThatCannotBeStoredIsRefused(t *testing.T) {
	for name, c := range map[string]*Cache{"memory": newCache(t, Options{}), "Redis": first(over(t, patiently(redistest.Start(t))))} {
		for what, e := range map[string]Entry{
			"expired":   {Value: []byte("v"), Expires: time.Now().Add(-time.Second)},
			"too large": {Value: slices.Repeat([]byte("v"), maxKept), Expires: time.Now().Add(time.Hour)},
		} {
			if _, replaced, err := c.Update(keyOf(t, "token"), func(Entry, bool) (Entry, bool) { return e, true }); err == nil || replaced {
				t.Errorf("%s, %s: replaced %v, want false; got the error %v, want an error", name, what, replaced, err)
			}
		}
	}
}

func first(c *Cache, _ *recorder) *Cache { return c }

// A panic in the code that talks to Redis must not end the request: Load returns the copy.
func TestLoadContinuesWithoutRedisAfterAPanic(t *testing.T) {
	r := &recorder{}
	c := newCache(t, Options{Observer: r, Logger: r.logger()})
	k := keyOf(t, "token")
	mustUpdate(t, c, k, "first")
	c.shared = panicking{"load"}
	wantRecord(t, "after a panic", c, k, 0, "first")
}

// lateReads is a shared tier whose reads return a second late.
type lateReads struct{ shared }

func (l lateReads) read(ctx context.Context, k Key) ([]byte, error) {
	sealed, err := l.shared.read(ctx, k)
	time.Sleep(time.Second)
	return sealed, err
}

// A call reads a record from Redis while a refresh replaces the record. The copy in memory must
// then be the new record, because igproxy uses the copy for minutes.
func TestLateReadDoesNotReplaceANewerRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		redis := &model{down: func() bool { return false }}
		k := keyOf(t, "token")
		other, c := processCache(t, redis, 0), processCache(t, lateReads{redis}, 0)
		defer closeCache(t, other)
		defer closeCache(t, c)
		mustUpdate(t, other, k, "old")
		var reading sync.WaitGroup
		reading.Go(func() { wantRecord(t, "a read that began before the update", c, k, time.Hour, "new") })
		synctest.Wait()
		if _, replaced, err := c.Update(k, replaceBy("new")); err != nil || !replaced {
			t.Errorf("Update: replaced %v, want true; error %v, want nil", replaced, err)
		}
		reading.Wait()
		wantRecord(t, "the copy afterwards", c, k, time.Hour, "new")
	})
}
