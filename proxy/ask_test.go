package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/igproxy/igproxy/proxy/mock"
)

// recorded starts an upstream that answers each request with a token. The function requests returns
// all requests so far.
func recorded(t *testing.T) (base string, requests func() []*http.Request) {
	var mu sync.Mutex
	var seen []*http.Request
	base = rawUpstream(t, func(_ int, c net.Conn, r *bufio.Reader) {
		for {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			mu.Lock()
			seen = append(seen, req)
			mu.Unlock()
			_, _ = io.WriteString(c, rawResponse(200, goodToken))
		}
	})
	return base, func() []*http.Request {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(seen)
	}
}

func TestTheRequestToMetaIsBuiltFromScratch(t *testing.T) {
	base, requests := recorded(t)
	o := optionsFor(t, base+"/edge/", nil)
	o.Version = "1.2.3"
	p := newProxy(t, o)
	r := get("/v23.0/access_token?client_secret=other&fields=id&grant_type=ig_exchange_token&&client_id=7&access_token=IGAAshort%2B1&format=json")
	for _, name := range []string{"Authorization", "Cookie", "Referer", "X-Forwarded-For", "Forwarded", "Accept-Language", "If-None-Match", "Traceparent",
		"Content-Type", "X-Request-Id"} {
		r.Header.Set(name, "from the app")
	}
	if w := ask(p, r); w.Code != 200 {
		t.Fatalf("got %d %s, want 200", w.Code, w.Body)
	}
	seen := requests()
	if len(seen) != 1 {
		t.Fatalf("Meta was asked %d times, want once", len(seen))
	}
	got := seen[0]
	want := url.Values{"grant_type": {"ig_exchange_token"}, "client_secret": {testSecret}, "access_token": {"IGAAshort+1"}}.Encode()
	if got.Method != http.MethodGet || got.RequestURI != "/edge/access_token?"+want {
		t.Errorf("Meta got %s %s, want GET /edge/access_token?%s", got.Method, got.RequestURI, want)
	}
	// net/http adds Accept-Encoding.
	headers := http.Header{"Accept": {"application/json"}, "User-Agent": {"igproxy/1.2.3"}, "Accept-Encoding": {"gzip"}}
	if fmt.Sprint(got.Header) != fmt.Sprint(headers) || got.ContentLength != 0 || got.Host != strings.TrimPrefix(base, "http://") {
		t.Errorf("the headers are %v, want %v; the body has %d bytes, want 0; the host is %s, want the host of %s", got.Header, headers, got.ContentLength, got.Host, base)
	}
}

func TestExtraParametersAndCookiesAreNotSentToMetaOverTLS(t *testing.T) {
	i, s := newInstagram(t, overTLS)
	p := newProxy(t, optionsFor(t, s.URL, s.CA()))
	w := ask(p, with(get(target("IGAAshort")+"&client_secret=mine&x=1"), "Cookie", "a=b"))
	if w.Code != 200 || i.Calls() != 1 || len(i.Strange()) != 0 {
		t.Errorf("got %d, want 200; Meta was asked %d times, want once; the stand-in noted the strange requests %v, want []", w.Code, i.Calls(), i.Strange())
	}
}

func TestRedirectsAreNeverFollowed(t *testing.T) {
	trap, trapped := saying(t, rawResponse(200, goodToken))
	for _, status := range []int{301, 302, 303, 307, 308} {
		base, asked := saying(t, rawResponse(status, "", "Location: "+trap+"/access_token"))
		w := ask(newProxy(t, optionsFor(t, base, nil)), get(target("IGAAshort")))
		if e := errorIn(t, w.Body.Bytes()); w.Code != 502 || e.Subcode != 990024 || asked.Load() != 1 || w.Header().Get("Location") != "" {
			t.Errorf("%d: got status %d and subcode %d after %d calls, want 502 and 990024 after 1; the headers are %v, want no Location", status, w.Code, e.Subcode, asked.Load(), w.Header())
		}
	}
	i, s := newInstagram(t, overTLS)
	if w := ask(newProxy(t, optionsFor(t, s.URL, s.CA())), get(target("redirect-1"))); w.Code != 502 || i.Calls() != 1 {
		t.Errorf("over TLS: got %d after %d calls, want 502 after 1", w.Code, i.Calls())
	}
	if n := trapped.Load(); n != 0 {
		t.Errorf("the target of the redirects got %d requests, want 0", n)
	}
}

