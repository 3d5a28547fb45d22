package listener

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var hello = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
	_, _ = io.WriteString(w, "hello")
})

// Regression: http.Server.SetKeepAlivesEnabled and Shutdown close a connection even if an unread
// request has arrived on it.
func TestAStopLosesNoRequestOfConnectionsInUse(t *testing.T) {
	const clients = 32
	for _, network := range []string{"tcp", "unix"} {
		for name, c := range map[string]struct{ secure, frames bool }{"HTTP/1.1": {}, "TLS": {secure: true}, "HTTP/2": {true, true}} {
			t.Run(network+"/"+name, func(t *testing.T) {
				l := loopback(t)
				if network == "unix" {
					var err error
					if l, err = net.Listen("unix", filepath.Join(t.TempDir(), "s")); err != nil {
						t.Fatal(err)
					}
				}
				s, template := servingOn(t, l, c.secure, c.frames, hello)
				var answered, connected atomic.Int32
				var wg sync.WaitGroup
				for range clients {
					transport := template.Transport.(*http.Transport).Clone()
					var dials atomic.Int32
					dial := transport.DialContext
					transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
						if dials.Add(1) > 1 {
							return nil, errSecond
						}
						return dial(ctx, network, address)
					}
					wg.Go(func() {
						defer transport.CloseIdleConnections()
						first := true
						for {
							res, err := (&http.Client{Transport: transport}).Get(s.url())
							if err != nil {
								// HTTP/2 announces the end by GOAWAY. Then the transport tries to
								// open a second connection, which this test refuses.
								if !c.frames || !errors.Is(err, errSecond) {
									t.Errorf("a request was lost: %v", err)
								}
								return
							}
							body, err := io.ReadAll(res.Body)
							_ = res.Body.Close()
							if err != nil || string(body) != "hello" {
								t.Errorf("got %q (error: %v), want hello", body, err)
							}
							answered.Add(1)
							if first {
								first = false
								connected.Add(1)
							}
							if res.Close {
								return
							}
						}
					})
				}
				eventually(t, "all clients are answered", func() bool { return answered.Load() >= 10*clients && connected.Load() == clients })
				if err := s.Shutdown(t.Context()); err != nil {
					t.Error(err)
				}
				wg.Wait()
			})
		}
	}
}

var errSecond = errors.New("a second connection")

// A request on an idle connection is answered during the farewell, and then the connection ends.
func TestAStopWaitsAMomentForRequestsOnIdleConnections(t *testing.T) {
	s, _ := serving(t, false, false, hello)
	var conns [4]net.Conn
	for i := range conns {
		conns[i] = dial(t, s.bound)
		if res := ask(t, conns[i]); res.Close {
			t.Error("Response.Close before the stop: got true, want false")
		}
	}
	ended := make(chan error, 1)
	start := time.Now()
	go func() { ended <- s.Shutdown(context.Background()) }()
	for !s.ending.Load() {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(farewell / 4)
	for _, c := range conns[1:] {
		if res := ask(t, c); !res.Close {
			t.Error("Response.Close during the stop: got false, want true")
		}
	}
	if n, err := conns[0].Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("an idle connection: got %d bytes and the error %v, want io.EOF", n, err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if took := time.Since(start); took < farewell || took > farewellTimeout {
		t.Errorf("the stop took %s, want at least %s and at most %s", took, farewell, farewellTimeout)
	}
}

// ask sends a request on a connection, and returns the response after it has checked the body.
func ask(t *testing.T, c net.Conn) *http.Response {
	t.Helper()
	fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatalf("a request was lost: %v", err)
	}
	body, _ := io.ReadAll(res.Body)
	if got := string(body); got != "hello" {
		t.Errorf("got %q, want hello", got)
	}
	return res
}

func TestAStopAnswersARequestWhoseHeaderIsStillArriving(t *testing.T) {
	s, _ := serving(t, false, false, hello)
	c := dial(t, s.bound)
	_, _ = io.WriteString(c, "GE")
	ended := make(chan error, 1)
	eventually(t, "a part of the header has arrived", func() bool {
		all := s.bound.open.snapshot()
		return len(all) == 1 && all[0].state.Load() == reading
	})
	go func() { ended <- s.Shutdown(context.Background()) }()
	time.Sleep(farewell + farewell/2) // longer than an idle connection is kept
	_, _ = io.WriteString(c, "T / HTTP/1.1\r\nHost: localhost\r\n\r\n")
	if response, _ := io.ReadAll(c); !strings.Contains(string(response), "hello") {
		t.Errorf("got the response %q, want hello", response)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// answeringLane is a Lane with a response that takes longer than any drain.
type answeringLane struct{ net.Listener }

func (answeringLane) Serve(l net.Listener) error {
	_, err := l.Accept()
	return err
}
func (a answeringLane) Fallback() net.Listener { return a.Listener }
func (answeringLane) Shutdown(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

func TestDrainWaitsForResponsesOfTheFastLane(t *testing.T) {
	s := New(Options{Listener: loopback(t), HTTP: &http.Server{}, MaxConnections: 1, Logger: slog.New(slog.DiscardHandler), Lane: answeringLane{loopback(t)}})
	failed := make(chan error, 2)
	s.Serve(failed)
	defer s.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Shutdown: got %v, want context.DeadlineExceeded", err)
	}
}
