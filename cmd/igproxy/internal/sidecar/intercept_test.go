package sidecar

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
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
	dir   string        // with the authority
	conf  config.Config // what the next reload reads
	log   bytes.Buffer
	stop  func() error
	lines *logging.Log
}

// startIntercepting starts a sidecar with interception for one app of Instagram. Upstream answers
// each call with its path.
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

// transport returns a transport that uses the interception as its proxy.
func (n *intercepting) transport(t *testing.T, roots *x509.CertPool, userinfo *url.Userinfo) *http.Transport {
	at := n.interceptNets[0].Addr()
	through := &url.URL{Scheme: "http", Host: at.String(), User: userinfo}
	if isUnix(n.interceptNets[0]) {
		through.Host = "socket:80"
	}
	transport := &http.Transport{Proxy: http.ProxyURL(through), TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, at.Network(), at.String())
		}}
	t.Cleanup(transport.CloseIdleConnections)
	return transport
}

// get asks on a new connection, and returns the status or the error.
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

// metric returns the value of a series, or nothing.
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
			t.Fatalf("not so: %s", what)
		}
	}
}

func TestHostsOfMetaAreInterceptedHoweverTheyAreWritten(t *testing.T) {
	n := startIntercepting(t, nil)
	for _, host := range []string{instagramHost, "Graph.Instagram.COM", instagramHost + ".", "GRAPH.instagram.com.", "api.instagram.com", instagramHost + ":443"} {
		if got := n.get(t, "https://"+host+"/v23.0/me?access_token=IGAA", nil); got != "HTTP/2.0 200" {
			t.Errorf("%s: %s", host, got)
		}
	}
	for _, host := range []string{facebookHost, "www.instagram.com", "instagram.com", "157.240.1.1", "[2a03:2880:f12f:83:face:b00c:0:25de]", instagramHost + ":8443"} {
		if got := n.get(t, "https://"+host+"/me", nil); !strings.Contains(got, "Forbidden") {
			t.Errorf("%s: %s", host, got)
		}
	}
	transport := n.transport(t, n.roots(t), nil)
	transport.ForceAttemptHTTP2, transport.TLSNextProto = false, map[string]func(string, *tls.Conn) http.RoundTripper{}
	if got := ask(&http.Client{Transport: transport}, "https://"+instagramHost+"/me?access_token=IGAA"); got != "HTTP/1.1 200" {
		t.Errorf("without HTTP/2: %s", got)
	}
}

