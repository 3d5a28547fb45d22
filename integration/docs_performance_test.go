package integration

// The tables in docs/performance.md and README, and the picture of docs/performance.md, are
// generated from docs/performance.json. No test checks the measured values.

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

func TestPerformancePagesMatchTheMeasurements(t *testing.T) {
	t.Parallel()
	pages := []string{"performance.json", "performance.md", "performance.svg", "../README.md"}
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "docs"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range pages {
		text, err := os.ReadFile(filepath.Join("../docs", name))
		if err == nil {
			err = os.WriteFile(filepath.Join(root, "docs", name), text, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.CommandContext(t.Context(), "go", "run", "-C", "../tools", "./peers", "-render", "-root", root).CombinedOutput(); err != nil {
		t.Fatalf("rendering the pages: %v\n%s", err, out)
	}
	for _, name := range pages {
		was, _ := os.ReadFile(filepath.Join("../docs", name))
		is, err := os.ReadFile(filepath.Join(root, "docs", name))
		if err != nil || string(is) != string(was) {
			t.Errorf("docs/%s does not match docs/performance.json (%v); run: go run -C tools ./peers -render", name, err)
		}
	}
}
