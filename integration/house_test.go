package integration

// The source code follows its architecture: each package imports only the packages that it may
// import, and each library in homes is imported only in the files listed there. Comments keep the
// rules at TestCommentsKeepTheirForm.

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

const module = "github.com/igproxy/igproxy/"

// mayImport lists the packages of this module that each package may import. Tests may import more.
var mayImport = map[string][]string{
	"cmd/igproxy": {"proxy", "proxy/admin", "proxy/mock", "cache", "cmd/igproxy/internal/authority", "cmd/igproxy/internal/config", "cmd/igproxy/internal/listener",
		"cmd/igproxy/internal/logging", "cmd/igproxy/internal/sidecar", "cmd/igproxy/internal/tracing"},
	"cmd/igproxy/internal/sidecar": {"proxy", "proxy/admin", "proxy/lane", "cache", "breaker", "cmd/igproxy/internal/authority", "cmd/igproxy/internal/config",
		"cmd/igproxy/internal/intercept", "cmd/igproxy/internal/listener", "cmd/igproxy/internal/logging", "cmd/igproxy/internal/tracing"},
	"cmd/igproxy/internal/authority": {},
	"cmd/igproxy/internal/config":    {"proxy", "cmd/igproxy/internal/authority"},
	"cmd/igproxy/internal/intercept": {"proxy"},
	"cmd/igproxy/internal/listener":  {"cmd/igproxy/internal/logging"},
	"cmd/igproxy/internal/logging":   {"proxy/loglimit"},
	"cmd/igproxy/internal/tracing":   {},

	"proxy":               {"proxy/graph", "proxy/keep", "proxy/lane", "proxy/loglimit", "proxy/passthrough", "proxy/signature", "cache", "breaker"},
	"proxy/admin":         {"proxy", "proxy/graph"},
	"proxy/keep":          {"cache"},
	"proxy/passthrough":   {},
	"proxy/signature":     {},
	"proxy/graph":         {},
	"proxy/lane":          {},
	"proxy/loglimit":      {},
	"proxy/mock":          {},
	"cache":               {"breaker"},
	"cache/redistest":     {},
	"breaker":             {},
	"integration":         {},
	"integration/harness": {"cache/redistest", "proxy/mock"},
	"tools/faults":        {},
}

// homes maps a library to patterns of the only files that may import it.
var homes = map[string][]string{
	"github.com/redis/go-redis/":          {"cache/redis.go", "cache/redis_*.go"},
	"github.com/maypok86/otter/":          {"cache/memory.go"},
	"github.com/sony/gobreaker/":          {"breaker/breaker.go"},
	"golang.org/x/sync/singleflight":      {"proxy/join.go"},
	"github.com/prometheus/client_golang": {"proxy/metrics.go", "proxy/metrics_gauges.go"},
	"go.opentelemetry.io/":                {"proxy/tracing.go", "cmd/igproxy/internal/tracing/*.go"},
	"go.yaml.in/yaml/":                    {"cmd/igproxy/internal/config/yaml.go"},
	"github.com/urfave/cli/":              {"cmd/igproxy/*.go"},
	"github.com/coreos/go-systemd/":       {"cmd/igproxy/internal/sidecar/systemd.go"},
	"github.com/KimMachineGun/":           {"cmd/igproxy/internal/sidecar/memory.go"},
}

// neverIn lists prefixes of imports that a package must not have.
var neverIn = map[string][]string{
	"cache":   {"net/http"},
	"breaker": {"net/http", "github.com/redis/go-redis/"},
}

func TestImportsFollowTheArchitecture(t *testing.T) {
	t.Parallel()
	files := 0
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && path != ".." {
			if _, err := os.Stat(filepath.Join(path, "go.mod")); err == nil {
				return filepath.SkipDir // a separate module, which does not ship
			}
		}
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		files++
		name := filepath.ToSlash(strings.TrimPrefix(path, "../"))
		pkg := filepath.ToSlash(filepath.Dir(name))
		allowed, known := mayImport[pkg]
		if !known {
			t.Errorf("%s: its package has no row in mayImport", name)
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range parsed.Imports {
			imported, _ := strconv.Unquote(spec.Path.Value)
			if ours, ok := strings.CutPrefix(imported, module); ok && !slices.Contains(allowed, ours) {
				t.Errorf("%s imports %s, which mayImport does not allow", name, ours)
			}
			for library, patterns := range homes {
				if strings.HasPrefix(imported, library) && !slices.ContainsFunc(patterns, func(p string) bool { ok, _ := filepath.Match(p, name); return ok }) {
					t.Errorf("%s imports %s, which only %v may import", name, imported, patterns)
				}
			}
			for _, never := range neverIn[pkg] {
				if strings.HasPrefix(imported, never) {
					t.Errorf("%s imports %s, which neverIn forbids", name, imported)
				}
			}
		}
		return nil
	})
	if err != nil || files < 30 {
		t.Fatalf("got %d files, error %v; want at least 30 files, no error", files, err)
	}
}

