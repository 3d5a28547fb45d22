package integration

// The rows of docs/faults.md are numbered without gaps, README says how many there are, and every
// test that a row cites exists. make faults runs the cited tests and prints the table; it ticks a
// row only if all of the row's tests passed.

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// faultRow matches a row of docs/faults.md. faultTest matches a test that the last cell cites as
// `TestX/a case`, `package.TestX` or `package.FuzzX`.
var (
	faultRow  = regexp.MustCompile(`(?m)^\| (\d+) \|(.*)\|([^|]*)\|$`)
	faultTest = regexp.MustCompile("`(?:([a-z/]+)\\.)?((?:Test|Fuzz)[^`]+)`")
)

// testsIn returns the names of the tests and fuzz targets in a folder. The value of each name is
// the set of all string literals in the test's file, because the names of subtests are among these.
func testsIn(t *testing.T, folder string) map[string]map[string]bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", folder, "*_test.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%s has no tests (%v)", folder, err)
	}
	tests := map[string]map[string]bool{}
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		texts := map[string]bool{}
		ast.Inspect(file, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				if text, err := strconv.Unquote(lit.Value); err == nil {
					texts[text] = true
				}
			}
			return true
		})
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && (strings.HasPrefix(f.Name.Name, "Test") || strings.HasPrefix(f.Name.Name, "Fuzz")) {
				tests[f.Name.Name] = texts
			}
		}
	}
	return tests
}

func TestFaultRowsAreNumberedAndCiteExistingTests(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../docs/faults.md")
	if err != nil {
		t.Fatal(err)
	}
	folders := map[string]map[string]map[string]bool{}
	rows := faultRow.FindAllStringSubmatch(string(text), -1)
	for i, row := range rows {
		if row[1] != strconv.Itoa(i+1) {
			t.Errorf("row %s follows row %d, want row %d", row[1], i, i+1)
		}
		if n := strings.Count(row[2], "|"); n != 3 {
			t.Errorf("row %s has %d cells, want 6", row[1], n+3)
		}
		cited := faultTest.FindAllStringSubmatch(row[3], -1)
		if len(cited) == 0 {
			t.Errorf("row %s cites no test", row[1])
		}
		for _, c := range cited {
			folder := c[1]
			if folder == "" {
				folder = "integration"
			}
			if folders[folder] == nil {
				folders[folder] = testsIn(t, folder)
			}
			top, name, isCase := strings.Cut(c[2], "/")
			texts, exists := folders[folder][top]
			if !exists || isCase && !texts[name] {
				t.Errorf("row %s: package %s has no %s", row[1], folder, c[2])
			}
		}
	}
	if n := fmt.Sprintf("%d faults of", len(rows)); !strings.Contains(read(t, "../README.md"), n) {
		t.Errorf("README does not contain %q", n)
	}
	if lines := strings.Count(string(text), "\n| ") - strings.Count(string(text), "\n| # |"); lines != len(rows) || len(rows) < 60 {
		t.Errorf("the table has %d lines, of which %d have the form of a row; want all of them, and at least 60", lines, len(rows))
	}
}

// This test gives the output of made-up test runs to tools/faults, the program behind make faults.
func TestFaultsTableTicksOnlyProvenRows(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	program := filepath.Join(dir, "faults")
	if out, err := exec.Command("go", "build", "-C", "../tools", "-o", program, "./faults").CombinedOutput(); err != nil {
		t.Fatalf("building tools/faults: %v\n%s", err, out)
	}
	table := func(rows string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Join(dir, "docs"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "docs", "faults.md"), []byte("## Flights\n\n| # | fault | how | app | calls | test |\n|---|---|---|---|---|---|\n"+rows), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	event := func(action, folder, test string) string {
		return fmt.Sprintf(`{"Action":%q,"Package":"%s%s","Test":%q,"Elapsed":1.5}`+"\n", action, module, folder, test)
	}
	const rows = "| 1 | one | how | 200 | 1 | `TestA/a case`, `proxy.TestB` |\n| 2 | two | how | 503 | 20 | `TestC` |\n"
	a, b, c := event("pass", "integration", "TestA/a_case"), event("pass", "proxy", "TestB"), event("pass", "integration", "TestC")
	for name, s := range map[string]struct {
		rows, run string
		code      int
		says      []string
	}{
		"all passed":                   {rows, a + b + c, 0, []string{"✓   1  one", "✓   2  two", "2 of 2 hold", "1.5s"}},
		"one failed":                   {rows, a + b + event("fail", "integration", "TestC"), 1, []string{"✓   1", "✗   2", "integration.TestC failed", "1 of 2 hold"}},
		"one was skipped":              {rows, a + event("skip", "proxy", "TestB") + c, 1, []string{"✗   1", "proxy.TestB was skipped", "✓   2"}},
		"a case was skipped":           {rows, a + b + c + event("skip", "integration", "TestC/deep"), 1, []string{"✗   2", "integration.TestC/deep was skipped"}},
		"one did not run":              {rows, a + c, 1, []string{"✗   1", "proxy.TestB did not run"}},
		"same test of another package": {rows, a + event("pass", "cache", "TestB") + c, 1, []string{"proxy.TestB did not run"}},
		"nothing ran":                  {rows, "go: cannot\n", 1, []string{"0 of 2 hold"}},
		"no test is cited":             {rows + "| 3 | three | how | 200 | 1 | soon |\n", a + b + c, 1, []string{"✗   3", "no test is cited", "2 of 3 hold"}},
		"a row is too short":           {"| 1 | one | `TestA` |\n", a, 2, []string{"six cells"}},
		"no rows":                      {"", a, 2, []string{"no rows"}},
	} {
		t.Run(name, func(t *testing.T) {
			table(s.rows)
			run := filepath.Join(dir, "run.json")
			if err := os.WriteFile(run, []byte(s.run), 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(program, "-root", dir, "-from", run)
			out, _ := cmd.CombinedOutput()
			if code := cmd.ProcessState.ExitCode(); code != s.code {
				t.Errorf("exit code %d, want %d", code, s.code)
			}
			for _, says := range s.says {
				if !strings.Contains(string(out), says) {
					t.Errorf("the output does not contain %q:\n%s", says, out)
				}
			}
			if strings.Contains(string(out), "\x1b[") {
				t.Error("the output has colours, although it goes to a pipe")
			}
		})
	}
}
