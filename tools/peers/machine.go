package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
)

// machine is what figures depend on.
type machine struct {
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	Kernel string `json:"kernel"`
	Memory string `json:"memory"`
}

func thisMachine() machine {
	first := func(path, pattern string) string {
		text, _ := os.ReadFile(path)
		if found := regexp.MustCompile(pattern).FindSubmatch(text); found != nil {
			return strings.TrimSpace(string(found[1]))
		}
		return "unknown"
	}
	cpus, _ := os.ReadFile("/proc/cpuinfo") // this process is pinned, so runtime.NumCPU is 1
	m := machine{CPU: first("/proc/cpuinfo", `(?m)^model name\s*: (.*)$`), Cores: strings.Count(string(cpus), "processor\t:"),
		Kernel: first("/proc/sys/kernel/osrelease", `^(.*)\n`)}
	var kib int
	if _, err := fmt.Sscan(first("/proc/meminfo", `(?m)^MemTotal:\s*(\d+) kB$`), &kib); err == nil {
		m.Memory = fmt.Sprintf("%.0f GiB", float64(kib)/(1<<20))
	}
	return m
}

// versions are those of all that takes part.
func (b *bench) versions() map[string]string {
	said := func(pattern, program string, args ...string) string {
		if path, err := find(program); err == nil {
			program = path
		}
		out, _ := exec.CommandContext(b.ctx, program, args...).CombinedOutput() // some tell their version and exit with 1
		if found := regexp.MustCompile(pattern).FindSubmatch(out); found != nil {
			return string(found[1])
		}
		return "unknown"
	}
	return map[string]string{
		"igproxy": said(`(\S+)`, "git", "-C", b.root, "describe", "--always", "--dirty"),
		"go":      strings.TrimPrefix(runtime.Version(), "go"),
		"nginx":   said(`nginx/(\S+)`, "nginx", "-v"),
		"varnish": said(`varnish-(\S+)`, "varnishd", "-V"),
		"redis":   said(`v=(\S+)`, "redis-server", "--version"),
		"wrk":     said(`wrk (\S+)`, "wrk", "-v"),
	}
}

// find looks where servers are, too, which is not in everybody's PATH.
func find(program string) (string, error) {
	for _, name := range []string{program, "/usr/sbin/" + program, "/usr/local/sbin/" + program} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s is not there; tools/deps.sh peers installs it", program)
}

// free is an address nobody listens on.
func free() (addr string, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}
