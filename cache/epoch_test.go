package cache

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// epochs is the same app's epoch in three processes, and its keys.
func epochs(t *testing.T) (a, b, c *Epoch, keys *Keys) {
	t.Helper()
	o := KeysOptions{Secret: []byte("0123456789abcdef0123456789abcdef"), AppID: "1"}
	var all [3]*Epoch
	for i := range all {
		e, err := newEpoch(o)
		if err != nil {
			t.Fatal(err)
		}
		all[i] = e
	}
	o.Scope = "test"
	keys, err := NewKeys(o)
	if err != nil {
		t.Fatal(err)
	}
	return all[0], all[1], all[2], keys
}

// hears is of how many tokens an epoch hears from another's journal.
func hears(t *testing.T, e, from *Epoch, now time.Time) int {
	t.Helper()
	_, ids, _, err := e.merge(from.journal(now), now)
	if err != nil {
		t.Fatal(err)
	}
	return len(ids)
}

func TestATokensPurgeIsHeardAfterAPurgeOfAllByAClockThatIsAhead(t *testing.T) {
	a, b, c, keys := epochs(t)
	now := time.Now()
	a.next(now.Add(30 * time.Second)) // its clock is ahead
	for _, e := range []*Epoch{b, c} {
		if hears(t, e, a, now); e.number.Load() != a.number.Load() {
			t.Fatal("a purge of all is not heard")
		}
	}
	now = now.Add(10 * time.Second)
	b.mark([]Key{keys.Derive("IGAA-a")}, now, now.Add(time.Hour))
	for name, e := range map[string]*Epoch{"a": a, "c": c} {
		if got := hears(t, e, b, now); got != 1 {
			t.Errorf("%s heard of %d tokens, want 1", name, got)
		}
	}
}

func TestATokensSecondPurgeIsHeardAfterOneByAClockThatIsAhead(t *testing.T) {
	a, b, c, keys := epochs(t)
	now, key := time.Now(), keys.Derive("IGAA-a")
	ahead := now.Add(30 * time.Second)
	a.mark([]Key{key}, ahead, ahead.Add(time.Hour))
	if hears(t, b, a, now) != 1 || hears(t, c, a, now) != 1 {
		t.Fatal("the first purge is not heard")
	}
	for range 3 {
		b.mark([]Key{key}, now, now.Add(time.Hour))
		if got := hears(t, c, b, now); got != 1 {
			t.Errorf("c heard of %d tokens, want 1", got)
		}
		if m := b.purged[key.id]; m.until < m.at+uint64(time.Hour.Milliseconds()) {
			t.Errorf("the mark ends %d ms after it, want an hour", m.until-m.at)
		}
	}
}

// Nor is one lost that comes with the very epoch's millisecond.
func TestATokensPurgeRightAfterOneOfAllIsKept(t *testing.T) {
	_, b, c, keys := epochs(t)
	now := time.Now()
	b.next(now)
	b.mark([]Key{keys.Derive("IGAA-a")}, now, now.Add(time.Hour))
	if got := hears(t, c, b, now); got != 1 {
		t.Errorf("c heard of %d tokens, want 1", got)
	}
}

func TestAPurgeThatRedisCannotBeToldOfSaysWhyOnce(t *testing.T) {
	addr := fakeRedis(t, always("-NOAUTH Authentication required.\r\n"))
	p := purgeableApp(t, fleet(t, RedisOptions{Mode: ModeSingle, Addrs: []string{addr}}, nil), "secret", "1")
	err := p.PurgeKeys(t.Context(), p.epoch, []Key{p.keys.Derive("IGAA-a")}, time.Hour)
	if err == nil || strings.Count(err.Error(), "redis: ") != 1 || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %v", err)
	}
	one, other := errors.New("one"), errors.New("other")
	if got := both(one, other); got.Error() != "one; other" || !errors.Is(got, one) || !errors.Is(got, other) {
		t.Errorf("two causes: %v", got)
	}
	if both(one, nil) != one || both(nil, other) != other || both(nil, nil) != nil {
		t.Error("one cause is not told as it is")
	}
}
