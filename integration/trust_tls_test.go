package integration

// TLS for apps: client certificates of the right authority and no others, and certificates that are renewed while apps ask.

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/igproxy/igproxy/proxy/proxytest"
)

// authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	a := authority{}
	cert, key := a.sign(t, "authority")
	a.file = file(t, "ca.pem", cert)
	pair, err := tls.X509KeyPair([]byte(cert), []byte(key))
	if err != nil {
		t.Fatal(err)
	}
	a.cert, a.key = pair.Leaf, pair.PrivateKey.(*ecdsa.PrivateKey)
	return a
}

// sign makes a certificate for 127.0.0.1 and these hosts, and its key, in PEM; the first one is its own authority.
func (a authority) sign(t *testing.T, name string, hosts ...string) (cert, key string) {
	t.Helper()
	fresh, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: hosts}
	parent, signer := a.cert, a.key
	if parent == nil {
		template.IsCA, template.BasicConstraintsValid = true, true
		parent, signer = template, fresh
	} else {
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &fresh.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(fresh)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}))
}

// client trusts this authority, and shows a certificate of signer's, if there is one.
func (a authority) client(t *testing.T, signer *authority, keepAlive bool) *http.Client {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(a.cert)
	config := &tls.Config{RootCAs: roots}
	if signer != nil {
		cert, key := signer.sign(t, "an app")
		pair, err := tls.X509KeyPair([]byte(cert), []byte(key))
		if err != nil {
			t.Fatal(err)
		}
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil } // whatever the server asks for
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true, DisableKeepAlives: !keepAlive}}
	t.Cleanup(client.CloseIdleConnections)
	return client
}

func TestClientCertificatesAreAskedFor(t *testing.T) {
	ig, upstream := instagram(t, proxytest.ServerOptions{})
	server, apps, others := newAuthority(t), newAuthority(t), newAuthority(t)
	cert, key := server.sign(t, "igproxy")
	p := serve(t, "UPSTREAM_URL="+upstream.URL, "TLS_CERT_FILE="+file(t, "tls.crt", cert), "TLS_KEY_FILE="+file(t, "tls.key", key),
		"AUTH_CLIENT_CA="+apps.file, "AUTH_BEARER_FILE="+file(t, "token", ownToken))
	if !strings.HasPrefix(p.url, "https://127.0.0.1:") || !strings.HasPrefix(p.admin, "http://") {
		t.Fatalf("listens on %s and %s", p.url, p.admin)
	}
	target := p.url + exchangePath("IGAA-mtls")
	for name, signer := range map[string]*authority{"no certificate": nil, "another authority's": &others, "the server's": &server} {
		if r, err := fetchWith(t.Context(), server.client(t, signer, false), target, "X-Igproxy-Token", ownToken); err == nil {
			t.Errorf("%s: got %d", name, r.status)
		}
	}
	if r, err := fetch(t.Context(), server.client(t, &apps, false), target); err != nil || r.status != 401 {
		t.Errorf("a certificate and no token, which is asked for too: got %d, %v", r.status, err)
	}
	if ig.Calls() != 0 {
		t.Fatal("Instagram was asked for a stranger")
	}
	r, err := fetchWith(t.Context(), server.client(t, &apps, true), target, "X-Igproxy-Token", ownToken)
	if err != nil || r.status != 200 {
		t.Errorf("got %d %s, %v", r.status, r.body, err)
	}
	if r, err := fetch(t.Context(), noKeepAlive, strings.Replace(target, "https:", "http:", 1)); err != nil || r.status != 400 || r.token() != "" {
		t.Errorf("in the clear: got %d %s, %v", r.status, r.body, err)
	}
}

// Certificates are renewed while apps ask: as Kubernetes swaps a mounted secret, behind a link. No request fails, on new connections as
// on old ones.
func TestCertificatesChangeUnderLoadWithoutAFailedRequest(t *testing.T) {
	_, upstream := instagram(t, proxytest.ServerOptions{})
	a := newAuthority(t)
	dir := t.TempDir()
	put := func(version string) {
		t.Helper()
		cert, key := a.sign(t, version)
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
	go func() { // ends with load
		defer close(stopped)
		crowd(6, func(i int) {
			client := a.client(t, nil, i%2 == 0)
			for load.Err() == nil {
				r, err := fetch(t.Context(), client, p.url+exchangePath(fmt.Sprintf("IGAA-tls-%d", i)))
				if err != nil || r.status != 200 {
					t.Errorf("caller %d: got %d, %v", i, r.status, err)
					return
				}
				answered.Add(1)
			}
		})
	}()
	shown := func() string {
		c, err := tls.Dial("tcp", strings.TrimPrefix(p.url, "https://"), &tls.Config{InsecureSkipVerify: true}) // only looks
		if err != nil {
			t.Errorf("looking at the certificate: %v", err)
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
	if got := len(p.log.lines("a changed file was read")); got != 3 {
		t.Errorf("the log tells of %d changes, want 3", got)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
