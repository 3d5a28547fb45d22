package integration

// A log that cannot be written delays no request and no stop. If the log goes to a pipe that
// nothing reads, to a closed pipe or to a full disk, igproxy drops lines and counts them. Once the
// log works again, a line says how many lines were dropped.

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/igproxy/igproxy/integration/harness"
	"github.com/igproxy/igproxy/proxy/mock"
)

// serveInto starts a sidecar that logs to the file stderr. serveInto cannot read the sidecar's
// addresses from that log, so it chooses them.
func serveInto(t *testing.T, stderr *os.File, settings ...string) *process {
	t.Helper()
	app, admin := harness.Address(t), harness.Address(t)
	cmd := exec.Command(harness.Binary, "serve")
	cmd.Stderr = stderr
	p := startCommand(t, environ(append(settings, "LISTEN="+app, "ADMIN_LISTEN="+admin)...), cmd)
	p.URL, p.Admin = "http://"+app, "http://"+admin
	eventually(t, "the sidecar answers", func() bool {
		r, err := fetch(t.Context(), noKeepAlive, p.Admin+"/healthz")
		return err == nil && r.status == 200
	})
	return p
}

// metric returns one sample of /metrics, or 0 if it does not exist.
func (p *process) metric(t *testing.T, sample string) float64 {
	t.Helper()
	m := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(sample) + ` (\S+)$`).FindStringSubmatch(p.page(t, "/metrics").body)
	if m == nil {
		return 0
	}
	v, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// chatter sends n requests over one connection, so that the process quickly writes n log lines. The
// process must have been started with the setting everyLine, and n must be a multiple of 100.
func (p *process) chatter(t *testing.T, n int) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(p.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	in := bufio.NewReader(conn)
	const atOnce = 100
	for i := 0; i < n; i += atOnce {
		if _, err := io.WriteString(conn, strings.Repeat("GET /access_token HTTP/1.1\r\nHost: localhost\r\n\r\n", atOnce)); err != nil {
			t.Fatal(err)
		}
		for range atOnce {
			res, err := http.ReadResponse(in, nil)
			if err != nil {
				t.Fatalf("got no response: %v, want 400", err)
			}
			if _, err := io.Copy(io.Discard, res.Body); err != nil || res.StatusCode != 400 {
				t.Fatalf("got %d, %v; want 400", res.StatusCode, err)
			}
		}
	}
}

// everyLine sets log.lines so high that no test reaches the limit.
const everyLine = "LOG_LINES=1000000"

const droppedLines = "igproxy_log_lines_dropped_total"

func TestUnreadLogBlocksNoRequest(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	_, upstream := instagram(t, mock.ServerOptions{})
	p := serveInto(t, w, "UPSTREAM_URL="+upstream.URL, everyLine)
	_ = w.Close() // the sidecar has its own copy
	start := time.Now()
	asked := 0
	for ; p.metric(t, droppedLines) == 0; asked += 2000 {
		if p.chatter(t, 2000); asked > 100_000 {
			t.Fatal("no line was dropped after 100,000 lines into a pipe that nothing reads, want at least 1")
		}
	}
	if r := p.ask(t, "IGAA-unheard"); r.status != 200 {
		t.Errorf("a request after lines were dropped: got %d, want 200", r.status)
	}
	t.Logf("%d requests answered in %s, %.0f lines dropped", asked, time.Since(start).Round(time.Millisecond), p.metric(t, droppedLines))

	// When the log is read again, a line says how many lines were dropped.
	lines := make(chan string, 1)
	go func() { // ends with the pipe, which ends with the process
		defer close(lines)
		for s := bufio.NewScanner(r); s.Scan(); {
			if line := s.Text(); strings.Contains(line, `"log lines dropped"`) || strings.Contains(line, `"stopped"`) {
				lines <- line
			}
		}
	}()
	dropped := p.metric(t, droppedLines)
	select {
	case line := <-lines:
		if !strings.Contains(line, fmt.Sprintf(`"lines":%.0f}`, dropped)) {
			t.Errorf("got %s, want a line that says that %.0f lines were dropped", line, dropped)
		}
	case <-time.After(patience):
		t.Fatal("the log did not say how many lines were dropped")
	}
	if code := p.Stop(t); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	if line := <-lines; !strings.Contains(line, `"stopped"`) {
		t.Errorf("the last line is %s, want \"stopped\"", line)
	}
}

func TestUnreadLogDoesNotDelayAStop(t *testing.T) {
	t.Parallel()
	ig, upstream := instagram(t, mock.ServerOptions{})
	for name, want := range map[string]int{"a drain": 0, "a second signal": 1} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		p := serveInto(t, w, "UPSTREAM_URL="+upstream.URL, everyLine)
		_ = w.Close()
		p.chatter(t, 1000)          // more than a pipe holds
		gone := make(chan struct{}) // closed when no exchange hangs
		if close(gone); want == 1 {
			gone = make(chan struct{})
			calls := ig.Calls()
			go func() { _, _ = p.try(t.Context(), "hang-1"); close(gone) }()
			eventually(t, "an exchange hangs", func() bool { return ig.Calls() > calls })
			_ = p.Cmd.Process.Signal(syscall.SIGTERM)
			eventually(t, "the sidecar drains", func() bool {
				r, err := fetch(t.Context(), noKeepAlive, p.Admin+"/readyz")
				return err == nil && r.status == 503
			})
		}
		start := time.Now()
		if code := p.Stop(t); code != want {
			t.Errorf("%s: exit code %d, want %d", name, code, want)
		}
		t.Logf("%s took %s", name, time.Since(start).Round(time.Millisecond))
		<-gone
	}
}

func TestClosedLogOrFullDiskBlocksNoRequest(t *testing.T) {
	t.Parallel()
	_, upstream := instagram(t, mock.ServerOptions{})
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	_ = r.Close()
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	for name, stderr := range map[string]*os.File{"the reader has gone": w, "the disk is full": full} {
		p := serveInto(t, stderr, "UPSTREAM_URL="+upstream.URL)
		_ = stderr.Close()
		answers(t, p, "unlogged", 20)
		eventually(t, "dropped lines are counted", func() bool { return p.metric(t, droppedLines) >= 20 })
		if code := p.Stop(t); code != 0 {
			t.Errorf("%s: exit code %d, want 0", name, code)
		}
	}
}

func TestNoLineIsLostWhileTheLogIsRead(t *testing.T) {
	t.Parallel()
	_, upstream := instagram(t, mock.ServerOptions{})
	p := serve(t, "UPSTREAM_URL="+upstream.URL, everyLine)
	const n = 5000
	p.chatter(t, n)
	if lost := p.metric(t, droppedLines); lost != 0 {
		t.Errorf("%.0f lines were dropped, want 0", lost)
	}
	if code := p.Stop(t); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	if got := len(p.Log.Lines("request")); got != n {
		t.Errorf("%d lines for %d requests, want one for each", got, n)
	}
	text := strings.TrimSpace(p.Log.String())
	if last := text[strings.LastIndex(text, "\n")+1:]; !strings.Contains(last, `"stopped"`) {
		t.Errorf("the last line is %s, want \"stopped\"", last)
	}
}

func TestSIGHUPDoesNotStopTheSidecar(t *testing.T) {
	t.Parallel()
	_, upstream := instagram(t, mock.ServerOptions{})
	p := serve(t, "UPSTREAM_URL="+upstream.URL)
	if err := p.Cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	answers(t, p, "hup", 3)
	if code := p.Stop(t); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}
