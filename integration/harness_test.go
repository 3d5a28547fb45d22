package integration

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/igproxy/igproxy/proxy/proxytest"
)

// The canaries: no test may find them, in any form, anywhere but in an answer to the app they belong to.
const appSecret = "5ec2e7ca9a2y0123456789abcdef0123"

// binary is igproxy, built once for all tests, with the race detector.
var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "igproxy")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	binary = filepath.Join(dir, "igproxy")
	build := exec.Command("go", "build", "-race", "-o", binary, "../cmd/igproxy")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building igproxy: %v\n%s", err, out)
		os.Exit(1)
	}
	code := m.Run()
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// plain is igproxy without the race detector, for tests of many requests; built when the first one needs it.
var plain = sync.OnceValues(func() (string, error) {
	path := binary + "-plain"
	out, err := exec.Command("go", "build", "-o", path, "../cmd/igproxy").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("building igproxy: %w\n%s", err, out)
	}
	return path, nil
})

// patience bounds every wait for a condition; nothing waits that long on a healthy machine.
const patience = 20 * time.Second

// eventually waits for a condition of the outside world.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", patience, what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// instagram starts the stand-in on loopback; it ends with the test.
func instagram(t testing.TB, o proxytest.ServerOptions) (*proxytest.Instagram, *proxytest.Server) {
	t.Helper()
	i := proxytest.New(proxytest.Options{Secret: appSecret})
	if o.Addr == "" {
		o.Addr = "127.0.0.1:0"
	}
	s, err := proxytest.Start(i, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return i, s
}

// process is a running igproxy.
type process struct {
	cmd        *exec.Cmd
	url, admin string
	log        *buffer
	exited     chan struct{}
}

// buffer collects output while it is read.
type buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// lines are the log lines with this message.
func (b *buffer) lines(msg string) (found []map[string]any) {
	s := bufio.NewScanner(strings.NewReader(b.String()))
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		var line map[string]any
		if json.Unmarshal(s.Bytes(), &line) == nil && line["msg"] == msg {
			found = append(found, line)
		}
	}
	return found
}

// environ is a clean environment with free ports, the canary secret and the given settings ("KEY=value", without IGPROXY_).
func environ(settings ...string) []string {
	env := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.TempDir(), "IGPROXY_LISTEN=127.0.0.1:0", "IGPROXY_ADMIN_LISTEN=127.0.0.1:0",
		"IGPROXY_CLIENT_SECRET=" + appSecret, "IGPROXY_LOG_LEVEL=debug"}
	for _, s := range settings {
		env = append(env, "IGPROXY_"+s)
	}
	return env
}

// serve starts `igproxy serve` and waits until it listens. It is killed at the end of the test if it still runs.
func serve(t testing.TB, settings ...string) *process {
	t.Helper()
	p := start(t, environ(settings...), "serve")
	p.listening(t)
	return p
}

// listening waits until it listens, and takes the addresses from its log.
func (p *process) listening(t testing.TB) {
	t.Helper()
	eventually(t, "igproxy listens", func() bool {
		select {
		case <-p.exited:
			t.Fatalf("igproxy ended:\n%s", p.log)
		default:
		}
		return len(p.log.lines("listening")) > 0
	})
	line := p.log.lines("listening")[0]
	p.url, p.admin = line["url"].(string), line["admin"].(string)
}

// settled waits until the log holds all that was logged before: lines come after their answers. It adds one line, of a refused request.
func (p *process) settled(t testing.TB) *buffer {
	t.Helper()
	r, err := fetch(t.Context(), noKeepAlive, p.url+"/access_token") // refused
	id := r.header.Get("X-Request-Id")
	if err != nil || id == "" {
		t.Fatalf("got %d, %v", r.status, err)
	}
	eventually(t, "the log has settled", func() bool { return strings.Contains(p.log.String(), id) })
	return p.log
}

// start starts the binary with its output in log.
func start(t testing.TB, env []string, args ...string) *process {
	t.Helper()
	return startBinary(t, binary, env, args...)
}

func startBinary(t testing.TB, binary string, env []string, args ...string) *process {
	t.Helper()
	return startCommand(t, env, exec.Command(binary, args...))
}

