package integration

// docs/logs.md lists every message that igproxy logs, with its level and attributes, and no other
// message.

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// logRow matches a row of docs/logs.md that describes a message. The rows about the attributes of
// requests have another form.
var logRow = regexp.MustCompile("(?m)^\\| `([^`]+)` \\| ([A-Z]+) \\| ([^|]*) \\|")

// logged returns a map of the messages that a Go file logs. A key is a message and a level, such as
// "stopped INFO". The value has the names of the attributes. The value is nil in two cases: if the
// message has no attributes, or if the call passes them as a list. The source does not show what is
// in such a list.
func logged(t *testing.T, source any, path string) map[string][]string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, source, parser.SkipObjectResolution)
	must(t, err)
	found := map[string][]string{}
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		method, ok := call.Fun.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		level := strings.ToUpper(strings.TrimSuffix(method.Sel.Name, "Context"))
		args := call.Args
		if strings.HasSuffix(method.Sel.Name, "Context") && len(args) > 0 {
			args = args[1:]
		}
		if !slices.Contains([]string{"DEBUG", "INFO", "WARN", "ERROR"}, level) || len(args) == 0 || literal(args[0]) == "" {
			return true
		}
		var attributes []string
		for i := 1; i < len(args) && !call.Ellipsis.IsValid(); i += 2 {
			attributes = append(attributes, literal(args[i]))
		}
		found[literal(args[0])+" "+level] = attributes
		return true
	})
	return found
}

// literal returns the value of a string literal, or "".
func literal(e ast.Expr) string {
	if lit, ok := e.(*ast.BasicLit); ok && lit.Kind == token.STRING {
		text, _ := strconv.Unquote(lit.Value)
		return text
	}
	return ""
}

// differences returns the differences between the messages that the code logs and those that the
// page lists.
func differences(code map[string][]string, page string) (all []string) {
	documented := map[string][]string{}
	for _, row := range logRow.FindAllStringSubmatch(page, -1) {
		documented[row[1]+" "+row[2]] = strings.Split(strings.ReplaceAll(row[3], "`", ""), ", ")
	}
	for message, attributes := range code {
		if got, ok := documented[message]; !ok || attributes != nil && !slices.Equal(got, attributes) {
			all = append(all, fmt.Sprintf("%s is logged with %q, the page has %q", message, attributes, got))
		}
	}
	for message := range documented {
		if _, ok := code[message]; !ok {
			all = append(all, message+" is not logged")
		}
	}
	return all
}

func TestLogsPageListsEveryMessage(t *testing.T) {
	t.Parallel()
	code := map[string][]string{}
	for _, root := range []string{"../cmd", "../proxy", "../cache", "../breaker"} {
		must(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			ours := strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") &&
				!strings.Contains(path, "proxy/mock/") && filepath.Base(path) != "mock.go"
			if err == nil && ours {
				for message, attributes := range logged(t, nil, path) {
					code[message] = attributes
				}
			}
			return err
		}))
	}
	page := read(t, "../docs/logs.md")
	for _, what := range differences(code, page) {
		t.Error(what)
	}
	// The function logged does not find the attributes of a request's line, which are in a list.
	line := regexp.MustCompile(`slog\.\w+\("(\w+)"`)
	for _, attribute := range line.FindAllStringSubmatch(read(t, "../proxy/answer_log.go"), -1) {
		if !regexp.MustCompile("(?m)^\\|[^|]*`" + attribute[1] + "`").MatchString(page) {
			t.Errorf("the page does not list the attribute %s of a request's line", attribute[1])
		}
	}
	if n := len(line.FindAllString(read(t, "../proxy/answer_log.go"), -1)); len(code) < 30 || n < 10 {
		t.Errorf("this test looked in the wrong place: found %d messages (want at least 30), and %d attributes of a request's line (want at least 10)", len(code), n)
	}
}

// differences reports messages and attributes that the page lacks, and those that only the page
// has.
func TestLogsPageDifferencesAreFound(t *testing.T) {
	t.Parallel()
	const page = "| `a b` | INFO | `x`, `y` | said |\n| `gone` | WARN | `x` | said |\n"
	code := logged(t, `package p
func f() { log.Info("a b", "x", 1, "z", 2); l.log.WarnContext(ctx, "new", "x", 1); log.Error("list", line...); errors.New("no"); x.Error() }`, "p.go")
	got := differences(code, page)
	slices.Sort(got)
	want := []string{`a b INFO is logged with ["x" "z"], the page has ["x" "y"]`, "gone WARN is not logged",
		`list ERROR is logged with [], the page has []`, `new WARN is logged with ["x"], the page has []`}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
