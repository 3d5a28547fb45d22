package proxy

import (
	"context"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/igproxy/igproxy/cache"
	"github.com/igproxy/igproxy/cache/redistest"
)

func TestAPurgeCoversAnAppOrATokenUnderEachGrant(t *testing.T) {
	i, s := newInstagram(t, overTLS)
	o := optionsFor(t, s.URL, s.CA())
	o.Cache = newCache(t)
	o.Apps = []App{{Label: "one", ID: "1", Secret: NewSecret(testSecret)}, {Label: "two", ID: "2", Secret: NewSecret(testSecret)}}
	p := newProxy(t, o)
	known := func(app, token string) bool {
		t.Helper()
		before := i.Calls()
		for _, path := range []string{target(token), "/refresh_access_token?grant_type=ig_refresh_token&access_token=" + token} {
			if w := askAt(p, "localhost", "/apps/"+app+path); w.Code != 200 && w.Code != 400 {
				t.Fatalf("%s %s: got %d, want 200 or 400", app, token, w.Code)
			}
		}
		return i.Calls() == before
	}
	fill := func() {
		for _, app := range []string{"one", "two"} {
			for _, token := range []string{"IGAA-a", "IGAA-b"} {
				known(app, token)
			}
		}
	}
	fill()
	purge := func(app string, token Secret) (apps []string) {
		t.Helper()
		apps, err := p.Purge(t.Context(), app, token)
		if err != nil {
			t.Fatal(err)
		}
		return apps
	}
	apps := purge("one", NewSecret("IGAA-a"))
	if a, b, other := known("one", "IGAA-a"), known("one", "IGAA-b"), known("two", "IGAA-a"); !slices.Equal(apps, []string{"one"}) || a || !b || !other {
		t.Errorf("purge of IGAA-a for app one: got the apps %v, want [one]; known: IGAA-a of app one %v, want false; IGAA-b of app one %v, want true; IGAA-a of app two %v, want true", apps, a, b, other)
	}
	apps = purge("", NewSecret("IGAA-a"))
	if a := known("two", "IGAA-a"); !slices.Equal(apps, []string{"one", "two"}) || a {
		t.Errorf("purge of IGAA-a for all apps: got the apps %v, want [one two]; known: IGAA-a of app two %v, want false", apps, a)
	}
	fill()
	purge("two", Secret{})
	if two, one := known("two", "IGAA-b"), known("one", "IGAA-b"); two || !one {
		t.Errorf("purge of app two: known: IGAA-b of app two %v, want false; IGAA-b of app one %v, want true", two, one)
	}
	fill()
	purge("", Secret{})
	if one, two := known("one", "IGAA-b"), known("two", "IGAA-b"); one || two {
		t.Errorf("purge of all apps: known: IGAA-b of app one %v, want false; IGAA-b of app two %v, want false", one, two)
	}
	if apps, err := p.Purge(t.Context(), "unknown", Secret{}); err == nil || apps != nil {
		t.Errorf("an unknown app: got the apps %v and the error %v, want no apps and an error", apps, err)
	}
	err := p.Reload(o)
	if one := known("one", "IGAA-b"); err != nil || !one {
		t.Errorf("the reload: got the error %v, want nil; known: IGAA-b of app one %v, want true", err, one)
	}
}

// Another sidecar purges an app, and then a reload adds that app to this sidecar. The purged
// entries are not served, not even to the first request.
func TestPurgedEntriesStayPurgedAfterAReload(t *testing.T) {
	i, s := newInstagram(t, overTLS)
	redis := redistest.Start(t)
	options := func() Options {
		o := optionsFor(t, s.URL, s.CA())
		c, err := cache.New(cache.Options{MaxBytes: 1 << 20, Redis: &cache.RedisOptions{Mode: cache.ModeSingle, URL: redis.URL(), Timeout: time.Second}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close(context.Background()) })
		o.Cache, o.ClaimBudget = c, 10*time.Second
		o.Apps = []App{{Label: "one", ID: "1", Secret: NewSecret(testSecret)}, {Label: "two", ID: "2", Secret: NewSecret(testSecret)}}
		return o
	}
	other := newProxy(t, options())
	both := options()
	one := both
	one.Apps = both.Apps[:1]
	p := newProxy(t, one)
	if w := askAt(other, "localhost", "/apps/two"+target("IGAA-a")); w.Code != 200 {
		t.Fatalf("the call to the other sidecar: got %d, want 200", w.Code)
	}
	for start := time.Now(); len(redis.Keys()) == 0; time.Sleep(10 * time.Millisecond) {
		if time.Since(start) > 20*time.Second {
			t.Fatal("Redis has no keys after 20s, want the token's key")
		}
	}
	if apps, err := other.Purge(t.Context(), "two", Secret{}); err != nil || !slices.Equal(apps, []string{"two"}) {
		t.Fatalf("the purge: got the apps %v, want [two]; got the error %v, want nil", apps, err)
	}
	for range 50 { // on a busy machine, a reload may not get Redis's reply in time
		start := time.Now()
		if err := p.Reload(both); err != nil {
			t.Fatal(err)
		}
		if time.Since(start) < learnTime {
			break
		}
		_ = p.Reload(one)
	}
	before := i.Calls()
	if w := askAt(p, "localhost", "/apps/two"+target("IGAA-a")); w.Code != 200 || i.Calls() != before+1 {
		t.Errorf("got %d after %d calls, want 200 after 1; Cache-Status: %q", w.Code, i.Calls()-before, w.Header()["Cache-Status"])
	}
}

