package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// server is a process that serves on loopback, with its child processes.
type server struct {
	name   string
	url    string
	health string // URL that returns 200 once the server is up; for igproxy, a URL of the admin listener
	log    string // path of the file with its standard error
	cmd    *exec.Cmd
	done   chan struct{} // closed when the process has ended
}

const patience = 20 * time.Second // limit of most waits, such as for a start, a stop or a response

// start starts a program on one core and waits until the URL health returns 200.
func (b *bench) start(name, core, url, health string, env []string, args ...string) (*server, error) {
	s, err := b.spawn(name, core, url, env, args...)
	if err != nil {
		return nil, err
	}
	s.health = health
	for end := time.Now().Add(patience); time.Now().Before(end) && b.ctx.Err() == nil; time.Sleep(5 * time.Millisecond) {
		if answers(health) {
			return s, nil
		}
		select {
		case <-s.done:
			return nil, s.failed("ended during its start")
		default:
		}
	}
	return nil, s.failed("does not return 200 at " + health)
}

// spawn starts a program on one core.
func (b *bench) spawn(name, core, url string, env []string, args ...string) (*server, error) {
	s := &server{name: name, url: url, log: b.path(name + ".log"), done: make(chan struct{})}
	taskset, err := find("taskset")
	if err != nil {
		return nil, err
	}
	log, err := os.OpenFile(s.log, os.O_CREATE|os.O_TRUNC|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	s.cmd = exec.Command(taskset, append([]string{"-c", core}, args...)...)
	s.cmd.Dir, s.cmd.Stderr = b.dir, log
	s.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + b.dir}, env...)
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	b.running = append(b.running, s)
	go func() {
		_ = s.cmd.Wait()
		close(s.done)
	}()
	return s, nil
}

func (s *server) failed(how string) error {
	said, _ := os.ReadFile(s.log)
	return fmt.Errorf("%s %s; the end of its standard error:\n%s", s.name, how, said[max(0, len(said)-2000):])
}

func (s *server) stop() error {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.done:
		return nil
	case <-time.After(patience):
	}
	_ = s.cmd.Process.Kill()
	<-s.done
	return fmt.Errorf("%s was killed, because it did not end within %s of SIGTERM", s.name, patience)
}

// stopLast stops the server that was started last.
func (b *bench) stopLast() error {
	s := b.running[len(b.running)-1]
	b.running = b.running[:len(b.running)-1]
	return s.stop()
}

// stopAll stops all servers in reverse order.
func (b *bench) stopAll() (err error) {
	for len(b.running) > 0 {
		err = errors.Join(err, b.stopLast())
	}
	return err
}

// tree returns the PIDs of the process and all its descendants.
func (s *server) tree() []int {
	all := []int{s.cmd.Process.Pid}
	for i := 0; i < len(all); i++ {
		lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", all[i]))
		for _, list := range lists {
			text, _ := os.ReadFile(list)
			for _, pid := range strings.Fields(string(text)) {
				if n, err := strconv.Atoi(pid); err == nil {
					all = append(all, n)
				}
			}
		}
	}
	return all
}

const ticks = 100 // per second; USER_HZ, the same on every architecture Go supports

// cpu returns the CPU seconds that the process tree has used so far, in user and kernel mode,
// including children that have ended.
func (s *server) cpu() (seconds float64) {
	for _, pid := range s.tree() {
		stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		_, rest, _ := bytes.Cut(stat, []byte(") ")) // the preceding name may contain spaces
		fields := strings.Fields(string(rest))
		if len(fields) < 15 {
			continue
		}
		for _, field := range fields[11:15] { // utime, stime, cutime, cstime: proc(5)
			n, _ := strconv.Atoi(field)
			seconds += float64(n) / ticks
		}
	}
	return seconds
}

// Kinds of memory; see smaps_rollup in proc(5).
const (
	pss     = "Pss:"
	private = "Pss_Anon:" // without the pages of files, such as the binary's
)

// memory returns the memory of this kind that the process tree uses, in bytes. A page that only
// processes of the tree share is counted once. A page that other processes share too is counted
// only in part.
func (s *server) memory(kind string) (bytes float64, err error) {
	for _, pid := range s.tree() {
		text, e := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		err = errors.Join(err, e)
		for line := range strings.Lines(string(text)) {
			if fields := strings.Fields(line); len(fields) == 3 && fields[0] == kind {
				n, _ := strconv.Atoi(fields[1])
				bytes += float64(n) * 1024
			}
		}
	}
	if bytes == 0 {
		err = errors.Join(err, fmt.Errorf("%s: no %s in smaps_rollup", s.name, kind))
	}
	return bytes, err
}
