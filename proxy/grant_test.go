package proxy

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/igproxy/igproxy/proxy/graph"
)

// service is an upstream that records requests and sends the responses that a test sets.
type service struct {
	url  *url.URL
	mu   sync.Mutex // protects the fields below
	says func(r *http.Request, form url.Values) (status int, body string)
	seen []string      // for each request: METHOD path?query|form
	head []http.Header // for each request
}

func newService(t *testing.T) *service {
	t.Helper()
	s := &service{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		form, _ := url.ParseQuery(string(body))
		s.mu.Lock()
		s.seen = append(s.seen, r.Method+" "+r.URL.RequestURI()+"|"+string(body))
		s.head = append(s.head, r.Header.Clone())
		says := s.says
		s.mu.Unlock()
		status, text := says(r, form)
		w.Header().Set("Content-Type", "application/json; charset=UTF-8")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, text)
	}))
	t.Cleanup(server.Close)
	s.url, _ = url.Parse(server.URL)
	s.says = func(*http.Request, url.Values) (int, string) {
		return 200, `{"access_token":"IGAAlong","token_type":"bearer","expires_in":5183944}`
	}
	return s
}

func (s *service) asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.seen...)
}

func (s *service) say(status int, body string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.says = func(*http.Request, url.Values) (int, string) { return status, body }
}

const (
	callback = "https://app.example/callback?x=1&y=%20"
	shopID   = "1784"
	clubID   = "1785"
)

// world is a Proxy with an Instagram app and a Threads app, together with its three upstreams.
type world struct {
	p                      *Proxy
	graph, login, threads  *service
	igSecret, threadSecret string
}

func newWorld(t *testing.T, more ...App) *world {
	t.Helper()
	w := &world{graph: newService(t), login: newService(t), threads: newService(t), igSecret: testSecret, threadSecret: "threads-secret-0123456789"}
	o := optionsFor(t, w.graph.url.String(), nil)
	o.Cache = newCache(t)
	o.LoginURL, o.ThreadsURL = w.login.url, w.threads.url
	o.Apps = append([]App{
		{ID: shopID, Secret: NewSecret(w.igSecret), RedirectURIs: []string{callback}},
		{Label: "threads", Service: Threads, ID: clubID, Secret: NewSecret(w.threadSecret), RedirectURIs: []string{callback}},
	}, more...)
	o.Passthrough = passing(PassthroughOptions{})
	o.Breaker.Failures = 5
	w.p = newProxy(t, o)
	return w
}

func (w *world) get(path string) *httptest.ResponseRecorder { return ask(w.p, get(path)) }

func (w *world) post(path string, form url.Values) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(form.Encode()))
	r.Host = "localhost"
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return ask(w.p, r)
}

func codeForm(code string) url.Values {
	return url.Values{"client_id": {shopID}, "client_secret": {"dropped"}, "grant_type": {"authorization_code"}, "redirect_uri": {callback}, "code": {code}}
}

const codeAnswer = `{"access_token":"IGAAshort","user_id":17841400000000001,"permissions":["a","b"]}`

