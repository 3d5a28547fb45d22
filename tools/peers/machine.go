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

// machine describes the machine on which the results were measured.
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
	cpus, _ := os.ReadFile("/proc/cpuinfo") // runtime.NumCPU is 1, because this process is pinned to a core
	m := machine{CPU: first("/proc/cpuinfo", `(?m)^model name\s*: (.*)$`), Cores: strings.Count(string(cpus), "processor\t:"),
		Kernel: first("/proc/sys/kernel/osrelease", `^(.*)\n`)}
	var kib int
	if _, err := fmt.Sscan(first("/proc/meminfo", `(?m)^MemTotal:\s*(\d+) kB$`), &kib); err == nil {
		m.Memory = fmt.Sprintf("%.0f GiB", float64(kib)/(1<<20))
	}
	return m
}

// versions returns the versions of the programs that the report names.
func (b *bench) versions() map[string]string {
	said := func(pattern, program string, args ...string) string {
		if path, err := find(program); err == nil {
			program = path
		}
		// Some programs print their version and exit with 1.
		out, _ := exec.CommandContext(b.ctx, program, args...).CombinedOutput()
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

// find returns the path of a program. It looks in PATH, and then in two folders that not every
// user's PATH has.
func find(program string) (string, error) {
	for _, name := range []string{program, "/usr/sbin/" + program, "/usr/local/sbin/" + program} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s not found; tools/deps.sh peers installs it", program)
}

// free returns a loopback address with a free port.
func free() (addr string, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}
