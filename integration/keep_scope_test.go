package integration

// igproxy replaces a token only in the places that docs/keep.md names, and only for the token's own
// app. The only bodies that it changes are small forms. An app that refreshes its tokens itself can
// continue to do so.

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/igproxy/igproxy/cache/redistest"
	"github.com/igproxy/igproxy/proxy/mock"
)

func TestJSONMultipartAndUnusualFormBodiesAreSentUnchanged(t *testing.T) {
	t.Parallel()
	meta, _, all := keptBy(t, 1)
	long := meta.newLong(t, all[0], "IGAA-bodies")
	next := meta.successor(t, all[0], long)
	escaped := url.QueryEscape(long)
	for name, c := range map[string]struct{ query, kind, body string }{
		"JSON":                        {"", "application/json", `{ "access_token" : "` + long + `","caption":"x"}`},
		"JSON, the token twice":       {"?access_token=" + escaped, "application/json", `{"access_token":"` + long + `"}`},
		"multipart":                   {"", "multipart/form-data; boundary=b", "--b\r\nContent-Disposition: form-data; name=\"access_token\"\r\n\r\n" + long + "\r\n--b--\r\n"},
		"multipart, the token twice":  {"?access_token=" + escaped, "multipart/form-data; boundary=b", "--b\r\nContent-Disposition: form-data; name=\"access_token\"\r\n\r\n" + long + "\r\n--b--\r\n"},
		"a large form":                {"", "application/x-www-form-urlencoded", "access_token=" + escaped + "&caption=" + strings.Repeat("x", 64<<10)},
		"two tokens in a form":        {"", "application/x-www-form-urlencoded", "access_token=" + escaped + "&access_token=IGAA-x"},
		"two tokens, one in the form": {"?access_token=" + escaped, "application/x-www-form-urlencoded", "access_token=IGAA-x"},
	} {
		r, err := sendRequest(t.Context(), http.MethodPost, all[0].URL+"/me/media"+c.query, c.body, "Content-Type", c.kind)
		if err != nil || r.status != 200 {
			t.Errorf("%s: got %d %s, %v; want 200", name, r.status, r.body, err)
			continue
		}
		requests := meta.Requests()
		got := requests[len(requests)-1]
		// The stand-in keeps only the first 64 KiB of a body.
		if body := c.body[:min(len(c.body), 64<<10)]; string(got.Body) != body || got.Bytes != int64(len(c.body)) {
			t.Errorf("%s: Meta got a body of %d bytes, %.300q, want %d bytes, %.300q", name, got.Bytes, got.Body, len(c.body), body)
		}
		wantQuery := strings.TrimPrefix(c.query, "?")
		if strings.Contains(name, "twice") {
			wantQuery = "access_token=" + url.QueryEscape(next)
		}
		if got.RawQuery != wantQuery {
			t.Errorf("%s: Meta got the query %q, want %q", name, got.RawQuery, wantQuery)
		}
	}
	// The query before and after the token stays the same, byte for byte.
	const odd = "fields=id%2cusername&x=a+b%20c&access%5Ftoken="
	all[0].fetch(t, "/me?"+odd+escaped+"&&y=%7E&z")
	requests := meta.Requests()
	if got, want := requests[len(requests)-1].RawQuery, odd+url.QueryEscape(next)+"&&y=%7E&z"; got != want {
		t.Errorf("Meta got the query %q, want %q", got, want)
	}
}

func TestSuccessorFromTheAppsOwnRefreshIsSentAndRefreshed(t *testing.T) {
	t.Parallel()
	meta, _, all := keptBy(t, 2, often)
	long := meta.newLong(t, all[0], "IGAA-itself")
	next := all[0].fetch(t, refreshPath(long)).token()
	if issued := meta.Issued(long); len(issued) != 1 || next != issued[0] {
		t.Fatalf("successors that were issued: got %q, want one; token that the app got: %s, want this successor", issued, next)
	}
	eventually(t, "Meta gets the new token when another worker of the app sends the old one", func() bool {
		all[1].uses(t, long)
		return meta.lastToken() == next
	})
	all[1].uses(t, next)
	if got := meta.lastToken(); got != next {
		t.Errorf("a call with the new token was sent with %s, want the new token itself, %s", got, next)
	}
	meta.Age(keptLife - 3*day)
	eventually(t, "the new token is refreshed as well", func() bool {
		all[1].uses(t, next)
		return meta.descends(meta.lastToken(), next)
	})
	if again := all[1].fetch(t, refreshPath(next)).token(); !meta.descends(again, next) {
		t.Errorf("a refresh of the new token by the app got %s, want a successor of %s", again, next)
	}
	if got := meta.RefreshesFor(long); got != 1 {
		t.Errorf("%d refreshes of the old token, want 1", got)
	}
}

