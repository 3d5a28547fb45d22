package proxy

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/igproxy/igproxy/proxy/graph"
)

func TestOnlyLoopbackAndAllowedHostsAreServed(t *testing.T) {
	g := newGate([]string{"igproxy.internal", "IGProxy.Svc.", "[2001:db8::1]", "10.0.0.7"}, false)
	for host, want := range map[string]bool{
		"127.0.0.1": true, "127.0.0.1:8080": true, "127.0.0.2": true, "127.255.255.254:1": true, "[::1]": true, "[::1]:8080": true,
		"[0:0:0:0:0:0:0:1]": true, "[::ffff:127.0.0.1]": true, "localhost": true, "LOCALHOST:8080": true, "localhost.": true, "localhost.:8080": true,
		"igproxy.internal": true, "IGPROXY.Internal.:443": true, "igproxy.svc": true, "igproxy.svc.:80": true, "[2001:DB8::1]:80": true, "10.0.0.7:80": true,

		"::1": false, "": false, ".": false, ":": false, ":8080": false, "evil.example": false, "localhost.evil.example": false, "evil.localhost": false,
		"localhost..": false, "igproxy.internal.evil.example": false, "xigproxy.internal": false, "10.0.0.1": false, "0.0.0.0": false, "[::]": false,
		"2130706433": false, "0x7f000001": false, "0177.0.0.1": false, "127.1": false, "127.0.0.1.evil.example": false, "127.0.0.1:80:80": false,
		"[::1%25lo]": false, "[::1.]": false, "[::1.]:8080": false, "[fe80::1]": false, "localhost%00": false, "user@localhost": false, "localhost/x": false, "[2001:db8::2]": false,
	} {
		r := get(target("IGAAshort"))
		r.Host = host
		if got := g.check(r); (got == nil) != want {
			t.Errorf("%q: got the error %v, want served: %v", host, got, want)
		}
		if got := newGate(nil, true).check(r); got != nil {
			t.Errorf("%q, with AnyHost: got the error %v, want none", host, got)
		}
	}
}

// A hosts file that directs an app's calls to igproxy may also direct igproxy's own calls to
// igproxy. igproxy must refuse its own calls. Otherwise a token call would wait for itself until it
// times out.
func TestIgproxyRefusesItsOwnCallsToMetasHostNames(t *testing.T) {
	g := newGate(nil, false).alsoServing([]string{"graph.instagram.com"})
	for _, c := range []struct {
		host, agent string
		want        *graph.Error
	}{
		{"graph.instagram.com", "igproxy/1.0", errLoop}, {"graph.instagram.com:443", "igproxy/dev", errLoop},
		{"graph.instagram.com", "curl/8.0", nil}, {"graph.instagram.com", "", nil},
		{"127.0.0.1:8080", "igproxy/1.0", nil}, // another igproxy may use this one as its upstream
	} {
		r := get(target("IGAAshort"))
		r.Host = c.host
		r.Header.Set("User-Agent", c.agent)
		if got := g.check(r); got != c.want {
			t.Errorf("%s to %s: got %v, want %v", c.agent, c.host, got, c.want)
		}
	}
}

