package proxy

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/igproxy/igproxy/cache"
	"github.com/igproxy/igproxy/cache/redistest"
)

const (
	revokedBody = `{"error":{"message":"Error validating access token: The user has not authorized application 1.","type":"OAuthException","code":190,"error_subcode":467,"fbtrace_id":"A"}}`
	ownBearer   = "the-sidecars-own-token"
)

// revoking is a proxy in front of an upstream that issues a new token for each exchange and
// refresh. The function in the field answer writes the response to every other call.
type revoking struct {
	*Proxy
	t      *testing.T
	log    bytes.Buffer
	answer func(w http.ResponseWriter)

	mu     sync.Mutex // protects issued
	issued int
}

func newRevoking(t *testing.T, change func(*Options)) *revoking {
	t.Helper()
	x := &revoking{t: t, answer: refusing(400, revokedBody)}
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "access_token") {
			x.mu.Lock()
			defer x.mu.Unlock()
			x.issued++
			_, _ = fmt.Fprintf(w, `{"access_token":"long|%d-<&","token_type":"bearer","expires_in":5183944}`, x.issued)
			return
		}
		x.answer(w)
	}))
	t.Cleanup(upstream.Close)
	o := optionsFor(t, upstream.URL, nil)
	o.Apps = []App{{Secret: NewSecret(testSecret)}, {Label: "threads", Service: Threads, Secret: NewSecret("threads-secret-0123456789")},
		{Label: "pages", Service: Facebook, ID: pagesID, Secret: NewSecret(pagesSecret)}}
	o.Passthrough = passing(PassthroughOptions{})
	o.Logger, o.Metrics = slog.New(slog.NewTextHandler(&x.log, nil)), NewMetrics()
	if change != nil {
		change(&o)
	}
	x.Proxy = newProxy(t, o)
	return x
}

func refusing(status int, body string) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "application/json; charset=UTF-8")
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}
}