func TestATemporaryFailureIsRetriedAtMostOnce(t *testing.T) {
	envelope := func(code int, more string) string {
		return fmt.Sprintf(`{"error":{"message":"m","type":"OAuthException","code":%d%s}}`, code, more)
	}
	for name, c := range map[string]struct {
		answer       string
		status, want int // the status that the app gets, and the number of calls if one retry is allowed
	}{
		"500 without an envelope": {rawResponse(500, "<html>"), 502, 2},
		"500, code 2":             {rawResponse(500, envelope(2, `,"is_transient":true`)), 502, 2},
		"400, code 1":             {rawResponse(400, envelope(1, "")), 400, 2},
		"503, code 2":             {rawResponse(503, envelope(2, "")), 502, 2},
		"503 without an envelope": {rawResponse(503, "<html>"), 502, 1},
		"503, transient":          {rawResponse(503, envelope(999, `,"is_transient":true`)), 502, 1},
		"500, code 2500":          {rawResponse(500, envelope(2500, "")), 502, 1},
		"400, code 190":           {rawResponse(400, envelope(190, "")), 400, 1},
		"401, code 190":           {rawResponse(401, envelope(190, "")), 401, 1},
		"403 without an envelope": {rawResponse(403, "<html>"), 403, 1},
		"429 without an envelope": {rawResponse(429, "<html>"), 502, 1},
		"200, nonsense":           {rawResponse(200, "<html>"), 502, 1},
		"not HTTP":                {"SORRY\r\n\r\n", 502, 1},
	} {
		for retries, want := range []int{1, c.want} {
			base, asked := saying(t, c.answer)
			o := optionsFor(t, base, nil)
			o.Retries = retries
			if w := ask(newProxy(t, o), get(target("IGAAshort"))); w.Code != c.status || int(asked.Load()) != want {
				t.Errorf("%s, %d retries: got %d after %d calls, want %d after %d", name, retries, w.Code, asked.Load(), c.status, want)
			}
		}
	}
}

func TestACallWithoutAnAnswerIsRepeatedOnce(t *testing.T) {
	i, s := newInstagram(t, overTLS)
	for token, want := range map[string]struct{ status, subcode, calls int }{
		"close-1":    {503, 990023, 2},
		"flaky-1":    {200, 0, 2},
		"flaky500-1": {200, 0, 2},
	} {
		// Each token gets a new proxy, because on a kept connection Go's transport would repeat the
		// call by itself.
		p := newProxy(t, optionsFor(t, s.URL, s.CA()))
		w := ask(p, get(target(token)))
		subcode := 0
		if w.Code != 200 {
			subcode = errorIn(t, w.Body.Bytes()).Subcode
		}
		if got := i.CallsFor(token); w.Code != want.status || subcode != want.subcode || got != want.calls {
			t.Errorf("%s: got status %d and subcode %d after %d calls, want %d and %d after %d", token, w.Code, subcode, got, want.status, want.subcode, want.calls)
		}
	}
}

