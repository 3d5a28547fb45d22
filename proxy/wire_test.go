package proxy

// What net/http makes of an answer, seen from a raw connection.

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http/httptest"
	"testing"
	"time"
)

// wireServer serves a Proxy whose exchanges are given.
func wireServer(t *testing.T, exchange exchangeFunc) string {
	t.Helper()
	e := testEngine(t)
	e.first = exchange
	p := &Proxy{carried: carried{metrics: NewMetrics(), log: slog.New(slog.DiscardHandler)}}
	p.current.Store(e)
	s := httptest.NewServer(p)
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// sent writes a request and returns all that comes until the server ends the connection. Ours ends first, after the request, if half.
func sent(t *testing.T, addr, request string, half bool) string {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second)) // only a held answer takes so long
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	if half {
		_ = conn.(*net.TCPConn).CloseWrite()
	}
	got, err := io.ReadAll(conn)
	if err != nil {
		t.Errorf("after %q: %v", got, err)
	}
	return string(got)
}

const wireOK = "/access_token?grant_type=ig_exchange_token&access_token=t"

// net/http writes 200 and an empty body for a handler that returns without a word. A client that only ended its half reads it.
func TestACallerThatLeftGetsNoEmpty200(t *testing.T) {
	addr := wireServer(t, func(ctx context.Context, _ call) (answer, error) {
		<-ctx.Done()
		return answer{}, errCallerGone
	})
	if got := sent(t, addr, "GET "+wireOK+" HTTP/1.1\r\nHost: localhost\r\n\r\n", true); got != "" {
		t.Errorf("got %q, want nothing", got)
	}
}
