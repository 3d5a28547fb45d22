package sidecar

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/igproxy/igproxy/cmd/igproxy/internal/config"
	"github.com/igproxy/igproxy/cmd/igproxy/internal/listener"
)

// followTokens returns a function that returns the digests of the current tokens in the file at
// path, or nil if path is empty. Errors and log lines contain key, the setting that names
// the file.
func followTokens(key, path string, log *slog.Logger) (func() [][sha256.Size]byte, error) {
	if path == "" {
		return nil, nil
	}
	f, err := config.Follow(key, log, func() ([][sha256.Size]byte, error) { return config.ReadBearers(path) }, path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	return f, nil
}

// currentBearers has the function that returns the digests of igproxy's own tokens. The function is
// nil if apps need no token.
type currentBearers struct {
	digests func() [][sha256.Size]byte
}

// currentTLS returns the TLS configuration for a new connection.
type currentTLS func() *tls.Config

// listenerTLS returns a TLS configuration that uses the current configuration at each handshake.
func listenerTLS(current *atomic.Pointer[currentTLS]) *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return (*current.Load())(), nil },
	}
}

// followTLS returns a function that returns the TLS configuration of the listeners for apps. If the
// listeners use no TLS, followTLS returns nil. The function reads the certificate, the key and the
// client authorities again when their files change. New connections use the new contents; open
// connections continue.
func followTLS(c config.Config, log *slog.Logger) (currentTLS, error) {
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
		return func() *tls.Config { return conf }, nil
	}
	// Without session tickets, a client presents its certificate on each connection. So igproxy
	// does not rely on crypto/tls to reject a session whose authority has been removed.
	f, err := config.Follow("auth.client_ca", log, func() (*tls.Config, error) {
		pool, err := config.ReadCertPool(ca)
		requiring := conf.Clone()
		requiring.ClientCAs, requiring.ClientAuth, requiring.SessionTicketsDisabled = pool, tls.RequireAndVerifyClientCert, true
		if names := c.Auth.ClientNames; len(names) > 0 {
			requiring.VerifyConnection = func(s tls.ConnectionState) error { return checkName(s.PeerCertificates[0], names) }
		}
		return requiring, err
	}, ca)
	if err != nil {
		return nil, fmt.Errorf("auth.client_ca: %w", err)
	}
	return f, nil
}

// checkName checks that a verified certificate has one of the names.
func checkName(cert *x509.Certificate, names []string) error {
	dns := func(name string) bool {
		return slices.ContainsFunc(names, func(allowed string) bool { return strings.EqualFold(name, allowed) })
	}
	uri := func(u *url.URL) bool { return slices.Contains(names, u.String()) }
	if slices.ContainsFunc(cert.DNSNames, dns) || slices.ContainsFunc(cert.URIs, uri) {
		return nil
	}
	// The certificate's own names come from outside, so the error does not repeat them.
	return errors.New("the client certificate has none of the names in auth.client_names")
}

// requireTrust checks the addresses on which the listeners for apps really listen. It returns an
// error if other machines can reach one without authentication. The check of the configuration is
// not enough, because a name in listen may resolve to any address.
func requireTrust(listeners []net.Listener, c config.Config) error {
	for _, l := range listeners {
		if !isUnix(l) && !listener.OnlyLoopback(l) && !c.RequiresAuth() && !c.Auth.None {
			return ConfigurationError(fmt.Sprintf("listen: %s is reachable by other machines without authentication; %s", l.Addr(), config.TrustChoices))
		}
	}
	return nil
}

// openTo says in words who may use the listeners for apps. It reads the mode of each Unix socket,
// because server.socket_mode has no effect on a socket that systemd has opened.
func (s *Sidecar) openTo() string {
	var all []string
	for i, l := range s.appNets {
		c := s.conf
		c.Listen = s.conf.Listen[i : i+1] // the address of l
		if isUnix(l) {
			c.Server.SocketMode = socketMode(l)
		}
		if who := c.OpenTo(); !slices.Contains(all, who) {
			all = append(all, who)
		}
	}
	return strings.Join(all, "; ")
}

// socketMode returns the mode of a Unix socket, in octal. A socket whose file cannot be found, such
// as one in the abstract namespace, counts as open to every user.
func socketMode(l net.Listener) string {
	info, err := os.Stat(l.Addr().String())
	if err != nil {
		return "0666"
	}
	return fmt.Sprintf("%04o", info.Mode().Perm())
}
