package proxy

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

// overHTTP serves a proxy on a real listener.
func overHTTP(t *testing.T, p *Proxy) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(p)
	t.Cleanup(s.Close)
	return s
}

// Hop-by-hop headers, X-Forwarded-For and igproxy's own token are dropped. Other headers are kept.
func TestPassedThroughCallsKeepTheirURLAndBody(t *testing.T) {
	w := newWorld(t)
	w.graph.says = func(*http.Request, url.Values) (int, string) { return 201, `{"id":"17841400000000001"}` }
	s := overHTTP(t, w.p)
	r, _ := http.NewRequest(http.MethodPost, s.URL+"/v23.0/1784/media%2Fx?fields=id,name&fields=a;b&access_token=IGAA%7C1&&x=%zz", strings.NewReader(`{"caption":"é"}`))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer IGAAlong")
	r.Header.Set("X-Of-The-App", "1")
	r.Header.Set("Connection", "X-Hop")
	r.Header.Set("X-Hop", "1")
	r.Header.Set("X-Forwarded-For", "10.0.0.1")
	r.Header.Set("User-Agent", "")
	r.Header.Set(trustHeader, "the sidecar's own")
	res, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(res.Body)
	_ = res.Body.Close()
	if res.StatusCode != 201 || string(body) != `{"id":"17841400000000001"}` {
		t.Errorf(`got %d %s, want 201 {"id":"17841400000000001"}`, res.StatusCode, body)
	}
	if got, want := w.graph.asked()[0], `POST /v23.0/1784/media%2Fx?fields=id,name&fields=a;b&access_token=IGAA%7C1&&x=%zz|{"caption":"é"}`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	head := w.graph.head[0]
	for name, want := range map[string]string{"Authorization": "Bearer IGAAlong", "X-Of-The-App": "1", "Content-Type": "application/json", "X-Hop": "",
		"X-Forwarded-For": "", "X-Forwarded-Host": "", "Forwarded": "", "Via": "", "User-Agent": "", trustHeader: ""} {
		if got := head.Get(name); got != want {
			t.Errorf("Meta got %s %q, want %q", name, got, want)
		}
	}
	for _, name := range []string{"Cache-Status", "X-Request-Id", "Cache-Control", "X-Content-Type-Options"} {
		if got := res.Header.Get(name); got != "" {
			t.Errorf("the app got the header %s: %s, want no such header", name, got)
		}
	}
	if n := len(w.login.asked()) + len(w.threads.asked()); n != 0 {
		t.Errorf("other upstreams were asked %d times, want 0", n)
	}
}

// igproxy's own token must not reach Instagram, whether it is sent as the password of the base URL
// or in the header X-Igproxy-Token.
func TestTheSidecarsOwnTokenIsNotPassedOn(t *testing.T) {
	w := newWorld(t)
	o := optionsFor(t, w.graph.url.String(), nil)
	o.Cache, o.Passthrough = newCache(t), passing(PassthroughOptions{})
	o.Bearers = trusting(sha256.Sum256([]byte("the-sidecars-own-token"))).digests
	p := newProxy(t, o)
	basic := get("/me")
	basic.SetBasicAuth("igproxy", "the-sidecars-own-token")
	own := get("/me")
	own.Header.Set(trustHeader, "the-sidecars-own-token")
	own.Header.Set("Authorization", "Bearer IGAAlong")
	for name, r := range map[string]*http.Request{"as the password of the base URL": basic, "in X-Igproxy-Token": own} {
		if got := ask(p, r); got.Code != 200 {
			t.Errorf("%s: got %d %s, want 200", name, got.Code, got.Body)
		}
		last := w.graph.head[len(w.graph.head)-1]
		if got, want := last.Get("Authorization"), map[bool]string{true: "Bearer IGAAlong"}[r == own]; got != want || last.Get(trustHeader) != "" {
			t.Errorf("%s: Instagram got Authorization %q, want %q; and %s %q, want no such header", name, got, want, trustHeader, last.Get(trustHeader))
		}
	}
}

// A response that breaks off has a log line, like any other response.
func TestAResponseThatBreaksOffIsLoggedAndCutsTheConnection(t *testing.T) {
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1000")
		_, _ = io.WriteString(w, "half")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}))
	defer upstream.Close()
	var log strings.Builder
	o := optionsFor(t, upstream.URL, nil)
	o.Cache, o.Passthrough, o.Logger = newCache(t), passing(PassthroughOptions{}), slog.New(slog.NewTextHandler(&log, nil))
	p := newProxy(t, o)
	s := overHTTP(t, p)
	res, err := http.Get(s.URL + "/me")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(res.Body); err == nil {
		t.Error("reading half an answer: got no error, want one")
	}
	_ = res.Body.Close()
	s.Close() // waits for the handler
	if !strings.Contains(log.String(), "outcome=unavailable") || !strings.Contains(log.String(), "grant=passthrough") {
		t.Errorf("got the log %s, want a line with outcome=unavailable and grant=passthrough", log.String())
	}
}

