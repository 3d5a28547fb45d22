package integration

// A successor is as secret as the token that it replaces, and is used only for that token and its
// app.

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/igproxy/igproxy/cache/redistest"
	"github.com/igproxy/igproxy/integration/harness"
	"github.com/igproxy/igproxy/proxy/mock"
)

// outliving starts a stand-in whose tokens live for 50 days, and returns settings with which
// igproxy refreshes each token as soon as it is used.
func outliving(t *testing.T) (*mock.Instagram, []string) {
	t.Helper()
	meta, upstream := harness.StandIn(t, mock.Options{TokenLife: 1200 * time.Hour}, mock.ServerOptions{})
	return meta, []string{"UPSTREAM_URL=" + upstream.URL, "FACEBOOK_URL=" + upstream.URL, "KEEP_ENABLED=true", "KEEP_REFRESH_BEFORE=1392h", "KEEP_MAX_PER_MINUTE=6000",
		"CACHE_NEGATIVE_TTL=0s", patientRedis}
}

// me reads a profile with a token, and returns the status.
func (p *process) me(t *testing.T, base, token string) int {
	t.Helper()
	return p.fetch(t, base+"/me?fields=id&access_token="+url.QueryEscape(token)).status
}

// replaced exchanges short-lived tokens, uses the long-lived tokens, and waits until they are
// refreshed. Then it moves the stand-in's clock until the long-lived tokens have ended. It returns
// the long-lived tokens, and their successors in the same order.
func (p *process) replaced(t *testing.T, meta *mock.Instagram, base string, short ...string) (long, successors []string) {
	t.Helper()
	for _, token := range short {
		long = append(long, p.fetch(t, base+exchangePath(token)).token())
	}
	meta.Age(600 * time.Hour)
	for _, token := range long {
		if status := p.me(t, base, token); status != 200 {
			t.Fatalf("got %d, want 200", status)
		}
	}
	eventually(t, "the tokens are refreshed", func() bool { return len(p.Log.Lines("token refreshed")) == len(short) })
	for _, token := range long {
		successors = append(successors, meta.Issued(token)...)
	}
	meta.Age(700 * time.Hour)
	return long, successors
}

func TestSuccessorIsReadableOnlyWithItsToken(t *testing.T) {
	t.Parallel()
	meta, settings := outliving(t)
	redis := redistest.Start(t)
	settings = append(settings, singleRedis(redis)...)
	p := serve(t, settings...)
	long, successors := p.replaced(t, meta, "", "IGAA-anna", "IGAA-berta")
	for i, token := range long {
		if status := p.me(t, "", token); status != 200 || meta.CallsFor(successors[i]) != 1 {
			t.Errorf("got %d after %d calls with the successor, want 200 after 1", status, meta.CallsFor(successors[i]))
		}
	}
	for name, value := range redis.Dump() {
		for _, token := range append(long, successors...) {
			for i := 0; i+12 <= len(token); i++ {
				if strings.Contains(name+" "+value, token[i:i+12]) {
					t.Fatalf("%q in Redis contains a part of a token: %q", name, value)
				}
			}
		}
	}
	if code := p.Stop(t); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}

	redis.Shuffle() // now each key has the value of another key
	p = serve(t, settings...)
	for i, token := range long {
		if status := p.me(t, "", token); status != 400 || meta.CallsFor(successors[i]) != 1 {
			t.Errorf("with another token's record: got %d after %d calls with the successor, want 400 and still 1", status, meta.CallsFor(successors[i]))
		}
	}
}

func TestSuccessorIsSentOnlyForItsApp(t *testing.T) {
	t.Parallel()
	meta, settings := outliving(t)
	config := "apps:\n  - {name: shop, app_id: \"101\", client_secret: " + appSecret + "}\n  - {name: club, app_id: \"102\", client_secret: " + appSecret + "}\n"
	p := serve(t, append(settings, "CLIENT_SECRET=", "CONFIG="+file(t, "apps.yaml", config))...)
	long, successors := p.replaced(t, meta, "/apps/shop", "IGAA-anna")
	if status := p.me(t, "/apps/club", long[0]); status != 400 || meta.CallsFor(successors[0]) != 0 {
		t.Errorf("the other app got %d after %d calls with the successor, want 400 after 0", status, meta.CallsFor(successors[0]))
	}
	if status := p.me(t, "/apps/shop", long[0]); status != 200 || meta.CallsFor(successors[0]) != 1 {
		t.Errorf("the app itself got %d after %d calls with the successor, want 200 after 1", status, meta.CallsFor(successors[0]))
	}
}

// igproxy does not refresh a Facebook token whose end it does not know. The token may be
// short-lived, and Meta would turn it into a long-lived one.
func TestFacebookTokenOfUnknownEndIsLeftAlone(t *testing.T) {
	t.Parallel()
	meta, settings := outliving(t)
	p := serve(t, append(settings, "FACEBOOK_APP_ID=103", "FACEBOOK_CLIENT_SECRET="+appSecret)...)
	const unknown = "EAAG-unknown"
	for range 2 {
		if status := p.me(t, "/apps/facebook", unknown); status != 200 {
			t.Fatalf("got %d, want 200", status)
		}
	}
	known := p.fetch(t, "/apps/facebook/oauth/access_token?grant_type=fb_exchange_token&fb_exchange_token=EAAG-known").token()
	meta.Age(600 * time.Hour)
	if status := p.me(t, "/apps/facebook", known); status != 200 {
		t.Fatalf("got %d, want 200", status)
	}
	eventually(t, "the token of known end is refreshed", func() bool { return len(p.Log.Lines("token refreshed")) == 1 })
	if code := p.Stop(t); code != 0 || meta.RefreshesFor(known) != 1 || meta.CallsFor(unknown) != 2 {
		t.Errorf("exit code %d, want 0; %d refreshes of the token of known end, want 1; %d calls with the token of unknown end, want 2", code, meta.RefreshesFor(known), meta.CallsFor(unknown))
	}
}
