package mock

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"
)

// raw sends one exchange over a plain connection and returns everything that arrives until the
// server closes the connection.
func (s *stand) raw(t *testing.T, token string) (string, error) {
	t.Helper()
	conn, err := net.Dial("tcp", s.server.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(conn, "GET /access_token?"+query(token)+" HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(conn)
	return string(got), err
}

func TestConnectionFaultsBreakTheConnection(t *testing.T) {
	s := newStand(t, ServerOptions{})
	if got, err := s.raw(t, "close-1"); got != "" || err != nil {
		t.Errorf("close: got %q (error %v), want no response and an orderly end", got, err)
	}
	if got, err := s.raw(t, "reset-1"); got != "" || !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("reset: got %q (error %v), want no response and ECONNRESET", got, err)
	}
	if got, err := s.raw(t, "garbageline-1"); got != "SORRY, something went wrong\r\n\r\n" || err != nil {
		t.Errorf("garbageline: got %q (error %v), want an invalid status line and an orderly end", got, err)
	}
	head, body, _ := strings.Cut(first(s.raw(t, "truncated-1")), "\r\n\r\n")
	if !strings.HasPrefix(head, "HTTP/1.1 200") || !strings.Contains(body, `{"access_token":"IGAA`) || strings.HasSuffix(body, "}") {
		t.Errorf("truncated: got the head %q and the body %q, want 200 and the beginning of a body", head, body)
	}
	if a := s.exchange(t, "truncated-1"); !errors.Is(a.err, io.ErrUnexpectedEOF) {
		t.Errorf("truncated: got the error %v, want %v", a.err, io.ErrUnexpectedEOF)
	}
}

func first(s string, _ error) string { return s }

func TestFlakyFaultsFailOnceForEachToken(t *testing.T) {
	s := newStand(t, ServerOptions{})
	for _, token := range []string{"flaky-1", "flaky-2"} {
		if got, err := s.raw(t, token); got != "" || err != nil {
			t.Errorf("%s, first: got %q (error %v), want no response and an orderly end", token, got, err)
		}
		for range 2 {
			if a := s.exchange(t, token); a.status != 200 || a.err != nil {
				t.Errorf("%s, later: got %d (error %v), want 200", token, a.status, a.err)
			}
		}
	}
	for _, want := range []int{500, 200, 200} {
		if a := s.exchange(t, "flaky500-1"); a.status != want {
			t.Errorf("flaky500: got %d, want %d", a.status, want)
		}
	}
	s.Reset()
	if a := s.exchange(t, "flaky500-1"); a.status != 500 {
		t.Errorf("flaky500 after a reset: got %d, want 500", a.status)
	}
}

// These faults send their first bytes at once, if they send any. They end when the client
// disconnects.
func TestHangingFaultsEndWhenTheirClientDisconnects(t *testing.T) {
	s := newStand(t, ServerOptions{})
	for token, want := range map[string]string{"hang-1": "", "hangbody-1": "HTTP/1.1 200 OK", "drip-1": "HTTP/1.1 200 OK"} {
		conn, err := net.Dial("tcp", s.server.Addr)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(patience))
		_, _ = io.WriteString(conn, "GET /access_token?"+query(token)+" HTTP/1.1\r\nHost: localhost\r\n\r\n")
		if want != "" {
			got, err := bufio.NewReader(conn).ReadString('\n')
			if strings.TrimSpace(got) != want || err != nil {
				t.Errorf("%s: got %q (error %v), want %q", token, got, err, want)
			}
		}
		eventually(t, token+" is in flight", func() bool { return s.currentCounters().stats().InFlight == 1 })
		conn.Close()
		eventually(t, token+" ended with its client", func() bool { return s.currentCounters().stats().InFlight == 0 })
	}
}

// With HTTP/2, a fault of the connection resets only the stream.
func TestConnectionFaultsResetTheStreamOverHTTP2(t *testing.T) {
	s := newStand(t, ServerOptions{TLS: true})
	if a := s.exchange(t, "IGAA-1"); a.status != 200 || a.proto != 2 {
		t.Fatalf("got %d over HTTP/%d (error %v), want 200 over HTTP/2", a.status, a.proto, a.err)
	}
	for _, token := range []string{"close-1", "reset-1", "garbageline-1", "flaky-1"} {
		if a := s.exchange(t, token); a.status != 0 || a.err == nil {
			t.Errorf("%s: got %d %s (error %v), want an error and no response", token, a.status, a.body, a.err)
		}
	}
	if a := s.exchange(t, "truncated-1"); a.status != 200 || a.err == nil {
		t.Errorf("truncated: got %d %s (error %v), want 200 and an error", a.status, a.body, a.err)
	}
	if a := s.exchange(t, "endless-1"); a.err == nil || len(a.body) < endlessBytes {
		t.Errorf("endless: got %d bytes (error %v), want at least %d bytes and an error", len(a.body), a.err, endlessBytes)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan answer)
	go func() { done <- s.sendCtx(ctx, "GET", "/access_token?"+query("hang-1"), nil, nil) }()
	eventually(t, "hang is in flight", func() bool { return s.CallsFor("hang-1") == 1 })
	cancel()
	<-done
	eventually(t, "hang ended with its client", func() bool { return s.currentCounters().stats().InFlight == 0 })
	if a := s.exchange(t, "flaky-1"); a.status != 200 {
		t.Errorf("flaky, the second time: got %d (error %v), want 200", a.status, a.err)
	}
}

// With TLS and HTTP/1.1 the faults affect the TCP connection.
func TestConnectionFaultsBreakTheTCPConnectionBelowTLS(t *testing.T) {
	s := newStand(t, ServerOptions{TLS: true})
	s.transport.ForceAttemptHTTP2 = false
	for _, token := range []string{"close-1", "reset-1", "garbageline-1", "truncated-1"} {
		a := s.exchange(t, token)
		if a.err == nil || a.proto > 1 {
			t.Errorf("%s: got %d over HTTP/%d (error %v), want an error and no HTTP/2", token, a.status, a.proto, a.err)
		}
		if token == "reset-1" && !errors.Is(a.err, syscall.ECONNRESET) {
			t.Errorf("reset: got the error %v, want ECONNRESET", a.err)
		}
	}
	if a := s.exchange(t, "IGAA-1"); a.status != 200 || a.proto != 1 {
		t.Errorf("got %d over HTTP/%d (error %v), want 200 over HTTP/1.1", a.status, a.proto, a.err)
	}
}
