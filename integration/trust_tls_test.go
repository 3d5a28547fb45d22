package integration

// Apps can use TLS. igproxy accepts client certificates of the configured authority only, and its
// own certificate can be renewed under load.

import (
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/igproxy/igproxy/integration/harness"
	"github.com/igproxy/igproxy/proxy/mock"
)

func TestClientCertificatesAreRequired(t *testing.T) {
	t.Parallel()
	ig, upstream := instagram(t, mock.ServerOptions{})
	server, apps, others := harness.NewAuthority(t), harness.NewAuthority(t), harness.NewAuthority(t)
	cert, key := server.Sign(t, "igproxy")
	p := serve(t, "UPSTREAM_URL="+upstream.URL, "TLS_CERT_FILE="+file(t, "tls.crt", cert), "TLS_KEY_FILE="+file(t, "tls.key", key),
		"AUTH_CLIENT_CA="+apps.File, "AUTH_BEARER_FILE="+file(t, "token", ownToken))
	if !strings.HasPrefix(p.URL, "https://127.0.0.1:") || !strings.HasPrefix(p.Admin, "http://") {
		t.Fatalf("igproxy listens on %s and %s, want https for apps and http for the admin listener", p.URL, p.Admin)
	}
	target := p.URL + exchangePath("IGAA-mtls")
	for name, signer := range map[string]*harness.Authority{"no certificate": nil, "another authority's": &others, "the server's": &server} {
		if r, err := fetchWith(t.Context(), server.Client(t, signer, false), target, "X-Igproxy-Token", ownToken); err == nil {
			t.Errorf("%s: got %d, want a failed handshake", name, r.status)
		}
	}
	if r, err := fetch(t.Context(), server.Client(t, &apps, false), target); err != nil || r.status != 401 {
		t.Errorf("a certificate but no token, although both are required: got %d, %v; want 401", r.status, err)
	}
	if ig.Calls() != 0 {
		t.Fatalf("unauthenticated requests caused %d calls to Instagram, want 0", ig.Calls())
	}
	r, err := fetchWith(t.Context(), server.Client(t, &apps, true), target, "X-Igproxy-Token", ownToken)
	if err != nil || r.status != 200 {
		t.Errorf("a certificate and a token: got %d %s, %v; want 200", r.status, r.body, err)
	}
	if r, err := fetch(t.Context(), noKeepAlive, strings.Replace(target, "https:", "http:", 1)); err != nil || r.status != 400 || r.token() != "" {
		t.Errorf("without TLS: got %d %s, %v; want 400", r.status, r.body, err)
	}
}

// With auth.client_names a certificate of the configured authority must also have a listed name. A
// reload changes the names.
func TestClientCertificatesNeedAListedName(t *testing.T) {
	t.Parallel()
	_, upstream := instagram(t, mock.ServerOptions{})
	server, apps, others := harness.NewAuthority(t), harness.NewAuthority(t), harness.NewAuthority(t)
	cert, key := server.Sign(t, "igproxy")
	conf := file(t, "igproxy.yaml", "auth:\n  client_names: [shop.internal, spiffe://example.org/shop]\n")
	p := serve(t, "CONFIG="+conf, "UPSTREAM_URL="+upstream.URL, "TLS_CERT_FILE="+file(t, "tls.crt", cert), "TLS_KEY_FILE="+file(t, "tls.key", key),
		"AUTH_CLIENT_CA="+apps.File)
	letIn := func(signer *harness.Authority, names ...string) bool {
		r, err := fetch(t.Context(), server.Client(t, signer, false, names...), p.URL+exchangePath("IGAA-named"))
		return err == nil && r.status == 200
	}
	for _, c := range []struct {
		what   string
		signer *harness.Authority
		names  []string
		want   bool
	}{
		{"a DNS name", &apps, []string{"shop.internal"}, true},
		{"a DNS name in another case", &apps, []string{"Shop.Internal"}, true},
		{"a URI", &apps, []string{"spiffe://example.org/shop"}, true},
		{"two names, one of them listed", &apps, []string{"club.internal", "shop.internal"}, true},
		{"no name", &apps, nil, false},
		{"another name", &apps, []string{"club.internal"}, false},
		{"a wildcard", &apps, []string{"*.internal"}, false},
		{"a longer name", &apps, []string{"x.shop.internal"}, false},
		{"another path", &apps, []string{"spiffe://example.org/shop/x"}, false},
		{"another trust domain", &apps, []string{"spiffe://example.com/shop"}, false},
		{"a listed name, from another authority", &others, []string{"shop.internal"}, false},
	} {
		if got := letIn(c.signer, c.names...); got != c.want {
			t.Errorf("%s: let in %v, want %v", c.what, got, c.want)
		}
	}
	must(t, os.WriteFile(conf, []byte("auth:\n  client_names: [club.internal]\n"), 0o600))
	eventually(t, "the new name is let in", func() bool { return letIn(&apps, "club.internal") })
	if letIn(&apps, "shop.internal") {
		t.Error("the name that was removed is let in")
	}
	code, stdout, _ := command(t, environ("AUTH_CLIENT_NAMES=shop.internal"), "check")
	if code != 2 || !strings.Contains(stdout, "IGPROXY_AUTH_CLIENT_NAMES: set without auth.client_ca") {
		t.Errorf("names without an authority: exit code %d, want 2 with \"IGPROXY_AUTH_CLIENT_NAMES: set without auth.client_ca\"\n%s", code, stdout)
	}
}

