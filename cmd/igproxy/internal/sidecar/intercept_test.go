package sidecar

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/igproxy/igproxy/cmd/igproxy/internal/authority"
	"github.com/igproxy/igproxy/cmd/igproxy/internal/config"
	"github.com/igproxy/igproxy/cmd/igproxy/internal/logging"
	"github.com/igproxy/igproxy/proxy"
)

const (
	instagramHost = "graph.instagram.com"
	facebookHost  = "graph.facebook.com"
)

// intercepting is a running sidecar with interception.
type intercepting struct {
	*Sidecar
	dir   string        // has the files of the authority
	conf  config.Config // what the next reload reads
	log   bytes.Buffer
	stop  func() error // stops the sidecar and returns the error of Run
	lines *logging.Log // writes to log; close it before reading log
}

// startIntercepting starts a sidecar with interception for one app of Instagram. A test server
// plays Meta, and answers each call with the path of the call. If change is not nil, it changes the
// configuration before the start.
func startIntercepting(t *testing.T, change func(*config.Config)) *intercepting {
	t.Helper()
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"path":%q}`, r.URL.Path)
	}))
	t.Cleanup(upstream.Close)
	n := &intercepting{dir: filepath.Join(t.TempDir(), "ca")}
	if err := authority.Create(n.dir); err != nil {
		t.Fatal(err)
	}
	n.lines = logging.Start(&n.log, "info", "text")
	t.Cleanup(func() { n.lines.Close() })
	c := config.Default()
	c.Listen, c.Admin.Listen, c.Intercept.Listen = []string{"127.0.0.1:0"}, "127.0.0.1:0", "127.0.0.1:0"
	c.Intercept.CAFile, c.Intercept.CAKeyFile = filepath.Join(n.dir, authority.CertFile), filepath.Join(n.dir, authority.KeyFile)
	c.Upstream.URL, c.Upstream.LoginURL, c.Facebook.URL = upstream.URL, upstream.URL, upstream.URL
	c.ClientSecret = proxy.NewSecret("0123456789abcdef")
	if change != nil {
		change(&c)
	}
	n.conf = c
	s, err := New(Options{Config: c, Log: n.lines, Load: func() (config.Config, []config.Problem) { return n.conf, nil }})
	if err != nil {
		t.Fatal(err)
	}
	n.Sidecar = s
	signals, ended := make(chan os.Signal, 1), make(chan error, 1)
	go func() { ended <- s.Run(signals) }() // ends with the signal
	n.stop = sync.OnceValue(func() error { signals <- syscall.SIGTERM; return <-ended })
	t.Cleanup(func() { _ = n.stop() })
	return n
}

// facebook adds an app of Facebook to the configuration that the next reload reads.
func (n *intercepting) facebook() {
	n.conf.Facebook.AppID, n.conf.Facebook.ClientSecret = "1", proxy.NewSecret("fedcba9876543210")
}

func (n *intercepting) roots(t *testing.T) *x509.CertPool {
	t.Helper()
	pool, err := config.ReadCertPool(n.conf.Intercept.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	return pool
}

// transport returns a transport that uses the listener for interception as its proxy.
func (n *intercepting) transport(t *testing.T, roots *x509.CertPool, userinfo *url.Userinfo) *http.Transport {
	at := n.interceptNets[0].Addr()
	through := &url.URL{Scheme: "http", Host: at.String(), User: userinfo}
	if isUnix(n.interceptNets[0]) {
		through.Host = "socket:80" // required, but DialContext does not use it
	}
	transport := &http.Transport{Proxy: http.ProxyURL(through), TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, at.Network(), at.String())
		}}
	t.Cleanup(transport.CloseIdleConnections)
	return transport
}

// get sends a GET on a new connection. It returns the protocol and the status, or the error.
func (n *intercepting) get(t *testing.T, target string, userinfo *url.Userinfo) string {
	t.Helper()
	transport := n.transport(t, n.roots(t), userinfo)
	transport.DisableKeepAlives = true
	return ask(&http.Client{Transport: transport, Timeout: 20 * time.Second}, target)
}

func ask(client *http.Client, target string) string {
	res, err := client.Get(target)
	if err != nil {
		return err.Error()
	}
	_, _ = io.Copy(io.Discard, res.Body)
	_ = res.Body.Close()
	return res.Proto + " " + strconv.Itoa(res.StatusCode)
}

// metric returns the value of a series, or "" if there is no such series.
func (n *intercepting) metric(series string) string {
	w := httptest.NewRecorder()
	n.metrics.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	_, after, _ := strings.Cut(w.Body.String(), "\n"+series+" ")
	value, _, _ := strings.Cut(after, "\n")
	return value
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("timed out waiting for: %s", what)
		}
	}
}

func TestOnlyInstagramsTokenHostsAreInterceptedInEverySpelling(t *testing.T) {
	n := startIntercepting(t, nil)
	for _, host := range []string{instagramHost, "Graph.Instagram.COM", instagramHost + ".", "GRAPH.instagram.com.", "api.instagram.com", instagramHost + ":443"} {
		if got := n.get(t, "https://"+host+"/v23.0/me?access_token=IGAA", nil); got != "HTTP/2.0 200" {
			t.Errorf("%s: got %s, want HTTP/2.0 200", host, got)
		}
	}
	for _, host := range []string{facebookHost, "www.instagram.com", "instagram.com", "157.240.1.1", "[2a03:2880:f12f:83:face:b00c:0:25de]", instagramHost + ":8443"} {
		if got := n.get(t, "https://"+host+"/me", nil); !strings.Contains(got, "Forbidden") {
			t.Errorf("%s: got %s, want Forbidden", host, got)
		}
	}
	transport := n.transport(t, n.roots(t), nil)
	transport.ForceAttemptHTTP2, transport.TLSNextProto = false, map[string]func(string, *tls.Conn) http.RoundTripper{}
	if got := ask(&http.Client{Transport: transport}, "https://"+instagramHost+"/me?access_token=IGAA"); got != "HTTP/1.1 200" {
		t.Errorf("a client without HTTP/2: got %s, want HTTP/1.1 200", got)
	}
}

// CONNECT, the TLS handshake and the header Host may each name a different host.
func TestEveryNameOfAnInterceptedConnectionIsChecked(t *testing.T) {
	n := startIntercepting(t, nil)
	for name, c := range map[string]struct{ sni, host, want string }{
		"one name":                               {instagramHost, instagramHost, " 200"},
		"another Instagram host in SNI and Host": {"api.instagram.com", "api.instagram.com", " 200"},
		"another Instagram host in Host":         {instagramHost, "api.instagram.com", " 421"},
		"a Host of another service":              {instagramHost, facebookHost, " 421"},
		"a Host of loopback":                     {instagramHost, "localhost", " 421"},
		"another service in SNI and Host":        {facebookHost, facebookHost, "internal error"},
		"a handshake without SNI":                {"", instagramHost, "internal error"},
	} {
		transport := n.transport(t, nil, nil)
		transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: true, ServerName: c.sni, NextProtos: []string{"http/1.1"}}
		transport.Proxy, transport.DialTLSContext = nil, func(ctx context.Context, _, _ string) (net.Conn, error) {
			conn, err := net.Dial("tcp", n.interceptNets[0].Addr().String())
			if err != nil {
				return nil, err
			}
			if _, err := io.WriteString(conn, "CONNECT "+instagramHost+":443 HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
				return nil, err
			}
			const established = "HTTP/1.1 200 Connection established\r\n\r\n"
			if _, err := io.ReadFull(conn, make([]byte, len(established))); err != nil {
				return nil, err
			}
			secure := tls.Client(conn, transport.TLSClientConfig)
			return secure, secure.HandshakeContext(ctx)
		}
		if got := ask(&http.Client{Transport: transport}, "https://"+c.host+"/me?access_token=IGAA"); !strings.Contains(got, c.want) {
			t.Errorf("%s: got %s, want %s", name, got, c.want)
		}
	}
}

// An operator must be able to tell that clients do not trust the authority.
func TestAClientThatDoesNotTrustTheAuthorityIsCounted(t *testing.T) {
	n := startIntercepting(t, nil)
	const failed = `igproxy_intercept_connects_total{host="` + instagramHost + `",result="handshake_failed"}`
	if got := n.get(t, "https://"+instagramHost+"/me?access_token=IGAA", nil); got != "HTTP/2.0 200" {
		t.Fatalf("a client that trusts the authority: got %s, want HTTP/2.0 200", got)
	}
	if got := n.metric(failed); got != "" && got != "0" {
		t.Errorf("failed handshakes after a successful one: got %s, want 0", got)
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		transport := n.transport(t, x509.NewCertPool(), nil)
		transport.TLSClientConfig.MaxVersion = version
		if got := ask(&http.Client{Transport: transport}, "https://"+instagramHost+"/me"); !strings.Contains(got, "unknown authority") {
			t.Errorf("a client without the authority: got %s, want unknown authority", got)
		}
	}
	c, err := net.Dial("tcp", n.interceptNets[0].Addr().String()) // a port check without CONNECT: not counted
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	eventually(t, "both failed handshakes are counted", func() bool { return n.metric(failed) == "2" })
	if err := n.stop(); err != nil {
		t.Error(err)
	}
	n.lines.Close()
	if log := n.log.String(); strings.Count(log, `msg="intercepted handshake failed" host=`+instagramHost) != 2 || !strings.Contains(log, "intercept.ca_file") {
		t.Errorf("got the log\n%s\nwant two lines about a failed handshake, whose next_step mentions intercept.ca_file", log)
	}
}
