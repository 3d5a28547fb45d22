package proxy

import (
	"log/slog"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/igproxy/igproxy/breaker"
	"github.com/igproxy/igproxy/cache"
)

func shops() []App {
	return []App{
		{Label: "shop", ID: "21", Secret: NewSecret("secret-of-the-shop"), Hosts: []string{"Shop.internal"}, RedirectURIs: []string{callback}},
		{Label: "club", ID: "22", Secret: NewSecret("secret-of-the-club"), Hosts: []string{"club.internal"}, RedirectURIs: []string{callback}},
	}
}

// newShops returns a proxy with two apps of one service, and the upstream of that service.
func newShops(t *testing.T) (*Proxy, *service) {
	t.Helper()
	graph := newService(t)
	o := optionsFor(t, graph.url.String(), nil)
	o.Cache, o.Apps, o.LoginURL, o.Passthrough = newCache(t), shops(), graph.url, passing(PassthroughOptions{})
	return newProxy(t, o), graph
}

// askAt sends a GET request with this Host name.
func askAt(p *Proxy, host, path string) *httptest.ResponseRecorder {
	r, w := get(path), httptest.NewRecorder()
	r.Host = host
	p.ServeHTTP(w, r)
	return w
}

func TestACallBelongsToTheAppOfItsPathItsIDOrItsHost(t *testing.T) {
	for name, c := range map[string]struct{ path, host, secret string }{
		"path":                       {"/apps/club/access_token?grant_type=ig_exchange_token&access_token=A", "localhost", "secret-of-the-club"},
		"path and version":           {"/apps/shop/v23.0/access_token/?grant_type=ig_exchange_token&access_token=A", "localhost", "secret-of-the-shop"},
		"id":                         {"/access_token?grant_type=ig_exchange_token&access_token=A&client_id=22", "localhost", "secret-of-the-club"},
		"host":                       {"/access_token?grant_type=ig_exchange_token&access_token=A", "SHOP.internal:8080", "secret-of-the-shop"},
		"path overrides id and host": {"/apps/club/access_token?grant_type=ig_exchange_token&access_token=A&client_id=21", "shop.internal", "secret-of-the-club"},
		"id overrides host":          {"/access_token?grant_type=ig_exchange_token&access_token=A&client_id=22", "shop.internal", "secret-of-the-club"},
	} {
		p, graph := newShops(t)
		if w := askAt(p, c.host, c.path); w.Code != 200 || !strings.Contains(graph.asked()[0], "client_secret="+c.secret+"&") {
			t.Errorf("%s: got %d %s, want 200; Meta got %v, want the client secret %s", name, w.Code, w.Body, graph.asked(), c.secret)
		}
	}
	p, graph := newShops(t)
	for name, path := range map[string]string{
		"no app named":  "/access_token?grant_type=ig_exchange_token&access_token=A",
		"an unknown id": "/access_token?grant_type=ig_exchange_token&access_token=A&client_id=23",
	} {
		if w := ask(p, get(path)); w.Code != 400 || !strings.Contains(w.Body.String(), `"error_subcode":990016`) {
			t.Errorf("%s: got %d %s, want 400 with 990016", name, w.Code, w.Body)
		}
	}
	if got := graph.asked(); len(got) != 0 {
		t.Errorf("calls for unknown apps: Meta got %v, want []", got)
	}
	if w := ask(p, get("/refresh_access_token?grant_type=ig_refresh_token&access_token=A")); w.Code != 400 {
		t.Errorf("a refresh for an unknown app: got %d %s, want 400", w.Code, w.Body)
	}
}

// With one app, any client_id is accepted, because an app cannot always control what its library
// sends.
func TestASingleAppAcceptsAnyClientID(t *testing.T) {
	w := newWorld(t)
	if r := w.get("/access_token?grant_type=ig_exchange_token&access_token=A&client_id=whatever"); r.Code != 200 {
		t.Errorf("got %d %s, want 200", r.Code, r.Body)
	}
}

