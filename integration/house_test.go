package integration

// The house stays in order: imports go one way, and each library has one home.

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/igproxy/igproxy/"

// mayImport is what each package of ours may use of ours, in code that ships.
var mayImport = map[string][]string{
	"cmd/igproxy": {"proxy", "proxy/admin", "proxy/mock", "cache", "cmd/igproxy/internal/config", "cmd/igproxy/internal/listener", "cmd/igproxy/internal/logging",
		"cmd/igproxy/internal/sidecar", "cmd/igproxy/internal/tracing"},
	"cmd/igproxy/internal/sidecar": {"proxy", "proxy/admin", "cache", "breaker", "cmd/igproxy/internal/config", "cmd/igproxy/internal/listener", "cmd/igproxy/internal/logging",
		"cmd/igproxy/internal/tracing"},
	"cmd/igproxy/internal/config":   {"proxy"},
	"cmd/igproxy/internal/listener": {"cmd/igproxy/internal/logging"},
	"cmd/igproxy/internal/logging":  {},
	"cmd/igproxy/internal/tracing":  {},

	"proxy":               {"proxy/graph", "proxy/lane", "proxy/passthrough", "cache", "breaker"},
	"proxy/admin":         {"proxy", "proxy/graph"},
	"proxy/passthrough":   {},
	"proxy/graph":         {},
	"proxy/lane":          {},
	"proxy/mock":          {},
	"cache":               {"breaker"},
	"cache/redistest":     {},
	"breaker":             {},
	"integration":         {},
	"integration/harness": {"cache/redistest", "proxy/mock"},
	"tools/faults":        {},
}

// homes are the only files that may import a library, as patterns.
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

// neverIn are packages a room must not know.
var neverIn = map[string][]string{
	"cache":   {"net/http"},
	"breaker": {"net/http", "github.com/redis/go-redis/"},
}

func TestImportsGoOneWayAndEachLibraryHasOneHome(t *testing.T) {
	t.Parallel()
	files := 0
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && path != ".." {
			if _, err := os.Stat(filepath.Join(path, "go.mod")); err == nil {
				return filepath.SkipDir // a module of its own: nothing of it ships
			}
		}
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		files++
		name := filepath.ToSlash(strings.TrimPrefix(path, "../"))
		room := filepath.ToSlash(filepath.Dir(name))
		allowed, known := mayImport[room]
		if !known {
			t.Errorf("%s: a package without a row in mayImport", name)
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range parsed.Imports {
			imported, _ := strconv.Unquote(spec.Path.Value)
			if ours, ok := strings.CutPrefix(imported, module); ok && !slices.Contains(allowed, ours) {
				t.Errorf("%s imports %s: an arrow turns back", name, ours)
			}
			for library, patterns := range homes {
				if strings.HasPrefix(imported, library) && !slices.ContainsFunc(patterns, func(p string) bool { ok, _ := filepath.Match(p, name); return ok }) {
					t.Errorf("%s imports %s, whose home is %v", name, imported, patterns)
				}
			}
			for _, never := range neverIn[room] {
				if strings.HasPrefix(imported, never) {
					t.Errorf("%s imports %s, which its room must not know", name, imported)
				}
			}
		}
		return nil
	})
	if err != nil || files < 30 {
		t.Fatalf("%d files, %v", files, err)
	}
}
