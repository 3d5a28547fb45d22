package sidecar

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/igproxy/igproxy/cmd/igproxy/internal/config"
)

// pemPair is a self-signed certificate and its key.
type pemPair struct{ cert, key string }

func newPair(t *testing.T, name string) pemPair {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{"localhost"},
		// Simulated time begins in 2000.
		NotBefore: time.Unix(0, 0), NotAfter: time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pemPair{string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}))}
}

func (p pemPair) certificate(t *testing.T) tls.Certificate {
	t.Helper()
	c, err := tls.X509KeyPair([]byte(p.cert), []byte(p.key))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// shake does a handshake through a pipe. It returns the name in the server's certificate, the
// negotiated protocol and the client's error. In TLS 1.3 the client learns of a refusal only with
// its first read.
func shake(t *testing.T, server *tls.Config, client *tls.Config) (name, protocol string, err error) {
	t.Helper()
	here, there := net.Pipe()
	done := make(chan struct{})
	go func() { // ends with the pipe
		defer close(done)
		s := tls.Server(there, server)
		if s.Handshake() == nil {
			_, _ = s.Write([]byte{1})
		}
		_ = there.Close()
	}()
	c := tls.Client(here, client)
	if err = c.Handshake(); err == nil {
		name, protocol = c.ConnectionState().PeerCertificates[0].Subject.CommonName, c.ConnectionState().NegotiatedProtocol
		_, err = io.ReadFull(c, make([]byte, 1))
	}
	_ = here.Close()
	<-done
	return name, protocol, err
}

func tlsConfig(t *testing.T, ca string, log io.Writer) *tls.Config {
	t.Helper()
	c := config.Default()
	c.TLS.CertFile, c.TLS.KeyFile, c.Auth.ClientCA = "tls.crt", "tls.key", ca
	current, err := followTLS(c, slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	var holder atomic.Pointer[currentTLS]
	holder.Store(&current)
	return listenerTLS(&holder)
}

func TestCertificateIsReloadedUnlessBroken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		t.Chdir(t.TempDir())
		one, two := newPair(t, "one"), newPair(t, "two")
		write(t, "tls.crt", one.cert)
		write(t, "tls.key", one.key)
		var log bytes.Buffer
		conf := tlsConfig(t, "", &log)
		shows := func(want string) {
			t.Helper()
			if got, _, err := shake(t, conf, &tls.Config{InsecureSkipVerify: true}); err != nil || got != want {
				t.Errorf("got the certificate of %q (error: %v), want %s", got, err, want)
			}
		}
		shows("one")
		write(t, "tls.crt", two.cert) // the key is still the previous one
		time.Sleep(config.LookEvery)
		shows("one")
		write(t, "tls.key", two.key)
		time.Sleep(config.LookEvery)
		shows("two")
		if strings.Contains(log.String(), "level=WARN") {
			t.Errorf("a change in two steps: got the log %s, want no warning", log.String())
		}
		write(t, "tls.key", "-----BEGIN NONSENSE-----")
		for range 3 {
			time.Sleep(config.LookEvery)
			shows("two")
		}
		if got := strings.Count(log.String(), "level=WARN"); got != 1 || strings.Contains(log.String(), "NONSENSE") {
			t.Errorf("a broken key: got %d warnings, want 1, and no text of the key file; the log: %s", got, log.String())
		}
	})
}

func TestTLS11IsRefusedAndHTTP2IsOffered(t *testing.T) {
	t.Chdir(t.TempDir())
	pair := newPair(t, "igproxy")
	write(t, "tls.crt", pair.cert)
	write(t, "tls.key", pair.key)
	write(t, "ca.pem", pair.cert)
	for _, ca := range []string{"", "ca.pem"} {
		conf := tlsConfig(t, ca, io.Discard)
		if _, _, err := shake(t, conf, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}); err == nil {
			t.Errorf("auth.client_ca %q, a client with TLS 1.1: got no error, want one", ca)
		}
	}
	conf := tlsConfig(t, "", io.Discard)
	for offer, want := range map[string]string{"h2": "h2", "http/1.1": "http/1.1"} {
		if _, got, err := shake(t, conf, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{offer}}); err != nil || got != want {
			t.Errorf("a client that offers %s: got %q (error: %v), want %s", offer, got, err, want)
		}
	}
}

