package sidecar_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/igproxy/igproxy/cmd/igproxy/internal/logging"
	"github.com/igproxy/igproxy/cmd/igproxy/internal/sidecar"
)

// running starts a sidecar and stops it after the test. It returns the URL of each listener for
// apps.
func running(t *testing.T, o sidecar.Options) (urls []string) {
	t.Helper()
	o.Config.Upstream.URL = "http://127.0.0.1:1" // refuses connections, so igproxy answers 503
	s, err := sidecar.New(o)
	if err != nil {
		t.Fatal(err)
	}
	signals, ended := make(chan os.Signal, 1), make(chan error, 1)
	go func() { ended <- s.Run(signals) }() // ends with the signal
	t.Cleanup(func() {
		signals <- syscall.SIGTERM
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return strings.Split(s.URL(), ", ")
}

// dial connects to a listener.
func dial(t *testing.T, url string) net.Conn {
	t.Helper()
	network, address := "tcp", strings.TrimPrefix(url, "http://")
	if path, ok := strings.CutPrefix(url, "unix:"); ok {
		network, address = "unix", path
	}
	c, err := net.Dial(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	return c
}

// ask sends a GET with a Host and returns the status.
func ask(t *testing.T, c net.Conn, host, target string) int {
	t.Helper()
	fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", target, host)
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, res.Body)
	_ = res.Body.Close()
	return res.StatusCode
}

const exchange = "/access_token?grant_type=ig_exchange_token&access_token=IGAAx"

// A web page can rebind its DNS name to loopback, so a listener on loopback checks host names even
// if another listener of the same sidecar accepts every name.
func TestEachListenerChecksHostNamesAsItsAddressRequires(t *testing.T) {
	for name, c := range map[string]struct {
		allowed []string
		lane    bool
		refuse  [3]bool // by listener: on loopback, beyond loopback, on a Unix socket
	}{
		"without allowed_hosts, with fast_lane":    {nil, true, [3]bool{true, false, false}},
		"without allowed_hosts, without fast_lane": {nil, false, [3]bool{true, false, false}},
		"with allowed_hosts, with fast_lane":       {[]string{"a"}, true, [3]bool{true, true, true}},
		"with allowed_hosts, without fast_lane":    {[]string{"a"}, false, [3]bool{true, true, true}},
	} {
		t.Run(name, func(t *testing.T) {
			o := options(t, logging.Start(io.Discard, "info", "text"))
			o.Config.Listen = []string{"127.0.0.1:0", "0.0.0.0:0", "unix:" + filepath.Join(t.TempDir(), "s")}
			o.Config.Auth.None, o.Config.AllowedHosts, o.Config.Server.FastLane = true, c.allowed, c.lane
			for i, url := range running(t, o) {
				url = strings.Replace(url, "[::]", "127.0.0.1", 1)
				for _, target := range []string{exchange, "/me?access_token=IGAAx"} {
					if got := ask(t, dial(t, url), "rebound.example", target); (got == http.StatusMisdirectedRequest) != c.refuse[i] {
						t.Errorf("%s%s: got %d; want 421: %t", url, target, got, c.refuse[i])
					}
				}
				if got := ask(t, dial(t, url), "localhost", exchange); got != http.StatusServiceUnavailable {
					t.Errorf("%s with the Host localhost: got %d, want 503", url, got)
				}
			}
		})
	}
}

// The limit protects the process, so it counts the connections of all listeners for apps together.
func TestListenersShareTheLimitOnConnections(t *testing.T) {
	o := options(t, logging.Start(io.Discard, "info", "text"))
	o.Config.Listen = []string{"127.0.0.1:0", "127.0.0.1:0", "unix:" + filepath.Join(t.TempDir(), "s")}
	o.Config.Server.MaxConnections = 2
	urls := running(t, o)
	first, second := dial(t, urls[0]), dial(t, urls[1])
	for _, c := range []net.Conn{first, second} {
		if got := ask(t, c, "localhost", exchange); got != http.StatusServiceUnavailable {
			t.Fatalf("the first two listeners: got %d, want 503", got)
		}
	}
	if got := ask(t, dial(t, urls[2]), "localhost", exchange); got != http.StatusServiceUnavailable {
		t.Errorf("the third listener: got %d, want 503", got)
	}
	if _, err := first.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the connection that was idle longest: got %v, want EOF", err)
	}
	if got := ask(t, second, "localhost", exchange); got != http.StatusServiceUnavailable {
		t.Errorf("the second connection: got %d, want 503", got)
	}
}

// If one address cannot be used, the sidecar does not start, and leaves nothing behind.
func TestAListenerThatCannotBeOpenedEndsTheOthers(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	path := filepath.Join(t.TempDir(), "s")
	o := options(t, logging.Start(io.Discard, "info", "text"))
	o.Config.Listen = []string{"unix:" + path, busy.Addr().String()}
	if _, err := sidecar.New(o); err == nil || !strings.Contains(err.Error(), "listen: "+busy.Addr().String()+" is in use") {
		t.Errorf("got %v, want the error that the address is in use", err)
	}
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("the socket after the failed start: got the error %v, want that the file does not exist", err)
	}
}