// keptThenDead starts an upstream that waits until the given number of connections is open, and
// then answers the first request on each. When a second request arrives on a connection, the
// upstream closes the connection without a response. count returns the number of requests.
func keptThenDead(t *testing.T, connections int) (base string, count func() int32) {
	var requests atomic.Int32
	var together sync.WaitGroup
	together.Add(connections)
	base = rawUpstream(t, func(n int, c net.Conn, r *bufio.Reader) {
		for first := true; ; first = false {
			if _, err := http.ReadRequest(r); err != nil {
				return
			}
			requests.Add(1)
			if !first {
				return
			}
			if n <= connections {
				together.Done()
				together.Wait()
			}
			_, _ = io.WriteString(c, rawResponse(200, goodToken))
		}
	})
	return base, requests.Load
}

// A dead kept connection does not fail the call. The call is sent again on a new connection,
// whether or not retries are allowed, and no second kept connection is tried.
func TestADeadKeptConnectionDoesNotFailTheCall(t *testing.T) {
	const kept = 4
	for retries := range 2 {
		base, count := keptThenDead(t, kept)
		o := optionsFor(t, base, nil)
		o.Retries = retries
		p := newProxy(t, o)
		p.carried.retries.left = -1000 // the budget allows no retry
		var wg sync.WaitGroup
		for n := range kept {
			wg.Go(func() {
				if w := ask(p, get(target(fmt.Sprintf("IGAAwarm%d", n)))); w.Code != 200 {
					t.Errorf("warming up: got %d %s, want 200", w.Code, w.Body)
				}
			})
		}
		wg.Wait()
		if w := ask(p, get(target("IGAAshort"))); w.Code != 200 {
			t.Errorf("%d retries: got %d %s, want 200", retries, w.Code, w.Body)
		}
		if got := count() - kept; got != 2 {
			t.Errorf("%d retries: the call was sent %d times, want 2: on a dead connection and on a new one", retries, got)
		}
	}
}

// A code works only once. When a kept connection turns out to be dead, igproxy cannot know whether
// Meta has already used a code that was sent on it. So each code is sent on a new connection.
func TestCodesUseNewConnections(t *testing.T) {
	base, count := keptThenDead(t, 1)
	o := optionsFor(t, base, nil)
	o.Apps[0].ID, o.Apps[0].RedirectURIs, o.LoginURL = shopID, []string{callback}, o.UpstreamURL
	w := &world{p: newProxy(t, o)}
	for n := range 4 {
		if r := w.post("/oauth/access_token", codeForm(fmt.Sprintf("code-%d", n))); r.Code != 200 {
			t.Errorf("code %d: got %d %s, want 200", n, r.Code, r.Body)
		}
	}
	if got := count(); got != 4 {
		t.Errorf("4 codes were sent in %d requests, want 4", got)
	}
}

// Codes are sent to Facebook by GET. When a kept connection turns out to be dead, Go's transport
// repeats a GET request. So Facebook's codes need new connections, too.
func TestCodesSentByGETUseNewConnections(t *testing.T) {
	base, count := keptThenDead(t, 1)
	o := optionsFor(t, base, nil)
	o.Apps = []App{{Label: "pages", Service: Facebook, ID: pagesID, Secret: NewSecret(pagesSecret), RedirectURIs: []string{callback}}}
	w := &world{p: newProxy(t, o)}
	if r := w.get("/oauth/access_token?grant_type=fb_exchange_token&fb_exchange_token=EAAshort"); r.Code != 200 {
		t.Fatalf("the exchange whose connection is kept: got %d %s, want 200", r.Code, r.Body)
	}
	for n := range 3 {
		if r := w.get(fmt.Sprintf("/oauth/access_token?code=code-%d&redirect_uri=%s", n, url.QueryEscape(callback))); r.Code != 200 {
			t.Errorf("code %d: got %d %s, want 200", n, r.Code, r.Body)
		}
	}
	if got := count(); got != 4 {
		t.Errorf("one exchange and 3 codes were sent in %d requests, want 4", got)
	}
}

