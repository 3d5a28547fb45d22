package admin_test

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/igproxy/igproxy/proxy"
	"github.com/igproxy/igproxy/proxy/admin"
)

// The page may use only its own style, its own script and its own origin. No attribute may contain
// a style or a script.
func TestThePageIsCompleteAndItsContentSecurityPolicyIsStrict(t *testing.T) {
	p := newFailing(t)
	fail(p)
	w := get(newHandler(t, admin.Options{Proxy: p, About: admin.About{Host: "<b>&web", Version: "</title>v1",
		Configuration: []admin.Setting{{Name: `"><script>alert(1)</script>`, Value: "<img src=x>", Origin: "' onload='x"}}}}), "/")
	text, policy := w.Body.String(), w.Header().Get("Content-Security-Policy")
	if w.Header().Get("Content-Type") != "text/html; charset=utf-8" || !strings.HasPrefix(text, "<!doctype html>") || !strings.HasSuffix(text, "</html>\n") {
		t.Errorf("got the headers %v and a page that begins with %.100s, want a complete HTML page", w.Header(), text)
	}
	directives := map[string]string{}
	for d := range strings.SplitSeq(policy, "; ") {
		name, value, _ := strings.Cut(d, " ")
		directives[name] = value
	}
	for name, want := range map[string]string{"default-src": "'none'", "connect-src": "'self'", "frame-ancestors": "'none'", "base-uri": "'none'", "form-action": "'none'", "img-src": "data:"} {
		if directives[name] != want {
			t.Errorf("%s is %q, want %q", name, directives[name], want)
		}
	}
	for name, element := range map[string]string{"script-src": "script", "style-src": "style"} {
		found := regexp.MustCompile(`(?s)<`+element+`>(.*?)</`+element+`>`).FindAllStringSubmatch(text, -1)
		if len(found) != 1 {
			t.Fatalf("the page has %d <%s> elements, want 1", len(found), element)
		}
		sum := sha256.Sum256([]byte(found[0][1]))
		if want := "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"; directives[name] != want {
			t.Errorf("%s is %q, want the hash of the element, %q", name, directives[name], want)
		}
	}
	if strings.Contains(policy, "unsafe") {
		t.Errorf("got the policy %q, want no unsafe source", policy)
	}
	for _, never := range []string{`\son[a-z]+="`, `\sstyle="`, `<script[^>]+src`, `<link[^>]+stylesheet`, `@import`, `url\(`, `innerHTML`, `<b>&`, `<img`, `</title>v1`, "' onload='x"} {
		if found := regexp.MustCompile(never).FindString(text); found != "" {
			t.Errorf("the page contains %q, want no match of %q", found, never)
		}
	}
	for _, u := range regexp.MustCompile(`https?://[^"' ]*`).FindAllString(text, -1) {
		if u != "http://www.w3.org/2000/svg" && !strings.HasPrefix(u, "https://github.com/igproxy/igproxy/blob/main/docs/operations.md#igproxy") {
			t.Errorf("the page has the URL %s, want only the URLs of the SVG namespace and of runbooks", u)
		}
	}
}

// newFailing returns a Proxy whose breaker opens at the first failure.
func newFailing(t *testing.T) *proxy.Proxy {
	t.Helper()
	_, base := newInstagram(t)
	o := optionsFor(t, base)
	o.Breaker.Failures = 1
	p := newProxy(t, o)
	p.Metrics().Reloaded(true)
	return p
}

// fail sends requests that end in different ways, and opens the breaker.
func fail(p *proxy.Proxy) {
	for _, token := range []string{"IGAAcanary", "expired-canary", "down-canary", "IGAAcanary-2"} {
		_ = get(p, exchange(token))
	}
}