// By default, OAuth libraries send the client_id and a secret in Authorization: Basic. The
// client_id selects the app. The secret is dropped.
func TestTheClientIDInBasicAuthenticationSelectsTheApp(t *testing.T) {
	p, graph := newShops(t)
	graph.say(200, codeAnswer)
	form := codeForm("CODE")
	form.Del("client_id")
	r := httptest.NewRequest("POST", "/oauth/access_token", strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth("22", "whatever")
	if w := ask(p, r); w.Code != 200 || !strings.Contains(graph.asked()[0], "client_id=22&client_secret=secret-of-the-club&") {
		t.Errorf("got %d %s, want 200; Meta got %v, want the ID and the secret of the club", w.Code, w.Body, graph.asked())
	}
}

func TestAppsShareNoTokensAndNoPauses(t *testing.T) {
	p, graph := newShops(t)
	ask(p, get("/apps/shop/access_token?grant_type=ig_exchange_token&access_token=A"))
	if w := ask(p, get("/apps/club/access_token?grant_type=ig_exchange_token&access_token=A")); w.Code != 200 || len(graph.asked()) != 2 {
		t.Errorf("the second app got %d after %d calls, want 200 after 2", w.Code, len(graph.asked()))
	}
	graph.say(400, `{"error":{"message":"Application request limit reached","type":"OAuthException","code":4}}`)
	ask(p, get("/apps/shop/access_token?grant_type=ig_exchange_token&access_token=B"))
	graph.say(200, `{"access_token":"IGAAlong","token_type":"bearer","expires_in":60000}`)
	if w := ask(p, get("/apps/shop/access_token?grant_type=ig_exchange_token&access_token=C")); w.Code != 429 {
		t.Errorf("the limited app got %d, want 429", w.Code)
	}
	if w := ask(p, get("/apps/club/access_token?grant_type=ig_exchange_token&access_token=C")); w.Code != 200 {
		t.Errorf("the app without a rate limit got %d %s, want 200", w.Code, w.Body)
	}
	for _, path := range []string{"/access_token?grant_type=ig_exchange_token&access_token=C", "/me?access_token=C"} {
		if w := ask(p, get("/apps/unknown"+path)); w.Code != 404 {
			t.Errorf("%s of an unknown app: got %d, want 404", path, w.Code)
		}
	}
}

// If one app's secret is wrong, the sidecar must stay ready, so that the other apps can still use
// it.
func TestOneAppsRefusedSecretLeavesTheSidecarReady(t *testing.T) {
	p, graph := newShops(t)
	if s := p.Readiness(); !s.Ready || s.ClientSecret != "unproven" {
		t.Errorf("before any call: %+v, want ready with unproven secrets", s)
	}
	graph.say(400, `{"error":{"message":"Error validating client secret.","type":"OAuthException","code":100}}`)
	ask(p, get("/apps/club/access_token?grant_type=ig_exchange_token&access_token=A"))
	if s := p.Readiness(); !s.Ready || s.ClientSecret != "refused: club" {
		t.Errorf("with one of two secrets refused: %+v, want ready with ClientSecret \"refused: club\"", s)
	}
	ask(p, get("/apps/shop/access_token?grant_type=ig_exchange_token&access_token=A"))
	if s := p.Readiness(); s.Ready || s.ClientSecret != "refused" {
		t.Errorf("with both secrets refused: %+v, want not ready with ClientSecret \"refused\"", s)
	}
}

// Instagram's login host may be down while its Graph API host works.
func TestEachUpstreamHasItsOwnBreaker(t *testing.T) {
	w := newWorld(t)
	w.login.say(500, `{"error_type":"OAuthException","code":500,"error_message":"down"}`)
	for i := range 10 {
		w.post("/oauth/access_token", codeForm(strings.Repeat("c", i+1)))
	}
	if got := w.p.carried.circuits.worst(upstreamLogin); got != breaker.Open {
		t.Errorf("the login host's breaker is %s, want open", got)
	}
	if r := w.get("/access_token?grant_type=ig_exchange_token&access_token=A"); r.Code != 200 {
		t.Errorf("an exchange at the Graph API host got %d, want 200", r.Code)
	}
	if got := w.p.Readiness().Breaker; got != breaker.Open {
		t.Errorf("/readyz reports the breaker as %s, want open, the worst state", got)
	}
}

func TestInvalidListsOfAppsAreRefused(t *testing.T) {
	for name, spoil := range map[string]func([]App) []App{
		"no apps":                  func([]App) []App { return nil },
		"same name":                func(a []App) []App { a[1].Label = "shop"; return a },
		"same id":                  func(a []App) []App { a[1].ID = "21"; return a },
		"no secret":                func(a []App) []App { a[1].Secret = Secret{}; return a },
		"no id, but redirect URIs": func(a []App) []App { a[0].ID = ""; return a },
	} {
		o := optionsFor(t, "http://127.0.0.1:1", nil)
		o.Cache, o.Apps = newCache(t), spoil(shops())
		if _, err := New(o); err == nil || strings.Contains(err.Error(), "secret-of") {
			t.Errorf("%s: got %v, want an error that does not contain a secret", name, err)
		}
	}
}

func TestUnknownHostIsNotServed(t *testing.T) {
	p, _ := newShops(t)
	if w := askAt(p, "elsewhere.internal", "/access_token?grant_type=ig_exchange_token&access_token=A"); w.Code != 421 {
		t.Errorf("got %d, want 421", w.Code)
	}
}

// Several apps may have the same key file, and answers from several upstreams may be in one Redis.
// Even then, each combination of app, service and upstream has its own cache keys.
func TestCacheKeysDifferByAppServiceAndUpstreamDespiteOneKeyFile(t *testing.T) {
	seen := map[cache.ID]string{}
	for name, c := range map[string]struct {
		app      App
		upstream string
	}{
		"an app":           {App{ID: "1"}, "https://graph.instagram.com"},
		"another app":      {App{ID: "2"}, "https://graph.instagram.com"},
		"another service":  {App{ID: "1", Service: Threads}, "https://graph.instagram.com"},
		"another upstream": {App{ID: "1"}, "https://graph.example.com"},
	} {
		c.app.Secret, c.app.Key = NewSecret("0123456789abcdef"), NewSecret(strings.Repeat("k", 32))
		o := optionsFor(t, c.upstream, nil)
		o.Apps, o.ThreadsURL = []App{c.app}, o.UpstreamURL
		table := grants(o)
		a, err := newApp(c.app, table, nil)
		if err != nil {
			t.Fatal(err)
		}
		id := a.key(table[0], NewSecret("token"), "").ID()
		if other, again := seen[id]; again {
			t.Errorf("%s: got the cache key of %s, want another key", name, other)
		}
		seen[id] = name
	}
	if _, err := newApp(App{Secret: NewSecret("0123456789abcdef"), Key: NewSecret(strings.Repeat("k", 32))}, nil, nil); err == nil || !strings.Contains(err.Error(), "app_id") {
		t.Errorf("a key without an app id: got %v, want an error that names app_id", err)
	}
}

// A request that is refused before its app is known must not be attributed to any app.
func TestRejectedRequestsAreLabelledWithTheirAppOnlyIfItIsKnown(t *testing.T) {
	const token = "access_token?grant_type=ig_exchange_token"
	for name, c := range map[string]struct{ path, host, app string }{
		"foreign host":                  {"/" + token + "&access_token=A", "evil.example", "none"},
		"foreign host, path of an app":  {"/apps/club/" + token + "&access_token=A", "evil.example", "none"},
		"unknown app":                   {"/apps/other/" + token, "localhost", "none"},
		"unknown app, not a token call": {"/apps/other/me", "localhost", "none"},
		"no app named":                  {"/" + token + "&access_token=A", "localhost", "none"},
		"two ids":                       {"/" + token + "&client_id=21&client_id=22", "localhost", "none"},
		"two ids, not a token call":     {"/me?client_id=21&client_id=22", "localhost", "none"},
		"app by host, malformed query":  {"/" + token + "&access_token=%", "club.internal", "none"},
		"app by path, malformed query":  {"/apps/club/" + token + "&access_token=%", "localhost", "club"},
		"app by path, no token":         {"/apps/club/" + token, "localhost", "club"},
		"app by path, wrong grant":      {"/apps/club/access_token?grant_type=x", "localhost", "club"},
		"app by path, refused path":     {"/apps/club/x/access_token", "localhost", "club"},
		"app by id, no token":           {"/" + token + "&client_id=22", "localhost", "club"},
		"app by host, no token":         {"/" + token, "club.internal", "club"},
	} {
		var log strings.Builder
		p, graph := newShops(t)
		spans := tracetest.NewSpanRecorder()
		p.carried.tracer = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans)).Tracer("")
		p.carried.log = slog.New(slog.NewTextHandler(&log, nil))
		w := askAt(p, c.host, c.path)
		if w.Code < 400 || len(graph.asked()) > 0 {
			t.Errorf("%s: got %d after %d calls, want at least 400 after 0", name, w.Code, len(graph.asked()))
		}
		if got := rejectedOf(t, p); !slices.Equal(got, []string{c.app}) {
			t.Errorf("%s: counted for %q, want %q", name, got, c.app)
		}
		if !strings.Contains(log.String(), " app="+c.app+" ") {
			t.Errorf("%s: logged as %s, want app %s", name, log.String(), c.app)
		}
		if got := spans.Ended()[0].Attributes(); !slices.Contains(got, attribute.String("igproxy.app", c.app)) {
			t.Errorf("%s: traced as %v, want app %s", name, got, c.app)
		}
	}
}

// rejectedOf returns the apps for which rejected requests are counted.
func rejectedOf(t *testing.T, p *Proxy) (apps []string) {
	t.Helper()
	families, err := p.Metrics().registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if l := m.GetLabel(); f.GetName() == "igproxy_requests_total" && l[2].GetValue() == "rejected" {
				apps = append(apps, l[0].GetValue())
			}
		}
	}
	return apps
}

func TestAnAppCannotBeNamedNone(t *testing.T) {
	o := optionsFor(t, "https://graph.instagram.com", nil)
	o.Cache, o.Apps[0].Label = newCache(t), "none"
	if _, err := New(o); err == nil || !strings.Contains(err.Error(), `"none"`) {
		t.Errorf("got %v, want an error that names \"none\"", err)
	}
}
