package integration

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/igproxy/igproxy/integration/harness"
	"github.com/igproxy/igproxy/proxy/mock"
)

// A thief of the authority's key can sign a certificate for another site or for an address. Go
// refuses this certificate because of the authority's name constraints; the tests in
// integration/clients show that OpenSSL and Node.js do too.
func TestGoRefusesTheAuthoritysCertificatesForOtherNames(t *testing.T) {
	t.Parallel()
	made := harness.MakeAuthority(t)
	dial := func(name string) error {
		pair, err := tls.X509KeyPair(pemPair(made.Sign(t, name)))
		must(t, err)
		l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}})
		must(t, err)
		defer l.Close()
		go func() { // ends with the connection, or with l
			if c, err := l.Accept(); err == nil {
				_ = c.(*tls.Conn).Handshake()
				_ = c.Close()
			}
		}()
		conf := made.Trust(t)
		conf.ServerName = name
		c, err := tls.Dial("tcp", l.Addr().String(), conf)
		if err == nil {
			_ = c.Close()
		}
		return err
	}
	for _, host := range []string{"graph.instagram.com", "graph.threads.net", "graph.threads.com", "graph.facebook.com"} {
		if err := dial(host); err != nil {
			t.Errorf("%s: %v, want the certificate accepted", host, err)
		}
	}
	for _, host := range []string{"example.com", "instagram.com.example", "notinstagram.com", "127.0.0.1"} {
		var invalid x509.CertificateInvalidError
		if err := dial(host); !errors.As(err, &invalid) || invalid.Reason != x509.CANotAuthorizedForThisName {
			t.Errorf("%s: %v, want a refusal because of the constraints", host, err)
		}
	}
}

// pemPair returns a certificate and its key as bytes, which tls.X509KeyPair needs.
func pemPair(cert, key string) ([]byte, []byte) { return []byte(cert), []byte(key) }

func TestInterceptedClientsMustTrustTheAuthorityAndSendIgproxysToken(t *testing.T) {
	t.Parallel()
	ig, upstream := instagram(t, mock.ServerOptions{})
	const token = "the-token-of-the-sidecar-0123456789"
	i := harness.Intercept(t, harness.Binary, "UPSTREAM_URL="+upstream.URL, "AUTH_BEARER_FILE="+file(t, "bearer", token))
	ask := func(roots *tls.Config, user *url.Userinfo) (response, error) {
		via, err := url.Parse(i.Proxy)
		must(t, err)
		via.User = user
		client := &http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(via), TLSClientConfig: roots, DisableKeepAlives: true}}
		return fetch(t.Context(), client, "https://"+metaHost+exchangePath("IGAA-trust"))
	}
	good := url.UserPassword("igproxy", token)
	var unknown x509.UnknownAuthorityError
	if r, err := ask(nil, good); !errors.As(err, &unknown) {
		t.Errorf("trusting only the system's authorities: got %d, %v; want x509.UnknownAuthorityError", r.status, err)
	}
	for _, user := range []*url.Userinfo{nil, url.UserPassword("igproxy", "wrong"), url.UserPassword(token, "")} {
		if r, err := ask(i.Made.Trust(t), user); err == nil || !strings.Contains(err.Error(), "Proxy Authentication Required") {
			t.Errorf("as %v: got %d, %v; want 407", user, r.status, err)
		}
	}
	if ig.Calls() != 0 {
		t.Errorf("%d calls to Instagram, want 0", ig.Calls())
	}
	if r, err := ask(i.Made.Trust(t), good); err != nil || r.token() == "" {
		t.Errorf("with the authority and the token: got %d, %v; want 200 with a token", r.status, err)
	}
}