// startCommand starts a command that becomes igproxy, with its output in log unless its standard error goes elsewhere.
func startCommand(t testing.TB, env []string, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{cmd: cmd, log: &buffer{}, exited: make(chan struct{})}
	p.cmd.Env, p.cmd.Stdout = env, p.log
	if p.cmd.Stderr == nil {
		p.cmd.Stderr = p.log
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = p.cmd.Wait(); close(p.exited) }() // ends with the process
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.exited
		if strings.Contains(p.log.String(), "DATA RACE") {
			t.Errorf("a data race in igproxy:\n%s", p.log)
		}
		if t.Failed() {
			t.Logf("log of igproxy:\n%s", p.log)
		}
	})
	return p
}

// stop sends SIGTERM and returns the exit code.
func (p *process) stop(t testing.TB) int {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	return p.wait(t)
}

func (p *process) wait(t testing.TB) int {
	t.Helper()
	select {
	case <-p.exited:
	case <-time.After(patience):
		t.Fatalf("igproxy did not end:\n%s", p.log)
	}
	return p.cmd.ProcessState.ExitCode()
}

// command runs the binary to its end.
func command(t testing.TB, env []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, args...)
	var out, errs bytes.Buffer
	cmd.Env, cmd.Stdout, cmd.Stderr = env, &out, &errs
	err := cmd.Run()
	if _, ok := err.(*exec.ExitError); err != nil && !ok {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// reply is what an app got.
type reply struct {
	status int
	header http.Header
	body   string
	took   time.Duration
}

// token is the long-lived token of a reply, or "".
func (r reply) token() string {
	var t struct {
		AccessToken string `json:"access_token"`
	}
	_ = json.Unmarshal([]byte(r.body), &t)
	return t.AccessToken
}

// graphError is the envelope of a reply.
type graphError struct {
	Message   string `json:"message"`
	Type      string `json:"type"`
	Code      int    `json:"code"`
	Subcode   int    `json:"error_subcode"`
	Transient bool   `json:"is_transient"`
	TraceID   string `json:"fbtrace_id"`
}

func (r reply) graphError(t testing.TB) graphError {
	t.Helper()
	var env struct {
		Error *graphError `json:"error"`
	}
	err := json.Unmarshal([]byte(r.body), &env)
	if err == nil && env.Error == nil && strings.HasPrefix(r.body, `{"error_type":`) { // of the code exchange
		return r.flatError(t)
	}
	if err != nil || env.Error == nil {
		t.Fatalf("no Graph envelope in %d %q", r.status, r.body)
	}
	return *env.Error
}

// flatError is an error in the shape of the code exchange.
func (r reply) flatError(t testing.TB) graphError {
	t.Helper()
	var flat struct {
		Type    string `json:"error_type"`
		Message string `json:"error_message"`
		graphError
	}
	if err := json.Unmarshal([]byte(r.body), &flat); err != nil || flat.Type == "" {
		t.Fatalf("no error of the code exchange in %d %q", r.status, r.body)
	}
	flat.graphError.Type, flat.graphError.Message = flat.Type, flat.Message
	return flat.graphError
}

// path of an exchange.
func exchangePath(token string) string {
	return "/access_token?grant_type=ig_exchange_token&access_token=" + url.QueryEscape(token)
}

// ask is an app: one GET.
func (p *process) ask(t testing.TB, token string) reply {
	t.Helper()
	r, err := p.try(t.Context(), token)
	if err != nil {
		t.Fatalf("asking igproxy: %v", err)
	}
	return r
}

func (p *process) try(ctx context.Context, token string) (reply, error) {
	return fetch(ctx, http.DefaultClient, p.url+exchangePath(token))
}

func fetch(ctx context.Context, client *http.Client, target string) (reply, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return reply{}, err
	}
	start := time.Now()
	res, err := client.Do(r)
	if err != nil {
		return reply{}, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return reply{res.StatusCode, res.Header, string(body), time.Since(start)}, err
}

// noKeepAlive opens a connection a request.
var noKeepAlive = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// unixClient speaks HTTP over a Unix socket.
func unixClient(path string) *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}}}
}

// caFile writes the stand-in's authority to a file.
func caFile(t testing.TB, s *proxytest.Server) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(path, s.CAPEM, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// page reads an admin page.
func (p *process) page(t testing.TB, path string) reply {
	t.Helper()
	r, err := fetch(t.Context(), http.DefaultClient, p.admin+path)
	if err != nil {
		t.Fatalf("asking the admin listener: %v", err)
	}
	return r
}

// crowd runs n callers at once.
func crowd(n int, caller func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { caller(i) })
	}
	wg.Wait()
}