func TestBrowsersAreDistinguishedFromNodeFetch(t *testing.T) {
	g := newGate(nil, false)
	for name, c := range map[string]struct {
		header http.Header
		want   *graph.Error
	}{
		"node's fetch": {http.Header{"Sec-Fetch-Mode": {"cors"}, "Accept-Language": {"*"}, "Accept": {"*/*"}, "User-Agent": {"node"},
			"Accept-Encoding": {"gzip, deflate"}}, nil},
		"SvelteKit's fetch": {http.Header{"Origin": {"https://app.example"}, "Sec-Fetch-Mode": {"cors"}, "Accept-Language": {"*"},
			"User-Agent": {"node"}}, nil},
		"undici with a global origin": {http.Header{"Origin": {"http://localhost:3000"}, "Sec-Fetch-Mode": {"cors"}, "User-Agent": {"undici"}}, nil},
		"an app's own origin":         {http.Header{"Origin": {"https://app.example"}}, nil},

		"a page's fetch":                {http.Header{"Origin": {"https://evil.example"}, "Sec-Fetch-Site": {"cross-site"}}, errBrowser},
		"a fetch from igproxy's origin": {http.Header{"Origin": {"http://localhost:8080"}, "Sec-Fetch-Site": {"same-origin"}}, errBrowser},
		"with Sec-Fetch-Dest":           {http.Header{"Origin": {"https://evil.example"}, "Sec-Fetch-Mode": {"cors"}, "Sec-Fetch-Dest": {"empty"}}, errBrowser},
		"with Sec-Fetch-User":           {http.Header{"Origin": {"https://evil.example"}, "Sec-Fetch-User": {"?1"}}, errBrowser},
		"an older browser": {http.Header{"Origin": {"https://evil.example"},
			"User-Agent": {"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/15.6 Safari/605.1.15"}}, errBrowser},
		"a preflight request":      {http.Header{"Origin": {"https://evil.example"}, "Access-Control-Request-Method": {"GET"}}, errBrowser},
		"an extension":             {http.Header{"Origin": {"chrome-extension://evil"}}, errBrowser},
		"two origins":              {http.Header{"Origin": {"https://a.example", "https://b.example"}}, errBrowser},
		"a page's image":           {http.Header{"Sec-Fetch-Site": {"cross-site"}, "Sec-Fetch-Mode": {"no-cors"}}, errBrowser},
		"a sandboxed frame":        {http.Header{"Origin": {"null"}}, errBrowser},
		"an empty origin":          {http.Header{"Origin": {""}}, errBrowser},
		"another port's page":      {http.Header{"Sec-Fetch-Site": {"same-site"}}, errBrowser},
		"an unknown site":          {http.Header{"Sec-Fetch-Site": {"other"}}, errBrowser},
		"an empty site":            {http.Header{"Sec-Fetch-Site": {""}}, errBrowser},
		"one of two sites":         {http.Header{"Sec-Fetch-Site": {"none", "cross-site"}}, errBrowser},
		"the address bar":          {http.Header{"Sec-Fetch-Site": {"none"}, "Sec-Fetch-Mode": {"navigate"}}, nil},
		"a page reload":            {http.Header{"Sec-Fetch-Site": {"same-origin"}}, nil},
		"no browser at all":        {http.Header{}, nil},
		"a referer does not count": {http.Header{"Referer": {"https://app.example/"}}, nil},
	} {
		r := get(target("IGAAshort"))
		r.Host, r.Header = "localhost:8080", c.header
		if got := g.check(r); got != c.want {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
}

// A request that the gate refuses does not reach Instagram.
func TestHostAndBrowserChecksComeBeforeAnyCallToMeta(t *testing.T) {
	i, s := newInstagram(t, overTLS)
	p := newProxy(t, optionsFor(t, s.URL, s.CA()))
	foreign := get(target("IGAAshort"))
	foreign.Host = "evil.example"
	proxied := httptest.NewRequest(http.MethodGet, "http://graph.instagram.com"+target("IGAAshort"), nil)
	for subcode, r := range map[int]*http.Request{990004: foreign, 990003: proxied} {
		w := httptest.NewRecorder()
		p.ServeHTTP(w, r)
		if e := errorIn(t, w.Body.Bytes()); e.Subcode != subcode || w.Header().Get("Cache-Status") != "" {
			t.Errorf("got subcode %d and the header %v, want subcode %d and no Cache-Status", e.Subcode, w.Header(), subcode)
		}
	}
	if w := ask(p, with(with(get(target("IGAAshort")), "Origin", "https://evil.example"), "Sec-Fetch-Dest", "empty")); w.Code != 403 || w.Header().Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("from a web page: got %d, %v; want 403 without Access-Control-Allow-Origin", w.Code, w.Header())
	}
	if i.Calls() != 0 {
		t.Errorf("Instagram was asked %d times, want 0", i.Calls())
	}
}

// An app sends one of Meta's host names as its Host if that name resolves to igproxy. igproxy
// serves these names only for services that have an app. It never serves them to a web page, to a
// client that uses igproxy as a forward proxy, or on an admin listener.
func TestMetasHostNamesAreServedOnlyIfTheirServiceHasAnApp(t *testing.T) {
	w, facebook := facebookWorld(t) // with a Facebook app only
	facebook.say(200, facebookAnswer)
	const exchange = "/v23.0/oauth/access_token?grant_type=fb_exchange_token&fb_exchange_token=EAA"
	for host, want := range map[string]int{
		"graph.facebook.com": 200, "GRAPH.facebook.com.:443": 200, "localhost": 200,
		"graph.instagram.com": 421, "api.instagram.com": 421, "graph.threads.net": 421, "graph.threads.com": 421,
		"facebook.com": 421, "www.facebook.com": 421, "x.graph.facebook.com": 421, "graph.facebook.com.evil.example": 421,
		"evil.example": 421, "graph.facebook.com@evil.example": 421,
	} {
		for path, onLoopback := range map[string]bool{exchange: false, "/v23.0/me?access_token=EAA": true} {
			handler := http.Handler(w.p)
			if onLoopback {
				handler = w.p.OnLoopback()
			}
			r, got := get(path), httptest.NewRecorder()
			r.Host = host
			if handler.ServeHTTP(got, r); got.Code != want {
				t.Errorf("%s%s: got %d %s, want %d", host, path, got.Code, got.Body, want)
			}
		}
	}
	asked := len(facebook.asked())
	o := optionsFor(t, w.graph.url.String(), nil) // with an Instagram app only
	o.Passthrough, o.AnyHost = passing(PassthroughOptions{}), true
	instagram := newProxy(t, o)
	for host, want := range map[string]int{"graph.facebook.com": 421, "graph.threads.net:443": 421, "graph.instagram.com": 200, "shop.example": 200} {
		if got := askAt(instagram, host, "/me?access_token=EAA"); got.Code != want {
			t.Errorf("with AnyHost, %s: got %d %s, want %d", host, got.Code, got.Body, want)
		}
	}
	page := with(get(exchange), "Sec-Fetch-Site", "cross-site")
	proxied := httptest.NewRequest(http.MethodGet, "http://graph.facebook.com"+exchange, nil)
	for subcode, r := range map[string]*http.Request{"990005": page, "990003": proxied} {
		r.Host = "graph.facebook.com"
		if got := ask(w.p, r); !strings.Contains(got.Body.String(), subcode) {
			t.Errorf("got %d %s, want the subcode %s", got.Code, got.Body, subcode)
		}
	}
	r, got := get("/status"), httptest.NewRecorder()
	r.Host = "graph.facebook.com"
	if CheckHosts(nil, false, http.NotFoundHandler()).ServeHTTP(got, r); got.Code != 421 {
		t.Errorf("an admin listener: got %d, want 421", got.Code)
	}
	if n := len(facebook.asked()); n != asked {
		t.Errorf("refused requests led to %d calls to Facebook, want 0", n-asked)
	}
}
