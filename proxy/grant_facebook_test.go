package proxy

import (
	"cmp"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

const (
	pagesID     = "1786"
	pagesSecret = "facebook-secret-0123456789"
)

// facebookWorld returns a world whose apps are a Facebook app and the given apps. It also returns
// the upstream that plays Facebook.
func facebookWorld(t *testing.T, apps ...App) (w *world, facebook *service) {
	t.Helper()
	w, facebook = newWorld(t), newService(t)
	o := optionsFor(t, w.graph.url.String(), nil)
	o.LoginURL, o.ThreadsURL, o.FacebookURL = w.login.url, w.threads.url, facebook.url
	o.Apps = append([]App{
		{Label: "pages", Service: Facebook, ID: pagesID, Secret: NewSecret(pagesSecret), RedirectURIs: []string{callback, ""}},
	}, apps...)
	o.Passthrough = passing(PassthroughOptions{})
	w.p = newProxy(t, o)
	return w, facebook
}

// otherApps are apps of the other services, for facebookWorld.
var otherApps = []App{
	{Label: "shop", ID: shopID, Secret: NewSecret(testSecret), RedirectURIs: []string{callback}},
	{Label: "club", Service: Threads, ID: clubID, Secret: NewSecret("threads-secret-0123456789"), RedirectURIs: []string{callback}},
}

const facebookAnswer = `{"access_token":"EAAlong","token_type":"bearer","expires_in":5183944}`

// Whichever form the app uses, Facebook gets the call in the documented form. If an app makes one
// call in several forms, Facebook gets it only once.
func TestFacebooksGrantsAreAcceptedInEveryForm(t *testing.T) {
	const path = "/v23.0/oauth/access_token"
	body := func(kind, body string) func() *http.Request {
		return func() *http.Request {
			r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
			r.Header.Set("Content-Type", kind)
			return r
		}
	}
	for name, c := range map[string]struct {
		query, json string // the parameters that the app sends, in two forms
		want        string // the query that Facebook gets
	}{
		"exchange": {"grant_type=fb_exchange_token&client_id=" + pagesID + "&client_secret=dropped&fb_exchange_token=EAAshort",
			`{"grant_type":"fb_exchange_token","client_id":` + pagesID + `,"fb_exchange_token":"EAAshort","set_token_expires_in_60_days":true}`,
			"client_id=" + pagesID + "&client_secret=" + pagesSecret + "&fb_exchange_token=EAAshort&grant_type=fb_exchange_token"},
		"code": {"client_id=" + pagesID + "&redirect_uri=" + url.QueryEscape(callback) + "&client_secret=dropped&code=AQcode",
			`{"client_id":"` + pagesID + `","redirect_uri":"` + callback + `","code":"AQcode","extra":{"code":"inner"}}`,
			"client_id=" + pagesID + "&client_secret=" + pagesSecret + "&code=AQcode&redirect_uri=" + url.QueryEscape(callback)},
		"code with a grant type": {"grant_type=authorization_code&client_id=" + pagesID + "&redirect_uri=" + url.QueryEscape(callback) + "&code=AQcode",
			`{"grant_type":"authorization_code","client_id":"` + pagesID + `","redirect_uri":"` + callback + `","code":"AQcode"}`,
			"client_id=" + pagesID + "&client_secret=" + pagesSecret + "&code=AQcode&redirect_uri=" + url.QueryEscape(callback)},
		"code of an embedded signup": {"client_id=" + pagesID + "&code=AQcode", `{"client_id":"` + pagesID + `","code":"AQcode","redirect_uri":null}`,
			"client_id=" + pagesID + "&client_secret=" + pagesSecret + "&code=AQcode"},
		"app token": {"grant_type=client_credentials&client_id=" + pagesID + "&client_secret=dropped",
			`{"grant_type":"client_credentials","client_id":"` + pagesID + `"}`,
			"client_id=" + pagesID + "&client_secret=" + pagesSecret + "&grant_type=client_credentials"},
	} {
		w, facebook := facebookWorld(t, otherApps...)
		facebook.say(200, facebookAnswer)
		multi := ""
		for pair := range strings.SplitSeq(c.query, "&") {
			key, value, _ := strings.Cut(pair, "=")
			value, _ = url.QueryUnescape(value)
			multi += "--b\r\nContent-Disposition: form-data; name=\"" + key + "\"\r\n\r\n" + value + "\r\n"
		}
		for form, request := range map[string]func() *http.Request{
			"GET":                    func() *http.Request { return get(path + "?" + c.query) },
			"GET, below /apps/pages": func() *http.Request { return get("/apps/pages/oauth/access_token?" + c.query) },
			"POST, query":            func() *http.Request { return httptest.NewRequest(http.MethodPost, path+"?"+c.query, nil) },
			"POST, query and empty JSON": func() *http.Request {
				r := body("application/json; charset=utf-8", `{}`)()
				r.URL.RawQuery = c.query
				return r
			},
			"urlencoded": body("application/x-www-form-urlencoded", c.query),
			"multipart":  body("multipart/form-data; boundary=b", multi+"--b--\r\n"),
			"JSON":       body("application/json", c.json),
		} {
			want := strings.Replace(facebookAnswer, "5183944", "5183943", 1)
			if got := ask(w.p, request()); got.Code != 200 || got.Body.String() != want {
				t.Errorf("%s, %s: got %d %s, want 200 %s", name, form, got.Code, got.Body, want)
			}
		}
		if asked, want := facebook.asked(), "GET /oauth/access_token?"+c.want+"|"; len(asked) != 1 || asked[0] != want {
			t.Errorf("%s: Facebook got the calls %q, want one call: %q", name, asked, want)
		}
	}
}

// An exchange of a long-lived token replaces it with a new token, so the answer is remembered no
// longer than the answer to a refresh.
func TestAnExtendedFacebookTokenIsRememberedForAsLongAsARefresh(t *testing.T) {
	w, facebook := facebookWorld(t)
	facebook.say(200, facebookAnswer)
	for range 2 {
		w.get("/oauth/access_token?grant_type=fb_exchange_token&fb_exchange_token=EAA")
	}
	hit := w.get("/oauth/access_token?grant_type=fb_exchange_token&fb_exchange_token=EAA")
	if got := hit.Header().Get("Cache-Status"); got != "igproxy; hit; ttl=299" && got != "igproxy; hit; ttl=300" {
		t.Errorf("Cache-Status is %q, want a hit with a ttl of 299 or 300, as for a refresh", got)
	}
}

// App tokens and some tokens of pages do not expire. Meta sends them without expires_in or with an
// expires_in of 0. Apps get them without expires_in.
func TestATokenThatDoesNotExpireIsServedWithoutExpiresIn(t *testing.T) {
	for in, want := range map[string]string{
		`{"access_token":"1786|abc","token_type":"bearer"}`:               `{"access_token":"1786|abc","token_type":"bearer"}`,
		`{"access_token":"1786|abc"}`:                                     `{"access_token":"1786|abc","token_type":"bearer"}`,
		`{"access_token":"1786|abc","expires_in":0,"extra":[1]}`:          `{"access_token":"1786|abc","token_type":"bearer","extra":[1]}`,
		`{"token_type":"bearer","access_token":"1786|abc","n":184467440}`: `{"access_token":"1786|abc","token_type":"bearer","n":184467440}`,
	} {
		w, facebook := facebookWorld(t)
		facebook.say(200, in)
		for range 2 {
			got := w.get("/oauth/access_token?grant_type=client_credentials&client_id=" + pagesID)
			if got.Code != 200 || got.Body.String() != want {
				t.Errorf("%s: got %d %s, want 200 %s", in, got.Code, got.Body, want)
			}
		}
		if n := len(facebook.asked()); n != 1 {
			t.Errorf("%s: Facebook was asked %d times, want once", in, n)
		}
	}
	w, facebook := facebookWorld(t)
	facebook.say(200, `{"access_token":"a","expires_in":-1}`)
	if got := w.get("/oauth/access_token?grant_type=client_credentials"); got.Code != 502 {
		t.Errorf("a negative expires_in: got %d, want 502", got.Code)
	}
}

// If services share a path, the grant_type, the client_id, the Host or /apps/NAME/ selects the app.
// igproxy refuses a call that still fits several apps. For grants that send the app's ID to Meta,
// igproxy also refuses a call whose client_id belongs to an app that cannot make the call. In both
// cases, the error lists the paths of the apps that can make the call.
func TestACallToASharedPathGoesToItsServiceOrIsRefused(t *testing.T) {
	redirect := url.QueryEscape(callback)
	for name, c := range map[string]struct {
		target, host string
		want         string // the service that must be asked, or a part of the error message
	}{
		"fb_exchange_token":                   {"/oauth/access_token?grant_type=fb_exchange_token&fb_exchange_token=EAA", "", "facebook"},
		"code, Facebook's id":                 {"/oauth/access_token?grant_type=authorization_code&code=C&redirect_uri=" + redirect + "&client_id=" + pagesID, "", "facebook"},
		"code, Threads' id":                   {"/oauth/access_token?grant_type=authorization_code&code=C&redirect_uri=" + redirect + "&client_id=" + clubID, "", "threads"},
		"code, Instagram's id":                {"/oauth/access_token?grant_type=authorization_code&code=C&redirect_uri=" + redirect + "&client_id=" + shopID, "", "login"},
		"code, no grant type":                 {"/oauth/access_token?code=C&redirect_uri=" + redirect, "", "facebook"},
		"code, Facebook's host":               {"/oauth/access_token?grant_type=authorization_code&code=C&redirect_uri=" + redirect, "graph.facebook.com", "facebook"},
		"code, Threads' host":                 {"/oauth/access_token?grant_type=authorization_code&code=C&redirect_uri=" + redirect, "graph.threads.com", "threads"},
		"code, Instagram's host":              {"/oauth/access_token?grant_type=authorization_code&code=C&redirect_uri=" + redirect, "api.instagram.com:443", "login"},
		"code, by path":                       {"/apps/club/oauth/access_token?grant_type=authorization_code&code=C&redirect_uri=" + redirect, "", "threads"},
		"code, ambiguous":                     {"/oauth/access_token?grant_type=authorization_code&code=C&redirect_uri=" + redirect, "", "/apps/pages/, /apps/shop/, /apps/club/"},
		"app token, ambiguous":                {"/oauth/access_token?grant_type=client_credentials", "", "/apps/pages/, /apps/club/"},
		"app token, Threads' id":              {"/oauth/access_token?grant_type=client_credentials&client_id=" + clubID, "", "threads"},
		"no grant type, Instagram's id":       {"/oauth/access_token?code=C&redirect_uri=" + redirect + "&client_id=" + shopID, "", "/apps/pages/"},
		"fb_exchange_token, Threads' id":      {"/oauth/access_token?grant_type=fb_exchange_token&fb_exchange_token=EAA&client_id=" + clubID, "", "/apps/pages/"},
		"fb_exchange_token, unknown id":       {"/oauth/access_token?grant_type=fb_exchange_token&fb_exchange_token=EAA&client_id=1", "", "facebook"},
		"exchange, Facebook's id":             {"/access_token?grant_type=ig_exchange_token&access_token=IGAA&client_id=" + pagesID, "", "instagram"},
		"no grant type":                       {"/oauth/access_token?fb_exchange_token=EAA", "", "grant_type=authorization_code or client_credentials or fb_exchange_token"},
		"fb_exchange_token, Instagram's path": {"/apps/shop/oauth/access_token?grant_type=fb_exchange_token&fb_exchange_token=EAA", "", "grant_type=authorization_code."},
		"token in access_token":               {"/oauth/access_token?grant_type=fb_exchange_token&access_token=EAA", "", "in fb_exchange_token, not in access_token"},
		"passed through, Facebook's host":     {"/v23.0/me?access_token=EAA", "graph.facebook.com", "facebook"},
		"passed through, by path":             {"/apps/pages/v23.0/me?access_token=EAA", "", "facebook"},
		"passed through, path, another host":  {"/apps/club/v1.0/me?access_token=THAA", "api.instagram.com", "threads"},
	} {
		w, facebook := facebookWorld(t, otherApps...)
		services := map[string]*service{"facebook": facebook, "threads": w.threads, "login": w.login, "instagram": w.graph}
		w.login.say(200, codeAnswer)
		got := askAt(w.p, cmp.Or(c.host, "localhost"), c.target)
		for service, s := range services {
			want := 0
			if service == c.want {
				want = 1
			}
			if n := len(s.asked()); n != want {
				t.Errorf("%s: %s got %d calls, want %d; the app got %d %s", name, service, n, want, got.Code, got.Body)
			}
		}
		if services[c.want] == nil && (got.Code != 400 || !strings.Contains(got.Body.String(), c.want)) {
			t.Errorf("%s: got %d %s, want 400 and an error that contains %q", name, got.Code, got.Body, c.want)
		}
	}
}

// All three services share the path /oauth/access_token. An error there is flat if the call may be
// a code exchange with Instagram or Threads. All other errors there are not flat, even if igproxy
// refuses the call before it has found the app.
func TestARefusalAtASharedPathHasTheFormOfItsService(t *testing.T) {
	const path = "/oauth/access_token"
	post := func(query, kind, body string) *http.Request {
		r := httptest.NewRequest(http.MethodPost, path+query, strings.NewReader(body))
		r.Header.Set("Content-Type", kind)
		return r
	}
	for name, c := range map[string]struct {
		request *http.Request
		host    string
		flat    bool
	}{
		"nothing":                                    {get(path), "", true},
		"an unknown grant type":                      {get(path + "?grant_type=password"), "", true},
		"a grant type of Facebook's":                 {get(path + "?grant_type=fb_exchange_token&client_id=1&client_id=2"), "", false},
		"Facebook's grant type, a token in brackets": {get(path + "?grant_type=fb_exchange_token&fb_exchange_token[]=EAA"), "", false},
		"Facebook's grant type, Instagram's ID":      {get(path + "?grant_type=fb_exchange_token&client_id=" + shopID + "&code[]=C"), "", false},
		"client_credentials":                         {get(path + "?grant_type=client_credentials"), "", false},
		"a code of any service":                      {get(path + "?grant_type=authorization_code&code=C"), "", true},
		"a code with an unknown ID":                  {get(path + "?grant_type=authorization_code&code=C&client_id=1"), "", true},
		"Facebook's ID":                              {get(path + "?client_id=" + pagesID), "", false},
		"Facebook's ID, another grant type":          {get(path + "?grant_type=password&client_id=" + pagesID), "", false},
		"Instagram's ID":                             {get(path + "?client_id=" + shopID), "", true},
		"Threads' ID":                                {get(path + "?client_id=" + clubID), "", true},
		"Facebook's host":                            {get(path), "graph.facebook.com", false},
		"Facebook's path":                            {get("/apps/pages" + path), "", false},
		"Facebook's ID in a form":                    {post("", urlencoded, "client_id="+pagesID), "", false},
		"Instagram's ID in a form":                   {post("", urlencoded, "client_id="+shopID), "", true},
		"Facebook's ID in JSON":                      {post("", "application/json", `{"client_id":`+pagesID+`}`), "", false},
		"Facebook's ID, and a form":                  {post("?client_id="+pagesID, urlencoded, "code=C"), "", false},
		"Facebook's ID, another content type":        {post("?client_id="+pagesID, "text/plain", "code=C"), "", false},
		"Facebook's ID, GET with a body":             {httptest.NewRequest(http.MethodGet, path+"?client_id="+pagesID, strings.NewReader(strings.Repeat("x", 5000))), "", false},
	} {
		w, _ := facebookWorld(t, otherApps...)
		c.request.Host = cmp.Or(c.host, "localhost")
		got := httptest.NewRecorder()
		w.p.ServeHTTP(got, c.request)
		if flat := strings.Contains(got.Body.String(), `"error_type"`); got.Code != 400 || flat != c.flat {
			t.Errorf("%s: got %d %s, want 400; want the flat shape: %v", name, got.Code, got.Body, c.flat)
		}
	}
}

// Facebook's refusals are passed on unchanged. Facebook's code 100, unlike Instagram's, does not
// mean that the app may not use the account.
func TestFacebooksRefusalsAreServedUnchanged(t *testing.T) {
	codeCall := "/oauth/access_token?code=C&redirect_uri=" + url.QueryEscape(callback)
	const exchange = "/oauth/access_token?grant_type=fb_exchange_token&fb_exchange_token=EAA"
	for name, c := range map[string]struct {
		target, body string
		calls        int    // to Facebook, after two requests
		state        string // of the client secret, after the two requests
	}{
		"used code":    {codeCall, `{"error":{"message":"This authorization code has been used.","type":"OAuthException","code":100,"error_subcode":36009}}`, 2, "unproven"},
		"bad token":    {exchange, `{"error":{"message":"Invalid OAuth access token.","type":"OAuthException","code":190}}`, 1, "accepted"},
		"wrong secret": {exchange, `{"error":{"message":"Error validating client secret.","type":"OAuthException","code":1}}`, 1, "refused"},
		"wrong app id": {exchange, `{"error":{"message":"Invalid application ID.","type":"OAuthException","code":101}}`, 1, "refused"},
	} {
		w, facebook := facebookWorld(t)
		facebook.say(400, c.body)
		for range 2 {
			if got := w.get(c.target); got.Code != 400 || got.Body.String() != c.body {
				t.Errorf("%s: got %d %s, want Facebook's refusal unchanged: 400 %s", name, got.Code, got.Body, c.body)
			}
		}
		if n := len(facebook.asked()); n != c.calls {
			t.Errorf("%s: %d calls to Facebook, want %d", name, n, c.calls)
		}
		if got := w.p.Apps()[0].ClientSecret; got != c.state {
			t.Errorf("%s: the state of the secret is %s, want %s", name, got, c.state)
		}
	}
}

func TestTheOnlineCheckCoversAFacebookApp(t *testing.T) {
	w, facebook := facebookWorld(t)
	facebook.mu.Lock()
	facebook.says = func(r *http.Request, _ url.Values) (int, string) {
		if r.URL.Query().Has("code") {
			return 400, `{"error":{"message":"Invalid verification code format.","type":"OAuthException","code":100}}`
		}
		return 400, `{"error":{"message":"Invalid OAuth access token.","type":"OAuthException","code":190}}`
	}
	facebook.mu.Unlock()
	o := optionsFor(t, w.graph.url.String(), nil)
	o.FacebookURL = facebook.url
	o.Apps = []App{{Label: "pages", Service: Facebook, ID: pagesID, Secret: NewSecret(pagesSecret), RedirectURIs: []string{callback}}}
	results, err := CheckOnline(t.Context(), o)
	if err != nil || len(results) != 2 || results[0].Err != nil || results[1].Err != nil {
		t.Fatalf("got the results %v and the error %v, want two tests that succeed and no error", results, err)
	}
	if asked := facebook.asked(); !strings.Contains(asked[0], "grant_type=fb_exchange_token") || !strings.Contains(asked[1], "code=igproxy") {
		t.Errorf("Facebook got %q, want an exchange, then a code exchange", asked)
	}
	facebook.say(400, `{"error":{"message":"Error validating client secret.","type":"OAuthException","code":1}}`)
	if err := firstProblem(CheckOnline(t.Context(), o)); err == nil || !strings.Contains(err.Error(), "client secret") {
		t.Errorf("a wrong secret: got %v, want an error that names the client secret", err)
	}
}

// A code is exchanged without a redirect_uri only if the app's RedirectURIs contain "".
func TestACodeWithoutARedirectURIIsExchangedOnlyIfAllowed(t *testing.T) {
	w, facebook := facebookWorld(t, App{Label: "strict", Service: Facebook, ID: "1787", Secret: NewSecret("secret-of-strict-0123456789"), RedirectURIs: []string{callback}})
	facebook.say(200, facebookAnswer)
	for target, want := range map[string]int{
		"/apps/pages/oauth/access_token?code=C": 200, "/apps/pages/oauth/access_token?code=D&redirect_uri=": 200,
		"/apps/strict/oauth/access_token?code=C": 400, "/apps/strict/oauth/access_token?code=D&redirect_uri=": 400,
	} {
		if got := w.get(target); got.Code != want || want == 400 && !strings.Contains(got.Body.String(), "990017") {
			t.Errorf("%s: got %d %s, want %d; a 400 must have the subcode 990017", target, got.Code, got.Body, want)
		}
	}
	if n := len(facebook.asked()); n != 2 {
		t.Errorf("Facebook was asked %d times, want 2", n)
	}
}

// igproxy reads a form to its end, so the client can reuse the connection.
func TestAConnectionIsKeptAfterAForm(t *testing.T) {
	w, facebook := facebookWorld(t)
	facebook.say(200, facebookAnswer)
	got := w.post("/oauth/access_token", url.Values{"grant_type": {"fb_exchange_token"}, "fb_exchange_token": {"EAA"}})
	if got.Code != 200 || got.Header().Get("Connection") != "" {
		t.Errorf("got %d, Connection %q; want 200, and no Connection header", got.Code, got.Header().Get("Connection"))
	}
}

func TestJSONParametersAreReadStrictly(t *testing.T) {
	w, facebook := facebookWorld(t)
	facebook.say(200, facebookAnswer)
	ask := func(body string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodPost, "/oauth/access_token", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		return ask(w.p, r)
	}
	for body, subcode := range map[string]string{
		`{"grant_type":"fb_exchange_token","fb_exchange_token":"A","fb_exchange_token":"B"}`: "990010",
		`{"grant_type":"fb_exchange_token","fb_exchange_token":["A"]}`:                       "990007",
		`{"grant_type":"fb_exchange_token","fb_exchange_token":{"x":1}}`:                     "990007",
		`{"grant_type":"fb_exchange_token","fb_exchange_token":true}`:                        "990007",
		`{"grant_type":"fb_exchange_token","fb_exchange_token":null}`:                        "990009",
		`{"grant_type":"fb_exchange_token","fb_exchange_token[]":"A"}`:                       "990007",
		`{"grant_type":"fb_exchange_token","fb_exchange_token":"A"}x`:                        "990015",
		`{"grant_type":"fb_exchange_token","fb_exchange_token":"A"`:                          "990015",
		`["grant_type","fb_exchange_token"]`:                                                 "990015",
		`"x"`:                                                                                "990015",
		`{"grant_type":"fb_exchange_token","fb_exchange_token":"A B"}`:                       "990011",
		`{"grant_type":"fb_exchange_token","fb_exchange_token":"\ud800"}`:                    "990011",
		`{"a":"` + strings.Repeat("x", maxBody) + `"}`:                                       "990015",
	} {
		if got := ask(body); got.Code != 400 || !strings.Contains(got.Body.String(), subcode) {
			t.Errorf("%.80s: got %d %s, want 400 with the subcode %s", body, got.Code, got.Body, subcode)
		}
	}
	if n := len(facebook.asked()); n != 0 {
		t.Errorf("Facebook was asked %d times, want 0", n)
	}
}

// An exchange sent by GET and the same exchange sent as a form share one call to Facebook.
func TestExchangesOfOneTokenInDifferentFormsShareOneCall(t *testing.T) {
	w, facebook := facebookWorld(t)
	release := make(chan struct{})
	facebook.mu.Lock()
	facebook.says = func(*http.Request, url.Values) (int, string) {
		<-release
		return 200, facebookAnswer
	}
	facebook.mu.Unlock()
	done := make(chan int)
	go func() {
		done <- w.get("/oauth/access_token?grant_type=fb_exchange_token&fb_exchange_token=EAA").Code
	}()
	go func() {
		done <- w.post("/oauth/access_token", url.Values{"grant_type": {"fb_exchange_token"}, "fb_exchange_token": {"EAA"}}).Code
	}()
	time.AfterFunc(50*time.Millisecond, func() { close(release) })
	if a, b := <-done, <-done; a != 200 || b != 200 || len(facebook.asked()) != 1 {
		t.Errorf("the callers got %d and %d, want 200 twice; Facebook got %d calls, want 1", a, b, len(facebook.asked()))
	}
}

// Meta's SDK for Node.js adds its own access_token to the URL of each call, even if the call is an
// exchange whose parameters are in the body. igproxy ignores that access_token. But if the URL has
// any other parameter that igproxy reads, igproxy refuses the call.
func TestAnAccessTokenInTheURLIsIgnoredIfTheBodyHasAnExchange(t *testing.T) {
	w, facebook := facebookWorld(t)
	facebook.say(200, facebookAnswer)
	for target, code := range map[string]int{"?access_token=EAAother": 200, "?access_token=EAAother&client_id=" + pagesID: 400, "?access_token=a&access_token=b": 200} {
		r := httptest.NewRequest(http.MethodPost, "/oauth/access_token"+target, strings.NewReader(`{"grant_type":"fb_exchange_token","fb_exchange_token":"EAA"}`))
		r.Header.Set("Content-Type", "application/json")
		if got := ask(w.p, r); got.Code != code {
			t.Errorf("%s: got %d %s, want %d", target, got.Code, got.Body, code)
		}
	}
	for _, asked := range facebook.asked() {
		if strings.Contains(asked, "EAAother") {
			t.Errorf("Facebook got the call %q, want a call without EAAother, the access_token in the app's URL", asked)
		}
	}
}
