package integration

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/igproxy/igproxy/cache/redistest"
	"github.com/igproxy/igproxy/integration/harness"
	"github.com/igproxy/igproxy/proxy/mock"
)

// Facebook gets one call for a token, and one for the app token. The callers ask two sidecars, by
// GET, with a form and with JSON.
func TestFleetCallsFacebookOnceForATokenAndOnceForTheAppToken(t *testing.T) {
	t.Parallel()
	facebook, s := harness.StandIn(t, mock.Options{Host: "graph.facebook.com", Facebook: mock.App{AppID: pagesID, Secret: pagesSecret}}, mock.ServerOptions{})
	facebook.SetLatency(300 * time.Millisecond)
	all := fleet(t, 2, append(singleRedis(redistest.Start(t)), "FACEBOOK_URL="+s.URL, "FACEBOOK_APP_ID="+pagesID, "FACEBOOK_CLIENT_SECRET="+pagesSecret, patientRedis)...)
	const path, callers = "/v23.0/oauth/access_token", 40
	for endpoint, values := range map[string]url.Values{
		"facebook_exchange":  {"client_id": {pagesID}, "grant_type": {"fb_exchange_token"}, "fb_exchange_token": {"EAA-fleet"}},
		"facebook_app_token": {"client_id": {pagesID}, "grant_type": {"client_credentials"}},
	} {
		var right atomic.Int32
		var first atomic.Value
		crowd(callers, func(i int) {
			p, method, target, body, kind := all[i%2], http.MethodGet, path+"?"+values.Encode(), "", ""
			switch i / 2 % 3 {
			case 1:
				method, target, body, kind = http.MethodPost, path, values.Encode(), "application/x-www-form-urlencoded"
			case 2:
				method, target, kind = http.MethodPost, "/oauth/access_token", "application/json"
				body = fmt.Sprintf(`{"client_id":%s,"grant_type":%q,"fb_exchange_token":%q}`, pagesID, values.Get("grant_type"), values.Get("fb_exchange_token"))
			}
			r, err := sendRequest(t.Context(), method, p.URL+target, body, "Content-Type", kind)
			if first.CompareAndSwap(nil, r.token()); err == nil && r.status == 200 && r.token() != "" && r.token() == first.Load() {
				right.Add(1)
			}
		})
		if right.Load() != callers || facebook.CallsTo(endpoint) != 1 {
			t.Errorf("%s: %d of %d callers got the same token, want all; %d calls, want 1", endpoint, right.Load(), callers, facebook.CallsTo(endpoint))
		}
	}
	if s := facebook.Strange(); len(s) > 0 {
		t.Errorf("Facebook received requests that igproxy must not send: %v", s)
	}
}

// Apps of different services never get each other's entries, even if they have the same ID, client
// secret and cache key.
func TestAppsOfDifferentServicesWithTheSameIDShareNothing(t *testing.T) {
	t.Parallel()
	settings := singleRedis(redistest.Start(t))
	hosts := map[string]*mock.Instagram{}
	for key, host := range map[string]string{"UPSTREAM_URL": "graph.instagram.com", "THREADS_URL": "graph.threads.net", "FACEBOOK_URL": "graph.facebook.com"} {
		ig, s := harness.StandIn(t, mock.Options{Host: host}, mock.ServerOptions{})
		hosts[host], settings = ig, append(settings, key+"="+s.URL)
	}
	secret := file(t, "secret", appSecret)
	var config strings.Builder
	config.WriteString("apps:\n")
	for _, service := range []string{"instagram", "threads", "facebook"} {
		fmt.Fprintf(&config, "  - {name: %[1]s, service: %[1]s, app_id: %[2]q, client_secret_file: %[3]q}\n", service, pagesID, secret)
	}
	settings = append(settings, "CACHE_KEY_FILE="+file(t, "key", strings.Repeat("k", 32)), patientRedis)
	launch := func() *process {
		p := start(t, without(environ(append(settings, "CONFIG="+file(t, "igproxy.yaml", config.String()))...), "IGPROXY_CLIENT_SECRET"), "serve")
		p.Listening(t)
		return p
	}
	calls := map[string]struct{ path, subject, host string }{
		"Instagram's exchange": {"/apps/instagram/access_token?grant_type=ig_exchange_token&access_token=EAA-one", "EAA-one", "graph.instagram.com"},
		"Facebook's exchange":  {"/apps/facebook/oauth/access_token?grant_type=fb_exchange_token&fb_exchange_token=EAA-one", "EAA-one", "graph.facebook.com"},
		"Facebook's app token": {"/apps/facebook/oauth/access_token?grant_type=client_credentials", pagesID, "graph.facebook.com"},
		"Threads' app token":   {"/apps/threads/oauth/access_token?grant_type=client_credentials", pagesID, "graph.threads.net"},
	}
	ask := func(p *process, want string) {
		for name, c := range calls {
			r := p.fetch(t, c.path)
			issued := hosts[c.host].Issued(c.subject)
			if len(issued) != 1 || r.status != 200 || r.token() != issued[0] || !strings.HasPrefix(r.header.Get("Cache-Status"), want) {
				t.Errorf("%s: status: got %d, want 200; Cache-Status: got %s, want the prefix %s; token: got %q; issued tokens: got %q, want only this token", name, r.status, r.header.Get("Cache-Status"), want, r.token(), issued)
			}
		}
	}
	first := launch()
	ask(first, "igproxy; fwd=miss; stored")
	ask(first, "igproxy; hit")
	if code := first.Stop(t); code != 0 { // before a sidecar ends, it stores its answers in Redis
		t.Errorf("exit code %d, want 0", code)
	}
	ask(launch(), "igproxy; hit")
}
