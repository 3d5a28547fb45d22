package lane_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/igproxy/igproxy/proxy/lane"
)

const request = "GET /access_token?grant_type=ig_exchange_token&access_token=IGAA HTTP/1.1\r\nHost: localhost\r\n\r\n"

// echo answers with what the lane read.
type echo struct{ sent *int }

func (e echo) Answer(b, host, token []byte, _ time.Time) []byte {
	b = append(b, "HTTP/1.1 204 No Content\r\nHost: "...)
	b = append(b, host...)
	b = append(b, "\r\nToken: "...)
	b = append(b, token...)
	return append(b, "\r\n\r\n"...)
}

func (e echo) Sent(time.Time, time.Duration) { *e.sent++ }

// idling is a connection that notes when it begins to wait.
type idling struct {
	net.Conn
	since []time.Time
}

func (c *idling) Idle(since time.Time) { c.since = append(c.since, since) }

// served returns the two ends of a connection on which net/http waits for a request, the connection
// above the lane, and what net/http gets.
func served(t *testing.T, sent *int) (client net.Conn, below *idling, above net.Conn, got chan string) {
	t.Helper()
	here, there := net.Pipe()
	below = &idling{Conn: here}
	l := lane.New(lane.Options{NewAnswerer: func() lane.Answerer { return echo{sent} }, IdleTimeout: time.Minute})
	above = l.Wrap(below)
	l.ConnState(above, http.StateIdle)
	got = make(chan string, 1)
	go func() { // ends with the connection, or with the first bytes that the lane does not answer
		b := make([]byte, 4<<10)
		n, _ := above.Read(b)
		got <- string(b[:n])
	}()
	t.Cleanup(func() { _ = there.Close() })
	return there, below, above, got
}

func TestPlainRequestsAreAnsweredAndOthersDelivered(t *testing.T) {
	for _, c := range []struct {
		name, old, new string
		plain          bool
	}{
		{"as it is", "", "", true},
		{"another order, with a secret", "grant_type=ig_exchange_token&access_token=IGAA", "access_token=IGAA&client_secret=x&grant_type=ig_exchange_token", true},
		{"harmless headers", "Host: localhost\r\n", "Host: localhost\r\naccept: */*\r\nUser-Agent: a\r\nConnection: Keep-Alive\r\n", true},
		{"another path", "/access_token", "/refresh_access_token", false},
		{"a version", "/access_token", "/v23.0/access_token", false},
		{"another method", "GET", "HEAD", false},
		{"HTTP/1.0", "HTTP/1.1", "HTTP/1.0", false},
		{"an escape", "IGAA", "IG%41A", false},
		{"no token", "IGAA", "", false},
		{"two tokens", "IGAA", "IGAA&access_token=IGAA", false},
		{"another parameter", "IGAA", "IGAA&x=y", false},
		{"no Host", "Host: localhost\r\n", "", false},
		{"two Hosts", "Host: localhost\r\n", "Host: localhost\r\nHost: localhost\r\n", false},
		{"a body", "Host: localhost\r\n", "Host: localhost\r\nContent-Length: 1\r\n", false},
		{"an unknown header", "Host: localhost\r\n", "Host: localhost\r\nOrigin: x\r\n", false},
		{"its connection ends", "Host: localhost\r\n", "Host: localhost\r\nConnection: close\r\n", false},
		{"a folded line", "Host: localhost\r\n", "Host: localhost\r\n x\r\n", false},
		{"bare line feeds", "\r\n", "\n", false},
		{"half of it", "\r\n\r\n", "\r\n", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sent := 0
				client, below, _, got := served(t, &sent)
				asked := strings.Replace(request, c.old, c.new, 1)
				go func() { _, _ = io.WriteString(client, asked) }()
				if !c.plain {
					if handed := <-got; handed != asked || sent != 0 || len(below.since) != 0 {
						t.Errorf("delivered %q, want %q; %d answers, idle %d times", handed, asked, sent, len(below.since))
					}
					return
				}
				res, err := http.ReadResponse(bufio.NewReader(client), nil)
				if err != nil || res.Header.Get("Token") != "IGAA" || res.Header.Get("Host") != "localhost" {
					t.Fatalf("got %v, %v", res, err)
				}
				synctest.Wait()
				if sent != 1 || len(below.since) != 1 {
					t.Errorf("%d answers, idle %d times; want 1, 1", sent, len(below.since))
				}
			})
		})
	}
}

// The connection is idle for net/http, which may close it.
func TestAnAnswerIsNotCutWhenNetHTTPClosesTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sent := 0
		client, _, above, got := served(t, &sent)
		_, _ = io.WriteString(client, request)
		synctest.Wait() // the answer waits for its reader: a pipe has no buffer
		if err := above.Close(); err != nil {
			t.Fatal(err)
		}
		r := bufio.NewReader(client)
		if res, err := http.ReadResponse(r, nil); err != nil || res.StatusCode != http.StatusNoContent {
			t.Errorf("got %v, %v", res, err)
		}
		if _, err := r.ReadByte(); err != io.EOF {
			t.Errorf("got %v, want the end", err)
		}
		if handed := <-got; handed != "" {
			t.Errorf("net/http got %q", handed)
		}
	})
}

// After half of a second request the connection does not wait for a request.
func TestAConnectionIsNotIdleWithHalfARequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sent := 0
		client, below, _, got := served(t, &sent)
		go func() { _, _ = io.WriteString(client, request+request[:20]) }()
		if _, err := http.ReadResponse(bufio.NewReader(client), nil); err != nil {
			t.Fatal(err)
		}
		if handed := <-got; handed != request[:20] || len(below.since) != 0 {
			t.Errorf("delivered %q, idle %d times", handed, len(below.since))
		}
	})
}
