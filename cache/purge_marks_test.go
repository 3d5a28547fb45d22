package cache

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func newTestPurges(t testing.TB, secret string) *Purges {
	t.Helper()
	p, err := newPurges(KeysOptions{Secret: []byte(secret), AppID: "1"})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// sealedMarks returns the members that a process writes for all marks it knows.
func sealedMarks(t testing.TB, p *Purges) (members []string) {
	t.Helper()
	for _, m := range p.current().list() {
		member, err := p.seal(m)
		if err != nil {
			t.Fatal(err)
		}
		members = append(members, member)
	}
	return members
}

func TestNewPurgeIsNewerThanAllKnownPurges(t *testing.T) {
	token := ID{1}
	for name, tokens := range map[string][]ID{
		"a token twice":                  {token, token},
		"everything twice":               {everything, everything},
		"a token right after everything": {everything, token},
		"everything right after a token": {token, everything},
	} {
		ahead, behind := newTestPurges(t, "secret"), newTestPurges(t, "secret")
		first := ahead.add(30_000, tokens[0]) // with a clock that is ahead
		behind.merge(10_000, sealedMarks(t, ahead))
		second := behind.add(10_000, tokens[1])
		if tokens[1] != everything && second[0].number <= first[0].number {
			t.Errorf("%s: got number %d after %d, want a higher one", name, second[0].number, first[0].number)
		}
		if learned, _, _ := ahead.merge(10_000, sealedMarks(t, behind)); !slices.Equal(learned, second) {
			t.Errorf("%s: learned %v, want %v", name, learned, second)
		}
	}
}

// Processes purge, read and write in any order, and Redis may lose its data. In the end all
// processes know the same marks, and the sorted set has one member for each mark.
func TestPurgesConverge(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := int64(1_800_000_000_000)
		var all []*Purges
		for range 3 {
			p, _ := newPurges(KeysOptions{Secret: []byte("secret")})
			all = append(all, p)
		}
		var stored []string // in Redis
		read := func(p *Purges) {
			_, missing, stale := p.merge(now, stored)
			stored = slices.DeleteFunc(stored, func(m string) bool { return slices.Contains(stale, m) })
			for _, m := range missing {
				member, _ := p.seal(m)
				stored = append(stored, member)
			}
		}
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			p := all[rapid.IntRange(0, len(all)-1).Draw(t, "process")]
			now += int64(rapid.IntRange(0, 3).Draw(t, "ms"))
			switch rapid.IntRange(0, 6).Draw(t, "what") {
			case 6:
				revoked := revocation(ID{byte(rapid.IntRange(1, 4).Draw(t, "token"))}, now+int64(rapid.IntRange(0, 9).Draw(t, "life"))-clockMargin.Milliseconds())
				revoked[0].number = p.current().tokens[revoked[0].token]
				p.revoke(now, revoked)
			case 0:
				p.add(now, everything)
			case 1, 2:
				p.add(now, ID{byte(rapid.IntRange(1, 4).Draw(t, "token"))})
			case 3:
				stored = nil // Redis loses its data
			default:
				read(p)
			}
		}
		for range len(all) {
			for _, p := range all {
				read(p)
			}
		}
		want := fmt.Sprint(all[0].current())
		for _, p := range all[1:] {
			if got := fmt.Sprint(p.current()); got != want {
				t.Fatalf("a process knows the marks %s, want the marks of the first process, %s", got, want)
			}
		}
		if n := len(all[0].current().list()); len(stored) != n {
			t.Fatalf("got %d members for %d marks, want one for each", len(stored), n)
		}
	})
}

// Write access to Redis allows deleting entries there, but not purging the memory of sidecars.
func TestForgedPurgeIsIgnored(t *testing.T) {
	p, other := newTestPurges(t, "secret"), newTestPurges(t, "another secret")
	other.add(1000, everything, ID{1})
	forged := append(sealedMarks(t, other), "", "nonsense", string(everything[:]))
	// A sealed value is not a mark, even if it is sealed under the same key.
	value, err := seal(p.key, sealedValue, Entry{Value: everything[:], Expires: time.UnixMilli(1000)})
	if err != nil {
		t.Fatal(err)
	}
	if learned, missing, stale := p.merge(2000, append(forged, string(value))); len(learned)+len(missing)+len(stale) > 0 {
		t.Errorf("learned %v, missing %v, stale %q; want nothing", learned, missing, stale)
	}
}