// Each grant goes to the upstream of its service, which gets only the parameters that the call
// needs.
func TestEachGrantUsesItsUpstreamAndParameters(t *testing.T) {
	w := newWorld(t)
	w.login.say(200, codeAnswer)
	long := `{"access_token":"THAAlong","token_type":"bearer","expires_in":5183944}`
	w.threads.says = func(r *http.Request, _ url.Values) (int, string) {
		if r.Method == http.MethodPost {
			return 200, `{"access_token":"THQshort","user_id":17841400000000001}`
		}
		return 200, long
	}
	form := codeForm("CODE")
	form.Set("client_id", clubID)
	for name, c := range map[string]struct {
		ask  func() *httptest.ResponseRecorder
		of   *service // the upstream that must be asked
		want string   // the request that this upstream gets, as in service.seen
	}{
		"exchange": {func() *httptest.ResponseRecorder {
			return w.get("/access_token?grant_type=ig_exchange_token&access_token=A")
		}, w.graph,
			"GET /access_token?access_token=A&client_secret=" + testSecret + "&grant_type=ig_exchange_token|"},
		"refresh": {func() *httptest.ResponseRecorder {
			return w.get("/v23.0/refresh_access_token?grant_type=ig_refresh_token&access_token=B&client_secret=x")
		}, w.graph,
			"GET /refresh_access_token?access_token=B&grant_type=ig_refresh_token|"},
		"code": {func() *httptest.ResponseRecorder { return w.post("/oauth/access_token", codeForm("CODE#_")) }, w.login,
			"POST /oauth/access_token|client_id=" + shopID + "&client_secret=" + testSecret + "&code=CODE&grant_type=authorization_code&redirect_uri=" + url.QueryEscape(callback)},
		"threads exchange": {func() *httptest.ResponseRecorder {
			return w.get("/access_token?grant_type=th_exchange_token&access_token=A")
		}, w.threads,
			"GET /access_token?access_token=A&client_secret=" + w.threadSecret + "&grant_type=th_exchange_token|"},
		"threads refresh": {func() *httptest.ResponseRecorder {
			return w.get("/refresh_access_token?grant_type=th_refresh_token&access_token=B")
		}, w.threads,
			"GET /refresh_access_token?access_token=B&grant_type=th_refresh_token|"},
		"threads code": {func() *httptest.ResponseRecorder { return w.post("/oauth/access_token/", form) }, w.threads,
			"POST /oauth/access_token|client_id=" + clubID + "&client_secret=" + w.threadSecret + "&code=CODE&grant_type=authorization_code&redirect_uri=" + url.QueryEscape(callback)},
	} {
		others := len(w.graph.asked()) + len(w.login.asked()) + len(w.threads.asked()) - len(c.of.asked())
		before := len(c.of.asked())
		first, again := c.ask(), c.ask()
		if first.Code != 200 || again.Code != 200 || first.Body.String() != again.Body.String() || !strings.HasPrefix(again.Header().Get("Cache-Status"), "igproxy; hit") {
			t.Errorf("%s: got %d %s, then %d with Cache-Status %q; want 200 twice, the second time a hit", name, first.Code, first.Body, again.Code, again.Header().Get("Cache-Status"))
		}
		seen := c.of.asked()
		if len(seen) != before+1 || seen[before] != c.want {
			t.Errorf("%s: Meta got the requests %q, want one request: %q", name, seen[before:], c.want)
		}
		if now := len(w.graph.asked()) + len(w.login.asked()) + len(w.threads.asked()) - len(c.of.asked()); now != others {
			t.Errorf("%s: the other upstreams got %d requests, want 0", name, now-others)
		}
	}
}

// The response to a code exchange has each member of Meta's answer twice: at the top level and in
// the array "data". Meta sends the members in only one of these places. Values stay the same, byte
// for byte.
func TestTheAnswerToACodeExchangeIsAtTheTopLevelAndInData(t *testing.T) {
	for in, want := range map[string]string{
		codeAnswer: `{"access_token":"IGAAshort","user_id":17841400000000001,"permissions":["a","b"],"token_type":"bearer",` +
			`"data":[{"access_token":"IGAAshort","user_id":17841400000000001,"permissions":["a","b"]}]}`,
		`{"data":[{"access_token":"IGAAshort","user_id":"17841400000000001","permissions":"a,b"}]}`: `{"access_token":"IGAAshort","user_id":"17841400000000001","permissions":"a,b","token_type":"bearer",` +
			`"data":[{"access_token":"IGAAshort","user_id":"17841400000000001","permissions":"a,b"}]}`,
		`{"access_token":"THQ"}`:                      `{"access_token":"THQ","token_type":"bearer","data":[{"access_token":"THQ"}]}`,
		`{"access_token":"THQ","token_type":"other"}`: `{"access_token":"THQ","token_type":"other","data":[{"access_token":"THQ","token_type":"other"}]}`,
	} {
		tok, err := graph.ReadCode([]byte(in), time.Now())
		if err != nil {
			t.Errorf("%s: got %v, want a token", in, err)
			continue
		}
		if got := bodyOf(tok, time.Now()); got != want || !json.Valid([]byte(got)) {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
		back, ok := decodeAnswer(encodeAnswer(answer{token: tok}), time.Now())
		if !ok || bodyOf(back.token, time.Now()) != want {
			t.Errorf("%s: the answer changed when it was encoded and decoded", in)
		}
	}
	for _, in := range []string{``, `{}`, `[]`, `{"data":[]}`, `{"data":{}}`, `{"data":[{"access_token":"a"},{"access_token":"b"}]}`, `{"data":[{}]}`,
		`{"data":[{"access_token":"a"}],"access_token":"b"}`, `{"access_token":""}`, `{"access_token":1}`, `{"access_token":"a","access_token":"b"}`,
		`{"access_token":"a","error_type":"x"}`, `{"access_token":"a b"}`, codeAnswer + `x`} {
		if _, err := graph.ReadCode([]byte(in), time.Now()); err == nil {
			t.Errorf("%s: got a token, want an error", in)
		}
	}
}

// A code works only once. So a repeated callback gets the first answer, and igproxy never sends a
// code to Instagram twice.
func TestDoubleCallbackGetsTheFirstAnswer(t *testing.T) {
	w := newWorld(t)
	used := false
	w.login.says = func(*http.Request, url.Values) (int, string) {
		if used {
			return 400, `{"error_type":"OAuthException","code":400,"error_message":"This authorization code has been used"}`
		}
		used = true
		return 200, codeAnswer
	}
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if r := w.post("/oauth/access_token", codeForm("twice")); r.Code != 200 || !strings.Contains(r.Body.String(), `"access_token":"IGAAshort"`) {
				t.Errorf("got %d %s, want 200 and the first answer", r.Code, r.Body)
			}
		})
	}
	wg.Wait()
	if n := len(w.login.asked()); n != 1 {
		t.Errorf("Meta was asked %d times, want once", n)
	}
	for status, body := range map[int]string{500: `{"error_type":"OAuthException","code":500,"error_message":"try later"}`, 503: "<html>"} {
		w.login.say(status, body)
		before := len(w.login.asked())
		r := w.post("/oauth/access_token", codeForm(fmt.Sprint("down", status)))
		if n := len(w.login.asked()) - before; r.Code != 502 || n != 1 || !strings.HasPrefix(r.Body.String(), `{"error_type":"`) {
			t.Errorf("Meta responds with %d: got %d %s and %d calls to Meta, want 502 in the flat shape and one call", status, r.Code, r.Body, n)
		}
	}
}

