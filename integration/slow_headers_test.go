package integration

// When too many connections are open, the listener for apps and the admin listener first close
// connections that have not sent a whole request header, so that requests with a whole header are
// answered. A few bytes of the next request on a kept connection count as an incomplete header.

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/igproxy/igproxy/proxy/mock"
)

// floodSlowly keeps n connections open at address. Half of them send half a header, the others send
// nothing. When a connection is closed, floodSlowly opens another. It returns when n connections
// have been opened. The flood ends with the test, or when the returned function is called.
func floodSlowly(t *testing.T, address string, n int) (end func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var opened atomic.Int64
	for i := range n {
		wg.Go(func() {
			for first := true; ctx.Err() == nil; first = false {
				c, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
				if err != nil {
					continue
				}
				if first {
					opened.Add(1)
				}
				if i%2 == 0 {
					_, _ = io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Sl")
				}
				stop := context.AfterFunc(ctx, func() { _ = c.Close() })
				_, _ = c.Read(make([]byte, 1)) // until it is closed
				stop()
				_ = c.Close()
				select {
				case <-ctx.Done():
				case <-time.After(time.Second):
				}
			}
		})
	}
	end = sync.OnceFunc(func() { cancel(); wg.Wait() })
	t.Cleanup(end)
	eventually(t, "the flood has begun", func() bool { return opened.Load() == int64(n) })
	return end
}

// impatient returns a client with this timeout, which opens a new connection for each request.
func impatient(timeout time.Duration) *http.Client {
	return &http.Client{Timeout: timeout, Transport: &http.Transport{DisableKeepAlives: true}}
}

func TestProbesSucceedDuringAFloodOfSlowHeaders(t *testing.T) {
	_, upstream := instagram(t, mock.ServerOptions{})
	p := serve(t, "UPSTREAM_URL="+upstream.URL)
	floodSlowly(t, strings.TrimPrefix(p.Admin, "http://"), 200)
	const probes = 15
	kubelet := impatient(time.Second) // the default timeout of its probes
	failed := 0
	for range probes {
		if r, err := fetch(t.Context(), kubelet, p.Admin+"/healthz"); err != nil || r.status != 200 {
			failed++
			t.Logf("a failed probe: status %d, error %v", r.status, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
	if failed > 0 {
		t.Errorf("%d of %d probes failed, want none", failed, probes)
	}
}

func TestHitsAreAnsweredDuringAFloodOfSlowHeaders(t *testing.T) {
	ig, upstream := instagram(t, mock.ServerOptions{})
	p := serve(t, "UPSTREAM_URL="+upstream.URL)
	known := p.ask(t, "IGAA-known")
	idle := p.dialApp(t)
	answers := bufio.NewReader(idle)
	exchange := func() error {
		_, _ = io.WriteString(idle, rawExchange("IGAA-known"))
		res, err := http.ReadResponse(answers, nil)
		if err == nil {
			_, err = io.Copy(io.Discard, res.Body)
		}
		return err
	}
	if err := exchange(); err != nil {
		t.Fatal(err)
	}
	ig.SetLatency(3 * time.Second)
	slow := make(chan error, 1)
	calls := ig.Calls()
	go func() { // ends when the request has its answer
		r, err := fetch(context.Background(), noKeepAlive, p.URL+exchangePath("IGAA-busy"))
		if err == nil && r.status != 200 {
			err = fmt.Errorf("status %d", r.status)
		}
		slow <- err
	}()
	eventually(t, "an exchange is in flight", func() bool { return ig.Calls() == calls+1 })

	floodSlowly(t, strings.TrimPrefix(p.URL, "http://"), 4000)
	const hits = 20
	app := impatient(3 * time.Second) // allows for a busy machine
	failed := 0
	var longest time.Duration
	for range hits {
		start := time.Now()
		if r, err := fetch(t.Context(), app, p.URL+exchangePath("IGAA-known")); err != nil || r.token() != known.token() {
			failed++
			t.Logf("a failed hit: status %d, error %v", r.status, err)
		}
		longest = max(longest, time.Since(start))
	}
	t.Logf("the slowest of %d hits took %s", hits, longest.Round(time.Millisecond))
	if failed > 0 {
		t.Errorf("%d of %d hits on new connections failed, want none", failed, hits)
	}
	if err := <-slow; err != nil {
		t.Errorf("the exchange that was in flight before the flood: got %v, want status 200", err)
	}
	if err := exchange(); err != nil {
		t.Errorf("an exchange on the idle connection: got %v, want no error: connections without a whole header are closed first", err)
	}
}

// A connection, new or kept, that has sent one to four bytes of a request must send the rest of the
// header within server.read_header_timeout, whether the fast lane is on or off.
func TestAFewBytesCountAsAnIncompleteHeader(t *testing.T) {
	t.Parallel()
	_, upstream := instagram(t, mock.ServerOptions{})
	for _, lane := range []string{"true", "false"} {
		p := serve(t, "UPSTREAM_URL="+upstream.URL, "SERVER_FAST_LANE="+lane, "SERVER_READ_HEADER_TIMEOUT=1s")
		for _, kept := range []bool{false, true} {
			for length := 1; length <= 4; length++ {
				t.Run(fmt.Sprintf("fast lane %s, kept %v, %d bytes", lane, kept, length), func(t *testing.T) {
					t.Parallel()
					request := rawExchange("IGAA-few")
					begin := func() (net.Conn, *bufio.Reader) {
						c := p.dialApp(t)
						answers := bufio.NewReader(c)
						if kept {
							_, _ = io.WriteString(c, request)
							readAnswer(t, answers)
						}
						_, _ = io.WriteString(c, request[:length])
						return c, answers
					}
					c, answers := begin()
					time.Sleep(300 * time.Millisecond)
					_, _ = io.WriteString(c, request[length:])
					readAnswer(t, answers)

					c, answers = begin()
					_ = c.SetReadDeadline(time.Now().Add(10 * time.Second)) // less than server.idle_timeout, 90 s
					if got, err := io.ReadAll(answers); err != nil || len(got) > 0 && !bytes.HasPrefix(got, []byte("HTTP/1.1 400 ")) {
						t.Errorf("got %q, %v; want the end of the connection, perhaps after a 400", got, err)
					}
				})
			}
		}
	}
}

func readAnswer(t *testing.T, r *bufio.Reader) {
	t.Helper()
	res, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if body, err := io.ReadAll(res.Body); err != nil || res.StatusCode != 200 {
		t.Errorf("got %d %q, %v; want 200", res.StatusCode, body, err)
	}
}