const (
	commentColumns  = 100 // the limit for a line that is a comment
	trailingColumns = 120 // the limit for a line with a comment after code
)

// The comments in all Go files, tests and tools included, follow two rules. No comment is wider
// than the limits above; a tab counts as four columns. The doc comment of a function f does not
// begin with "f is" or "f are", because it should say what f does or returns.
func TestCommentsKeepTheirForm(t *testing.T) {
	t.Parallel()
	files := 0
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && path != ".." && strings.HasPrefix(d.Name(), ".") {
			return filepath.SkipDir
		}
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") {
			return err
		}
		files++
		source, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name := filepath.ToSlash(strings.TrimPrefix(path, "../"))
		problems, err := commentProblems(name, string(source))
		for _, problem := range problems {
			t.Error(problem)
		}
		return err
	})
	if err != nil || files < 100 {
		t.Fatalf("got %d files, error %v; want at least 100 files, no error", files, err)
	}
}

// commentProblems returns a problem for each line and each doc comment in a Go file that breaks a
// rule. Generated files are not checked. Lines with a URL may be wider.
func commentProblems(name, source string) (problems []string, err error) {
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, name, source, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil || ast.IsGenerated(file) {
		return nil, err
	}
	lines := strings.Split(source, "\n")
	for _, group := range file.Comments {
		for n := set.Position(group.Pos()).Line; n <= set.Position(group.End()).Line; n++ {
			line := lines[n-1]
			columns, most := utf8.RuneCountInString(strings.ReplaceAll(line, "\t", "    ")), trailingColumns
			if n > set.Position(group.Pos()).Line || strings.HasPrefix(strings.TrimSpace(line), "/") {
				most = commentColumns
			}
			if columns > most && !strings.Contains(line, "://") {
				problems = append(problems, fmt.Sprintf("%s:%d: the comment ends in column %d, want at most %d", name, n, columns, most))
			}
		}
	}
	for _, declaration := range file.Decls {
		f, ok := declaration.(*ast.FuncDecl)
		if !ok {
			continue
		}
		for _, verb := range []string{"is", "are"} {
			if start := f.Name.Name + " " + verb + " "; strings.HasPrefix(f.Doc.Text(), start) {
				problems = append(problems, fmt.Sprintf("%s:%d: the doc comment begins with %q; say what it does or returns",
					name, set.Position(f.Doc.Pos()).Line, start))
			}
		}
	}
	return problems, nil
}

func TestCommentProblemsAreFound(t *testing.T) {
	t.Parallel()
	wide := strings.Repeat("x", 60) + " " + strings.Repeat("x", 60)
	const head = "package p\n"
	for source, want := range map[string]int{
		head + "// " + wide + "\nvar a int\n":                          1,
		head + "// https://example.com/" + wide + "\nvar a int\n":      0,
		head + "// " + wide[:97] + "\nvar a int\n":                     0,
		head + "\t// " + wide[:97] + "\nvar a int\n":                   1,
		head + "var a int // " + wide[:105] + "\n":                     0,
		head + "var a int // " + wide + "\n":                           1,
		head + "var a = `\n// " + wide + "`\n":                         0,
		head + "/*\n" + wide + "\n*/\nvar a int\n":                     1,
		head + "// f is something.\nfunc f() {}\n":                     1,
		head + "// f are some.\nfunc f() {}\n":                         1,
		head + "// f returns what is.\nfunc f() {}\n":                  0,
		head + "// m is something.\nfunc (t) m() {}\ntype t int\n":     1,
		head + "// t is a type.\ntype t int\n":                         0,
		"// Code generated by x. DO NOT EDIT.\n" + head + "// " + wide: 0,
	} {
		if got, err := commentProblems("p.go", source); len(got) != want || err != nil {
			t.Errorf("%q: got %q, %v; want %d problems", source, got, err, want)
		}
	}
}