func TestErrorsOfACodeExchangeKeepTheirShape(t *testing.T) {
	w := newWorld(t)
	const used = `{"error_type":"OAuthException","code":400,"error_message":"This authorization code has been used"}`
	w.login.say(400, used)
	if r := w.post("/oauth/access_token", codeForm("used")); r.Code != 400 || r.Body.String() != used {
		t.Errorf("got %d %s, want Meta's refusal unchanged: 400 %s", r.Code, r.Body, used)
	}
	w.login.say(400, `{"error_type":"OAuthException","code":400,"error_message":"`+testSecret+` and CODEcanary"}`)
	if r := w.post("/oauth/access_token", codeForm("CODEcanary")); strings.Contains(r.Body.String(), testSecret) || strings.Contains(r.Body.String(), "CODEcanary") {
		t.Errorf("got %s, want an error without the secret %s and the code CODEcanary", r.Body, testSecret)
	}
	for name, spoil := range map[string]func(url.Values){
		"no code":               func(f url.Values) { f.Del("code") },
		"two codes":             func(f url.Values) { f.Add("code", "second") },
		"a space":               func(f url.Values) { f.Set("code", "a b") },
		"no redirect":           func(f url.Values) { f.Del("redirect_uri") },
		"another redirect":      func(f url.Values) { f.Set("redirect_uri", "https://evil.example/") },
		"redirect with a slash": func(f url.Values) { f.Set("redirect_uri", callback+"/") },
		"a token":               func(f url.Values) { f.Set("access_token", "IGAA") },
		"another grant":         func(f url.Values) { f.Set("grant_type", "ig_exchange_token") },
		"an unknown id":         func(f url.Values) { f.Set("client_id", "999") },
		"array":                 func(f url.Values) { f.Set("code[]", "x") },
	} {
		before := len(w.login.asked()) + len(w.threads.asked())
		form := codeForm("good-" + name)
		form.Set("code", "good")
		spoil(form)
		r := w.post("/oauth/access_token", form)
		var flat struct {
			Type    string `json:"error_type"`
			Code    int    `json:"code"`
			Message string `json:"error_message"`
			Subcode int    `json:"error_subcode"`
		}
		if err := json.Unmarshal(r.Body.Bytes(), &flat); err != nil || r.Code != 400 || flat.Code != 400 || flat.Subcode < 990000 || flat.Type == "" {
			t.Errorf("%s: got %d %s, want 400 and one of igproxy's errors in the flat shape", name, r.Code, r.Body)
		}
		if n := len(w.login.asked()) + len(w.threads.asked()) - before; n != 0 {
			t.Errorf("%s: the upstreams got %d requests, want 0", name, n)
		}
	}
}

