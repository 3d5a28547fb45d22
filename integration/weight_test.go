package integration

// A sidecar runs next to every app, so the size of its binary counts many times. These tests keep
// heavy dependencies out of the binary, and check that every release artifact is built the same
// way.

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// tag excludes urfave/cli's generator of manual pages, and its Markdown parser.
const tag = "urfave_cli_no_docs"

func TestBinaryHasNoHeavyDependencies(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("go", "list", "-deps", "-tags="+tag, "../cmd/igproxy").Output()
	must(t, err)
	packages := strings.Fields(string(out))
	for _, p := range packages {
		for _, heavy := range []string{"github.com/russross/blackfriday", "github.com/cpuguy83/go-md2man", "net/http/pprof", "testing"} {
			if strings.HasPrefix(p, heavy) {
				t.Errorf("the binary contains the heavy package %s", p)
			}
		}
	}
	if len(packages) < 200 {
		t.Errorf("go list shows %d packages, want at least 200", len(packages))
	}
}

func TestEveryReleaseArtifactIsBuiltTheSameWay(t *testing.T) {
	t.Parallel()
	line := regexp.MustCompile(`go build .*-o \S+ \./cmd/igproxy`)
	for _, file := range []string{"Makefile", "deploy/docker/Dockerfile", "tools/reproducible.sh"} {
		text, err := os.ReadFile("../" + file)
		must(t, err)
		builds := line.FindAllString(string(text), -1)
		if len(builds) != 1 {
			t.Errorf("%s: %d builds, want 1", file, len(builds))
		}
		for _, build := range builds {
			for _, want := range []string{"-tags=" + tag + " ", "-trimpath ", "-ldflags='-s -w' "} {
				if !strings.Contains(build, want) {
					t.Errorf("%s: no %s in %s", file, want, build)
				}
			}
		}
	}
	text, err := os.ReadFile("../.goreleaser.yaml")
	must(t, err)
	for _, want := range []string{"tags: [" + tag + "]", "flags: [-trimpath,", `ldflags: ["-s -w"]`} {
		if !strings.Contains(string(text), want) {
			t.Errorf(".goreleaser.yaml: no %s", want)
		}
	}
}
