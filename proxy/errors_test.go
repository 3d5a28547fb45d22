package proxy

import (
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
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
	for _, e := range []*graph.Error{errPath, errProxyRequest, errHost, errBrowser, errBody, errQuery, errGrantType("is missing", nil),
		tokenSubject.missing, tokenSubject.kind, codeSubject.missing, codeSubject.kind, errTwice(tokenSubject), errCharacters(tokenSubject),
		errTooLong(codeSubject), errUntrusted, errForm, errWhichApp, errRedirect, errTooLarge, errMethod("GET"),
		errBreakerOpen(time.Second), errOverloaded(), errTimeout(), errUnreachable("refused"), errBadAnswer("x"), graph.Unreadable(400), graph.Unreadable(499), errInternal("x")} {
		all[e.Subcode] = append(all[e.Subcode], e)
	}
	return all
}

// subcodes reads the constants from errors.go, so that this test does not miss a new one.
func subcodes(t *testing.T) map[int]string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "errors.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	found := map[int]string{}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || !strings.HasPrefix(spec.Names[0].Name, "sub") {
			return true
		}
		value, err := strconv.Atoi(spec.Values[0].(*ast.BasicLit).Value)
		if err != nil || found[value] != "" {
			t.Errorf("%s is not a number, or the same as %s", spec.Names[0].Name, found[value])
		}
		found[value] = spec.Names[0].Name
		return true
	})
	found[graph.SubcodeUnreadable] = "graph.SubcodeUnreadable"
	return found
}

func TestEachOwnErrorHasItsRowInTheDocs(t *testing.T) {
	row := regexp.MustCompile(`^\| (\d{3}|4xx) \| (\d+) / (\d+) \| ([^|]+) \| ([^|]+) \|$`)
	errs, names := ownErrors(), subcodes(t)
	documented := map[int]bool{}
	for _, line := range tableIn(t, "../docs/errors.md", "| status | code / subcode | meaning | retry? |") {
		m := row.FindStringSubmatch(line)
		if m == nil {
			t.Errorf("a malformed row: %s", line)
			continue
		}
		status, _ := strconv.Atoi(m[1]) // 4xx: any
		code, _ := strconv.Atoi(m[2])
		subcode, _ := strconv.Atoi(m[3])
		documented[subcode] = true
		if names[subcode] == "" || len(errs[subcode]) == 0 {
			t.Errorf("docs/errors.md has %d, which igproxy never sends", subcode)
		}
		for _, e := range errs[subcode] {
			if e.Status != status && (m[1] != "4xx" || e.Status/100 != 4) || e.Code != code {
				t.Errorf("%s is %d with code %d, docs/errors.md has %s and %d", names[subcode], e.Status, e.Code, m[1], code)
			}
			if promised := m[5] == "after `Retry-After`"; promised != !e.RetryAt.IsZero() {
				t.Errorf("%s: RetryAt %v, docs/errors.md has %q", names[subcode], e.RetryAt, m[5])
			}
			if transient := e.Transient != nil && *e.Transient; transient != (e.Code == 2) || m[5] == "no" && e.Status >= 500 {
				t.Errorf("%s: is_transient %v with code %d, docs/errors.md has %q", names[subcode], transient, e.Code, m[5])
			}
		}
	}
	for subcode, name := range names {
		if !documented[subcode] {
			t.Errorf("%s (%d) has no row in docs/errors.md", name, subcode)
		}
		if len(errs[subcode]) == 0 {
			t.Errorf("%s (%d) has no error in this test", name, subcode)
		}
	}
}

func TestOwnErrorsParseAsInstagramsDo(t *testing.T) {
	for subcode, list := range ownErrors() {
		for _, e := range list {
			back, ok := graph.ReadError(e.Status, e.Encode(), func(s string) string { return s })
			if !ok || back.Code != e.Code || back.Subcode != subcode || back.Message != e.Message || back.Type != e.Type || e.Status < 400 {
				t.Errorf("%d: %s", subcode, e.Encode())
			}
			if !strings.HasSuffix(e.Message, ".") || strings.Contains(e.Message, "CANARY") || strings.Contains(e.Message, "canary") {
				t.Errorf("%d: %q is not a sentence, or repeats what was sent", subcode, e.Message)
			}
		}
	}
}

// An unread body closes the connection, and the answer announces it. A wrong method alone does not.
func TestABodyClosesTheConnection(t *testing.T) {
	p := proxyOf(t, nil, nil)
	for want, r := range map[string]*http.Request{"": postRequest(), "close": withBody()} {
		if got := ask(p, r).Header().Get("Connection"); got != want {
			t.Errorf("%s: Connection is %q, want %q", r.Method, got, want)
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
	r.ContentLength = 5
	return r
}
