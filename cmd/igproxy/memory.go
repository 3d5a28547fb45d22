package main

import (
	"bufio"
	"bytes"
	"io/fs"
	"log/slog"
	"math"
	"path"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
)

// keepToMemory tells Go's garbage collector of the container's memory limit, which Go does not look at: it would let the heap grow to twice
// what is in use, and the kernel would end the process while half of that is garbage. A tenth is left for what is none of Go's, sockets above
// all. GOMEMLIMIT, where it is set, stands.
func keepToMemory(root fs.FS, log *slog.Logger) {
	limit := containerMemory(root)
	if limit == math.MaxInt64 || debug.SetMemoryLimit(-1) != math.MaxInt64 {
		return
	}
	debug.SetMemoryLimit(limit / 10 * 9)
	log.Info("memory", "limit_bytes", limit/10*9, "container_bytes", limit)
}

// ballast is memory that nobody touches, so that it is none of the machine's. Go collects garbage when the heap has doubled, and a sidecar's is
// so small that some hundred exchanges double it; with this it counts as 8 MiB larger than it is, and collections, which took a tenth of a
// hit in Redis, come a third as often. Where memory is short, or the operator has set GOGC, there is none.
func ballast(environ []string) []byte {
	const size, least = 8 << 20, 256 << 20
	tuned := slices.ContainsFunc(environ, func(v string) bool { return strings.HasPrefix(v, "GOGC=") })
	if tuned || debug.SetMemoryLimit(-1) < least {
		return nil
	}
	return make([]byte, size)
}

// containerMemory is the least limit of the cgroups that this process is in, version 1 or 2, in bytes; math.MaxInt64: none. Each one above
// counts too. In a container /proc names paths of the machine's that are not there; then the container's own is at the root.
func containerMemory(root fs.FS) int64 {
	least := int64(math.MaxInt64)
	list, _ := fs.ReadFile(root, "proc/self/cgroup") // not there: no Linux, no cgroups
	for lines := bufio.NewScanner(bytes.NewReader(list)); lines.Scan(); {
		parts := strings.SplitN(lines.Text(), ":", 3) // number, controllers, path: cgroups(7)
		if len(parts) != 3 {
			continue
		}
		mount, file := "sys/fs/cgroup", "memory.max"
		switch parts[1] {
		case "":
		case "memory":
			mount, file = "sys/fs/cgroup/memory", "memory.limit_in_bytes"
		default:
			continue
		}
		group := path.Join("/", parts[2])
		if strings.HasPrefix(parts[2], "/..") { // outside of what this process may see
			group = "/"
		}
		for ; ; group = path.Dir(group) {
			if text, err := fs.ReadFile(root, path.Join(mount, group, file)); err == nil {
				if n, err := strconv.ParseInt(string(bytes.TrimSpace(text)), 10, 64); err == nil && n > 0 && n < unlimited { // else "max"
					least = min(least, n)
				}
			}
			if group == "/" {
				break
			}
		}
	}
	return least
}

// unlimited is how version 1 says that there is no limit: a number near the largest, rounded to pages.
const unlimited = math.MaxInt64 &^ (1<<20 - 1)
