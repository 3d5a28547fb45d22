package integration

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/igproxy/igproxy/integration/harness"
	"github.com/igproxy/igproxy/proxy/mock"
)

const (
	appSecret = harness.AppSecret
	patience  = harness.Patience
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

var (
	eventually   = harness.Eventually
	instagram    = harness.Instagram
	environ      = harness.Environ
	without      = harness.Without
	command      = harness.Run
	file         = harness.File
	crowd        = harness.Crowd
	exchangePath = harness.ExchangePath
)

// process is a running igproxy. Its methods, here and in other files, act as apps and operators.
type process struct{ *harness.Process }

// serve starts `igproxy serve` and waits until it listens.
func serve(t testing.TB, settings ...string) *process {
	t.Helper()
	return &process{harness.Serve(t, settings...)}
}

// start starts igproxy with these arguments.
func start(t testing.TB, env []string, args ...string) *process {
	t.Helper()
	return &process{harness.Start(t, env, args...)}
}

// startCommand starts a command that is igproxy or replaces itself with igproxy.
func startCommand(t testing.TB, env []string, cmd *exec.Cmd) *process {
	t.Helper()
	return &process{harness.StartCommand(t, env, cmd)}
}

// settled waits until the log has the lines of earlier requests, and returns the log. igproxy
// writes a request's line after it has sent the answer. So settled sends one more request, which
// igproxy refuses, and waits for the line of that request.
func (p *process) settled(t testing.TB) *harness.Output {
	t.Helper()
	r, err := fetch(t.Context(), noKeepAlive, p.URL+"/access_token")
	id := r.header.Get("X-Request-Id")
	if err != nil || id == "" {
		t.Fatalf("got %d, %v; want an answer with X-Request-Id", r.status, err)
	}
	eventually(t, "the log has settled", func() bool { return strings.Contains(p.Log.String(), id) })
	return p.Log
}

// response is a response that an app received.
type response struct {
	status int
	header http.Header
	body   string
	took   time.Duration
}

// token returns the long-lived token of a response, or "".
func (r response) token() string {
	var t struct {
		AccessToken string `json:"access_token"`
	}
	_ = json.Unmarshal([]byte(r.body), &t)
	return t.AccessToken
}

// graphError is the error in a response.
type graphError struct {
	Message   string `json:"message"`
	Type      string `json:"type"`
	Code      int    `json:"code"`
	Subcode   int    `json:"error_subcode"`
	Transient bool   `json:"is_transient"`
	TraceID   string `json:"fbtrace_id"`
}

// graphError returns the error of a response in Meta's envelope or in the form of the code
// exchange.
func (r response) graphError(t testing.TB) graphError {
	t.Helper()
	var env struct {
		Error *graphError `json:"error"`
	}
	err := json.Unmarshal([]byte(r.body), &env)
	if err == nil && env.Error == nil && strings.HasPrefix(r.body, `{"error_type":`) { // the form of the code exchange
		return r.flatError(t)
	}
	if err != nil || env.Error == nil {
		t.Fatalf("got %d %q, want an error in Meta's envelope", r.status, r.body)
	}
	return *env.Error
}

// flatError returns the error of a response in the form of the code exchange.
func (r response) flatError(t testing.TB) graphError {
	t.Helper()
	var flat struct {
		Type    string `json:"error_type"`
		Message string `json:"error_message"`
		graphError
	}
	if err := json.Unmarshal([]byte(r.body), &flat); err != nil || flat.Type == "" {
		t.Fatalf("got %d %q, want an error in the form of the code exchange", r.status, r.body)
	}
	flat.graphError.Type, flat.graphError.Message = flat.Type, flat.Message
	return flat.graphError
}

// ask sends a GET that exchanges the token, as an app does.
func (p *process) ask(t testing.TB, token string) response {
	t.Helper()
	r, err := p.try(t.Context(), token)
	if err != nil {
		t.Fatalf("asking igproxy: %v", err)
	}
	return r
}

// try sends the same request as ask, but returns errors.
func (p *process) try(ctx context.Context, token string) (response, error) {
	return fetch(ctx, http.DefaultClient, p.URL+exchangePath(token))
}

// fetch sends a GET and reads the whole answer.
func fetch(ctx context.Context, client *http.Client, target string) (response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return response{}, err
	}
	start := time.Now()
	res, err := client.Do(r)
	if err != nil {
		return response{}, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return response{res.StatusCode, res.Header, string(body), time.Since(start)}, err
}

// noKeepAlive opens a new connection for each request.
var noKeepAlive = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// unixClient returns a client that connects to a Unix socket.
func unixClient(path string) *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}}}
}

// caFile writes the stand-in's authority to a file and returns its path.
func caFile(t testing.TB, s *mock.Server) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(path, s.CAPEM, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// page requests a page of the admin listener.
func (p *process) page(t testing.TB, path string) response {
	t.Helper()
	r, err := fetch(t.Context(), http.DefaultClient, p.Admin+path)
	if err != nil {
		t.Fatalf("asking the admin listener: %v", err)
	}
	return r
}