func TestReplayedPurgeChangesNothing(t *testing.T) {
	p := newTestPurges(t, "secret")
	p.add(1000, ID{1})
	old := sealedMarks(t, p)
	p.add(2000, everything)
	before := fmt.Sprint(p.current())
	learned, missing, stale := p.merge(3000, old)
	if len(learned) > 0 || fmt.Sprint(p.current()) != before || len(missing) != 1 || !slices.Equal(stale, old) {
		t.Errorf("learned %v, want nothing; missing %v, want one mark; stale %q, want %q; known marks %v, want %s", learned, missing, stale, old, p.current(), before)
	}
}

func TestTooManyPurgesOfTokensBecomeAPurgeOfEverything(t *testing.T) {
	p := newTestPurges(t, "secret")
	for i := range maxMarks + 1 {
		p.add(1000, ID{1, byte(i), byte(i >> 8)})
	}
	if now := p.current(); now.all == 0 || len(now.tokens) > 0 {
		t.Errorf("%d marks of tokens, want 0; the number of the purge of everything is %d, want more than 0", len(now.tokens), now.all)
	}
}

// If there are too many marks, the purge of one token purges all entries of the app. An operator
// must find this in the log.
func TestTooManyPurgesOfTokensAreLogged(t *testing.T) {
	r := &recorder{}
	c := newCache(t, Options{Observer: r, Logger: r.logger()})
	one := purgeableApp(t, c, "secret", "1")
	purge := func(from, to int) {
		t.Helper()
		var keys []Key
		for i := from; i < to; i++ {
			keys = append(keys, one.keys.Derive(strconv.Itoa(i)))
		}
		if err := c.PurgeKeys(t.Context(), one.purges, keys); err != nil {
			t.Fatal(err)
		}
	}
	logged := func() int {
		return strings.Count(strings.Join(r.lines(), "\n"), "all entries purged")
	}
	purge(0, maxMarks)
	if err := c.PurgeAll(t.Context(), one.purges); err != nil {
		t.Fatal(err)
	}
	if purge(0, maxMarks); logged() != 0 {
		t.Errorf("a purge of everything and then %d purges of tokens: the log says %d times that all entries were purged, want 0", maxMarks, logged())
	}
	if purge(maxMarks, maxMarks+1); logged() != 1 {
		t.Errorf("%d purges of tokens: the log says %d times that all entries were purged, want 1", maxMarks+1, logged())
	}
}

func TestPurgeIsForgottenWhenNoEntryCanBeOlder(t *testing.T) {
	p := newTestPurges(t, "secret")
	p.add(1000, ID{1})
	members := sealedMarks(t, p)
	_, missing, stale := p.merge(1001+keepMarks.Milliseconds(), members)
	if len(p.current().tokens) > 0 || len(missing) > 0 || len(stale) != 1 {
		t.Errorf("marks %v, want no mark; missing %v, want nothing; %d stale, want 1", p.current(), missing, len(stale))
	}
}

func TestPurgeOfATokenGivesOnlyThatTokenANewKey(t *testing.T) {
	p := newTestPurges(t, "secret")
	keys, err := NewKeys(KeysOptions{Secret: []byte("secret"), AppID: "1", Scope: "exchange", Purges: p})
	if err != nil {
		t.Fatal(err)
	}
	one, two := keys.Derive("one"), keys.Derive("two")
	seen := map[ID]bool{one.id: true}
	for range 3 {
		p.add(1000, one.token)
		next := keys.Derive("one")
		if seen[next.id] || next.token != one.token || *next.secret == *one.secret || !one.purged() || next.purged() {
			t.Fatalf("after a purge: key %v, want a new one; token %v, want %v; secret unchanged: %v, want false; old key purged: %v, want true; new key purged: %v, want false",
				next, next.token, one.token, *next.secret == *one.secret, one.purged(), next.purged())
		}
		if glance := keys.Glance([]byte("one")); glance.id != next.id {
			t.Errorf("Glance returns %v, want %v", glance, next)
		}
		seen[next.id] = true
	}
	if two.purged() || keys.Derive("two").id != two.id {
		t.Errorf("the other token: purged %v, want false; key %v, want %v", two.purged(), keys.Derive("two"), two)
	}
	p.add(2000, everything)
	if !two.purged() || keys.Derive("two").id == two.id || seen[keys.Derive("one").id] {
		t.Errorf("after a purge of everything: key of the other token purged: %v, want true; its new key %v, want one other than %v; key of the first token %v, want a new one",
			two.purged(), keys.Derive("two"), two, keys.Derive("one"))
	}
}

// revocation returns what Purges.revoke needs to revoke the only entry of a token. expires is in
// Unix milliseconds.
func revocation(token ID, expires int64) []indexed {
	return []indexed{{id: token, token: token, expires: time.UnixMilli(expires)}}
}

