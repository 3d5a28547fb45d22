package integration

// Clients that cannot change Meta's host names use the listener of intercept.listen as their
// HTTPS_PROXY. These tests act as such clients, and as other clients that connect to this listener.

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/igproxy/igproxy/integration/harness"
)

const (
	metaHost     = "graph.instagram.com"
	facebookHost = "graph.facebook.com"
)

// connect opens a connection to the listener of i, sends a CONNECT for target with these additional
// header lines, and returns the connection and the answer.
func connect(i *harness.Interceptor, target, lines string) (net.Conn, *http.Response, error) {
	c, err := net.Dial("tcp", strings.TrimPrefix(i.Proxy, "http://"))
	if err != nil {
		return nil, nil, err
	}
	_ = c.SetDeadline(time.Now().Add(patience))
	_, _ = fmt.Fprintf(c, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n%s\r\n", target, target, lines)
	res, err := http.ReadResponse(bufio.NewReaderSize(onlyHead{c}, 1), &http.Request{Method: http.MethodConnect})
	if err != nil {
		_ = c.Close()
		return nil, nil, err
	}
	return c, res, nil
}

// onlyHead reads one byte at a time, so that nothing after a header is lost in a buffer.
type onlyHead struct{ io.Reader }

func (r onlyHead) Read(p []byte) (int, error) { return r.Reader.Read(p[:min(1, len(p))]) }

// tunnelled returns a TLS connection to igproxy inside a CONNECT to one of Meta's hosts.
func tunnelled(i *harness.Interceptor, host string, conf *tls.Config, protocols ...string) (*tls.Conn, error) {
	c, res, err := connect(i, host+":443", "")
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		_ = c.Close()
		return nil, fmt.Errorf("CONNECT: %s", res.Status)
	}
	conf = conf.Clone()
	conf.ServerName, conf.NextProtos = host, protocols
	inner := tls.Client(c, conf)
	if err := inner.Handshake(); err != nil {
		_ = c.Close()
		return nil, err
	}
	_ = c.SetDeadline(time.Time{})
	return inner, nil
}

// tunnelTarget starts a sidecar that intercepts. Entries about /oauth/access_token get a connection
// to Facebook, and all other entries get a connection to Instagram.
func tunnelTarget(t *testing.T, settings ...string) hostileTarget {
	i := harness.Intercept(t, harness.Plain(t), settings...)
	trust := i.Made.Trust(t)
	trust.ClientSessionCache = tls.NewLRUClientSessionCache(100)
	host := func(e hostileEntry) string {
		if strings.HasPrefix(e.name, "oauth/") {
			return facebookHost + ":443"
		}
		return metaHost + ":443"
	}
	return hostileTarget{process: &process{i.Process}, host: host, client: i.Client(t, false), url: func(host string) string { return "https://" + host },
		dial: func(host string) (halfCloser, error) {
			return tunnelled(i, strings.TrimSuffix(host, ":443"), trust, "http/1.1")
		}, differ: differInATunnel}
}

// differInATunnel lists the entries that get another answer on an intercepted connection. On such a
// connection, the Host must be the host of the CONNECT, and targets in absolute form are refused.
// The host also decides to which app a code belongs.
var differInATunnel = map[string][]string{
	"421 990004": {"clients/netcat", "clients/netcat in unix", "clients/typed by hand", "host/without a port", "host/another port", "host/empty port",
		"host/localhost", "host/localhost in capitals", "host/localhost and port", "host/another loopback address", "host/last loopback address", "host/ipv6",
		"host/ipv6 and port", "host/ipv6 in full", "host/ipv4 in ipv6", "host/ipv4 in ipv6, in hex", "host/dot after localhost", "host/dot after the address",
		"host/instagram's login"},
	"400 990003": {"host/absolute form against host", "line/absolute, own host", "line/absolute, localhost", "line/absolute, loopback of ipv6",
		"line/absolute, scheme in capitals", "line/absolute, another path", "line/absolute, no path", "line/absolute, two tokens", "line/absolute, post",
		"line/get with an address"}, // in a tunnel, {host} is a name, so net/http accepts this target
	"400 990017": {"oauth/unknown app", "oauth/which app"},
}

func TestHostileRequestsThroughATunnel(t *testing.T) { hostile(t, false, tunnelTarget) }
