package proxy

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/igproxy/igproxy/cache"
	"github.com/igproxy/igproxy/cache/redistest"
	"github.com/igproxy/igproxy/proxy/graph"
)

// purge posts a form to the admin handlers, as from this machine.
func purge(t *testing.T, p *Proxy, target string, form url.Values) (int, PurgeReply) {
	t.Helper()
	return purgeBody(t, p, target, "application/x-www-form-urlencoded", form.Encode())
}

func purgeBody(t *testing.T, p *Proxy, target, kind, body string) (int, PurgeReply) {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, target, strings.NewReader(body))
	r.Host, r.RemoteAddr = "localhost", "127.0.0.1:4711"
	r.Header.Set("Content-Type", kind)
	r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9090}))
	w := httptest.NewRecorder()
	p.Admin(nil, false).ServeHTTP(w, r)
	var reply PurgeReply
	if err := json.Unmarshal(w.Body.Bytes(), &reply); err != nil {
		t.Fatalf("%d %s: %v", w.Code, w.Body, err)
	}
	return w.Code, reply
}

func TestAPurgeIsOfAnAppOrOfATokenUnderEachGrant(t *testing.T) {
	i, s := newInstagram(t, overTLS)
	o := optionsFor(t, s.URL, s.CA())
	var log bytes.Buffer
	o.Cache, o.Logger = newCache(t), textLogger(&log)
	o.Apps = []App{{Label: "one", ID: "1", Secret: NewSecret(testSecret)}, {Label: "two", ID: "2", Secret: NewSecret(testSecret)}}
	p := newProxy(t, o)
	known := func(app, token string) bool {
		t.Helper()
		before := i.Calls()
		for _, path := range []string{target(token), "/refresh_access_token?grant_type=ig_refresh_token&access_token=" + token} {
			if w := askAt(p, "localhost", "/apps/"+app+path); w.Code != 200 && w.Code != 400 {
				t.Fatalf("%s %s: %d", app, token, w.Code)
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
	code, reply := purge(t, p, "/purge", url.Values{"access_token": {"IGAA-a"}, "app": {"one"}})
	if code != 200 || reply.Purged != "token" || len(reply.Apps) != 1 || reply.Fleet != "none" {
		t.Errorf("got %d %+v", code, reply)
	}
	if known("one", "IGAA-a") || !known("one", "IGAA-b") || !known("two", "IGAA-a") {
		t.Error("a token's purge is not of that token and app alone")
	}
	if code, reply = purge(t, p, "/purge", url.Values{"access_token": {"IGAA-a"}}); code != 200 || len(reply.Apps) != 2 || known("two", "IGAA-a") {
		t.Errorf("a token's purge without an app is not of all apps: %d %+v", code, reply)
	}
	fill()
	if code, reply = purge(t, p, "/purge", url.Values{"app": {"two"}}); code != 200 || reply.Purged != "all" || known("two", "IGAA-b") || !known("one", "IGAA-b") {
		t.Errorf("an app's purge: %d %+v", code, reply)
	}
	fill()
	if code, _ = purge(t, p, "/purge", nil); code != 200 || known("one", "IGAA-b") || known("two", "IGAA-b") {
		t.Errorf("a purge of all: %d", code)
	}
	if err := p.Reload(o); err != nil || !known("one", "IGAA-b") {
		t.Errorf("what was remembered since is lost by a reload: %v", err)
	}
	if strings.Contains(log.String(), "IGAA") {
		t.Errorf("a token is in the log: %s", log.String())
	}
}

func TestAPurgeThatIsNotClearPurgesNothing(t *testing.T) {
	i, s := newInstagram(t, overTLS)
	p := newProxy(t, optionsFor(t, s.URL, s.CA()))
	_ = ask(p, get(target("IGAA-a")))
	const form = "application/x-www-form-urlencoded"
	long := strings.Repeat("a", graph.MaxToken+1)
	for name, c := range map[string]struct {
		target, kind, body string
		want               int
	}{
		"the token in the address":      {"/purge?access_token=IGAA-a", form, "", 400},
		"the app in the address":        {"/purge?app=default", form, "", 400},
		"an empty token":                {"/purge", form, "access_token=", 400},
		"a token without its sign":      {"/purge", form, "access_token", 400},
		"a blank for a token":           {"/purge", form, "access_token=+", 400},
		"a token that is too long":      {"/purge", form, "access_token=" + long, 400},
		"two tokens":                    {"/purge", form, "access_token=IGAA-a&access_token=IGAA-b", 400},
		"an empty app":                  {"/purge", form, "app=", 400},
		"an empty app beside a token":   {"/purge", form, "access_token=IGAA-a&app=", 400},
		"two apps":                      {"/purge", form, "app=default&app=other", 400},
		"a misspelt token":              {"/purge", form, "acces_token=IGAA-b", 400},
		"a misspelt app":                {"/purge", form, "apps=other", 400},
		"a known field and another":     {"/purge", form, "app=default&token=IGAA-b", 400},
		"a form that cannot be read":    {"/purge", form, "access_token=%zz", 400},
		"a form that is too long":       {"/purge", form, "x=" + strings.Repeat("a", maxPurge), 400},
		"JSON":                          {"/purge", "application/json", `{"access_token":"IGAA-b"}`, 400},
		"JSON that says it is a form":   {"/purge", form, `{"access_token":"IGAA-b"}`, 400},
		"parts":                         {"/purge", "multipart/form-data; boundary=x", "--x\r\nContent-Disposition: form-data; name=\"app\"\r\n\r\nother\r\n--x--\r\n", 400},
		"a form that says it is text":   {"/purge", "text/plain", "app=other", 400},
		"a form that does not say what": {"/purge", "", "app=other", 400},
		"an app of nobody's":            {"/purge", form, "app=nobody", 422},
	} {
		code, reply := purgeBody(t, p, c.target, c.kind, c.body)
		if code != c.want || reply.Purged != "nothing" || reply.Problem == "" || strings.Contains(reply.Problem, "IGAA") {
			t.Errorf("%s: got %d %+v, want %d", name, code, reply, c.want)
		}
		if w := ask(p, get(target("IGAA-a"))); w.Code != 200 || i.Calls() != 1 {
			t.Errorf("%s: it was purged", name)
		}
	}
}

// An app that a reload brings has been purged by the others: what they purged is not served, not even at first.
func TestWhatWasPurgedIsNotServedAfterAReloadThatBringsItsApp(t *testing.T) {
	i, s := newInstagram(t, overTLS)
	redis := redistest.Start(t)
	options := func() Options {
		o := optionsFor(t, s.URL, s.CA())
		c, err := cache.New(cache.Options{MaxEntries: 100, Redis: &cache.RedisOptions{Mode: cache.ModeSingle, URL: redis.URL(), Timeout: time.Second}})
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
		t.Fatal(w.Code)
	}
	for start := time.Now(); len(redis.Keys()) == 0; time.Sleep(10 * time.Millisecond) {
		if time.Since(start) > 20*time.Second {
			t.Fatal("it is not stored")
		}
	}
	if apps, err := other.Purge(t.Context(), "two", Secret{}); err != nil || !slices.Equal(apps, []string{"two"}) {
		t.Fatalf("got %v, %v", apps, err)
	}
	for range 50 { // unless Redis answered too late, on a busy machine
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
		t.Errorf("got %d after %d calls: %v", w.Code, i.Calls()-before, w.Header()["Cache-Status"])
	}
}
