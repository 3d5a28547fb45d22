package integration

// The source code keeps its architecture: imports go one way, and each library has one home.

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

// mayImport lists the packages of this module that each package may import, except in tests.
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

// homes lists patterns of the only files that may import a library.
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

// neverIn lists imports that a package must not have.
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
		t.Fatalf("%d files, %v", files, err)
	}
}