func TestAPassedThroughPathMayNameTheApp(t *testing.T) {
	w := newWorld(t)
	s := overHTTP(t, w.p)
	res, err := http.Get(s.URL + "/apps/threads/v1.0/me?fields=id")
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != 200 || len(w.threads.asked()) != 1 || w.threads.asked()[0] != "GET /v1.0/me?fields=id|" {
		t.Errorf("got %d, want 200; requests to Meta: %v, want only GET /v1.0/me?fields=id", res.StatusCode, w.threads.asked())
	}
}

func TestBodiesAreBounded(t *testing.T) {
	w := newWorld(t)
	o := optionsFor(t, w.graph.url.String(), nil)
	o.Cache, o.Passthrough = newCache(t), passing(PassthroughOptions{MaxBodyBytes: 1000})
	s := overHTTP(t, newProxy(t, o))
	res, err := http.Post(s.URL+"/media", "text/plain", bytes.NewReader(make([]byte, 5000)))
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(res.Body)
	_ = res.Body.Close()
	if res.StatusCode != 413 || !strings.Contains(string(body), `"error_subcode":990018`) {
		t.Errorf("a large request: got %d %s, want 413 with 990018", res.StatusCode, body)
	}
	w.graph.say(200, strings.Repeat("x", 5000))
	body = nil
	// If http.Get fails, the connection was cut before the header was sent.
	if res, err = http.Get(s.URL + "/large"); err == nil {
		body, err = io.ReadAll(res.Body)
		_ = res.Body.Close()
	}
	if err == nil && res.StatusCode != 502 || len(body) > 1500 {
		t.Errorf("a large answer: got %d bytes, want at most 1500; got the error %v, want an error or status 502", len(body), err)
	}
}

func TestAPassedThroughCallThatFailsGetsAnErrorInMetasForm(t *testing.T) {
	o := optionsFor(t, deadURL(t), nil)
	o.Cache, o.Passthrough = newCache(t), passing(PassthroughOptions{})
	p := newProxy(t, o)
	if r := ask(p, get("/me")); r.Code != 503 || !strings.Contains(r.Body.String(), `"error_subcode":990023`) {
		t.Errorf("nothing listens: got %d %s, want 503 with 990023", r.Code, r.Body)
	}
	hangs := make(chan struct{})
	upstream := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hangs }))
	defer upstream.Close()
	defer close(hangs)
	o = optionsFor(t, upstream.URL, nil)
	o.Cache, o.Passthrough = newCache(t), passing(PassthroughOptions{Timeout: 50 * time.Millisecond})
	s := overHTTP(t, newProxy(t, o))
	for range 20 { // if the call and its connection had the same deadline, the connection would usually be cut
		res, err := http.Get(s.URL + "/me")
		if err != nil {
			t.Fatalf("a call that hangs: got %v, want an answer", err)
		}
		body, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if res.StatusCode != 504 || !strings.Contains(string(body), `"error_subcode":990022`) || res.Header.Get("Cache-Status") != "" {
			t.Errorf("a call that hangs: got %d %s, want 504 with 990022; got the Cache-Status %q, want none", res.StatusCode, body, res.Header.Get("Cache-Status"))
		}
	}
}

// When the timeout of a call ends, igproxy may still be waiting for the app's body. The read fails
// a second later, and net/http then reports that the app has disconnected. The app must get an
// answer even so.
func TestAPassedThroughCallGetsAResponseIfItsBodyIsLate(t *testing.T) {
	w := newWorld(t)
	o := optionsFor(t, w.graph.url.String(), nil)
	o.Cache, o.Passthrough = newCache(t), passing(PassthroughOptions{Timeout: 50 * time.Millisecond})
	s := overHTTP(t, newProxy(t, o))
	c, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, _ = io.WriteString(c, "POST /media HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\n\r\nabc")
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(res.Body)
	if res.StatusCode != 504 || !strings.Contains(string(body), `"error_subcode":990022`) {
		t.Errorf("got %d %s, want 504 with 990022", res.StatusCode, body)
	}
}

// net/http ignores Transfer-Encoding in HTTP/1.0, so it would read the body as the next request.
func TestNothingAfterAnHTTP10RequestIsReadAsARequest(t *testing.T) {
	w := newWorld(t)
	s := overHTTP(t, w.p)
	c, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, _ = io.WriteString(c, "POST /me HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n")
	answers, err := io.ReadAll(c)
	if n := strings.Count(string(answers), "HTTP/1."); err != nil || n != 1 || strings.Contains(strings.Join(w.graph.asked(), " "), "smuggled") {
		t.Errorf("got %d answers, want one; requests to Meta: %v, want none for /smuggled; error: %v, want nil", n, w.graph.asked(), err)
	}
}

