package proxy

import (
	"crypto/sha256"
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// intercepted returns a request on an intercepted connection, which a client opened to one of
// Meta's hosts.
func intercepted(method, host, target string) *http.Request {
	r := httptest.NewRequest(method, target, nil)
	r.Host, r.TLS = host, &tls.ConnectionState{ServerName: host}
	return r
}

// On an intercepted connection, a client sends the requests that it would send to Meta. The host
// selects the service, even if the client_id belongs to an app of another service.
func TestTheHostOfAnInterceptedConnectionSelectsTheService(t *testing.T) {
	redirect := url.QueryEscape(callback)
	for name, c := range map[string]struct{ host, target, want, asks string }{
		"exchange":              {"graph.instagram.com", "/access_token?grant_type=ig_exchange_token&access_token=IGAA", "instagram", "/access_token?"},
		"code":                  {"api.instagram.com", "/oauth/access_token?grant_type=authorization_code&code=C&redirect_uri=" + redirect, "login", "/oauth/access_token"},
		"code, Facebook's id":   {"api.instagram.com", "/oauth/access_token?grant_type=authorization_code&code=C&client_id=" + pagesID + "&redirect_uri=" + redirect, "login", "/oauth/access_token"},
		"Facebook's code":       {"graph.facebook.com", "/v23.0/oauth/access_token?code=C&client_id=1&redirect_uri=" + redirect, "facebook", "/oauth/access_token?"},
		"Threads' code":         {"graph.threads.com", "/oauth/access_token?grant_type=authorization_code&code=C&redirect_uri=" + redirect, "threads", "/oauth/access_token"},
		"a read":                {"graph.threads.net", "/v1.0/me?access_token=THAA", "threads", "/v1.0/me"},
		"a read of Facebook":    {"graph.facebook.com", "/me?access_token=EAA&client_id=" + clubID, "facebook", "/me"},
		"the old Instagram API": {"api.instagram.com", "/v1/users/self?access_token=IGAA", "login", "/v1/users/self"},
		"igproxy's health path": {"graph.facebook.com", "/healthz", "facebook", "/healthz"},
	} {
		w, facebook := facebookWorld(t, otherApps...)
		services := map[string]*service{"facebook": facebook, "threads": w.threads, "login": w.login, "instagram": w.graph}
		w.login.say(200, codeAnswer)
		got := httptest.NewRecorder()
		w.p.Intercepted().ServeHTTP(got, intercepted(http.MethodGet, c.host, c.target))
		for service, s := range services {
			asked := s.asked()
			if len(asked) != 0 && service != c.want || service == c.want && (len(asked) != 1 || !strings.Contains(asked[0], " "+c.asks)) {
				t.Errorf("%s: %s was asked %q, want one call to %s with %q; the app got %d %s", name, service, asked, c.want, c.asks, got.Code, got.Body)
			}
		}
	}
}

func TestAnInterceptedConnectionIsForItsOwnHostOnly(t *testing.T) {
	w, _ := facebookWorld(t)
	for name, c := range map[string]struct {
		r    *http.Request
		code int
	}{
		"its host": {intercepted("GET", "graph.facebook.com", "/me"), 200},
		"another host": {func() *http.Request {
			r := intercepted("GET", "graph.facebook.com", "/me")
			r.Host = "graph.instagram.com"
			return r
		}(), 421},
		"loopback": {func() *http.Request {
			r := intercepted("GET", "graph.facebook.com", "/me")
			r.Host = "localhost"
			return r
		}(), 421},
		"no TLS":                   {func() *http.Request { r := intercepted("GET", "graph.facebook.com", "/me"); r.TLS = nil; return r }(), 421},
		"a service without an app": {intercepted("GET", "graph.instagram.com", "/me"), 421},
		"absolute form":            {intercepted("GET", "graph.facebook.com", "http://graph.facebook.com/me"), 400},
		"a web page":               {with(intercepted("GET", "graph.facebook.com", "/me"), "Sec-Fetch-Site", "cross-site"), 403},
		"igproxy itself":           {with(intercepted("GET", "graph.facebook.com", "/me"), "User-Agent", "igproxy/1.0"), 400},
	} {
		got := httptest.NewRecorder()
		w.p.Intercepted().ServeHTTP(got, c.r)
		if got.Code != c.code {
			t.Errorf("%s: got %d %s, want %d", name, got.Code, got.Body, c.code)
		}
	}
}

// igproxy's own token is checked at the CONNECT, so the requests on an intercepted connection do
// not need it. Other listeners still require the token.
func TestAnInterceptedConnectionNeedsNoTokenOfIgproxy(t *testing.T) {
	w, facebook := facebookWorld(t)
	o := optionsFor(t, w.graph.url.String(), nil)
	o.FacebookURL, o.Passthrough = facebook.url, passing(PassthroughOptions{})
	o.Apps = []App{{Label: "pages", Service: Facebook, ID: pagesID, Secret: NewSecret(pagesSecret)}}
	o.Bearers = func() [][sha256.Size]byte { return [][sha256.Size]byte{sha256.Sum256([]byte("own-token-of-igproxy"))} }
	w.p = newProxy(t, o)
	facebook.say(200, facebookAnswer)
	const target = "/oauth/access_token?grant_type=fb_exchange_token&fb_exchange_token="
	got := httptest.NewRecorder()
	w.p.Intercepted().ServeHTTP(got, intercepted("GET", "graph.facebook.com", target+"EAA"))
	if got.Code != 200 {
		t.Errorf("intercepted: got %d %s, want 200", got.Code, got.Body)
	}
	got = httptest.NewRecorder()
	w.p.Intercepted().ServeHTTP(got, intercepted("GET", "graph.facebook.com", target+"own-token-of-igproxy"))
	if got.Code != 400 {
		t.Errorf("igproxy's own token instead of the user's: got %d %s, want 400", got.Code, got.Body)
	}
	r := intercepted("GET", "graph.facebook.com", target+"EAA")
	got = httptest.NewRecorder()
	w.p.ServeHTTP(got, r)
	if got.Code != 401 {
		t.Errorf("on another listener: got %d %s, want 401", got.Code, got.Body)
	}
}
