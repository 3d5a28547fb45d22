package proxy

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/igproxy/igproxy/proxy/graph"
	"github.com/igproxy/igproxy/proxy/mock"
)

// keptLife is the lifetime of the stand-in's long-lived tokens in these tests. It is shorter than
// RefreshBefore, so that every token is due for a refresh from the start.
const keptLife = 40 * 24 * time.Hour

// keepingProxy returns a Proxy that keeps tokens alive, and the stand-in that is its upstream.
func keepingProxy(t testing.TB, change func(*Options)) (*Proxy, *mock.Instagram) {
	t.Helper()
	facebook := mock.App{AppID: pagesID, Secret: pagesSecret}
	i := mock.New(mock.Options{Secret: testSecret, Threads: mock.App{Secret: "threads-secret-0123456789"}, Facebook: facebook, TokenLife: keptLife})
	s, err := mock.Start(i, mock.ServerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	o := optionsFor(t, s.URL, nil)
	o.Apps = []App{{Secret: NewSecret(testSecret)}, {Label: "threads", Service: Threads, Secret: NewSecret("threads-secret-0123456789")},
		{Label: "pages", Service: Facebook, ID: pagesID, Secret: NewSecret(pagesSecret), AppSecretProof: true}}
	o.Passthrough = passing(PassthroughOptions{})
	o.Keep = &KeepOptions{RefreshBefore: keptLife + time.Hour, CheckEvery: time.Millisecond, MaxPerMinute: 60_000}
	o.NegativeTTL, o.RefreshTTL = 0, time.Millisecond
	if change != nil {
		change(&o)
	}
	p := newProxy(t, o)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { // ends with the test
		defer close(ended)
		p.KeepTokens(ctx)
	}()
	t.Cleanup(func() { cancel(); <-ended })
	return p, i
}

// tokenFrom makes a token call. It returns the token, the seconds until it ends, and the
// Cache-Status header.
func tokenFrom(t testing.TB, p *Proxy, path string) (token string, seconds int, cacheStatus string) {
	t.Helper()
	w := ask(p, get(path))
	var got struct {
		Token   string `json:"access_token"`
		Kind    string `json:"token_type"`
		Seconds int    `json:"expires_in"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != http.StatusOK || got.Kind != "bearer" {
		t.Fatalf("%s: got %d %s, want 200 and a bearer token", path, w.Code, w.Body)
	}
	return got.Token, got.Seconds, w.Header().Get("Cache-Status")
}

// families has the paths of calls of each service. Tests append a token to the paths refresh and
// read.
var families = map[string]struct{ exchange, refresh, read string }{
	"Instagram": {"/access_token?grant_type=ig_exchange_token&access_token=IGAA-short",
		"/refresh_access_token?grant_type=ig_refresh_token&access_token=", "/me?access_token="},
	"Threads": {"/apps/threads/access_token?grant_type=th_exchange_token&access_token=THAA-short",
		"/apps/threads/refresh_access_token?grant_type=th_refresh_token&access_token=", "/apps/threads/me?access_token="},
	"Facebook": {"/apps/pages/oauth/access_token?grant_type=fb_exchange_token&fb_exchange_token=EAAG-short",
		"/apps/pages/oauth/access_token?grant_type=fb_exchange_token&fb_exchange_token=", "/apps/pages/me?access_token="},
}

// A token that was used before its end still works afterwards. igproxy sends calls with the
// successor instead. It answers a refresh of the token with the successor, without asking Meta.
func TestUsedTokenWorksAfterItsEnd(t *testing.T) {
	for name, f := range families {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, i := keepingProxy(t, nil)
			long, _, _ := tokenFrom(t, p, f.exchange)
			i.Age(20 * 24 * time.Hour) // Meta refuses to refresh a token that is younger than a day
			use(t, p, f.read+long)
			eventuallyRefreshed(t, p, f.read+long)
			i.Age(21 * 24 * time.Hour)
			use(t, p, f.read+long)

			calls := i.CallsFor(long) // later refreshes in the background send the successor, so they do not count
			next, seconds, status := tokenFrom(t, p, f.refresh+url.QueryEscape(long))
			if next == long || seconds <= 0 || seconds > int(keptLife/time.Second) || !strings.HasPrefix(status, "igproxy; hit; ttl=") {
				t.Errorf("got the old token: %v, want false; expires_in is %d, want 1 to %d; Cache-Status is %q, want a hit", next == long, seconds, int(keptLife/time.Second), status)
			}
			if n := i.CallsFor(long) - calls; n != 0 {
				t.Errorf("the refresh cost %d calls to Meta, want 0", n)
			}
			if _, err := p.Purge(t.Context(), "", NewSecret(long)); err != nil {
				t.Fatal(err)
			}
			if w := ask(p, get(f.read+long)); w.Code != http.StatusBadRequest {
				t.Errorf("after a purge of the token: got %d %s, want Meta's refusal", w.Code, w.Body)
			}
		})
	}
}

func use(t testing.TB, p *Proxy, path string) {
	t.Helper()
	if w := ask(p, get(path)); w.Code != http.StatusOK {
		t.Fatalf("%s: got %d %s, want 200", path, w.Code, w.Body)
	}
}

// eventuallyRefreshed waits until igproxy has refreshed the token in path. It does not check which
// token was refreshed, because a test uses no other token.
func eventuallyRefreshed(t testing.TB, p *Proxy, path string) {
	t.Helper()
	waitFor(t, "a refresh of the token in "+path, func() bool {
		return slices.ContainsFunc(p.Apps(), func(a AppStatus) bool { return a.Keep.Refreshed > 0 })
	})
}

// After a reload without Options.Keep, igproxy sends tokens unchanged. After a reload with
// Options.Keep, it finds the record again and sends the successor.
func TestKeepingTokensAliveCanBeTurnedOffAndOn(t *testing.T) {
	var options Options
	p, i := keepingProxy(t, func(o *Options) { o.Cache = newCache(t); options = *o })
	f := families["Instagram"]
	long, _, _ := tokenFrom(t, p, f.exchange)
	i.Age(20 * 24 * time.Hour)
	use(t, p, f.read+long)
	eventuallyRefreshed(t, p, f.read+long)
	i.Age(21 * 24 * time.Hour)
	off := options
	off.Keep = nil
	if err := p.Reload(off); err != nil {
		t.Fatal(err)
	}
	if w := ask(p, get(f.read+long)); w.Code != http.StatusBadRequest {
		t.Errorf("turned off: got %d %s, want Meta's refusal", w.Code, w.Body)
	}
	if err := p.Reload(options); err != nil {
		t.Fatal(err)
	}
	use(t, p, f.read+long)
}

// Facebook issues tokens that do not end, for example for some pages. igproxy must not refresh
// them, because the answer could be a token that ends. And if a token that ends is refreshed, a
// token that does not end must not become its successor.
func TestTokenThatDoesNotEndIsLeftAlone(t *testing.T) {
	// The upstream exchanges the token X for the token issued-X. issued-long ends after 40 days;
	// no other issued token ends.
	lives := map[string]string{"long": `,"expires_in":3456000`}
	refreshes := make(chan string, 10)
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token := r.URL.Query().Get("fb_exchange_token")
		if token == "" {
			_, _ = fmt.Fprint(w, `{"id":"1"}`)
			return
		}
		if strings.HasPrefix(token, "issued") {
			refreshes <- token
		}
		_, _ = fmt.Fprintf(w, `{"access_token":"issued-%s","token_type":"bearer"%s}`, token, lives[token])
	}))
	t.Cleanup(upstream.Close)
	p, _ := keepingProxy(t, func(o *Options) {
		u, err := url.Parse(upstream.URL)
		if err != nil {
			t.Fatal(err)
		}
		o.FacebookURL, o.Keep.RefreshBefore = u, 61*24*time.Hour
	})
	const exchange = "/apps/pages/oauth/access_token?grant_type=fb_exchange_token&fb_exchange_token="
	// want is the token that igproxy must refresh; empty: it must not refresh a token.
	for _, c := range []struct{ token, want string }{{"short", ""}, {"long", "issued-long"}} {
		if w := ask(p, get(exchange+c.token)); w.Code != http.StatusOK {
			t.Fatalf("exchange of %s: got %d %s, want 200", c.token, w.Code, w.Body)
		}
		use(t, p, "/apps/pages/me?access_token=issued-"+c.token)
		if c.want == "" {
			continue
		}
		if got := <-refreshes; got != c.want {
			t.Errorf("%s was refreshed, want %s", got, c.want)
		}
	}
	waitFor(t, "the end of the refresh", func() bool { return p.Apps()[2].Keep.Refused+p.Apps()[2].Keep.Refreshed > 0 })
	kept := p.carried.keeper.Find(t.Context(), p.current.Load().keep.token(p.current.Load().apps[2], NewSecret("issued-long")))
	if successor, _, ok := kept.Successor(time.Now()); ok {
		t.Errorf("the token has the successor %s, want no successor", successor)
	}
}

func TestBearerTokenIsWrittenLikeMetas(t *testing.T) {
	now := time.Now()
	for _, access := range []string{"IGAA", `a"b\c<&>`} {
		written := graph.NewBearer(access, now.Add(time.Hour))
		meta, err := graph.ReadToken(fmt.Appendf(nil, `{"access_token":%q,"token_type":"bearer","expires_in":3600}`, access), now)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := bodyOf(written, now), bodyOf(meta, now); got != want || written.Access() != access {
			t.Errorf("body: got %s, want %s; access token: got %s, want %s", got, want, written.Access(), access)
		}
	}
}

// BenchmarkPassedThroughCall measures a call that is passed through, including the work of the
// stand-in, with and without the lookup of the token's record.
func BenchmarkPassedThroughCall(b *testing.B) {
	for name, change := range map[string]func(*Options){"plain": func(o *Options) { o.Keep = nil }, "kept": func(o *Options) { o.Keep.CheckEvery = time.Hour }} {
		b.Run(name, func(b *testing.B) {
			p, _ := keepingProxy(b, change)
			f := families["Instagram"]
			long, _, _ := tokenFrom(b, p, f.exchange)
			use(b, p, f.read+long)
			b.ReportAllocs()
			for b.Loop() {
				use(b, p, f.read+long)
			}
		})
	}
}