func TestFormsAreReadStrictly(t *testing.T) {
	w := newWorld(t)
	w.login.say(200, codeAnswer)
	post := func(kind, body, query string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodPost, "/oauth/access_token"+query, strings.NewReader(body))
		r.Host = "localhost"
		if kind != "" {
			r.Header.Set("Content-Type", kind)
		}
		r.Header.Set("Authorization", "Basic Y2xpZW50OnNlY3JldA==")
		return ask(w.p, r)
	}
	multi := "--b\r\nContent-Disposition: form-data; name=\"grant_type\"\r\n\r\nauthorization_code\r\n--b\r\nContent-Disposition: form-data; name=\"code\"\r\n\r\nmulti#_\r\n" +
		"--b\r\nContent-Disposition: form-data; name=\"client_id\"\r\n\r\n" + shopID + "\r\n" +
		"--b\r\nContent-Disposition: form-data; name=\"redirect_uri\"\r\n\r\n" + callback + "\r\n--b--\r\n"
	if r := post("multipart/form-data; boundary=b", multi, ""); r.Code != 200 {
		t.Errorf("multipart: got %d %s, want 200", r.Code, r.Body)
	}
	if r := post("application/x-www-form-urlencoded; charset=utf-8", codeForm("urlencoded").Encode(), ""); r.Code != 200 {
		t.Errorf("urlencoded with a charset and Basic credentials: got %d %s, want 200", r.Code, r.Body)
	}
	for _, head := range w.login.head {
		if got := head.Get("Authorization"); got != "" {
			t.Errorf("Instagram got the header Authorization: %q, want no such header", got)
		}
	}
	n := len(w.login.asked())
	for name, r := range map[string]*httptest.ResponseRecorder{
		"JSON without a grant_type":    post("application/json", `{"code":"x"}`, ""),
		"no Content-Type":              post("", codeForm("x").Encode(), ""),
		"bad escape":                   post("application/x-www-form-urlencoded", "code=%zz", ""),
		"no boundary":                  post("multipart/form-data", multi, ""),
		"cut multipart":                post("multipart/form-data; boundary=b", multi[:100], ""),
		"a file":                       post("multipart/form-data; boundary=b", strings.ReplaceAll(multi, `name="code"`, `name="code"; filename="x"`), ""),
		"too large":                    post("application/x-www-form-urlencoded", codeForm("x").Encode()+"&pad="+strings.Repeat("a", maxBody), ""),
		"parameters in query and body": post("application/x-www-form-urlencoded", codeForm("x").Encode(), "?code=y"),
	} {
		if r.Code != 400 || !strings.Contains(r.Body.String(), `"error_subcode":9900`) || !strings.HasPrefix(r.Body.String(), `{"error_type"`) {
			t.Errorf("%s: got %d %s, want 400 and one of igproxy's errors in the flat shape", name, r.Code, r.Body)
		}
	}
	if got := len(w.login.asked()) - n; got != 0 {
		t.Errorf("Instagram got %d of the requests that igproxy must refuse, want 0", got)
	}
}

// If the path, the grant_type and the other parameters of a call do not fit together, igproxy does
// not ask Meta. igproxy's error names what to send.
func TestTheErrorForAWrongCallNamesTheRightCall(t *testing.T) {
	w := newWorld(t)
	for path, says := range map[string]string{
		"/access_token?grant_type=ig_exchange_token&code=abc":                      "POST /oauth/access_token",
		"/refresh_access_token?grant_type=ig_exchange_token&access_token=abc":      "Send grant_type=ig_refresh_token",
		"/refresh_access_token?grant_type=ig_refresh_token":                        "access_token",
		"/access_token?grant_type=fb_exchange_token&access_token=abc":              "grant_type=ig_exchange_token or th_exchange_token",
		"/apps/threads/access_token?grant_type=ig_exchange_token&access_token=abc": "Send grant_type=th_exchange_token.",
	} {
		if r := w.get(path); r.Code != 400 || !strings.Contains(r.Body.String(), says) {
			t.Errorf("%s: got %d %s, want 400 and an error that contains %q", path, r.Code, r.Body, says)
		}
	}
	if n := len(w.graph.asked()) + len(w.threads.asked()); n != 0 {
		t.Errorf("Meta was asked %d times, want 0", n)
	}
}