// The key of a code contains its redirect URI, so a purge must cover each redirect URI.
func TestAPurgedCodeIsForgottenUnderEachRedirectURI(t *testing.T) {
	i, s := newInstagram(t, overTLS)
	o := optionsFor(t, s.URL, s.CA())
	o.LoginURL = o.UpstreamURL
	o.Cache = newCache(t)
	uris := []string{"https://app.example/one", "https://app.example/two"}
	o.Apps = []App{{ID: "17841400000000001", Secret: NewSecret(testSecret), RedirectURIs: uris}}
	p := newProxy(t, o)
	for _, uri := range uris {
		code := i.Code("17841400000000001", uri)
		exchange := func() int {
			form := url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {uri}, "client_id": {"17841400000000001"}}
			r := httptest.NewRequest("POST", "/oauth/access_token", strings.NewReader(form.Encode()))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			return ask(p, r).Code
		}
		if first, again := exchange(), exchange(); first != 200 || again != 200 {
			t.Fatalf("%s: got %d, then %d; want 200 twice", uri, first, again)
		}
		calls := i.Calls()
		if _, err := p.Purge(t.Context(), "", NewSecret(code)); err != nil {
			t.Fatal(err)
		}
		if exchange(); i.Calls() != calls+1 {
			t.Errorf("%s: got %d calls to Meta after the purge, want 1", uri, i.Calls()-calls)
		}
	}
}

// igproxy remembers the names of purged entries, up to a limit for each app. Beyond the limit, it
// purges all entries of the app. So the purge of a token must not add names that no call of the app
// uses.
func TestThePurgeOfATokenAddsNoNamesOfOtherServices(t *testing.T) {
	_, s := newInstagram(t, overTLS)
	redis := redistest.Start(t)
	o := optionsFor(t, s.URL, s.CA())
	c, err := cache.New(cache.Options{MaxBytes: 1 << 20, Redis: &cache.RedisOptions{Mode: cache.ModeSingle, URL: redis.URL(), Timeout: time.Second}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	o.Cache, o.ClaimBudget = c, 10*time.Second
	o.Keep = &KeepOptions{RefreshBefore: time.Hour, CheckEvery: time.Hour, MaxPerMinute: 1}
	uris := []string{"https://app.example/one", "https://app.example/two"}
	o.Apps = []App{{Label: "shop", ID: "1", Secret: NewSecret(testSecret), RedirectURIs: uris},
		{Label: "threads", Service: Threads, ID: "2", Secret: NewSecret(testSecret), RedirectURIs: uris},
		{Label: "facebook", Service: Facebook, ID: "3", Secret: NewSecret(testSecret), RedirectURIs: uris}}
	p := newProxy(t, o)
	seen := map[string]bool{}
	// The names are those of the exchange, the refresh, the record and two codes. Facebook's
	// exchange is also its refresh.
	for label, want := range map[string]int64{"shop": 5, "threads": 5, "facebook": 4} {
		if _, err := p.Purge(t.Context(), label, NewSecret("IGAA-a")); err != nil {
			t.Fatal(err)
		}
		before := len(seen)
		for _, key := range redis.Keys() {
			if !strings.HasSuffix(key, ":p") || seen[key] {
				continue
			}
			if seen[key] = true; redis.Do("ZCARD", key) != want {
				t.Errorf("%s: the purge added %v names, want %d", label, redis.Do("ZCARD", key), want)
			}
		}
		if len(seen) != before+1 {
			t.Errorf("%s: the purge created %d sets of names, want 1", label, len(seen)-before)
		}
	}
}