// exchange makes a token call. It returns the token that the upstream issued last, and whether this
// call asked the upstream.
func (x *revoking) exchange(path string) (long string, asked bool) {
	x.t.Helper()
	x.mu.Lock()
	before := x.issued
	x.mu.Unlock()
	r := get(path)
	r.Header.Set(trustHeader, ownBearer)
	w := ask(x.Proxy, r)
	if w.Code != 200 {
		x.t.Fatalf("%s: got %d %s, want 200", path, w.Code, w.Body)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	return fmt.Sprintf("long|%d-<&", x.issued), x.issued > before
}

// read makes a call that is passed through. Each name in header is followed by its value. If
// counted is set, read waits until igproxy has counted the refusal as a revoked token. If counted
// is not set, read checks that igproxy has not counted the refusal.
func (x *revoking) read(target string, counted bool, header ...string) *httptest.ResponseRecorder {
	x.t.Helper()
	r := get(target)
	r.Header.Set(trustHeader, ownBearer)
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	before := x.counted()
	w := ask(x.Proxy, r)
	for start := time.Now(); counted && x.counted() == before; time.Sleep(time.Millisecond) {
		if time.Since(start) > 10*time.Second {
			x.t.Fatalf("%s: got no refusal counted as a revoked token within 10 s, want 1", target)
		}
	}
	if n := x.counted() - before; !counted && n > 0 {
		x.t.Errorf("%s: got %v refusals counted as revoked tokens, want 0", target, n)
	}
	return w
}

func (x *revoking) counted() (n float64) {
	x.t.Helper()
	for _, result := range []cache.Revocation{cache.Dropped, cache.NotFound, cache.Skipped, cache.NoLookup} {
		n += x.countedAs(result)
	}
	return n
}

func (x *revoking) countedAs(result cache.Revocation) float64 {
	x.t.Helper()
	return countedAs(x.t, x.Metrics(), "igproxy_revoked_tokens_total", string(result))
}

func TestTokenThatMetaRefusesWith190IsForgotten(t *testing.T) {
	const exchange, refresh = "/access_token?grant_type=ig_exchange_token&access_token=", "/refresh_access_token?grant_type=ig_refresh_token&access_token="
	const threads = "/apps/threads/access_token?grant_type=th_exchange_token&access_token="
	query := func(long string) (string, []string) {
		return "/me?fields=id&access_token=" + url.QueryEscape(long), nil
	}
	bearer := func(long string) (string, []string) { return "/v23.0/me", []string{"Authorization", "Bearer " + long} }
	packed := refusing(400, gzipped(revokedBody))
	for name, c := range map[string]struct {
		grant  string
		call   func(long string) (target string, header []string)
		answer func(http.ResponseWriter)
	}{
		"query":   {exchange, query, refusing(400, revokedBody)},
		"bearer":  {exchange, bearer, refusing(400, revokedBody)},
		"401":     {exchange, query, refusing(401, revokedBody)},
		"refresh": {refresh, query, refusing(400, revokedBody)},
		"threads": {threads, func(long string) (string, []string) {
			target, header := bearer(long)
			return "/apps/threads" + target, header
		}, refusing(400, revokedBody)},
		"facebook": {"/apps/pages/oauth/access_token?grant_type=fb_exchange_token&fb_exchange_token=", func(long string) (string, []string) {
			target, header := query(long)
			return "/apps/pages" + target, header
		}, refusing(400, revokedBody)},
		"gzip": {exchange, query, func(w http.ResponseWriter) { w.Header().Set("Content-Encoding", "gzip"); packed(w) }},
	} {
		t.Run(name, func(t *testing.T) {
			x := newRevoking(t, nil)
			x.answer = c.answer
			other, _ := x.exchange(c.grant + "other-short")
			long, _ := x.exchange(c.grant + "short")
			target, header := c.call(long)
			w, want := x.read(target, true, header...), httptest.NewRecorder()
			if c.answer(want); w.Code != want.Code || w.Body.String() != want.Body.String() {
				t.Errorf("the app got %d %q, want the upstream's response, unchanged: %d %q", w.Code, w.Body, want.Code, want.Body)
			}
			if _, asked := x.exchange(c.grant + "other-short"); asked {
				t.Error("the exchange of other-short asked Meta again, want the remembered answer")
			}
			if n, lines := x.countedAs(cache.Dropped), strings.Count(x.log.String(), "revoked token forgotten"); n != 1 || lines != 1 {
				t.Errorf("dropped answers: got %v, want 1; lines \"revoked token forgotten\": got %d, want 1; log:\n%s", n, lines, &x.log)
			}
			second, asked := x.exchange(c.grant + "short")
			if !asked || second == long {
				t.Errorf("after the refusal: Meta asked: got %v, want true; token: got %q, want another than %q", asked, second, long)
			}
			target, header = c.call(long) // as if another process of the app still used the old token
			x.read(target, true, header...)
			if _, asked := x.exchange(c.grant + "short"); asked {
				t.Error("a refusal of the old token: the exchange asked Meta again, want the new token from the cache")
			}
			if strings.Contains(x.log.String(), "long|") || strings.Contains(x.log.String(), other) {
				t.Errorf("the log has a token:\n%s", &x.log)
			}
		})
	}
}

func gzipped(text string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write([]byte(text))
	_ = z.Close()
	return b.String()
}

func TestATokenIsForgottenOnlyIfMetaRefusesItWith190(t *testing.T) {
	digest := sha256.Sum256([]byte(ownBearer))
	x := newRevoking(t, func(o *Options) { o.Bearers = func() [][sha256.Size]byte { return [][sha256.Size]byte{digest} } })
	const exchange = "/access_token?grant_type=ig_exchange_token&access_token=short"
	long, _ := x.exchange(exchange)
	escaped := url.QueryEscape(long)
	query := "/me?access_token=" + escaped
	code := func(n int) string { return strings.Replace(revokedBody, "190", fmt.Sprint(n), 1) }
	for name, c := range map[string]struct {
		status  int
		body    string
		target  string
		counted bool     // whether igproxy counts the refusal as a revoked token
		header  []string // of the call; X-Answer-Encoding becomes the Content-Encoding of the response
	}{
		"another code":             {400, code(100), query, false, nil},
		"code 102":                 {400, code(102), query, false, nil},
		"a rate limit":             {400, code(4), query, false, nil},
		"190 is the subcode":       {400, strings.NewReplacer("190", "100", "467", "190").Replace(revokedBody), query, false, nil},
		"a success":                {200, revokedBody, query, false, nil},
		"a failure":                {500, revokedBody, query, false, nil},
		"status 403":               {403, revokedBody, query, false, nil},
		"not JSON":                 {400, "<html>190</html>", query, false, nil},
		"no body":                  {400, "", query, false, nil},
		"cut short":                {400, revokedBody[:len(revokedBody)-2], query, false, nil},
		"too long":                 {400, revokedBody + strings.Repeat(" ", 64<<10), query, false, nil},
		"an unknown encoding":      {400, revokedBody, query, false, []string{"X-Answer-Encoding", "br"}},
		"not gzip":                 {400, revokedBody, query, false, []string{"X-Answer-Encoding", "gzip"}},
		"two tokens":               {400, revokedBody, query + "&access_token=other", false, nil},
		"no token":                 {400, revokedBody, "/me", false, nil},
		"an empty token":           {400, revokedBody, "/me?access_token=", false, nil},
		"a long token":             {400, revokedBody, "/me?access_token=" + strings.Repeat("x", 5000), false, nil},
		"a malformed token":        {400, revokedBody, "/me?access_token=%zz", false, nil},
		"igproxy's own token":      {400, revokedBody, "/me", false, []string{"Authorization", "Bearer " + ownBearer}},
		"another token":            {400, revokedBody, "/me?access_token=other", true, nil},
		"the token of another app": {400, revokedBody, "/apps/threads" + query, true, nil},
		"the short-lived token":    {400, revokedBody, "/me?access_token=short", true, nil},
	} {
		refuse := refusing(c.status, c.body)
		x.answer = func(w http.ResponseWriter) {
			if len(c.header) > 0 && c.header[0] == "X-Answer-Encoding" {
				w.Header().Set("Content-Encoding", c.header[1])
			}
			refuse(w)
		}
		if w := x.read(c.target, c.counted, c.header...); w.Code != c.status || w.Body.String() != c.body {
			t.Errorf("%s: status: got %d, want %d; body: got %.200q, want %.200q", name, w.Code, c.status, w.Body, c.body)
		}
		if _, asked := x.exchange(exchange); asked {
			t.Fatalf("%s: the exchange asked Meta again, want the remembered token", name)
		}
	}
	if x.countedAs(cache.NotFound) != 3 || x.countedAs(cache.Dropped) != 0 {
		t.Errorf("tokens not found: got %v, want 3; answers dropped: got %v, want 0", x.countedAs(cache.NotFound), x.countedAs(cache.Dropped))
	}
}

func TestAllAnswersThatContainARevokedTokenAreForgotten(t *testing.T) {
	x := newRevoking(t, nil)
	long, _ := x.exchange("/access_token?grant_type=ig_exchange_token&access_token=short")
	x.mu.Lock()
	x.issued-- // so that the refresh returns the same token
	x.mu.Unlock()
	refresh := "/refresh_access_token?grant_type=ig_refresh_token&access_token=" + url.QueryEscape(long)
	if again, _ := x.exchange(refresh); again != long {
		t.Fatalf("the refresh returned %q, want %q", again, long)
	}
	x.read("/me?access_token="+url.QueryEscape(long), true)
	for _, path := range []string{"/access_token?grant_type=ig_exchange_token&access_token=short", refresh} {
		if _, asked := x.exchange(path); !asked {
			t.Errorf("%s: got the remembered answer, want Meta to be asked again", path)
		}
	}
}

func TestTheAnswerForALoginCodeSurvivesTheRefusalOfItsToken(t *testing.T) {
	w := newWorld(t)
	w.login.say(200, codeAnswer)
	if r := w.post("/oauth/access_token", codeForm("CODE")); r.Code != 200 {
		t.Fatalf("got %d, want 200", r.Code)
	}
	w.graph.say(400, revokedBody)
	w.get("/me?access_token=IGAAshort")
	if r := w.post("/oauth/access_token", codeForm("CODE")); r.Code != 200 || len(w.login.asked()) != 1 {
		t.Errorf("status: got %d, want 200; calls with the code: got %d, want 1, because a code works only once", r.Code, len(w.login.asked()))
	}
}

// igproxy reads the form of a passed-through call only if it adds an appsecret_proof or keeps
// tokens alive. Here it keeps no tokens alive, so without the proof it does not see the token in
// the form.
func TestTokenInAFormIsForgottenIfTheCallGetsAProof(t *testing.T) {
	const exchange = "/apps/pages/oauth/access_token?grant_type=fb_exchange_token&fb_exchange_token=EAAshort"
	for _, proven := range []bool{true, false} {
		x := newRevoking(t, func(o *Options) { o.Apps[2].AppSecretProof = proven })
		long, _ := x.exchange(exchange)
		r := httptest.NewRequest(http.MethodPost, "/apps/pages/me/feed", strings.NewReader(url.Values{"access_token": {long}}.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if w := ask(x.Proxy, r); w.Code != 400 || w.Body.String() != revokedBody {
			t.Fatalf("the app got %d %s, want 400 %s", w.Code, w.Body, revokedBody)
		}
		for start := time.Now(); proven && x.countedAs(cache.Dropped) == 0; time.Sleep(time.Millisecond) {
			if time.Since(start) > 10*time.Second {
				t.Fatal("the token was not forgotten within 10 s")
			}
		}
		if _, asked := x.exchange(exchange); asked != proven {
			t.Errorf("with appsecret_proof %v: Meta was asked again: %v, want %v", proven, asked, proven)
		}
	}
}

func TestWithoutPassthroughThereIsNoIndex(t *testing.T) {
	for _, pass := range []bool{true, false} {
		redis := redistest.Start(t)
		c, err := cache.New(cache.Options{MaxBytes: 1 << 20, Redis: &cache.RedisOptions{Mode: cache.ModeSingle, URL: redis.URL(), Timeout: 10 * time.Second}})
		if err != nil {
			t.Fatal(err)
		}
		x := newRevoking(t, func(o *Options) {
			if o.Cache, o.ClaimBudget = c, 20*time.Second; !pass {
				o.Passthrough = nil
			}
		})
		x.exchange("/access_token?grant_type=ig_exchange_token&access_token=short")
		if err := c.Close(t.Context()); err != nil { // waits for the store
			t.Fatal(err)
		}
		keys := redis.Keys()
		if indexed := slices.ContainsFunc(keys, func(k string) bool { return strings.HasSuffix(k, ":i") }); indexed != pass {
			t.Errorf("passthrough %v: a key of the index (ending in :i) got %v, want %v; keys in Redis: %q", pass, indexed, pass, keys)
		}
	}
}
