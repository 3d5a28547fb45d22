package lane_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// overSockets runs a test over TCP and over a Unix socket, because the lane does not read sockets
// in the same way as connections in memory.
func overSockets(t *testing.T, h echo, test func(t *testing.T, d *testLane, dial func() net.Conn)) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			address := "127.0.0.1:0"
			if network == "unix" {
				address = filepath.Join(t.TempDir(), "s")
			}
			l, err := net.Listen(network, address)
			if err != nil {
				t.Fatal(err)
			}
			d := open(t, l, h)
			test(t, d, func() net.Conn {
				c, err := net.Dial(network, l.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				_ = c.SetDeadline(time.Now().Add(30 * time.Second))
				t.Cleanup(func() { _ = c.Close() })
				return c
			})
		})
	}
}

func TestRequestsOverSocketsAreAnsweredOrHandedOver(t *testing.T) {
	overSockets(t, echo{}, func(t *testing.T, d *testLane, dial func() net.Conn) {
		c := dial()
		r := bufio.NewReader(c)
		for range 10 {
			for _, part := range []string{request[:1], request[1:40], request[40:] + request} {
				_, _ = io.WriteString(c, part)
			}
			for range 2 {
				if res, err := http.ReadResponse(r, nil); err != nil || res.Header.Get("Token") != "IGAA" {
					t.Fatalf("got %v, error %v; want an answer with the token", res, err)
				}
			}
		}
		_, _ = io.WriteString(c, "POST / HTTP/1.1\r\n")
		handed := <-d.handed
		defer handed.Close()
		got := make([]byte, len("POST / HTTP/1.1\r\n"))
		if _, err := io.ReadFull(handed, got); err != nil || string(got) != "POST / HTTP/1.1\r\n" {
			t.Errorf("handed over %q, error %v; want the first line of the POST request", got, err)
		}
		dial() // this connection is still in the lane when the test ends
	})
}

// A busy connection is not read to the end after each request, so the lane may notice the end of
// the stream late.
func TestAHalfClosedConnectionGetsItsAnswerAndThenEnds(t *testing.T) {
	overSockets(t, echo{}, func(t *testing.T, _ *testLane, dial func() net.Conn) {
		for _, before := range []int{0, 1, 20} {
			c := dial()
			r := bufio.NewReader(c)
			for range before {
				_, _ = io.WriteString(c, request)
				if _, err := http.ReadResponse(r, nil); err != nil {
					t.Fatal(err)
				}
			}
			_, _ = io.WriteString(c, request)
			if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(r); err != nil || strings.Count(string(got), "HTTP/1.1 204") != 1 {
				t.Errorf("after %d requests: got %q, error %v; want one answer and the end", before, got, err)
			}
		}
	})
}

// While the client does not read, the buffers of the socket fill up and the lane has to wait.
func TestAnswersThatAClientReadsLateAreComplete(t *testing.T) {
	const requests = 100_000
	var served atomic.Int64
	overSockets(t, echo{sent: &served}, func(t *testing.T, _ *testLane, dial func() net.Conn) {
		c := dial()
		served.Store(0)
		go func() { // ends when everything is sent or the connection ends
			_, _ = io.WriteString(c, strings.Repeat(request, requests))
			_ = c.(interface{ CloseWrite() error }).CloseWrite()
		}()
		// Wait until the lane makes no progress.
		for last := int64(0); last == 0 || last != served.Load(); time.Sleep(20 * time.Millisecond) {
			last = served.Load()
		}
		if n := served.Load(); n == 0 || n == requests {
			t.Fatalf("%d of %d answers were sent before the client read any; want some, but not all", n, requests)
		}
		got, err := io.ReadAll(c)
		if n := strings.Count(string(got), "Token: IGAA\r\n\r\n"); err != nil || n != requests {
			t.Errorf("got %d answers, error %v; want %d", n, err, requests)
		}
	})
}
