package sidecar

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/igproxy/igproxy/cmd/igproxy/internal/listener"
)

// The kernel completes TCP handshakes even if the server hangs. So a connection alone must not
// count as an answer.
func TestAServerThatAcceptsNoConnectionsFailsTheWatchdogsCheck(t *testing.T) {
	l := loopback(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := acceptsConnections(ctx, l.Addr()); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("nothing accepts the connection: got %v, want a timeout", err)
	}
	_ = l.Close()
	if err := acceptsConnections(t.Context(), l.Addr()); err == nil {
		t.Error("nothing listens: got no error, want one")
	}
}

func TestTheWatchdogsCheckLeavesNoTrace(t *testing.T) {
	for name, secure := range map[string]*tls.Config{"plain": nil, "TLS": {GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, errors.New("none") }}} {
		t.Run(name, func(t *testing.T) {
			var text bytes.Buffer
			log := slog.New(slog.NewTextHandler(&text, nil))
			requested := false
			l := listener.New(listener.Options{Listener: loopback(t), MaxConnections: 9, Logger: log,
				HTTP: &http.Server{TLSConfig: secure, Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { requested = true })}})
			l.Serve(make(chan error, 1))
			if err := acceptsConnections(t.Context(), l.Addr()); err != nil {
				t.Errorf("the server answers: got %v, want no error", err)
			}
			if secure != nil { // unlike the check, a client that fails the handshake is logged
				c, err := net.Dial("tcp", l.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				_, _ = c.Write([]byte("GET / HTTP/1.1\r\n\r\n"))
				_, _ = c.Read(make([]byte, 1))
				_ = c.Close()
			}
			_ = l.Shutdown(t.Context()) // waits for all connections to end
			l.Close()
			if got := strings.Count(text.String(), "\n"); requested || (secure != nil) != (got == 1) {
				t.Errorf("the handler got a request: %t, want false; got %d log lines, want 1 with TLS (the failed handshake) and 0 without:\n%s", requested, got, text.String())
			}
		})
	}
}

func TestWithoutSystemdNothingIsInherited(t *testing.T) {
	sockets, err := inheritedListeners()
	if err != nil || len(sockets) != 0 {
		t.Errorf("got the sockets %v and the error %v, want neither", sockets, err)
	}
	watchdog(slog.Default(), func(context.Context) error { t.Error("the check was called"); return nil })()
}

func TestAnInvalidWatchdogTimeIsLogged(t *testing.T) {
	t.Setenv("WATCHDOG_USEC", "soon")
	var text bytes.Buffer
	watchdog(slog.New(slog.NewTextHandler(&text, nil)), func(context.Context) error { t.Error("the check was called"); return nil })()
	if !strings.Contains(text.String(), "WATCHDOG_USEC=soon") {
		t.Errorf("got the log %q, want WATCHDOG_USEC=soon in it", text.String())
	}
}