func TestAResponseThatSwitchesProtocolsBecomesA502(t *testing.T) {
	base, _ := saying(t, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
	o := optionsFor(t, base, nil)
	o.Cache, o.Passthrough = newCache(t), passing(PassthroughOptions{})
	if r := ask(newProxy(t, o), get("/me")); r.Code != 502 || !strings.Contains(r.Body.String(), `"error_subcode":990024`) {
		t.Errorf("got %d %s, want 502 with 990024", r.Code, r.Body)
	}
}

func TestPassthroughCanBeTurnedOff(t *testing.T) {
	w := newWorld(t)
	o := optionsFor(t, w.graph.url.String(), nil)
	o.Cache = newCache(t)
	if r := ask(newProxy(t, o), get("/me")); r.Code != 404 || !strings.Contains(r.Body.String(), `"error_subcode":990002`) || len(w.graph.asked()) != 0 {
		t.Errorf("got %d %s, want 404 with 990002; requests to Meta: %v, want none", r.Code, r.Body, w.graph.asked())
	}
}

func TestPagingURLsCanBeRewritten(t *testing.T) {
	w := newWorld(t)
	base := w.graph.url.String()
	const page = `{"data":[{"caption":"see https://graph.instagram.com/x"}],"paging":{"next":"%[1]s\/v23.0\/1\/media?access_token=IGAA&after=Q","previous" : "https://graph.instagram.com/1"}}`
	w.graph.say(200, fmt.Sprintf(page, strings.ReplaceAll(base, "/", `\/`)))
	if r := w.get("/1/media"); !strings.Contains(r.Body.String(), strings.ReplaceAll(base, "/", `\/`)) {
		t.Errorf("without RewritePaging: got %s, want the unchanged host %s", r.Body, strings.ReplaceAll(base, "/", `\/`))
	}
	o := optionsFor(t, base, nil)
	o.Cache, o.Passthrough = newCache(t), passing(PassthroughOptions{RewritePaging: true})
	r := get("/apps/default/1/media")
	r.Header.Set("Accept-Encoding", "gzip") // as most clients do
	got := ask(newProxy(t, o), r)
	if sent := w.graph.head[len(w.graph.head)-1].Get("Accept-Encoding"); sent != "identity" {
		t.Errorf("sent Accept-Encoding %q, want identity: a compressed answer cannot be rewritten", sent)
	}
	want := `{"data":[{"caption":"see https://graph.instagram.com/x"}],"paging":{"next":"http:\/\/127.0.0.1:8080\/apps\/default\/v23.0\/1\/media?access_token=IGAA&after=Q","previous" : "http://127.0.0.1:8080/apps/default/1"}}`
	if got.Body.String() != want {
		t.Errorf("got  %s\nwant %s", got.Body, want)
	}
}

// A path that a server could take for a token call is not passed through, however it is spelled.
func TestTokenCallsCannotBeReachedThroughPassthrough(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{"/x/access_token", "//access_token", "/./access_token", "/x/../access_token", "/ACCESS_TOKEN", "/access%5Ftoken", "/%61ccess_token",
		"/access_token%2f", "/access_token;x=1", "/v23/access_token", "/v23.0/v23.0/access_token", "/oauth//access_token", "/oauth/access_token/x/..", "/%2561ccess_token",
		"/x%2faccess_token", "/x%5caccess_token", "/refresh_access_token/.", "/Refresh_Access_Token", "/apps/default/x/access_token", "/apps/none/access_token",
		"/access_token%00", "/access_token%20", "/access_token.", "/oauth/access_token%09"} {
		r := get("/")
		parsed, err := url.Parse("http://localhost" + path + "?grant_type=ig_exchange_token&access_token=A")
		if err != nil {
			t.Fatal(err)
		}
		r.URL.Path, r.URL.RawPath, r.URL.RawQuery = parsed.Path, parsed.RawPath, parsed.RawQuery
		if got := ask(w.p, r); got.Code != 404 {
			t.Errorf("%s: got %d %s, want 404", path, got.Code, got.Body)
		}
	}
	if n := len(w.graph.asked()) + len(w.login.asked()); n != 0 {
		t.Errorf("Meta was asked %d times, want 0", n)
	}
}

// FuzzReachable checks that no server can mistake a passed-through path for the path of a token
// call or of one of igproxy's own calls. The server may decode repeatedly, resolve dots and
// slashes, and ignore letter case and versions.
func FuzzReachable(f *testing.F) {
	for _, seed := range []string{"/me", "/access_token", "/a/../access%5ftoken", "/%2561ccess_token", "//x//ACCESS_token/", "/v23.0/oauth/access_token", "/access_token;a=b", "/x%5caccess_token", "/_igproxy/webhook", "/%5figproxy", "/a/..%2f_IGPROXY;x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, path string) {
		if !reachable(path) {
			return
		}
		for range 10 {
			bare := strings.ToLower(strings.ReplaceAll(path, "\\", "/"))
			for _, segment := range strings.Split(bare, "/") {
				if s := strings.Trim(segment, " .\t"); s == "access_token" || s == "refresh_access_token" || s == "_igproxy" {
					t.Fatalf("a path that is passed through can be read by a server as %q, want no path of a token call or of igproxy", bare)
				}
			}
			plain, err := url.PathUnescape(path)
			if err != nil || plain == path {
				return
			}
			path = plain
		}
	})
}
