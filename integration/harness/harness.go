// Package harness runs the built igproxy for the tests in integration and in the folders below it:
// as a process on loopback, with a stand-in for Meta as its upstream. Only tests import it.
package harness

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/igproxy/igproxy/cache/redistest"
	"github.com/igproxy/igproxy/proxy/mock"
)

// AppSecret is the client secret that Environ sets. It must appear nowhere except in requests to
// Instagram.
const AppSecret = "5ec2e7ca9a2y0123456789abcdef0123"

// Patience limits every wait for a condition. It is rarely reached.
const Patience = 20 * time.Second

// Binary is the path of the igproxy that Main builds with the race detector.
var Binary string

const mainPackage = "github.com/igproxy/igproxy/cmd/igproxy"

// Main builds igproxy, runs the tests of a package, fails if they leave a goroutine behind, and
// returns the exit code. Each package calls it in TestMain.
func Main(m *testing.M) int {
	dir, err := os.MkdirTemp("", "igproxy")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	Binary = filepath.Join(dir, "igproxy")
	if err := build(Binary, "1", "-race"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	return code
}

// Plain returns the path of igproxy without the race detector, for tests that measure time or send
// many requests. The first call builds it.
func Plain(t testing.TB) string {
	t.Helper()
	path, err := buildPlain()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

var buildPlain = sync.OnceValues(func() (string, error) {
	path := Binary + "-plain"
	return path, build(path, "0")
})

// build builds igproxy. cgo is the value of CGO_ENABLED: the race detector needs cgo, and the
// released binary is built without it.
func build(path, cgo string, flags ...string) error {
	cmd := exec.Command("go", append(append([]string{"build", "-ldflags=-s -w", "-o", path}, flags...), mainPackage)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED="+cgo)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building igproxy: %w\n%s", err, out)
	}
	return nil
}

// Eventually waits until ok returns true. It fails the test after Patience.
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(Patience); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", Patience, what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// Address returns a free address on loopback. It returns each address only once in a process.
func Address(t testing.TB) string {
	t.Helper()
	return fmt.Sprintf("127.0.0.1:%d", redistest.FreePort(t))
}

// Instagram starts a stand-in that accepts AppSecret. The stand-in ends with the test.
func Instagram(t testing.TB, o mock.ServerOptions) (*mock.Instagram, *mock.Server) {
	t.Helper()
	return StandIn(t, mock.Options{Secret: AppSecret}, o)
}

// StandIn starts a stand-in with these options. The stand-in ends with the test.
func StandIn(t testing.TB, options mock.Options, o mock.ServerOptions) (*mock.Instagram, *mock.Server) {
	t.Helper()
	if o.Addr == "" {
		o.Addr = Address(t)
	}
	i := mock.New(options)
	s, err := mock.Start(i, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return i, s
}

// File writes text to a file of this name in a temporary folder of the test and returns its path.
func File(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Crowd runs caller n times concurrently, and waits until all of them have returned.
func Crowd(n int, caller func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { caller(i) })
	}
	wg.Wait()
}

// ExchangePath returns the path and query that exchange a token.
func ExchangePath(token string) string {
	return "/access_token?grant_type=ig_exchange_token&access_token=" + url.QueryEscape(token)
}

// Get sends a GET request and returns the status and the body of the answer.
func Get(ctx context.Context, target string) (status int, body string, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return 0, "", err
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	return res.StatusCode, string(text), err
}