// The name in the TLS handshake may be another one than in CONNECT, and Host another one again.
func TestEveryNameOfAnInterceptedConnectionIsChecked(t *testing.T) {
	n := startIntercepting(t, nil)
	for name, c := range map[string]struct{ sni, host, want string }{
		"the same":                 {instagramHost, instagramHost, " 200"},
		"another name of Meta":     {"api.instagram.com", "api.instagram.com", " 200"},
		"two names":                {instagramHost, "api.instagram.com", " 421"},
		"Host of another service":  {instagramHost, facebookHost, " 421"},
		"Host of loopback":         {instagramHost, "localhost", " 421"},
		"a handshake for another":  {facebookHost, facebookHost, "internal error"},
		"a handshake with no name": {"", instagramHost, "internal error"},
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
			const answer = "HTTP/1.1 200 Connection established\r\n\r\n"
			if _, err := io.ReadFull(conn, make([]byte, len(answer))); err != nil {
				return nil, err
			}
			secure := tls.Client(conn, transport.TLSClientConfig)
			return secure, secure.HandshakeContext(ctx)
		}
		if got := ask(&http.Client{Transport: transport}, "https://"+c.host+"/me?access_token=IGAA"); !strings.Contains(got, c.want) {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// An operator must be able to tell that clients do not trust the authority.
func TestAClientThatDoesNotTrustTheAuthorityIsCounted(t *testing.T) {
	n := startIntercepting(t, nil)
	const failed = `igproxy_intercept_connects_total{host="` + instagramHost + `",result="handshake_failed"}`
	if got := n.get(t, "https://"+instagramHost+"/me?access_token=IGAA", nil); got != "HTTP/2.0 200" {
		t.Fatal(got)
	}
	if got := n.metric(failed); got != "" && got != "0" {
		t.Errorf("a good handshake is counted: %s", got)
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		transport := n.transport(t, x509.NewCertPool(), nil)
		transport.TLSClientConfig.MaxVersion = version
		if got := ask(&http.Client{Transport: transport}, "https://"+instagramHost+"/me"); !strings.Contains(got, "unknown authority") {
			t.Errorf("got %s", got)
		}
	}
	c, err := net.Dial("tcp", n.interceptNets[0].Addr().String()) // only tests the port
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	eventually(t, "both are counted", func() bool { return n.metric(failed) == "2" })
	if err := n.stop(); err != nil {
		t.Error(err)
	}
	n.lines.Close()
	if log := n.log.String(); strings.Count(log, `msg="intercepted handshake failed" host=`+instagramHost) != 2 || !strings.Contains(log, "intercept.ca_file") {
		t.Errorf("the log does not say so:\n%s", log)
	}
}

func TestAReloadDecidesWhichHostsAreIntercepted(t *testing.T) {
	n := startIntercepting(t, nil)
	const target = "https://" + facebookHost + "/v23.0/me?access_token=EAA"
	if got := n.get(t, target, nil); !strings.Contains(got, "Forbidden") {
		t.Fatal(got)
	}
	kept := &http.Client{Transport: n.transport(t, n.roots(t), nil)}
	n.facebook()
	if reply := n.reloads.reload(); !reply.Reloaded {
		t.Fatalf("%+v", reply)
	}
	if got := ask(kept, target); got != "HTTP/2.0 200" {
		t.Errorf("an app of Facebook appeared: %s", got)
	}
	n.conf.Facebook.AppID, n.conf.Facebook.ClientSecret = "", proxy.Secret{}
	if reply := n.reloads.reload(); !reply.Reloaded {
		t.Fatalf("%+v", reply)
	}
	if got := ask(kept, target); got != "HTTP/2.0 421" {
		t.Errorf("it disappeared, on a kept connection: %s", got)
	}
	if got := n.get(t, target, nil); !strings.Contains(got, "Forbidden") {
		t.Errorf("it disappeared: %s", got)
	}
}

func TestAReloadTurnsTheTokenOnAndOff(t *testing.T) {
	n := startIntercepting(t, nil)
	token := filepath.Join(t.TempDir(), "token")
	write(t, token, "the-token-of-igproxy\n")
	const target = "https://" + instagramHost + "/me?access_token=IGAA"
	user := url.UserPassword("igproxy", "the-token-of-igproxy")
	kept := &http.Client{Transport: n.transport(t, n.roots(t), nil)}
	if got := ask(kept, target); got != "HTTP/2.0 200" {
		t.Fatal(got)
	}
	n.conf.Auth.BearerFile = token
	if reply := n.reloads.reload(); !reply.Reloaded {
		t.Fatalf("%+v", reply)
	}
	if with, without := n.get(t, target, user), n.get(t, target, nil); with != "HTTP/2.0 200" || !strings.Contains(without, "Proxy Authentication Required") {
		t.Errorf("on: %s and %s", with, without)
	}
	n.conf.Auth.BearerFile = ""
	if reply := n.reloads.reload(); !reply.Reloaded {
		t.Fatalf("%+v", reply)
	}
	if with, without := n.get(t, target, user), n.get(t, target, nil); with != "HTTP/2.0 200" || without != "HTTP/2.0 200" {
		t.Errorf("off: %s and %s", with, without)
	}
}

func TestAReloadTakesAnotherAuthority(t *testing.T) {
	n := startIntercepting(t, nil)
	const target = "https://" + instagramHost + "/me?access_token=IGAA"
	kept := &http.Client{Transport: n.transport(t, n.roots(t), nil)}
	if got := ask(kept, target); got != "HTTP/2.0 200" {
		t.Fatal(got)
	}
	before := n.roots(t)
	second := filepath.Join(t.TempDir(), "second")
	if err := authority.Create(second); err != nil {
		t.Fatal(err)
	}
	n.conf.Intercept.CAFile, n.conf.Intercept.CAKeyFile = filepath.Join(second, authority.CertFile), filepath.Join(second, authority.KeyFile)
	if reply := n.reloads.reload(); !reply.Reloaded || len(reply.NeedsRestart) > 0 {
		t.Fatalf("%+v", reply)
	}
	if got := n.get(t, target, nil); got != "HTTP/2.0 200" {
		t.Errorf("a client that trusts the second: %s", got)
	}
	if got := ask(kept, target); got != "HTTP/2.0 200" {
		t.Errorf("a kept connection: %s", got)
	}
	if got := ask(&http.Client{Transport: n.transport(t, before, nil)}, target); !strings.Contains(got, "unknown authority") {
		t.Errorf("a client that trusts only the first: %s", got)
	}
	// One that cannot be used changes nothing.
	n.conf.Intercept.CAKeyFile = filepath.Join(n.dir, authority.KeyFile)
	if reply := n.reloads.reload(); reply.Reloaded || len(reply.Problems) != 1 || !strings.Contains(reply.Problems[0], "is not the key of") {
		t.Errorf("%+v", reply)
	}
	if got := n.get(t, target, nil); got != "HTTP/2.0 200" {
		t.Errorf("after a refused reload: %s", got)
	}
}

// New contents of the files need no reload of the configuration.
func TestTheFilesOfTheAuthorityAreFollowed(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, dir := range []string{"ca", "next"} {
		if err := authority.Create(dir); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC))) // within the life of the authority
		var log bytes.Buffer
		s := &Sidecar{interceptNets: []net.Listener{nil}, log: slog.New(slog.NewTextHandler(&log, nil))}
		c := config.Default()
		c.Intercept.CAFile, c.Intercept.CAKeyFile = "ca/"+authority.CertFile, "ca/"+authority.KeyFile
		current, err := s.followAuthority(c)
		if err != nil {
			t.Fatal(err)
		}
		before := current().Fingerprint()
		move := func(name string) {
			t.Helper()
			if err := os.Rename("next/"+name, "ca/"+name); err != nil {
				t.Fatal(err)
			}
			time.Sleep(config.LookEvery)
		}
		if move(authority.CertFile); current().Fingerprint() != before { // its key follows
			t.Error("a certificate without its key is in use")
		}
		if move(authority.KeyFile); current().Fingerprint() == before {
			t.Errorf("the first authority is still in use: %s", log.String())
		}
	})
}

