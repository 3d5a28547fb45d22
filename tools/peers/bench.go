package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// The servers that are compared run on core 0, and only one of them is under load at a time.
// Everything else (this program, the load generator, Redis and the upstreams) shares core 1. Other
// cores are not used, so that results from different machines can be compared.
const (
	serverCore = "0"
	loadCore   = "1"
)

// bench is one run of all parts, or of the parts that -only names.
type bench struct {
	ctx     context.Context
	root    string
	dir     string // for configurations, logs and nginx's cache
	self    string // this program, which also runs the servers origin, bare and fasthttp (helpers.go)
	igproxy string // the binary from make build
	rounds  int
	seconds int // of one round of wrk
	running []*server
	report  report
}

func newBench(ctx context.Context, root string, quick bool) (*bench, error) {
	b := &bench{ctx: ctx, rounds: 5, seconds: 8}
	if quick {
		b.rounds, b.seconds = 3, 3
	}
	for _, path := range []struct {
		to   *string
		from string
	}{{&b.root, root}, {&b.igproxy, filepath.Join(root, "igproxy")}} {
		absolute, err := filepath.Abs(path.from)
		if err != nil {
			return nil, err
		}
		*path.to = absolute
	}
	if _, err := os.Stat(b.igproxy); err != nil {
		return nil, fmt.Errorf("no binary: run make build (%w)", err)
	}
	var err error
	if b.self, err = os.Executable(); err != nil {
		return nil, err
	}
	if b.dir, err = os.MkdirTemp("", "peers"); err != nil {
		return nil, err
	}
	if err := os.Chmod(b.dir, 0o755); err != nil { // nginx's workers run as another user
		return nil, err
	}
	b.report = report{When: time.Now().UTC().Format("2006-01-02"), Quick: quick, Rounds: b.rounds, Seconds: b.seconds, Machine: thisMachine(), Versions: b.versions()}
	return b, moreFiles()
}

func (b *bench) close() {
	_ = b.stopAll()
	_ = os.RemoveAll(b.dir)
}

// path returns the path of a file or folder of this run.
func (b *bench) path(name string) string { return filepath.Join(b.dir, name) }

func (b *bench) say(format string, args ...any) { fmt.Fprintf(os.Stderr, "   "+format+"\n", args...) }

// pause sleeps for d, or until the run is cancelled.
func (b *bench) pause(d time.Duration) {
	select {
	case <-b.ctx.Done():
	case <-time.After(d):
	}
}

// wantFiles is the number of open files that 10,000 connections need, with room to spare.
const wantFiles = 65536

// moreFiles raises the limit on open files for this program and its child processes.
func moreFiles() error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	if limit.Max < wantFiles { // only root may raise the hard limit
		_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: wantFiles, Max: wantFiles})
		_ = syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit)
	}
	if limit.Max < manyConnections+1000 {
		return fmt.Errorf("a process may open only %d files, but 10,000 connections need %d: raise ulimit -Hn", limit.Max, manyConnections+1000)
	}
	limit.Cur = limit.Max
	// Go has already raised the soft limit, but only for this process. Child processes inherit a
	// higher limit only if the program itself raises it.
	return syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)
}

// pinSelf restarts this program on the core for the load unless it already runs there. Child
// processes inherit the core.
func pinSelf() error {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return fmt.Errorf("peers needs Linux: %w", err)
	}
	if strings.Contains(string(status), "\nCpus_allowed_list:\t"+loadCore+"\n") {
		return nil
	}
	taskset, err := find("taskset")
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	return syscall.Exec(taskset, slices.Concat([]string{"taskset", "-c", loadCore, self}, os.Args[1:]), os.Environ())
}

func median(all []float64) float64 {
	s := slices.Sorted(slices.Values(all))
	if len(s) == 0 {
		return 0
	}
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}
