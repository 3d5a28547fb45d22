package integration

// SECURITY.md says what is true: each threat has a test that exists, and each library a reason.

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// testNames are the tests and fuzz targets of the whole repository.
func testNames(t *testing.T) map[string]bool {
	t.Helper()
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\([tf] \*testing\.[TF]\)`)
	names := map[string]bool{}
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, found := range declared.FindAllSubmatch(text, -1) {
			names[string(found[1])] = true
		}
		return err
	})
	must(t, err)
	return names
}

// section of a document, from its heading to the next.
func section(t *testing.T, text, heading string) string {
	t.Helper()
	_, rest, ok := strings.Cut(text, "\n## "+heading+"\n")
	if !ok {
		t.Fatalf("no section %q", heading)
	}
	body, _, _ := strings.Cut(rest, "\n## ")
	return body
}

// rows of a section's table, each as its cells.
func rows(section string) (all [][]string) {
	for line := range strings.Lines(section) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "|") && !strings.HasPrefix(line, "|--") {
			cells := strings.Split(strings.Trim(line, "|"), "|")
			for i := range cells {
				cells[i] = strings.TrimSpace(cells[i])
			}
			all = append(all, cells)
		}
	}
	return all[1:] // the head
}

func readSecurity(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../SECURITY.md")
	must(t, err)
	return string(text)
}

func TestSecurityNamesATestForEveryThreat(t *testing.T) {
	text, exists := readSecurity(t), testNames(t)
	cited := regexp.MustCompile("`((?:Test|Fuzz)[A-Z]\\w*)`")
	for _, found := range cited.FindAllStringSubmatch(text, -1) {
		if !exists[found[1]] {
			t.Errorf("there is no %s", found[1])
		}
	}
	threats := rows(section(t, text, "Threats"))
	for _, row := range threats {
		if len(row) != 6 || slices.Contains(row, "") {
			t.Errorf("not number, actor, asset, attack, defence, test: %q", row)
		} else if !cited.MatchString(row[5]) {
			t.Errorf("threat %s has no test", row[0])
		}
	}
	if len(threats) < 20 || len(exists) < 100 {
		t.Errorf("%d threats, %d tests: this test looked at the wrong thing", len(threats), len(exists))
	}
}

func TestEveryLibraryHasItsReason(t *testing.T) {
	mod, err := os.ReadFile("../go.mod")
	must(t, err)
	required := map[string]bool{}
	for _, found := range regexp.MustCompile(`(?m)^\t(\S+) v\S+$`).FindAllStringSubmatch(string(mod), -1) { // what is indirect has a comment behind
		required[found[1]] = true
	}
	for _, row := range rows(section(t, readSecurity(t), "What it is made of")) {
		name := strings.Trim(row[0], "`")
		if !required[name] || row[1] == "" {
			t.Errorf("%s is not required by go.mod, is listed twice, or has no reason", name)
		}
		delete(required, name)
	}
	if len(required) > 0 {
		t.Errorf("without a reason in SECURITY.md: %v", slices.Sorted(maps.Keys(required)))
	}
}