func TestRevocationIsForgottenWhenItsEntryHasExpired(t *testing.T) {
	p, other := newTestPurges(t, "secret"), newTestPurges(t, "secret")
	p.revoke(1000, revocation(ID{1}, 5000))
	members := sealedMarks(t, p)
	end := 5000 + clockMargin.Milliseconds()
	if learned, _, _ := other.merge(end, members); len(learned) != 1 || other.current().tokens[ID{1}] == 0 {
		t.Fatalf("learned %v, want one mark; number of the token %d, want more than 0", learned, other.current().tokens[ID{1}])
	}
	for _, one := range []*Purges{p, other} {
		_, missing, stale := one.merge(end+1, members)
		if len(one.current().tokens)+len(one.current().until)+len(missing) > 0 || len(stale) != 1 {
			t.Errorf("marks %v, want no mark; missing %v, want nothing; %d stale, want 1", one.current(), missing, len(stale))
		}
	}
}

// A revocation must not shorten the life of a purge. If it did, the entries from before the purge
// would be found again when the revocation is forgotten.
func TestRevocationOfAPurgedTokenLastsAsLongAsThePurge(t *testing.T) {
	p, other := newTestPurges(t, "secret"), newTestPurges(t, "secret")
	number := p.add(1000, ID{1})[0].number
	revoked := revocation(ID{1}, 5000)
	revoked[0].number = number
	if _, added := p.revoke(2000, revoked); len(added) != 1 || added[0].until != 0 {
		t.Errorf("added %v, want one mark, which is still a purge", added)
	}
	other.merge(3000, sealedMarks(t, p))
	for _, one := range []*Purges{p, other} {
		one.merge(time.Hour.Milliseconds(), nil)
		if one.current().tokens[ID{1}] != 2000 {
			t.Errorf("number of the purged token: got %d, want 2000", one.current().tokens[ID{1}])
		}
	}
	// Another process, which did not know of the purge, revoked the token later.
	late := newTestPurges(t, "secret")
	late.revoke(4000, revocation(ID{1}, 5000))
	p.merge(4000, sealedMarks(t, late))
	late.merge(4000, sealedMarks(t, p))
	for _, one := range []*Purges{p, late} {
		if got := one.current().mark(ID{1}); got != (mark{ID{1}, 4000, 0}) {
			t.Errorf("got the mark %v, want a purge with number 4000", got)
		}
	}
}

func TestRevocationsNeverPurgeEverything(t *testing.T) {
	p := newTestPurges(t, "secret")
	p.add(500, ID{9})
	for i := range maxRevoked + 10 {
		p.revoke(int64(1000+i), revocation(ID{1, byte(i), byte(i >> 8)}, time.Hour.Milliseconds()))
	}
	now := p.current()
	if now.all != 0 || len(now.until) != maxRevoked || len(now.tokens) != maxRevoked+1 || now.tokens[ID{9}] == 0 {
		t.Errorf("the number of the purge of everything is %d, want 0; %d revocations, want %d; %d marks of tokens, want %d; the number of the purged token is %d, want more than 0",
			now.all, len(now.until), maxRevoked, len(now.tokens), maxRevoked+1, now.tokens[ID{9}])
	}
	if now.tokens[ID{1, 9}] != 0 || now.tokens[ID{1, 10}] == 0 {
		t.Errorf("number of revocation 9: got %d, want 0 (forgotten); number of revocation 10: got %d, want more than 0", now.tokens[ID{1, 9}], now.tokens[ID{1, 10}])
	}
}

// A mark that a process does not read would count as missing, and would be written again every
// second.
func TestOneReadReturnsAllPurgesAndRevocations(t *testing.T) {
	p := newTestPurges(t, "secret")
	p.add(100, everything)
	for i := range max(maxMarks, maxRevoked) + 10 {
		p.revoke(int64(1000+i), revocation(ID{1, byte(i), byte(i >> 8)}, time.Hour.Milliseconds()))
		if i < maxMarks {
			p.add(int64(1000+i), ID{2, byte(i), byte(i >> 8)})
		}
	}
	if n := len(p.current().list()); n != 1+maxMarks+maxRevoked || n > maxRead {
		t.Errorf("%d marks, want %d, and at most the %d that one read returns", n, 1+maxMarks+maxRevoked, maxRead)
	}
}

// An entry from before a purge is no longer served. Revoking it would only drop the entry that has
// been stored since.
func TestEntryFromBeforeAPurgeIsNotRevoked(t *testing.T) {
	p := newTestPurges(t, "secret")
	p.add(1000, ID{1})
	if revoked, added := p.revoke(2000, revocation(ID{1}, 5000)); len(revoked)+len(added) > 0 {
		t.Errorf("revoked %v, added %v; want nothing", revoked, added)
	}
}
