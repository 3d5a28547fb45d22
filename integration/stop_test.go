package integration

// A stop loses no request. However busy a connection is, igproxy answers every request on it until
// igproxy announces the end of the connection: with Connection: close in a response, or with GOAWAY
// in HTTP/2.

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/igproxy/igproxy/integration/harness"
	"github.com/igproxy/igproxy/proxy/mock"
)

const inUse = 64 // connections

func TestStopLosesNoRequestOnConnectionsInUse(t *testing.T) {
	authority := harness.NewAuthority(t)
	cert, key := authority.Sign(t, "igproxy")
	secure := []string{"TLS_CERT_FILE=" + file(t, "tls.crt", cert), "TLS_KEY_FILE=" + file(t, "tls.key", key)}
	socket := filepath.Join(t.TempDir(), "s")
	for name, c := range map[string]struct {
		settings []string
		protocol string
	}{
		"TCP, fast lane":            {nil, ""},
		"TCP, no fast lane":         {[]string{"SERVER_FAST_LANE=false"}, ""},
		"Unix socket, fast lane":    {[]string{"LISTEN=unix:" + socket}, ""},
		"Unix socket, no fast lane": {[]string{"LISTEN=unix:" + socket + "2", "SERVER_FAST_LANE=false"}, ""},
		"several addresses":         {[]string{"LISTEN=127.0.0.1:0 127.0.0.1:0 unix:" + socket + "3"}, ""},
		"TLS":                       {secure, "http/1.1"},
		"HTTP/2":                    {secure, "h2"},
	} {
		t.Run(name, func(t *testing.T) {
			_, upstream := instagram(t, mock.ServerOptions{})
			p := serve(t, append(c.settings, "UPSTREAM_URL="+upstream.URL)...)
			config := authority.Client(t, nil, true).Transport.(*http.Transport).TLSClientConfig
			config.ServerName, config.NextProtos = "127.0.0.1", []string{c.protocol}
			urls := strings.Split(p.URL, ", ")
			connect := func(i int) (net.Conn, error) {
				network, address, _ := strings.Cut(urls[i%len(urls)], ":")
				if network == "unix" {
					return net.Dial("unix", address)
				}
				return net.Dial("tcp", strings.TrimPrefix(address, "//"))
			}
			var users []user
			for i := range inUse {
				conn, err := connect(i)
				if err != nil {
					t.Fatal(err)
				}
				_ = conn.SetDeadline(time.Now().Add(patience))
				defer conn.Close()
				if c.protocol != "" {
					conn = tls.Client(conn, config)
				}
				if c.protocol == "h2" {
					users = append(users, newHTTP2User(t, p.URL, conn))
				} else {
					users = append(users, &http1User{conn, bufio.NewReader(conn)})
				}
			}
			var answered, lost atomic.Int64
			var wg sync.WaitGroup
			for i, u := range users {
				wg.Go(func() {
					for {
						last, err := u.ask(fmt.Sprintf("IGAA-stop-%d", i%4))
						if err != nil {
							if lost.Add(1) == 1 {
								t.Logf("the first lost request: %v", err)
							}
							return
						}
						if answered.Add(1); last {
							return
						}
					}
				})
			}
			eventually(t, "the connections are in constant use", func() bool { return answered.Load() > 50*inUse })
			if err := p.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			wg.Wait()
			if code := p.Wait(t); code != 0 || lost.Load() != 0 {
				t.Errorf("exit code %d, want 0; %d of %d connections in use lost a request, want 0", code, lost.Load(), inUse)
			}
			t.Logf("%d requests were answered", answered.Load())
		})
	}
}

// user sends all its requests on one connection.
type user interface {
	// ask sends a request and waits for the response. It reports whether the server announced the
	// end of the connection: with this response or, in HTTP/2, before this request.
	ask(token string) (last bool, err error)
}

type http1User struct {
	net.Conn
	answers *bufio.Reader
}

func (u *http1User) ask(token string) (last bool, err error) {
	if _, err := io.WriteString(u, rawExchange(token)); err != nil {
		return false, fmt.Errorf("sending: %w", err)
	}
	res, err := http.ReadResponse(u.answers, nil)
	if err != nil {
		return false, fmt.Errorf("no answer: %w", err)
	}
	defer res.Body.Close()
	if _, err := io.ReadAll(res.Body); err != nil || res.StatusCode != 200 {
		return false, fmt.Errorf("got %d, %v; want 200", res.StatusCode, err)
	}
	return res.Close, nil
}

// http2User obeys a GOAWAY, as every HTTP/2 client does. Other clients would then open another
// connection for the requests that the server did not process, but http2User has only one.
type http2User struct {
	url    string
	client *http.Client
}

var errOnlyConnection = errors.New("the only connection has ended")

func newHTTP2User(t *testing.T, url string, only net.Conn) *http2User {
	var used atomic.Bool
	transport := &http.Transport{ForceAttemptHTTP2: true, DialTLSContext: func(context.Context, string, string) (net.Conn, error) {
		if used.Swap(true) {
			return nil, errOnlyConnection
		}
		return only, only.(*tls.Conn).Handshake()
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http2User{url, &http.Client{Transport: transport}}
}

func (u *http2User) ask(token string) (last bool, err error) {
	r, err := fetch(context.Background(), u.client, u.url+exchangePath(token))
	switch {
	case errors.Is(err, errOnlyConnection):
		return true, nil
	case err != nil:
		return false, err
	case r.status != 200:
		return false, fmt.Errorf("got %d, want 200", r.status)
	}
	return false, nil
}
