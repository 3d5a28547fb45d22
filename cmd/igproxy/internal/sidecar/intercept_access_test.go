package sidecar

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/igproxy/igproxy/cmd/igproxy/internal/config"
)

func TestAnInterceptListenerMayBeASocketForSomeUsers(t *testing.T) {
	dir := t.TempDir()
	own, other := strconv.Itoa(os.Getuid()), strconv.Itoa(os.Getuid()+1)
	for i, uids := range [][]string{nil, {other, own}, {other}} {
		n := startIntercepting(t, func(c *config.Config) {
			c.Intercept.Listen, c.Auth.UIDs = "unix:"+filepath.Join(dir, strconv.Itoa(i)), uids
		})
		got := n.get(t, "https://"+instagramHost+"/me?access_token=IGAA", nil)
		if allowed := i < 2; allowed != (got == "HTTP/2.0 200") {
			t.Errorf("auth.uids %v: got %s; want this user to be allowed (HTTP/2.0 200): %v", uids, got, allowed)
		}
		if i == 2 && n.metric("igproxy_peers_refused_total") != "1" {
			t.Errorf("igproxy_peers_refused_total: got %s, want 1", n.metric("igproxy_peers_refused_total"))
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
		t.Errorf("the listener has the URL %s, want https://127.0.0.1 and a port", n.InterceptURL())
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
			t.Errorf("with a certificate, offering %q: got %s, want HTTP/2.0 200", offer, got)
		}
	}
	if got := through(&theirs); strings.HasPrefix(got, "HTTP/") {
		t.Errorf("with a certificate of another authority: got %s, want an error", got)
	}
	if got := through(nil); strings.HasPrefix(got, "HTTP/") {
		t.Errorf("without a certificate: got %s, want an error", got)
	}
	write(t, "other.pem", theirs.cert)
	n.conf.Auth.ClientCA = "./other.pem"
	if response := n.reloads.reload(); !response.Reloaded {
		t.Fatalf("the reload was refused: %+v", response)
	}
	if before, now := through(&ours), through(&theirs); strings.HasPrefix(before, "HTTP/") || now != "HTTP/2.0 200" {
		t.Errorf("after a change of auth.client_ca: got %s with the first certificate, want an error; got %s with the second, want HTTP/2.0 200", before, now)
	}
}

// The check uses the address of the open listener, because a name in the configuration may resolve
// to any address. A reload that removes the authentication is refused even if it also sets
// intercept.listen to a safe address, because that address takes effect only after a restart.
func TestInterceptAddressDecidesWhetherAuthenticationIsRequired(t *testing.T) {
	l := loopback(t)
	beyond := &addressed{l, &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 80}}
	c := config.Default()
	if err := requireInterceptTrust([]net.Listener{l}, c); err != nil {
		t.Errorf("loopback: got %v, want no error", err)
	}
	if err := requireInterceptTrust([]net.Listener{&addressed{l, &net.UnixAddr{Name: "/s", Net: "unix"}}}, c); err != nil {
		t.Errorf("a socket: got %v, want no error", err)
	}
	want := ConfigurationError("intercept.listen: 10.0.0.1:80 is reachable by other machines without authentication; " + config.InterceptChoices)
	for name, c := range map[string]struct {
		choose func(*config.Config)
		want   error
	}{
		"no authentication":          {func(*config.Config) {}, want},
		"auth.none":                  {func(c *config.Config) { c.Auth.None = true }, nil},
		"a token":                    {func(c *config.Config) { c.Auth.BearerFile = "t" }, nil},
		"auth.client_ca without TLS": {func(c *config.Config) { c.Auth.ClientCA = "c" }, want},
		"a client certificate":       {func(c *config.Config) { c.Auth.ClientCA, c.Intercept.TLS = "c", true }, nil},
		"TLS only":                   {func(c *config.Config) { c.Intercept.TLS = true }, want},
	} {
		conf := config.Default()
		c.choose(&conf)
		if err := requireInterceptTrust([]net.Listener{beyond}, conf); err != c.want {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}

	n := startIntercepting(t, func(c *config.Config) {
		c.Auth.BearerFile = filepath.Join(t.TempDir(), "token")
		write(t, c.Auth.BearerFile, "the-token-of-igproxy")
	})
	n.interceptNets[0] = &addressed{n.interceptNets[0], beyond.addr}
	n.conf.Auth.BearerFile = ""
	if response := n.reloads.reload(); response.Reloaded || len(response.Problems) != 1 || !strings.Contains(response.Problems[0], want.Error()) {
		t.Errorf("a reload that removes the token: got %+v, want it refused because of the address of the open listener", response)
	}
}

func TestAProxyThatIsIgproxyItselfIsRecognized(t *testing.T) {
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
		{"http://127.0.0.1:3128", "10.0.0.1:3128", false}, // another program may listen on 127.0.0.1:3128
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
			t.Errorf("HTTPS_PROXY=%s, intercept.listen: %s: the same listener: got %t, want %t", c.proxy, c.listen, got, c.want)
		}
	}
}

var errSecondConnection = errors.New("the client needs a second connection")