func TestACallWhoseAnswerIsCutShortIsNotRepeated(t *testing.T) {
	i, s := newInstagram(t, overTLS)
	if w := ask(newProxy(t, optionsFor(t, s.URL, s.CA())), get(target("truncated-1"))); w.Code != 502 || i.CallsFor("truncated-1") != 1 {
		t.Errorf("with TLS: got %d after %d calls, want 502 after 1", w.Code, i.CallsFor("truncated-1"))
	}
	i, s = newInstagram(t, mock.ServerOptions{})
	if w := ask(newProxy(t, optionsFor(t, s.URL, nil)), get(target("truncated-1"))); w.Code != 502 || i.CallsFor("truncated-1") != 1 {
		t.Errorf("without TLS: got %d after %d calls, want 502 after 1", w.Code, i.CallsFor("truncated-1"))
	}
}

func TestAnswersAreBoundedAfterDecompression(t *testing.T) {
	_, s := newInstagram(t, overTLS)
	p := newProxy(t, optionsFor(t, s.URL, s.CA()))
	for _, fault := range []string{"huge", "endless", "gzipbomb", "hugeheaders", "deep"} {
		w := ask(p, get(target(fault+"-1")))
		if e := errorIn(t, w.Body.Bytes()); w.Code != 502 || e.Subcode != 990024 {
			t.Errorf("%s: got status %d and subcode %d, want 502 and 990024", fault, w.Code, e.Subcode)
		}
	}
	// Only the status of an error page matters, whether the page is long or short.
	for status, want := range map[int]int{400: 400, 403: 403, 429: 502, 500: 502} {
		base, _ := saying(t, rawResponse(status, strings.Repeat("<p>", 40<<10)))
		if w := ask(newProxy(t, optionsFor(t, base, nil)), get(target("IGAAshort"))); w.Code != want {
			t.Errorf("a page of 120 KiB with status %d: got %d, want %d", status, w.Code, want)
		}
	}
	padded := goodToken[:len(goodToken)-1] + `,"x":"` + strings.Repeat("x", 1000) + `"}`
	for bound, want := range map[int64]int{int64(len(padded)): 200, int64(len(padded)) - 1: 502} {
		base, _ := saying(t, rawResponse(200, padded))
		o := optionsFor(t, base, nil)
		o.MaxResponseBytes = bound
		if w := ask(newProxy(t, o), get(target("IGAAshort"))); w.Code != want {
			t.Errorf("%d bytes with a limit of %d: got %d, want %d", len(padded), bound, w.Code, want)
		}
	}
}

// Whichever part of a response the upstream delays, the call ends within the timeout. Then it no
// longer counts as in flight.
func TestTimeoutCoversTheWholeCall(t *testing.T) {
	i, s := newInstagram(t, overTLS)
	switching := "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
	silent, _ := saying(t, switching)
	for name, c := range map[string]struct {
		base, token string
		status      int
	}{
		"no answer":          {s.URL, "hang-1", 504},
		"no body":            {s.URL, "hangbody-1", 504},
		"a slow body":        {s.URL, "drip-1", 504},
		"switched protocols": {silent, "IGAAshort", 502},
		"no handshake":       {mute(t), "IGAAshort", 504},
	} {
		o := optionsFor(t, c.base, s.CA())
		o.Timeout = 400 * time.Millisecond
		p := newProxy(t, o)
		w := ask(p, get(target(c.token)))
		if w.Code != c.status {
			t.Errorf("%s: got %d %s, want %d", name, w.Code, w.Body, c.status)
		}
		if n := p.carried.circuits.inFlight(""); n != 0 {
			t.Errorf("%s: %d calls still count as in flight, want 0", name, n)
		}
		if n := i.CallsFor(c.token); n > 1 {
			t.Errorf("%s: Meta was asked %d times, want at most once", name, n)
		}
	}
}

// mute returns the https URL of a server that accepts connections and never answers.
func mute(t *testing.T) string {
	return "https" + strings.TrimPrefix(rawUpstream(t, func(_ int, _ net.Conn, r *bufio.Reader) { _, _ = io.Copy(io.Discard, r) }), "http")
}
