package sidecar

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"

	"github.com/igproxy/igproxy/cmd/igproxy/internal/config"
	"github.com/igproxy/igproxy/cmd/igproxy/internal/listener"
)

// followBearer is what proxy.Options wants; nil: no token is asked for.
func followBearer(c config.Config, log *slog.Logger) (func() [sha256.Size]byte, error) {
	path := c.Auth.BearerFile
	if path == "" {
		return nil, nil
	}
	f, err := config.Follow("auth.bearer_file", log, func() ([sha256.Size]byte, error) { return config.ReadBearer(path) }, path)
	if err != nil {
		return nil, fmt.Errorf("auth.bearer_file: %w", err)
	}
	return f, nil
}

// serverTLS is how the app's listener speaks TLS; nil: it does not. Certificate, key and client
// authorities are read again when they change: new connections get the new ones, open ones go on.
func serverTLS(c config.Config, log *slog.Logger) (*tls.Config, error) {
	cert, key, ca := c.TLS.CertFile, c.TLS.KeyFile, c.Auth.ClientCA
	if cert == "" {
		return nil, nil
	}
	pair, err := config.Follow("tls.cert_file", log, func() (*tls.Certificate, error) { return config.ReadKeyPair(cert, key) }, cert, key)
	if err != nil {
		return nil, fmt.Errorf("tls.cert_file: %w", err)
	}
	conf := &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return pair(), nil },
	}
	if ca == "" {
		return conf, nil
	}
	asking, err := config.Follow("auth.client_ca", log, func() (*tls.Config, error) {
		pool, err := config.ReadCertPool(ca)
		return requireClientCert(pool, conf), err
	}, ca)
	if err != nil {
		return nil, fmt.Errorf("auth.client_ca: %w", err)
	}
	outer := conf.Clone()
	outer.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return asking(), nil }
	return outer, nil
}

// requireClientCert is config with client certificates. A resumed session would carry the verdict
// of authorities that have gone since, so there is none: each connection shows its certificate.
func requireClientCert(pool *x509.CertPool, conf *tls.Config) *tls.Config {
	asking := conf.Clone()
	asking.ClientCAs, asking.ClientAuth, asking.SessionTicketsDisabled = pool, tls.RequireAndVerifyClientCert, true
	return asking
}

// requireTrust is the last look, at the address really listened on: a name in the configuration may
// stand for any.
func requireTrust(l net.Listener, c config.Config) error {
	if l.Addr().Network() == "unix" || listener.OnlyLoopback(l) || c.RequiresAuth() || c.Auth.None {
		return nil
	}
	return fmt.Errorf("listen: %s is reachable by other machines, and nothing asks them who they are; %s", l.Addr(), config.TrustChoices)
}
