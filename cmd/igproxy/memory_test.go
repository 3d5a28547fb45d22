package main

import (
	"bytes"
	"log/slog"
	"math"
	"os"
	"runtime/debug"
	"strings"
	"testing"
	"testing/fstest"
)

func TestTheMemoryOfAContainerIsFound(t *testing.T) {
	const v1, v2 = "sys/fs/cgroup/memory/", "sys/fs/cgroup/"
	for name, c := range map[string]struct {
		groups string
		files  map[string]string
		want   int64
	}{
		"version 2, a container":              {"0::/\n", map[string]string{v2 + "memory.max": "67108864\n"}, 64 << 20},
		"version 2, a service":                {"0::/system.slice/igproxy.service\n", map[string]string{v2 + "system.slice/igproxy.service/memory.max": "1000000\n"}, 1000000},
		"the one above has less":              {"0::/pod/c\n", map[string]string{v2 + "pod/c/memory.max": "max\n", v2 + "pod/memory.max": "5000000\n"}, 5000000},
		"version 1, a container":              {"4:memory:/docker/abc\n1:cpu:/\n", map[string]string{v1 + "memory.limit_in_bytes": "67108864\n"}, 64 << 20},
		"version 1, the machine's own":        {"4:memory:/a\n0::/\n", map[string]string{v1 + "a/memory.limit_in_bytes": "70000000\n", v1 + "memory.limit_in_bytes": "9223372036854771712\n"}, 70000000},
		"version 1, with pages of 64 KiB":     {"4:memory:/\n", map[string]string{v1 + "memory.limit_in_bytes": "9223372036854710272\n"}, math.MaxInt64},
		"outside of the namespace":            {"0::/../../b\n", map[string]string{v2 + "b/memory.max": "8000000\n", v2 + "memory.max": "9000000\n"}, 9000000},
		"no limit":                            {"0::/\n", map[string]string{v2 + "memory.max": "max\n"}, math.MaxInt64},
		"no such file":                        {"0::/\n", nil, math.MaxInt64},
		"no cgroups":                          {"", nil, math.MaxInt64},
		"nonsense":                            {"0::/\n\n:\nx\n", map[string]string{v2 + "memory.max": "-5\n"}, math.MaxInt64},
		"another controller says nothing":     {"1:cpu,memoryless:/a\n", map[string]string{v1 + "a/memory.limit_in_bytes": "1\n"}, math.MaxInt64},
		"a limit that is no number any more ": {"0::/\n", map[string]string{v2 + "memory.max": "99999999999999999999\n"}, math.MaxInt64},
	} {
		root := fstest.MapFS{"proc/self/cgroup": {Data: []byte(c.groups)}}
		for file, text := range c.files {
			root[file] = &fstest.MapFile{Data: []byte(text)}
		}
		if got := containerMemory(root); got != c.want {
			t.Errorf("%s: got %d want %d", name, got, c.want)
		}
	}
	if containerMemory(fstest.MapFS{}) != math.MaxInt64 {
		t.Error("a system without /proc has a limit")
	}
	if got := containerMemory(os.DirFS("/")); got < 1<<20 {
		t.Errorf("this test runs with %d bytes", got)
	}
}

func TestGoKeepsToTheContainersMemoryUnlessTheOperatorSaysOtherwise(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	defer debug.SetMemoryLimit(before)
	root := fstest.MapFS{"proc/self/cgroup": {Data: []byte("0::/\n")}, "sys/fs/cgroup/memory.max": {Data: []byte("1073741824\n")}}
	for set, want := range map[int64]int64{math.MaxInt64: 1 << 30 / 10 * 9, 2 << 30: 2 << 30} { // none, and GOMEMLIMIT
		debug.SetMemoryLimit(set)
		var b bytes.Buffer
		keepToMemory(root, slog.New(slog.NewTextHandler(&b, nil)))
		if got := debug.SetMemoryLimit(-1); got != want || strings.Contains(b.String(), "container_bytes=1073741824") != (set == math.MaxInt64) {
			t.Errorf("with %d: got %d want %d, %s", set, got, want, b.String())
		}
	}
	debug.SetMemoryLimit(math.MaxInt64)
	keepToMemory(fstest.MapFS{}, slog.New(slog.DiscardHandler))
	if got := debug.SetMemoryLimit(-1); got != math.MaxInt64 {
		t.Errorf("without a container: got %d", got)
	}
}

func TestThereIsNoBallastWhereMemoryIsShortOrTuned(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	defer debug.SetMemoryLimit(before)
	for _, c := range []struct {
		limit   int64
		environ []string
		want    int
	}{
		{math.MaxInt64, []string{"HOME=/"}, 8 << 20},
		{256 << 20, nil, 8 << 20},
		{255 << 20, nil, 0},
		{math.MaxInt64, []string{"GOGC=50"}, 0},
	} {
		debug.SetMemoryLimit(c.limit)
		if got := len(ballast(c.environ)); got != c.want {
			t.Errorf("a limit of %d and %q: %d bytes, want %d", c.limit, c.environ, got, c.want)
		}
	}
}
