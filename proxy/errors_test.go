package proxy

import (
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/igproxy/igproxy/proxy/graph"
)

// ownErrors returns all of igproxy's own errors by subcode. A subcode can have several messages.
func ownErrors() map[int][]*graph.Error {
	all := map[int][]*graph.Error{}
	for _, e := range []*graph.Error{errPath, errProxyRequest, errHost, errOtherHost, errLoop, errBrowser, errBody, errQuery, errGrantType(nil),
		tokenSubject.missing, tokenSubject.kind, codeSubject.missing, codeSubject.kind, extendSubject.missing, extendSubject.kind, errToken(), errToken("a", "a"), errToken("a b"),
		errToken(strings.Repeat("a", graph.MaxToken+1)), errUntrusted, errForm, errTwoPlaces, errWhichApp(nil), errRedirect, errNoRedirect, errNoID, errTooLarge, errSlowRequest, errSlowReader(), errOwnToken, errPassedOverload(), errMethod,
		errBreakerOpen(time.Second), errOverloaded(), errTimeout(), errUnreachable("refused"), errBadAnswer("x"), errInternal("x"),
		errOwnPath, errPostOnly, errWhoseSignature, errUnsignedWebhook, errWebhookTooLarge, errSlowBody, errCutBody, errSignedForm, errWrongWebhook(), errWrongRequest("x")} {
		all[e.Subcode] = append(all[e.Subcode], e)
	}
	for _, status := range []int{400, 499} {
		e, _ := graph.ReadError(status, nil, nil)
		all[e.Subcode] = append(all[e.Subcode], e)
	}
	return all
}

// errToken returns the error for a request with these tokens.
func errToken(sent ...string) *graph.Error {
	var p params
	for _, token := range sent {
		p.add("access_token", token)
	}
	_, refused := p.pick(tokenSubject, nil)
	return refused
}

// subcodes reads the subcodes from the source files, so that the test below does not miss a new
// subcode.
func subcodes(t *testing.T) map[int]bool {
	t.Helper()
	found := map[int]bool{graph.SubcodeUnreadable: true, graph.SubcodeLoop: true}
	for _, name := range []string{"errors.go", "decode.go", "decode_params.go", "decode_path.go"} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, digits := range regexp.MustCompile(`\b99\d{4}\b`).FindAllString(string(text), -1) {
			subcode, _ := strconv.Atoi(digits)
			found[subcode] = true
		}
	}
	return found
}

func TestEachErrorOfIgproxyHasARowInTheDocs(t *testing.T) {
	row := regexp.MustCompile(`^\| (\d{3}|4xx) \| (\d+) / (\d+) \| ([^|]+) \| ([^|]+) \|$`)
	errs, sent := ownErrors(), subcodes(t)
	documented := map[int]bool{}
	for _, line := range tableIn(t, "../docs/errors.md", "| status | code / subcode | meaning | retry? |") {
		m := row.FindStringSubmatch(line)
		if m == nil {
			t.Errorf("a malformed row: %s", line)
			continue
		}
		status, _ := strconv.Atoi(m[1]) // 0 for "4xx", which stands for every 4xx
		code, _ := strconv.Atoi(m[2])
		subcode, _ := strconv.Atoi(m[3])
		documented[subcode] = true
		if !sent[subcode] || len(errs[subcode]) == 0 {
			t.Errorf("docs/errors.md has %d, which igproxy never sends", subcode)
		}
		for _, e := range errs[subcode] {
			if e.Status != status && (m[1] != "4xx" || e.Status/100 != 4) || e.Code != code {
				t.Errorf("%d has status %d and code %d, docs/errors.md has status %s and code %d", subcode, e.Status, e.Code, m[1], code)
			}
			if promised := m[5] == "after `Retry-After`"; promised != !e.RetryAt.IsZero() {
				t.Errorf("%d: RetryAt is %v, but docs/errors.md has %q; want both to promise Retry-After, or neither", subcode, e.RetryAt, m[5])
			}
			if transient := e.Transient != nil && *e.Transient; transient != (e.Code == 2) {
				t.Errorf("%d: is_transient is %v with code %d, want true for code 2 and false for any other code", subcode, transient, e.Code)
			}
			if m[5] == "no" && e.Status >= 500 {
				t.Errorf("%d: got status %d, want a 4xx, because docs/errors.md says not to retry", subcode, e.Status)
			}
		}
	}
	for subcode := range sent {
		if !documented[subcode] {
			t.Errorf("%d has no row in docs/errors.md", subcode)
		}
		if len(errs[subcode]) == 0 {
			t.Errorf("%d: ownErrors has no error with this subcode", subcode)
		}
	}
}

func TestIgproxysErrorsParseLikeInstagramsErrors(t *testing.T) {
	for subcode, list := range ownErrors() {
		for _, e := range list {
			back, ok := graph.ReadError(e.Status, e.Encode(), func(s string) string { return s })
			if !ok || back.Code != e.Code || back.Subcode != subcode || back.Message != e.Message || back.Type != e.Type || e.Status < 400 {
				t.Errorf("%d: status %d, %s is parsed as %+v; want the same fields, and a status of at least 400", subcode, e.Status, e.Encode(), back)
			}
			if !strings.HasSuffix(e.Message, ".") || strings.Contains(e.Message, "CANARY") || strings.Contains(e.Message, "canary") {
				t.Errorf("%d: got the message %q, want one that ends with a full stop and contains no canary", subcode, e.Message)
			}
		}
	}
}

// If igproxy does not read a request's body, its response has "Connection: close". A POST without a
// body leaves the connection open.
func TestAnUnreadBodyClosesTheConnection(t *testing.T) {
	p := proxyOf(t, nil, nil)
	for want, r := range map[string]*http.Request{"": postRequest(), "close": withBody()} {
		if got := ask(p, r).Header().Get("Connection"); got != want {
			t.Errorf("%s with a body of %d bytes: the header Connection is %q, want %q", r.Method, r.ContentLength, got, want)
		}
	}
}

func postRequest() *http.Request {
	r := get(target("IGAAshort"))
	r.Method = http.MethodPost
	return r
}

func withBody() *http.Request {
	r := get(target("IGAAshort"))
	r.ContentLength = 5000
	return r
}

// The codes of embedded signup are issued without a redirect_uri. So the error for a code without a
// redirect_uri advises the operator to add the item "none" to redirect_uris.
func TestTheErrorForACodeWithoutARedirectURISaysHowToAllowIt(t *testing.T) {
	w, _ := facebookWorld(t, App{Label: "strict", Service: Facebook, ID: "1787", Secret: NewSecret("secret-of-strict-0123456789"), RedirectURIs: []string{callback}})
	for target, want := range map[string]bool{
		"/apps/strict/oauth/access_token?code=C": true, "/apps/strict/oauth/access_token?code=C&redirect_uri=": true,
		"/apps/strict/oauth/access_token?code=C&redirect_uri=https://other.example/": false,
		"/apps/strict/oauth/access_token?code=C&redirect_uri=&redirect_uri=":         false,
	} {
		if got := w.get(target).Body.String(); !strings.Contains(got, "990017") || strings.Contains(got, "add the word none") != want {
			t.Errorf("%s: got %s, want 990017; want advice about the word none: %t", target, got, want)
		}
	}
}