func TestClientCertificatesAreVerifiedByTheCurrentAuthorities(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		t.Chdir(t.TempDir())
		server, ours, theirs := newPair(t, "server"), newPair(t, "ours"), newPair(t, "theirs")
		write(t, "tls.crt", server.cert)
		write(t, "tls.key", server.key)
		write(t, "clients.pem", ours.cert)
		conf := tlsConfig(t, "clients.pem", io.Discard)
		sessions := tls.NewLRUClientSessionCache(4)
		ask := func(p *pemPair) error {
			client := &tls.Config{InsecureSkipVerify: true, ServerName: "localhost", ClientSessionCache: sessions}
			if p != nil {
				own := p.certificate(t)
				client.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &own, nil }
			}
			_, _, err := shake(t, conf, client)
			return err
		}
		if right, wrong, none := ask(&ours), ask(&theirs), ask(nil); right != nil || wrong == nil || none == nil {
			t.Errorf("a certificate of the right authority: got %v, want no error; a certificate of another authority: got %v, want an error; no certificate: got %v, want an error", right, wrong, none)
		}
		write(t, "clients.pem", theirs.cert)
		time.Sleep(config.LookEvery)
		if before, now := ask(&ours), ask(&theirs); before == nil || now != nil {
			t.Errorf("after the authority was replaced: a certificate of the previous authority: got %v, want an error; a certificate of the new authority: got %v, want no error", before, now)
		}
		if before := ask(nil); before == nil {
			t.Error("a client with an earlier session, without a certificate: got no error, want one")
		}
	})
}

func TestAChangedTokenFileIsReadAgainUnlessBroken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		t.Chdir(t.TempDir())
		write(t, "token", "the-first-token-0123\n")
		const key = "auth.bearer_file"
		if f, err := followTokens(key, "", nil); f != nil || err != nil {
			t.Errorf("without a file: got a function: %t, want false; got the error %v, want no error", f != nil, err)
		}
		var log bytes.Buffer
		digest, err := followTokens(key, "./token", slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		first := digest()[0]
		write(t, "token", "short")
		for range 3 {
			time.Sleep(config.LookEvery)
			if got := digest()[0]; got != first {
				t.Errorf("after a token that is too short: got the digest %x, want %x, the digest of the first token", got, first)
			}
		}
		write(t, "token", "the-second-token-0123")
		time.Sleep(config.LookEvery)
		second := digest()[0]
		write(t, "token", "the-second-token-0123\n") // the newline that an editor adds is not part of the token
		time.Sleep(config.LookEvery)
		if got := digest()[0]; second == first || got != second {
			t.Errorf("the second token: got the digest %x, want another than %x; with a newline: got the digest %x, want %x", second, first, got, second)
		}
		if got := strings.Count(log.String(), "level=WARN"); got != 1 || strings.Contains(log.String(), "-token-") {
			t.Errorf("got %d warnings, want 1, and no token; the log: %s", got, log.String())
		}
		if _, err := followTokens(key, "./nowhere", nil); err == nil || err.Error() != "auth.bearer_file: ./nowhere does not exist" {
			t.Errorf("a missing file: got %v, want an error that the file does not exist", err)
		}
	})
}

// The check uses the addresses of the open listeners, because a name in the configuration may
// resolve to any address.
func TestListenAddressDecidesWhetherAuthenticationIsRequired(t *testing.T) {
	l := loopback(t)
	beyond := &addressed{l, &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 80}}
	c := config.Default()
	if err := requireTrust([]net.Listener{l}, c); err != nil {
		t.Errorf("loopback: got %v, want no error", err)
	}
	if err := requireTrust([]net.Listener{l, &addressed{l, &net.UnixAddr{Name: "/s", Net: "unix"}}}, c); err != nil {
		t.Errorf("a Unix socket: got %v, want no error", err)
	}
	want := "listen: 10.0.0.1:80 is reachable by other machines without authentication; " + config.TrustChoices
	if err := requireTrust([]net.Listener{l, beyond}, c); err != ConfigurationError(want) {
		t.Errorf("beyond loopback: got %v, want %s", err, want)
	}
	for name, choose := range map[string]func(*config.Config){"auth.none": func(c *config.Config) { c.Auth.None = true }, "auth.bearer_file": func(c *config.Config) { c.Auth.BearerFile = "t" },
		"auth.client_ca": func(c *config.Config) { c.Auth.ClientCA = "c" }} {
		c := config.Default()
		choose(&c)
		if err := requireTrust([]net.Listener{l, beyond}, c); err != nil {
			t.Errorf("%s: got %v, want no error", name, err)
		}
	}
}

func TestOpenToHasTheModeOfASocketThatSystemdOpened(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	abstract, err := net.Listen("unix", "@"+path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = abstract.Close() })
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	var s Sidecar
	s.conf.Server.SocketMode = "0660"
	s.appNets = []net.Listener{l, abstract}
	s.conf.Listen = addresses(s.appNets)
	if got, want := s.openTo(), "the users that mode 0600 allows; the users that mode 0666 allows"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
