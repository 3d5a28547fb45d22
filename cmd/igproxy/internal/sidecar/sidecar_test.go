package sidecar_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/igproxy/igproxy/cmd/igproxy/internal/config"
	"github.com/igproxy/igproxy/cmd/igproxy/internal/logging"
	"github.com/igproxy/igproxy/cmd/igproxy/internal/sidecar"
	"github.com/igproxy/igproxy/proxy"
)

// free returns an address that nothing listens on.
func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func options(t *testing.T, log *logging.Log) sidecar.Options {
	t.Helper()
	t.Cleanup(func() { log.Close() })
	c := config.Default()
	c.Listen, c.Admin.Listen = []string{"127.0.0.1:0"}, "127.0.0.1:0"
	c.ClientSecret = proxy.NewSecret("0123456789abcdef")
	return sidecar.Options{Config: c, Log: log, Build: sidecar.Build{Version: "v1"}}
}

func TestAFailedStartLeavesNothingOpen(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	o := options(t, logging.Start(io.Discard, "info", "text"))
	o.Config.Listen, o.Config.Admin.Listen = []string{free(t)}, busy.Addr().String()
	if _, err := sidecar.New(o); err == nil || !strings.HasPrefix(err.Error(), "admin.listen: ") {
		t.Fatalf("got %v, want an error that begins with admin.listen", err)
	}
	l, err := net.Listen("tcp", o.Config.Listen[0])
	if err != nil {
		t.Fatalf("listening on the app's address after the failed start: got the error %v, want no error", err)
	}
	_ = l.Close()
}

func TestASidecarAnswersUntilASignal(t *testing.T) {
	var text bytes.Buffer
	log := logging.Start(&text, "info", "text")
	s, err := sidecar.New(options(t, log))
	if err != nil {
		t.Fatal(err)
	}
	signals, ended := make(chan os.Signal, 1), make(chan error, 1)
	go func() { ended <- s.Run(signals) }() // ends with the signal
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	for url, want := range map[string]int{s.AdminURL() + "/readyz": http.StatusOK, s.URL() + "/access_token": http.StatusBadRequest} {
		res, err := client.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("%s: got %d, want %d", url, res.StatusCode, want)
		}
	}
	signals <- syscall.SIGTERM
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := client.Get(s.AdminURL() + "/readyz"); err == nil {
		t.Error("a request after the end: got a response, want an error")
	}
	log.Close()
	if got := strings.Count(text.String(), "msg=stopped"); got != 1 {
		t.Errorf("the log says %d times that the sidecar stopped, want once:\n%s", got, text.String())
	}
}

func TestSystemdIsNotifiedOfTheStartAReloadAndTheStop(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
	t.Setenv("NOTIFY_SOCKET", path)
	want := func(message string) {
		t.Helper()
		b := make([]byte, 256)
		if n, err := c.Read(b); err != nil || string(b[:n]) != message {
			t.Errorf("systemd got %q (error: %v), want %q", b[:n], err, message)
		}
	}
	o := options(t, logging.Start(io.Discard, "info", "text"))
	o.Load = func() (config.Config, []config.Problem) { return o.Config, nil }
	o.Config.Admin.Socket = filepath.Join(t.TempDir(), "admin")
	s, err := sidecar.New(o)
	if err != nil {
		t.Fatal(err)
	}
	signals, ended := make(chan os.Signal, 1), make(chan error, 1)
	go func() { ended <- s.Run(signals) }() // ends with the signal
	want("READY=1\nSTATUS=answering on " + s.URL())
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", o.Config.Admin.Socket)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: dial}, Timeout: 10 * time.Second}
	if res, err := client.Post("http://localhost/reload", "", nil); err != nil || res.StatusCode != http.StatusOK {
		t.Errorf("POST /reload: got %v (error: %v), want 200", res, err)
	} else {
		_ = res.Body.Close()
	}
	want("RELOADING=1\nSTATUS=reading the configuration")
	want("READY=1\nSTATUS=answering on " + s.URL())
	signals <- syscall.SIGTERM
	want("STOPPING=1\nSTATUS=draining")
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
