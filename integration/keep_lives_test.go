package integration

// An app can keep using the first token that it stored, even after the end of this token. The app
// can also refresh the token at any time.

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/igproxy/igproxy/cache/redistest"
	"github.com/igproxy/igproxy/proxy/mock"
)

// keptService is a service whose tokens are kept alive.
type keptService struct {
	name, host string
	prefix     string // the start of its paths
	exchange   string // path and query without the token
	short      string // the short-lived token to exchange
	refresh    string // path and query without the token
}

var keptServices = []keptService{
	{"Instagram", "graph.instagram.com", "", "/access_token?grant_type=ig_exchange_token&access_token=", "IGAA-kept", "/refresh_access_token?grant_type=ig_refresh_token&access_token="},
	{"Threads", "graph.threads.net", "/apps/threads", "/access_token?grant_type=th_exchange_token&access_token=", "THQV-kept", "/refresh_access_token?grant_type=th_refresh_token&access_token="},
	{"Facebook", "graph.facebook.com", "/apps/facebook", "/oauth/access_token?grant_type=fb_exchange_token&fb_exchange_token=", "EAAG-kept",
		"/oauth/access_token?grant_type=fb_exchange_token&fb_exchange_token="},
}

func TestATokenThatIsUsedLivesOnAfterItsEnd(t *testing.T) {
	t.Parallel()
	for _, s := range keptServices {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			meta := newRenewing(t, mock.Options{Host: s.host, Secret: appSecret, Threads: mock.App{AppID: threadsID, Secret: threadsSecret},
				Facebook: mock.App{AppID: pagesID, Secret: pagesSecret}, RequireProof: s.name == "Facebook"})
			p := serve(t, append(append(keeping(often), singleRedis(redistest.Start(t))...), "UPSTREAM_URL="+meta.url,
				"THREADS_URL="+meta.url, "THREADS_APP_ID="+threadsID, "THREADS_CLIENT_SECRET="+threadsSecret,
				"FACEBOOK_URL="+meta.url, "FACEBOOK_APP_ID="+pagesID, "FACEBOOK_CLIENT_SECRET="+pagesSecret, "PASSTHROUGH_APPSECRET_PROOF=true")...)
			long := p.fetch(t, s.prefix+s.exchange+s.short).token()
			p.usesEverywhere(t, s.prefix, long)
			sent := func() string {
				p.usesEverywhere(t, s.prefix, long)
				return meta.lastToken()
			}
			meta.Age(2 * day)
			eventually(t, "the token is refreshed", func() bool { return meta.descends(sent(), long) })
			first := meta.lastToken()
			meta.Age(54 * day)
			eventually(t, "its successor is refreshed", func() bool { return meta.descends(sent(), first) })
			meta.Age(4 * day) // 60 days after the exchange
			for _, dead := range []string{long, first} {
				if r, err := fetch(t.Context(), http.DefaultClient, meta.url+mePath(dead)); err != nil || r.status != 400 || r.graphError(t).Subcode != 463 {
					t.Errorf("a token that should have ended: got %d %s, %v; want 400 with subcode 463", r.status, r.body, err)
				}
			}
			p.usesEverywhere(t, s.prefix, long)

			calls := meta.RefreshesFor(long)
			r := p.fetch(t, s.prefix+s.refresh+url.QueryEscape(long))
			var answer struct {
				ExpiresIn int64 `json:"expires_in"`
			}
			must(t, json.Unmarshal([]byte(r.body), &answer))
			if left := time.Duration(answer.ExpiresIn) * time.Second; r.status != 200 || !meta.descends(r.token(), first) || left < keptLife-time.Minute || left > keptLife {
				t.Errorf("a refresh by the app: got %d %s; want 200 with the latest successor and its remaining life", r.status, r.body)
			}
			if status := r.header.Get("Cache-Status"); !strings.HasPrefix(status, "igproxy; hit") || meta.RefreshesFor(long) != calls {
				t.Errorf("a refresh by the app: Cache-Status: got %s, want a hit; refreshes at Meta: got %d, want %d", status, meta.RefreshesFor(long), calls)
			}
			if s := meta.Strange(); len(s) > 0 {
				t.Errorf("Meta received requests that igproxy must not send: %v", s)
			}
		})
	}
}

// usesEverywhere makes three calls with the token: in a form, as a bearer token and in the query.
// All must succeed. The query comes last, because lastToken does not read forms.
func (p *process) usesEverywhere(t *testing.T, prefix, token string) {
	t.Helper()
	for place, call := range map[string]func() (response, error){
		"a form": func() (response, error) {
			return sendRequest(t.Context(), http.MethodPost, p.URL+prefix+"/me/media", "caption=x&access_token="+url.QueryEscape(token), "Content-Type", "application/x-www-form-urlencoded")
		},
		"a bearer header": func() (response, error) {
			return sendRequest(t.Context(), http.MethodGet, p.URL+prefix+"/me?fields=id", "", "Authorization", "Bearer "+token)
		},
	} {
		if r, err := call(); err != nil || r.status != 200 {
			t.Fatalf("the token in %s: got %d %s, %v; want 200", place, r.status, r.body, err)
		}
	}
	if r := p.fetch(t, prefix+mePath(token)); r.status != 200 {
		t.Fatalf("the token in the query: got %d %s, want 200", r.status, r.body)
	}
}