// A parameter that decides what a call does must be sent only once (RFC 6749, section 3.2, and RFC
// 6750, section 2). There is one exception: the header Authorization may also carry the token or
// the client_id, if the value is the same. Names are case-sensitive: ACCESS_TOKEN is an unknown
// parameter, and is dropped.
//
// For example, the case "token, client_id" is the case "token" with a second client_id.
func TestADecisiveParameterSentTwiceIsRefused(t *testing.T) {
	w := newWorld(t)
	w.login.say(200, codeAnswer)
	const token = "/access_token?grant_type=ig_exchange_token&access_token=IGAAshort&client_id=" + shopID
	const refresh = "/refresh_access_token?grant_type=ig_refresh_token&access_token=IGAAlong&client_id=" + shopID
	form := func(query, more string, headers ...string) *http.Request {
		r := httptest.NewRequest(http.MethodPost, "/oauth/access_token"+query, strings.NewReader(codeForm("CODE").Encode()+more))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		for _, h := range headers {
			r.Header.Add("Authorization", h)
		}
		return r
	}
	for name, c := range map[string]struct {
		r       *http.Request
		subcode int // of the error that the app gets; 0: the app gets a 200
	}{
		"token":                          {get(token), 0},
		"refresh":                        {get(refresh), 0},
		"code":                           {form("", ""), 0},
		"names in other letter case":     {get(token + "&ACCESS_TOKEN=x&Grant_Type=x&Client_Id=x"), 0},
		"parameters that no step reads":  {get(token + "&state=1&state=2&client_secret=a&client_secret=b"), 0},
		"token, grant_type":              {get(token + "&grant_type=ig_exchange_token"), 990008},
		"token, access_token":            {get(token + "&access_token=IGAAother"), 990010},
		"token, client_id":               {get(token + "&client_id=" + clubID), 990010},
		"refresh, access_token":          {get(refresh + "&access_token=IGAAother"), 990010},
		"refresh, client_id":             {get(refresh + "&client_id=" + shopID), 990010},
		"token, array":                   {get(token + "&access_token[0]=IGAAother"), 990007},
		"refresh, encoded array":         {get(refresh + "&grant_type%5B%5D=x"), 990007},
		"token, two versions":            {get("/v23.0/v23.0" + token), 990002},
		"another token in the header":    {with(get(token), "Authorization", "Bearer IGAAother"), 990010},
		"the same token in the header":   {with(get(token), "Authorization", "Bearer IGAAshort"), 0},
		"code, twice":                    {form("", "&code=OTHER"), 990010},
		"code, redirect_uri":             {form("", "&redirect_uri=x"), 990017},
		"code, grant_type":               {form("", "&grant_type=authorization_code"), 990008},
		"code, client_id":                {form("", "&client_id="+shopID), 990010},
		"code, array":                    {form("", "&code[]=OTHER"), 990007},
		"query and body":                 {form("?code=OTHER", ""), 990015},
		"client_id in query and body":    {form("?client_id="+shopID, ""), 990015},
		"array in query and body":        {form("?code[]=OTHER", ""), 990015},
		"client_id in body and Basic":    {form("", "", basic(shopID, "x")), 0},
		"another client_id in Basic":     {form("", "", basic(clubID, "x")), 990010},
		"two Basic credentials":          {form("", "", basic(shopID, "x"), basic(clubID, "x")), 990010},
		"passed through":                 {get("/me?access_token=IGAAshort&client_id=" + shopID), 0},
		"passed through, two client ids": {get("/me?access_token=IGAAshort&client_id=" + shopID + "&client_id=" + clubID), 990010},
	} {
		before := len(w.graph.asked()) + len(w.login.asked()) + len(w.threads.asked())
		got := ask(w.p, c.r)
		if c.subcode == 0 {
			if got.Code != 200 {
				t.Errorf("%s: got %d %s, want 200", name, got.Code, got.Body)
			}
			continue
		}
		var e struct {
			Error   graphBody
			Subcode int `json:"error_subcode"`
		}
		_ = json.Unmarshal(got.Body.Bytes(), &e)
		if subcode := e.Error.Subcode + e.Subcode; got.Code < 400 || got.Code > 499 || subcode != c.subcode {
			t.Errorf("%s: got %d %s, want a 4xx with the subcode %d", name, got.Code, got.Body, c.subcode)
		}
		if now := len(w.graph.asked()) + len(w.login.asked()) + len(w.threads.asked()); now != before {
			t.Errorf("%s: the upstreams got %d requests, want 0", name, now-before)
		}
	}
}