// Interception begins and ends with a restart only, and a reload says so.
func TestAReloadWithoutInterceptionNeedsARestart(t *testing.T) {
	n := startIntercepting(t, nil)
	section := n.conf.Intercept
	n.conf.Intercept = config.Default().Intercept
	const target = "https://" + instagramHost + "/me?access_token=IGAA"
	reply := n.reloads.reload()
	if !reply.Reloaded || strings.Join(reply.NeedsRestart, " ") != "intercept.listen" {
		t.Errorf("%+v", reply)
	}
	n.conf.Intercept = section
	if got := n.get(t, target, nil); got != "HTTP/2.0 200" {
		t.Errorf("until then: %s", got)
	}
	if reply := n.reloads.reload(); !reply.Reloaded || len(reply.NeedsRestart) > 0 {
		t.Errorf("%+v", reply)
	}
	if got := n.get(t, target, nil); got != "HTTP/2.0 200" {
		t.Errorf("again: %s", got)
	}
}

func TestAnInterceptListenerMayBeASocketForSomeUsers(t *testing.T) {
	dir := t.TempDir()
	own, other := strconv.Itoa(os.Getuid()), strconv.Itoa(os.Getuid()+1)
	for i, uids := range [][]string{nil, {other, own}, {other}} {
		n := startIntercepting(t, func(c *config.Config) {
			c.Intercept.Listen, c.Auth.UIDs = "unix:"+filepath.Join(dir, strconv.Itoa(i)), uids
		})
		got := n.get(t, "https://"+instagramHost+"/me?access_token=IGAA", nil)
		if allowed := i < 2; allowed != (got == "HTTP/2.0 200") {
			t.Errorf("UIDs %v: %s", uids, got)
		}
		if i == 2 && n.metric("igproxy_peers_refused_total") != "1" {
			t.Error("a refused user is not counted")
		}
	}
}

