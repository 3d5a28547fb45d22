package harness

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Process is a running igproxy.
type Process struct {
	Cmd        *exec.Cmd
	URL, Admin string // the URLs of the listeners, set by Listening
	Log        *Output
	Exited     chan struct{} // closed when the process has ended
}

// Environ returns the environment of an igproxy that listens on free ports of loopback, with
// AppSecret and the given settings ("KEY=value", without IGPROXY_).
func Environ(settings ...string) []string {
	env := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.TempDir(), "IGPROXY_LISTEN=127.0.0.1:0", "IGPROXY_ADMIN_LISTEN=127.0.0.1:0",
		"IGPROXY_CLIENT_SECRET=" + AppSecret, "IGPROXY_LOG_LEVEL=debug"}
	for _, s := range settings {
		env = append(env, "IGPROXY_"+s)
	}
	return env
}

// Without returns env without the variable of this name.
func Without(env []string, name string) []string {
	return slices.DeleteFunc(slices.Clone(env), func(s string) bool { return strings.HasPrefix(s, name+"=") })
}

// Serve starts `igproxy serve` and waits until it listens.
func Serve(t testing.TB, settings ...string) *Process {
	t.Helper()
	p := Start(t, Environ(settings...), "serve")
	p.Listening(t)
	return p
}

// Start starts igproxy with these arguments.
func Start(t testing.TB, env []string, args ...string) *Process {
	t.Helper()
	return StartCommand(t, env, exec.Command(Binary, args...))
}

// StartCommand starts a command that is igproxy or replaces itself with igproxy. The output goes to
// Log. If cmd.Stderr is already set, standard error goes there instead. The process is killed at
// the end of the test if it still runs. The test fails if Log reports a data race.
func StartCommand(t testing.TB, env []string, cmd *exec.Cmd) *Process {
	t.Helper()
	p := &Process{Cmd: cmd, Log: &Output{}, Exited: make(chan struct{})}
	p.Cmd.Env, p.Cmd.Stdout = withoutSleep(env), p.Log
	if p.Cmd.Stderr == nil {
		p.Cmd.Stderr = p.Log
	}
	if err := p.Cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = p.Cmd.Wait(); close(p.Exited) }() // ends with the process
	t.Cleanup(func() {
		_ = p.Cmd.Process.Kill()
		<-p.Exited
		if strings.Contains(p.Log.String(), "DATA RACE") {
			t.Errorf("a data race in igproxy:\n%s", p.Log)
		}
		if t.Failed() {
			t.Logf("log of igproxy:\n%s", p.Log)
		}
	})
	return p
}

// withoutSleep adds a setting for the race detector to env, or to the environment of the test if
// env is nil. Without that setting, an igproxy with the race detector sleeps for a second when it
// ends.
func withoutSleep(env []string) []string {
	if env == nil {
		env = os.Environ()
	}
	return append(slices.Clone(env), "GORACE=atexit_sleep_ms=0")
}

// Listening waits until igproxy listens, and takes URL and Admin from its log.
func (p *Process) Listening(t testing.TB) {
	t.Helper()
	Eventually(t, "igproxy listens", func() bool {
		select {
		case <-p.Exited:
			t.Fatalf("igproxy ended:\n%s", p.Log)
		default:
		}
		return len(p.Log.Lines("listening")) > 0
	})
	line := p.Log.Lines("listening")[0]
	p.URL, p.Admin = line["url"].(string), line["admin"].(string)
}

// Stop sends SIGTERM, waits until the process ends, and returns the exit code.
func (p *Process) Stop(t testing.TB) int {
	t.Helper()
	if err := p.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	return p.Wait(t)
}

// Wait waits until the process ends, and returns the exit code.
func (p *Process) Wait(t testing.TB) int {
	t.Helper()
	select {
	case <-p.Exited:
	case <-time.After(Patience):
		t.Fatalf("igproxy did not end:\n%s", p.Log)
	}
	return p.Cmd.ProcessState.ExitCode()
}

// Run runs igproxy and waits until it ends.
func Run(t testing.TB, env []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	return run(t, Binary, env, args...)
}

// RunPlain runs igproxy without the race detector. It takes a fifth of the time that Run takes.
func RunPlain(t testing.TB, env []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	return run(t, Plain(t), env, args...)
}

func run(t testing.TB, binary string, env []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, args...)
	var out, errs bytes.Buffer
	cmd.Env, cmd.Stdout, cmd.Stderr = withoutSleep(env), &out, &errs
	err := cmd.Run()
	if _, ok := err.(*exec.ExitError); err != nil && !ok {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// Output collects what a process prints. It can be read while the process runs.
type Output struct {
	mu   sync.Mutex // protects text
	text bytes.Buffer
}

func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// Lines returns the log lines with this message.
func (o *Output) Lines(msg string) (found []map[string]any) {
	s := bufio.NewScanner(strings.NewReader(o.String()))
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		var line map[string]any
		if json.Unmarshal(s.Bytes(), &line) == nil && line["msg"] == msg {
			found = append(found, line)
		}
	}
	return found
}

// Take returns the complete lines that were printed since the last Take, and removes them from o.
func (o *Output) Take() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	text := o.text.String()
	whole := strings.LastIndexByte(text, '\n') + 1
	o.text.Reset()
	o.text.WriteString(text[whole:])
	return text[:whole]
}

// Mock starts `igproxy mock` with these arguments on a free port, waits until it listens, and
// returns the process and its URL.
func Mock(t testing.TB, args ...string) (p *Process, url string) {
	t.Helper()
	p = Start(t, Environ(), append([]string{"mock", "--listen", "127.0.0.1:0"}, args...)...)
	const listening = "mock listening"
	Eventually(t, "the stand-in listens", func() bool { return len(p.Log.Lines(listening)) > 0 })
	return p, p.Log.Lines(listening)[0]["url"].(string)
}

// Program runs a third-party program until it ends, with text on its standard input, and returns
// its standard output. The test fails if the program is missing or fails.
func Program(t testing.TB, env []string, text, program string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute) // some programs are compiled first
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	var out, errs bytes.Buffer
	cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = append(os.Environ(), env...), strings.NewReader(text), &out, &errs
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %v: %v (make test-all installs what is missing)\n%s\n%s%s", program, args, err, text, out.String(), errs.String())
	}
	return out.String()
}
