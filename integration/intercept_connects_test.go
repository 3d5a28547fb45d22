package integration

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/igproxy/igproxy/integration/harness"
	"github.com/igproxy/igproxy/proxy/mock"
)

// Good, refused, abandoned and broken CONNECTs, 64 at a time, leave nothing behind: no descriptor,
// no goroutine, no tunnel.
func TestTenThousandConnectsLeaveNothingBehind(t *testing.T) {
	t.Parallel()
	const connects, atOnce = 10_000, 64
	ig, upstream := instagram(t, mock.ServerOptions{})
	const token = "the-token-of-the-sidecar-0123456789"
	i := harness.Intercept(t, harness.Plain(t), "UPSTREAM_URL="+upstream.URL, "AUTH_BEARER_FILE="+file(t, "bearer", token), "INTERCEPT_OTHERS=tunnel", "LOG_LEVEL=info")
	p := &process{i.Process}
	trust := i.Made.Trust(t)
	trust.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	proxyAuth := func(token string) string {
		return "Proxy-Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("igproxy:"+token)) + "\r\n"
	}
	good := proxyAuth(token)
	status := func(want int, target, lines string) (net.Conn, error) {
		c, res, err := connect(i, target, lines)
		if err == nil && res.StatusCode != want {
			_ = c.Close()
			err = fmt.Errorf("CONNECT %s: %s, want %d", target, res.Status, want)
		}
		return c, err
	}
	refused := func(want int, target, lines string) func() error {
		return func() error {
			c, err := status(want, target, lines)
			if err == nil {
				_ = c.Close()
			}
			return err
		}
	}
	kinds := []func() error{
		func() error { // an exchange inside the tunnel
			c, err := status(200, metaHost+":443", good)
			if err != nil {
				return err
			}
			defer c.Close()
			conf := trust.Clone()
			conf.ServerName = metaHost
			inner := tls.Client(c, conf)
			_, _ = fmt.Fprintf(inner, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", exchangePath("IGAA-known"), metaHost)
			res, err := http.ReadResponse(bufio.NewReader(inner), nil)
			if err != nil || res.StatusCode != 200 {
				return fmt.Errorf("an exchange inside the tunnel: %v, %v; want 200", res, err)
			}
			return nil
		},
		refused(407, metaHost+":443", ""),
		refused(407, metaHost+":443", proxyAuth("wrong-token")),
		refused(403, "127.0.0.1:443", good),       // loopback
		refused(403, "localhost:443", good),       // loopback by name
		refused(403, "169.254.169.254:443", good), // a metadata service
		refused(403, "graph.example:80", good),    // not port 443
		refused(400, "graph.instagram.com", good), // no port
		func() error { // the client closes the tunnel before it has sent a byte of TLS
			c, err := status(200, metaHost+":443", good)
			if err == nil {
				_ = c.Close()
			}
			return err
		},
		func() error { // the client closes its sending half, and waits until igproxy closes the other half
			c, err := status(200, metaHost+":443", good)
			if err != nil {
				return err
			}
			defer c.Close()
			_ = c.(*net.TCPConn).CloseWrite()
			_, _ = io.Copy(io.Discard, c)
			return nil
		},
		func() error { // the client sends half a ClientHello and disconnects
			c, err := status(200, metaHost+":443", good)
			if err != nil {
				return err
			}
			_, _ = c.Write([]byte{0x16, 3, 1, 2, 0, 1, 0})
			return c.Close()
		},
		func() error { // the client sends half a CONNECT and disconnects
			c, err := net.Dial("tcp", strings.TrimPrefix(i.Proxy, "http://"))
			if err != nil {
				return err
			}
			_, _ = io.WriteString(c, "CONNECT graph.inst")
			return c.Close()
		},
	}
	for _, one := range kinds { // warm up
		if err := one(); err != nil {
			t.Fatal(err)
		}
	}
	var descriptors, unchanged int
	var goroutines float64
	eventually(t, "the first connections have ended", func() bool {
		now := p.descriptors(t)
		if unchanged++; now != descriptors {
			unchanged = 0
		}
		descriptors, goroutines = now, p.metric(t, "go_goroutines")
		return unchanged == 20
	})
	start := time.Now()
	var next atomic.Int64
	var failed atomic.Int64
	crowd(atOnce, func(int) {
		for n := next.Add(1); n <= connects; n = next.Add(1) {
			if err := kinds[n%int64(len(kinds))](); err != nil && failed.Add(1) < 10 {
				t.Error(err)
			}
		}
	})
	t.Logf("%d CONNECTs in %s; before: %d descriptors, %.0f goroutines", connects, time.Since(start).Round(time.Millisecond), descriptors, goroutines)
	eventually(t, "the descriptors are closed, and the goroutines have ended", func() bool {
		return p.descriptors(t) <= descriptors+2 && p.metric(t, "go_goroutines") <= goroutines+3 && p.metric(t, "igproxy_intercept_tunnels") == 0
	})
	if ig.Calls() != 1 {
		t.Errorf("%d calls for one token, want 1", ig.Calls())
	}
	if log := p.Log.String(); strings.Contains(log, token) || strings.Contains(log, "wrong-token") {
		t.Error("the log has a token")
	}
	if code := p.Stop(t); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}

// igproxy refuses odd CONNECTs, and closes a tunnel if the client sends anything but TLS for the
// host of its CONNECT. Meanwhile it serves other clients.
func TestOddConnectsAreRefusedOrClosed(t *testing.T) {
	t.Parallel()
	ig, upstream := instagram(t, mock.ServerOptions{})
	i := harness.Intercept(t, harness.Binary, "UPSTREAM_URL="+upstream.URL)
	client := i.Client(t, true)
	raw := func(wire string) (answer string) {
		t.Helper()
		c, err := net.Dial("tcp", strings.TrimPrefix(i.Proxy, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(patience))
		_, _ = io.WriteString(c, wire)
		_ = c.(*net.TCPConn).CloseWrite()
		all, err := io.ReadAll(c)
		if err != nil && !strings.Contains(err.Error(), "reset") {
			t.Errorf("%q: the connection did not end: %v", wire[:min(60, len(wire))], err)
		}
		return string(all)
	}
	const head, established = "CONNECT graph.instagram.com:443 HTTP/1.1\r\nHost: graph.instagram.com:443\r\n", "HTTP/1.1 200 Connection established\r\n\r\n"
	plain := "GET " + exchangePath("IGAA-plain") + " HTTP/1.1\r\nHost: graph.instagram.com\r\n\r\n"
	for _, c := range []struct{ name, wire, begins, lacks string }{
		{"garbage after 200", head + "\r\n" + strings.Repeat("\x00\xff", 2000), established, "access_token"},
		{"plain HTTP after 200", head + "\r\n" + plain, established, "access_token"},
		{"a second CONNECT at once", head + "\r\n" + head + "\r\n", established, "established\r\n\r\nHTTP/1.1 200"},
		{"CONNECT with a body", head + "Content-Length: 5\r\n\r\nhello", "", "access_token"},
		{"CONNECT with chunks", head + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", "", "access_token"},
		{"a path as the target", "CONNECT /access_token HTTP/1.1\r\nHost: graph.instagram.com\r\n\r\n", "HTTP/1.1 40", "established"},
		{"an absolute target", "GET https://graph.instagram.com" + exchangePath("IGAA-absolute") + " HTTP/1.1\r\nHost: graph.instagram.com\r\n\r\n", "HTTP/1.1 405 ", "access_token\""},
		{"an absolute target of an old axios", "GET https://graph.instagram.com/me?access_token=IGAA-absolute HTTP/1.1\r\nHost: graph.instagram.com\r\n\r\n", "HTTP/1.1 405 ", "base URL"},
		{"the listener used as a base URL", plain, "HTTP/1.1 405 ", "access_token\""},
		{"another port", strings.ReplaceAll(head, ":443", ":80") + "\r\n", "HTTP/1.1 403 ", "established"},
		{"another host", strings.ReplaceAll(head, "graph.instagram", "graph.example") + "\r\n", "HTTP/1.1 403 ", "established"},
		{"a name that begins like one of Meta's", strings.ReplaceAll(head, "graph.instagram.com", "graph.instagram.com.example") + "\r\n", "HTTP/1.1 403 ", "established"},
		{"HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "", "access_token"},
	} {
		if got := raw(c.wire); !strings.HasPrefix(got, c.begins) || strings.Contains(got, c.lacks) {
			t.Errorf("%s: got %.300q; want an answer that begins with %q and does not contain %q", c.name, got, c.begins, c.lacks)
		}
		if r, err := fetch(t.Context(), client, "https://"+metaHost+exchangePath("IGAA-known")); err != nil || r.token() == "" {
			t.Errorf("a good client after %s: got %d, %v; want a token", c.name, r.status, err)
		}
	}

	// Inside the tunnel.
	for name, c := range map[string]struct {
		wire    string
		answers []int
	}{
		"a second CONNECT": {"CONNECT graph.instagram.com:443 HTTP/1.1\r\nHost: graph.instagram.com:443\r\n\r\n", []int{400}},
		"another host":     {"GET " + exchangePath("IGAA-known") + " HTTP/1.1\r\nHost: graph.facebook.com\r\n\r\n", []int{421}},
		"two requests at once": {"GET " + exchangePath("IGAA-known") + " HTTP/1.1\r\nHost: graph.instagram.com\r\n\r\nGET " + exchangePath("IGAA-known") +
			" HTTP/1.1\r\nHost: graph.instagram.com\r\n\r\n", []int{200, 200}},
	} {
		inner, err := tunnelled(i, metaHost, i.Made.Trust(t), "http/1.1")
		if err != nil {
			t.Fatal(err)
		}
		_ = inner.SetDeadline(time.Now().Add(patience))
		_, _ = io.WriteString(inner, c.wire)
		r := bufio.NewReader(inner)
		for _, want := range c.answers {
			res, err := http.ReadResponse(r, nil)
			if err != nil || res.StatusCode != want {
				t.Fatalf("%s: got %v, %v; want %d", name, res, err, want)
			}
			_, _ = io.Copy(io.Discard, res.Body)
		}
		_ = inner.Close()
	}

	// The name in the TLS handshake differs from the host of the CONNECT.
	c, res, err := connect(i, metaHost+":443", "")
	if err != nil || res.StatusCode != 200 {
		t.Fatalf("got %v, %v; want 200", res, err)
	}
	defer c.Close()
	conf := i.Made.Trust(t)
	conf.ServerName = "example.com"
	if err := tls.Client(c, conf).Handshake(); err == nil {
		t.Error("the handshake succeeded with the name example.com, want an error")
	}
	if ig.Calls() != 1 {
		t.Errorf("%d calls to Instagram, want 1", ig.Calls())
	}
	if log := i.Log.String(); strings.Contains(log, "IGAA") {
		t.Error("the log has a token")
	}
}
