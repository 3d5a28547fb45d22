package sidecar

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/igproxy/igproxy/cmd/igproxy/internal/config"
)

func TestAStopLosesNoRequestOfInterceptedConnections(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		t.Run(fmt.Sprintf("HTTP/2=%t", http2), func(t *testing.T) {
			n := startIntercepting(t, nil)
			const clients = 16
			var answered atomic.Int32
			var all sync.WaitGroup
			for range clients {
				transport := n.transport(t, n.roots(t), nil)
				if !http2 {
					transport.ForceAttemptHTTP2, transport.TLSNextProto = false, map[string]func(string, *tls.Conn) http.RoundTripper{}
				}
				var dials atomic.Int32
				dial := transport.DialContext
				transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
					if dials.Add(1) > 1 {
						return nil, errSecondConnection
					}
					return dial(ctx, network, address)
				}
				all.Go(func() {
					defer transport.CloseIdleConnections()
					for {
						res, err := (&http.Client{Transport: transport}).Get("https://" + instagramHost + "/me?access_token=IGAA")
						if err != nil {
							// The server ends an HTTP/2 connection with GOAWAY. Then the transport
							// tries to open a second connection, which this test refuses.
							if !http2 || !errors.Is(err, errSecondConnection) {
								t.Errorf("a request: got the error %v, want a response", err)
							}
							return
						}
						_, err = io.Copy(io.Discard, res.Body)
						_ = res.Body.Close()
						if err != nil || res.StatusCode != http.StatusOK {
							t.Errorf("got %d (error: %v), want 200", res.StatusCode, err)
						}
						answered.Add(1)
						if res.Close {
							return
						}
					}
				})
			}
			eventually(t, "the clients are busy", func() bool { return answered.Load() > 10*clients })
			if err := n.stop(); err != nil {
				t.Error(err)
			}
			all.Wait()
		})
	}
}

// The listeners for apps and the listener for interception share server.max_connections. If that
// many connections are open, an idle intercepted connection is closed to make room for a new one.
func TestInterceptedConnectionsCountTowardsTheLimit(t *testing.T) {
	n := startIntercepting(t, func(c *config.Config) { c.Server.MaxConnections = 3 })
	var open atomic.Int32
	for i := range 9 {
		transport := n.transport(t, n.roots(t), nil)
		dial := transport.DialContext
		transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := dial(ctx, network, address)
			if err == nil {
				open.Add(1)
				c = &closing{Conn: c, open: &open}
			}
			return c, err
		}
		if got := ask(&http.Client{Transport: transport}, "https://"+instagramHost+"/me?access_token=IGAA"); got != "HTTP/2.0 200" {
			t.Errorf("client %d: got %s, want HTTP/2.0 200", i+1, got)
		}
	}
	eventually(t, "at most three connections are open", func() bool { return open.Load() <= 3 })
}

// closing is a connection that subtracts itself from the number of open connections when it is
// closed.
type closing struct {
	net.Conn
	open *atomic.Int32
	once sync.Once
}

func (c *closing) Close() error { c.once.Do(func() { c.open.Add(-1) }); return c.Conn.Close() }
