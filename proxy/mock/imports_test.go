package mock

import (
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// If the stand-in shared code with igproxy, it would share igproxy's mistakes. Tests may import one
// package that is not in the standard library: goleak.
func TestMockImportsOnlyTheStandardLibrary(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) < 10 {
		t.Fatalf("found %d Go files (error %v), want at least 10", len(files), err)
	}
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, spec := range parsed.Imports {
			path, _ := strconv.Unquote(spec.Path.Value)
			first, _, _ := strings.Cut(path, "/")
			standard := !strings.Contains(first, ".")
			if !standard && !(path == "go.uber.org/goleak" && strings.HasSuffix(file, "_test.go")) {
				t.Errorf("%s imports %s, want only the standard library", file, path)
			}
		}
	}
}
