package integration

// nc, some load tools and other clients close the sending half of a connection right after their
// request, and then read. They get their answer, with the fast lane and without it.

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/igproxy/igproxy/proxy/mock"
)

func TestClientThatClosesItsSendingHalfGetsItsAnswer(t *testing.T) {
	t.Parallel()
	for _, lane := range []bool{true, false} {
		t.Run(fmt.Sprint("fast lane ", lane), func(t *testing.T) {
			t.Parallel()
			ig, upstream := instagram(t, mock.ServerOptions{})
			ig.SetLatency(300 * time.Millisecond)
			p := serve(t, "UPSTREAM_URL="+upstream.URL, fmt.Sprint("SERVER_FAST_LANE=", lane))
			for _, want := range []string{"fwd=miss", "hit"} {
				c, err := net.Dial("tcp", strings.TrimPrefix(p.URL, "http://"))
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(20 * time.Second))
				_, _ = io.WriteString(c, "GET /access_token?grant_type=ig_exchange_token&access_token=IGAA-half HTTP/1.1\r\nHost: localhost\r\n\r\n")
				_ = c.(*net.TCPConn).CloseWrite()
				got, err := io.ReadAll(c)
				if err != nil || !strings.HasPrefix(string(got), "HTTP/1.1 200") || !strings.Contains(string(got), want) {
					t.Errorf("got %q, %v; want 200 with %s", got, err, want)
				}
			}
			if ig.Calls() != 1 {
				t.Errorf("%d calls, want 1", ig.Calls())
			}
		})
	}
}
