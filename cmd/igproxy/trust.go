package main

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"

	"github.com/igproxy/igproxy/cmd/igproxy/internal/listener"
)

// bearerOf is what proxy.Options wants; nil: no token is asked for.
func bearerOf(c Config, log *slog.Logger) (func() [sha256.Size]byte, error) {
	path := c.Auth.BearerFile
	if path == "" {
		return nil, nil
	}
	f, err := follow("auth.bearer_file", log, func() ([sha256.Size]byte, error) { return readBearer(path) }, path)
	if err != nil {
		return nil, fmt.Errorf("auth.bearer_file: %w", err)
	}
	return f.get, nil
}

// serverTLS is how the app's listener speaks TLS; nil: it does not. Certificate, key and client authorities are read again when they
// change: new connections get the new ones, open ones go on.
func serverTLS(c Config, log *slog.Logger) (*tls.Config, error) {
	cert, key, ca := c.TLS.CertFile, c.TLS.KeyFile, c.Auth.ClientCA
	if cert == "" {
		return nil, nil
	}
	pair, err := follow("tls.cert_file", log, func() (*tls.Certificate, error) { return readKeyPair(cert, key) }, cert, key)
	if err != nil {
		return nil, fmt.Errorf("tls.cert_file: %w", err)
	}
	config := &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return pair.get(), nil },
	}
	if ca == "" {
		return config, nil
	}
	asking, err := follow("auth.client_ca", log, func() (*tls.Config, error) {
		pool, err := readCertPool(ca)
		return askingFor(pool, config), err
	}, ca)
	if err != nil {
		return nil, fmt.Errorf("auth.client_ca: %w", err)
	}
	outer := config.Clone()
	outer.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return asking.get(), nil }
	return outer, nil
}

// askingFor is config with client certificates. A resumed session would carry the verdict of authorities that have gone since, so there
// is none: each connection shows its certificate.
func askingFor(pool *x509.CertPool, config *tls.Config) *tls.Config {
	asking := config.Clone()
	asking.ClientCAs, asking.ClientAuth, asking.SessionTicketsDisabled = pool, tls.RequireAndVerifyClientCert, true
	return asking
}

// refuseStrangers is the last look, at the address really listened on: a name in the configuration may stand for any.
func refuseStrangers(l net.Listener, c Config) error {
	if l.Addr().Network() == "unix" || listener.OnlyLoopback(l) || c.asksWho() || c.Auth.None {
		return nil
	}
	return fmt.Errorf("listen: %s is reachable by other machines, and nothing asks them who they are; %s", l.Addr(), trustChoices)
}