// While a sidecar refreshes a token, an app refreshes the token too: through this sidecar, and
// through another one.
func TestARefreshByTheAppJoinsTheRefreshInFlight(t *testing.T) {
	t.Parallel()
	meta, _, all := keptBy(t, 2)
	long := meta.newLong(t, all[0], "IGAA-joined")
	open := meta.holdAfter(t)
	all[0].uses(t, long)
	meta.holds(t)
	answers := make(chan response, len(all))
	for _, p := range all {
		go func() { // ends when the app has its answer
			r, _ := fetch(t.Context(), noKeepAlive, p.URL+refreshPath(long))
			answers <- r
		}()
	}
	for i, p := range all {
		eventually(t, fmt.Sprintf("sidecar %d has a flight", i), func() bool { return p.metric(t, "igproxy_flights") == 1 })
	}
	open()
	for range all {
		if r := <-answers; r.status != 200 || !slices.Contains(meta.Issued(long), r.token()) {
			t.Errorf("got %d %s, want 200 with a token that Meta issued", r.status, r.body)
		}
	}
	if got := meta.RefreshesFor(long); got != 1 {
		t.Errorf("%d refreshes, want 1", got)
	}
	eventually(t, "the refresh is counted", func() bool {
		return all[0].metric(t, `igproxy_keep_refreshes_total{app="default",outcome="refreshed"}`) == 1
	})
}

func TestATokenOfAnotherAppIsSentAsItCame(t *testing.T) {
	t.Parallel()
	meta, threads, facebook := newRenewing(t, mock.Options{Host: "graph.instagram.com"}), newRenewing(t, mock.Options{Host: "graph.threads.net"}), newRenewing(t, mock.Options{Host: "graph.facebook.com"})
	config := "apps:\n"
	for _, a := range []string{"one, app_id: 101, service: instagram", "two, app_id: 102, service: instagram", "three, app_id: 103, service: threads", "four, app_id: 104, service: facebook"} {
		config += "  - {name: " + a + ", client_secret_file: " + file(t, "secret", appSecret) + "}\n"
	}
	env := environ(append(keeping(once), append(singleRedis(redistest.Start(t)), "UPSTREAM_URL="+meta.url, "THREADS_URL="+threads.url, "FACEBOOK_URL="+facebook.url,
		"CONFIG="+file(t, "apps.yaml", config))...)...)
	p := start(t, without(env, "IGPROXY_CLIENT_SECRET"), "serve")
	p.Listening(t)
	long := p.fetch(t, "/apps/one"+exchangePath("IGAA-app")).token()
	meta.Age(2 * day)
	eventually(t, "the token is replaced for its own app", func() bool {
		r := p.fetch(t, "/apps/one"+mePath(long))
		return r.status == 200 && meta.lastToken() != long
	})
	for app, other := range map[string]*renewing{"two": meta, "three": threads, "four": facebook} {
		if r := p.fetch(t, "/apps/"+app+mePath(long)); other.lastToken() != long || (r.status == 200) != (app == "two") {
			t.Errorf("app %s got %d, want 200 for app two, which is also for Instagram, and an error for the others; token of the call: got %s, want %s", app, r.status, other.lastToken(), long)
		}
	}
	if r := p.fetch(t, "/apps/three/refresh_access_token?grant_type=th_refresh_token&access_token="+url.QueryEscape(long)); r.status != 400 {
		t.Errorf("a refresh by the Threads app got %d, want 400", r.status)
	}
	if got := threads.RefreshesFor(long) + facebook.RefreshesFor(long); got != 1 {
		t.Errorf("%d refreshes at other services; want 1, the refresh by the Threads app", got)
	}
}

// App tokens do not end, so they need no refresh. The app in this test builds its token itself,
// from its ID and its secret.
func TestAnAppTokenIsNotRefreshed(t *testing.T) {
	t.Parallel()
	meta := newRenewing(t, mock.Options{Host: "graph.threads.net", Threads: mock.App{AppID: threadsID, Secret: threadsSecret}})
	p := serve(t, append(keeping(often), "UPSTREAM_URL="+meta.url, "THREADS_URL="+meta.url, "THREADS_APP_ID="+threadsID, "THREADS_CLIENT_SECRET="+threadsSecret)...)
	appToken := "TH|" + threadsID + "|" + threadsSecret
	if r := p.fetch(t, "/apps/threads/17900000000000007?access_token="+url.QueryEscape(appToken)); r.status != 200 || meta.lastToken() != appToken {
		t.Errorf("response: got %d %s, want 200; token of the call: got %s, want the app token %s", r.status, r.body, meta.lastToken(), appToken)
	}
	long := p.fetch(t, "/apps/threads/access_token?grant_type=th_exchange_token&access_token=THQV-other").token()
	meta.Age(2 * day)
	eventually(t, "a token that was used later is refreshed", func() bool { p.fetch(t, "/apps/threads"+mePath(long)); return meta.lastToken() != long })
	if got := meta.RefreshesFor(appToken); got != 0 {
		t.Errorf("%d refreshes of an app token, want 0", got)
	}
}