func TestAnInterceptListenerMayRequireClientCertificates(t *testing.T) {
	t.Chdir(t.TempDir())
	server, ours, theirs := newPair(t, "server"), newPair(t, "ours"), newPair(t, "theirs")
	write(t, "tls.crt", server.cert)
	write(t, "tls.key", server.key)
	write(t, "clients.pem", ours.cert)
	n := startIntercepting(t, func(c *config.Config) {
		c.Intercept.TLS, c.TLS.CertFile, c.TLS.KeyFile, c.Auth.ClientCA = true, "./tls.crt", "./tls.key", "./clients.pem"
	})
	if !strings.HasPrefix(n.InterceptURL(), "https://127.0.0.1:") {
		t.Errorf("listening at %s", n.InterceptURL())
	}
	through := func(own *pemPair, offer ...string) string {
		conf := &tls.Config{InsecureSkipVerify: true, ServerName: "localhost", NextProtos: offer}
		if own != nil {
			pair := own.certificate(t)
			conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
		}
		transport := n.transport(t, n.roots(t), nil)
		transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			return (&tls.Dialer{Config: conf}).DialContext(ctx, network, address)
		}
		return ask(&http.Client{Transport: transport}, "https://"+instagramHost+"/me?access_token=IGAA")
	}
	for _, offer := range [][]string{nil, {"http/1.1"}, {"h2", "http/1.1"}} {
		if got := through(&ours, offer...); got != "HTTP/2.0 200" {
			t.Errorf("with a certificate, offering %q: %s", offer, got)
		}
	}
	if got := through(&theirs); strings.HasPrefix(got, "HTTP/") {
		t.Errorf("with another certificate: %s", got)
	}
	if got := through(nil); strings.HasPrefix(got, "HTTP/") {
		t.Errorf("without a certificate: %s", got)
	}
	write(t, "other.pem", theirs.cert)
	n.conf.Auth.ClientCA = "./other.pem"
	if reply := n.reloads.reload(); !reply.Reloaded {
		t.Fatalf("%+v", reply)
	}
	if before, now := through(&ours), through(&theirs); strings.HasPrefix(before, "HTTP/") || now != "HTTP/2.0 200" {
		t.Errorf("after a reload: %s and %s", before, now)
	}
}

// A name in the configuration may resolve to any address. A reload may remove what made the open
// listener safe, even if it also names a safe listener that needs a restart.
func TestAnOpenInterceptListenerBeyondLoopbackNeedsAuthentication(t *testing.T) {
	l := loopback(t)
	beyond := &addressed{l, &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 80}}
	c := config.Default()
	if err := requireInterceptTrust([]net.Listener{l}, c); err != nil {
		t.Errorf("loopback: %v", err)
	}
	if err := requireInterceptTrust([]net.Listener{&addressed{l, &net.UnixAddr{Name: "/s", Net: "unix"}}}, c); err != nil {
		t.Errorf("a socket: %v", err)
	}
	want := ConfigurationError("intercept.listen: 10.0.0.1:80 is reachable by other machines without authentication; " + config.InterceptChoices)
	for name, c := range map[string]struct {
		choose func(*config.Config)
		want   error
	}{
		"nothing":                     {func(*config.Config) {}, want},
		"none":                        {func(c *config.Config) { c.Auth.None = true }, nil},
		"a token":                     {func(c *config.Config) { c.Auth.BearerFile = "t" }, nil},
		"a certificate for apps only": {func(c *config.Config) { c.Auth.ClientCA = "c" }, want},
		"a certificate":               {func(c *config.Config) { c.Auth.ClientCA, c.Intercept.TLS = "c", true }, nil},
		"TLS only":                    {func(c *config.Config) { c.Intercept.TLS = true }, want},
	} {
		conf := config.Default()
		c.choose(&conf)
		if err := requireInterceptTrust([]net.Listener{beyond}, conf); err != c.want {
			t.Errorf("%s: %v", name, err)
		}
	}

	n := startIntercepting(t, func(c *config.Config) {
		c.Auth.BearerFile = filepath.Join(t.TempDir(), "token")
		write(t, c.Auth.BearerFile, "the-token-of-igproxy")
	})
	n.interceptNets[0] = &addressed{n.interceptNets[0], beyond.addr}
	n.conf.Auth.BearerFile = ""
	if reply := n.reloads.reload(); reply.Reloaded || len(reply.Problems) != 1 || !strings.Contains(reply.Problems[0], want.Error()) {
		t.Errorf("a reload that removes the token: %+v", reply)
	}
}