// words returns the text that a reader sees on the page, with " | " after each cell, paragraph,
// list item and heading.
func words(t *testing.T, h http.Handler) string {
	t.Helper()
	text := get(h, "/").Body.String()
	text = regexp.MustCompile(`(?s)<style>.*?</style>|<script>.*?</script>`).ReplaceAllString(text, "")
	text = regexp.MustCompile(`</(td|th|tr|li|p|dt|dd|b|h1|title)>`).ReplaceAllString(text, " | ")
	return strings.Join(strings.Fields(regexp.MustCompile(`<[^>]*>`).ReplaceAllString(text, "")), " ")
}

func TestThePageShowsTheCurrentStateWithoutItsScript(t *testing.T) {
	p := newFailing(t)
	h := newHandler(t, admin.Options{Proxy: p, About: admin.About{Host: "web-1", Version: "v1.2.3",
		Configuration: []admin.Setting{{Name: "cache.ttl", Value: "1h", Origin: "igproxy.yaml:7"}}}})
	fail(p)
	got := words(t, h)
	for _, want := range []string{
		"igproxy on web-1: 2 problems | ",    // the title
		"igproxy web-1 | ready | v1.2.3, up", // the head
		"% of the requests of the last 5 minutes failed. Rejected requests, disconnected callers and signature checks are not counted. IgproxyRequestsFail | A breaker for Instagram opened at ",
		"default | instagram | accepted | not paused | open: exchange | ",
		"failed 2 | 50.0%",
		"default exchange | unavailable, 503 | 2 / 990020 | breaker open | 1 | " + p.Failures()[0].RequestID,
		"default exchange | refused, 400 | 190 / 463 | Meta refused the user&#39;s token | 1 | ",
		"Instagram | " + time.Now().Format("15:"), "| continues |",
		"cache.ttl | 1h | igproxy.yaml:7 |",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the page does not have %q:\n%s", want, got)
		}
	}
	if !regexp.MustCompile(`\| \d{4}-\d\d-\d\d \d\d:\d\d:\d\d [A-Z]+ \|`).MatchString(got) {
		t.Errorf("the page does not show the time with a time zone:\n%s", got)
	}
	for _, never := range []string{"canary", appSecret} {
		if strings.Contains(got, never) {
			t.Errorf("the page contains %q, want no token and no secret", never)
		}
	}
}

func TestThePagesColumnsAreTheSameForHealthyAndFailingSidecars(t *testing.T) {
	healthy := newProxy(t, optionsFor(t, nowhere))
	healthy.Metrics().Reloaded(true)
	columns := func(h http.Handler) []string {
		return regexp.MustCompile(`<th scope="col"[^>]*>[^<]*|<dt>[^<]*</dt><dd><b>`).FindAllString(get(h, "/").Body.String(), -1)
	}
	failing := newFailing(t)
	h := handlerOf(t, failing)
	fail(failing)
	got, want := columns(h), columns(handlerOf(t, healthy))
	if !slices.Equal(got, want) || len(got) < 30 {
		t.Errorf("failing sidecar: got the columns %q, want those of a healthy sidecar, at least 30: %q", got, want)
	}
}

// A bar for an incomplete bucket would look like a drop in traffic.
func TestTheChartsShowOnlyCompleteBuckets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProxy(t, optionsFor(t, nowhere))
		h := handlerOf(t, p)
		bars := func() int {
			return strings.Count(regexp.MustCompile(`<path class="declined" d="([^"]*)"`).FindString(get(h, "/").Body.String()), "M")
		}
		for want := range 3 {
			_ = get(p, "/access_token")
			time.Sleep(4 * time.Second)
			if got := bars(); got != want {
				t.Errorf("got %d bars, want %d", got, want)
			}
			time.Sleep(time.Second + time.Millisecond)
		}
		const want = ": 0 served, 1 declined, 0 failed; 0 calls to Meta\n"
		if text := get(h, "/").Body.String(); !strings.Contains(text, want) {
			t.Errorf("the page does not have %q:\n%s", want, text)
		}
	})
}
