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
	if apps := purge("one", NewSecret("IGAA-a")); !slices.Equal(apps, []string{"one"}) || known("one", "IGAA-a") || !known("one", "IGAA-b") || !known("two", "IGAA-a") {
		t.Errorf("want only the token IGAA-a of app one to be purged; purged apps: %v", apps)
	}
	if apps := purge("", NewSecret("IGAA-a")); !slices.Equal(apps, []string{"one", "two"}) || known("two", "IGAA-a") {
		t.Errorf("want the token IGAA-a of both apps to be purged; purged apps: %v", apps)
	}
	fill()
	if purge("two", Secret{}); known("two", "IGAA-b") || !known("one", "IGAA-b") {
		t.Error("want all tokens of app two to be purged, and those of app one to be kept")
	}
	fill()
	if purge("", Secret{}); known("one", "IGAA-b") || known("two", "IGAA-b") {
		t.Error("want all tokens of both apps to be purged")
	}
	if apps, err := p.Purge(t.Context(), "unknown", Secret{}); err == nil || apps != nil {
		t.Errorf("an unknown app: got the apps %v and the error %v, want no apps and an error", apps, err)
	}
	if err := p.Reload(o); err != nil || !known("one", "IGAA-b") {
		t.Errorf("the reload returned the error %v, or lost an answer that was remembered after the purge", err)
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
		t.Fatalf("got %d, want 200", w.Code)
	}
	for start := time.Now(); len(redis.Keys()) == 0; time.Sleep(10 * time.Millisecond) {
		if time.Since(start) > 20*time.Second {
			t.Fatal("the token was not stored in Redis")
		}
	}
	if apps, err := other.Purge(t.Context(), "two", Secret{}); err != nil || !slices.Equal(apps, []string{"two"}) {
		t.Fatalf("purged apps: %v, error: %v; want app two to be purged without an error", apps, err)
	}
	for range 50 { // on a busy machine, Redis may answer too late for a reload
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
			t.Errorf("%s: after the purge, the code was still answered from memory", uri)
		}
	}
}

// igproxy remembers the names of purged entries, up to a limit for each app. Beyond the limit, it
// purges all entries of the app. So the purge of a token must not add names that no call of the app
// uses.
func TestAPurgedTokenTakesNoNamesOfOtherServices(t *testing.T) {
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