func TestIgproxyIsNotItsOwnProxy(t *testing.T) {
	own, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	type pair struct {
		proxy, listen string
		want          bool
	}
	all := []pair{
		{"http://127.0.0.1:8081", "127.0.0.1:8081", true},
		{"http://user:pw@127.0.0.1:8081", "127.0.0.1:8081", true},
		{"http://localhost:8081", "127.0.0.1:8081", true},
		{"http://LocalHost.:8081", "localhost:8081", true},
		{"http://[::1]:8081", "localhost:8081", true},
		{"http://[::1]:8081", "[::1]:8081", true},
		{"http://[::ffff:127.0.0.1]:8081", "127.0.0.1:8081", true},
		{"http://0.0.0.0:8081", "127.0.0.1:8081", true},
		{"http://[::]:8081", "127.0.0.1:8081", true},
		{"http://127.0.0.1:8081", "0.0.0.0:8081", true},
		{"http://127.0.0.1:8081", ":8081", true},
		{"http://[::1]:8081", "[::]:8081", true},
		{"http://10.0.0.1:8081", "10.0.0.1:8081", true},
		{"http://igproxy.internal:8081", "igproxy.internal:8081", true},
		{"https://127.0.0.1", "127.0.0.1:443", true},
		{"http://127.0.0.1", "127.0.0.1:80", true},
		{"http://127.0.0.1:8082", "127.0.0.1:8081", false},
		{"http://127.0.0.1:3128", "10.0.0.1:3128", false}, // another program may listen there
		{"http://203.0.113.9:8081", "0.0.0.0:8081", false},
		{"http://proxy.internal:8081", "0.0.0.0:8081", false},
		{"http://127.0.0.1:8081", "unix:/run/s", false},
		{"http://127.0.0.1:8081", "", false},
	}
	for _, a := range own {
		if network, ok := a.(*net.IPNet); ok {
			all = append(all, pair{"http://" + net.JoinHostPort(network.IP.String(), "8081"), "0.0.0.0:8081", true})
		}
	}
	for _, c := range all {
		u, err := url.Parse(c.proxy)
		if err != nil {
			t.Fatal(err)
		}
		if got := sameListener(u, c.listen); got != c.want {
			t.Errorf("HTTPS_PROXY=%s, intercept.listen: %s: %t, want %t", c.proxy, c.listen, got, c.want)
		}
	}
}

var errSecondConnection = errors.New("the client needs a second connection")

func TestAStopLosesNoRequestOfInterceptedConnections(t *testing.T) {
	for _, frames := range []bool{false, true} {
		t.Run(fmt.Sprintf("HTTP/2=%t", frames), func(t *testing.T) {
			n := startIntercepting(t, nil)
			const clients = 16
			var answered atomic.Int32
			var all sync.WaitGroup
			for range clients {
				transport := n.transport(t, n.roots(t), nil)
				if !frames {
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
							if !frames || !errors.Is(err, errSecondConnection) { // HTTP/2 announces the end by GOAWAY
								t.Errorf("a request was lost: %v", err)
							}
							return
						}
						_, err = io.Copy(io.Discard, res.Body)
						_ = res.Body.Close()
						if err != nil || res.StatusCode != http.StatusOK {
							t.Errorf("got %d, %v", res.StatusCode, err)
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

// Connections of all listeners share server.max_connections, so an idle intercepted one is closed
// to make room for another one.
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
			t.Errorf("client %d: %s", i+1, got)
		}
	}
	eventually(t, "three connections are open at most", func() bool { return open.Load() <= 3 })
}

// closing counts the connections that are open.
type closing struct {
	net.Conn
	open *atomic.Int32
	once sync.Once
}

func (c *closing) Close() error { c.once.Do(func() { c.open.Add(-1) }); return c.Conn.Close() }