// Certificates are renewed under load, by swapping a symbolic link as Kubernetes does. No request
// fails on new or kept connections.
func TestCertificateRotationUnderLoadFailsNoRequest(t *testing.T) {
	t.Parallel()
	_, upstream := instagram(t, mock.ServerOptions{})
	a := harness.NewAuthority(t)
	dir := t.TempDir()
	put := func(version string) {
		t.Helper()
		cert, key := a.Sign(t, version)
		must(t, os.Mkdir(filepath.Join(dir, version), 0o700))
		must(t, os.WriteFile(filepath.Join(dir, version, "tls.crt"), []byte(cert), 0o600))
		must(t, os.WriteFile(filepath.Join(dir, version, "tls.key"), []byte(key), 0o600))
		must(t, os.Symlink(version, filepath.Join(dir, "..next")))
		must(t, os.Rename(filepath.Join(dir, "..next"), filepath.Join(dir, "..data")))
	}
	put("v0")
	for _, name := range []string{"tls.crt", "tls.key"} {
		must(t, os.Symlink("..data/"+name, filepath.Join(dir, name)))
	}
	p := serve(t, "UPSTREAM_URL="+upstream.URL, "TLS_CERT_FILE="+filepath.Join(dir, "tls.crt"), "TLS_KEY_FILE="+filepath.Join(dir, "tls.key"), "LOG_LEVEL=info")

	load, end := context.WithCancel(t.Context())
	var answered atomic.Int64
	stopped := make(chan struct{})
	go func() { // ends when end() is called
		defer close(stopped)
		crowd(6, func(i int) {
			client := a.Client(t, nil, i%2 == 0)
			for load.Err() == nil {
				r, err := fetch(t.Context(), client, p.URL+exchangePath(fmt.Sprintf("IGAA-tls-%d", i)))
				if err != nil || r.status != 200 {
					t.Errorf("caller %d: got %d, %v; want 200", i, r.status, err)
					return
				}
				answered.Add(1)
			}
		})
	}()
	shown := func() string {
		c, err := tls.Dial("tcp", strings.TrimPrefix(p.URL, "https://"), &tls.Config{InsecureSkipVerify: true}) // only reads the certificate
		if err != nil {
			t.Errorf("reading the certificate: %v", err)
			return ""
		}
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].Subject.CommonName
	}
	for i := range 3 {
		version := fmt.Sprintf("v%d", i+1)
		put(version)
		eventually(t, "the certificate of "+version+" is shown", func() bool { return shown() == version })
		before := answered.Load()
		eventually(t, "requests are answered after the change", func() bool { return answered.Load() >= before+20 })
	}
	end()
	<-stopped
	if got := len(p.Log.Lines("changed file loaded")); got != 3 {
		t.Errorf("the log has %d \"changed file loaded\" lines, want 3", got)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
