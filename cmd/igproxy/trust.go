package main

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"strconv"
	"strings"

	"github.com/igproxy/igproxy/cmd/igproxy/internal/listener"
)

// minBearer is the shortest token of the sidecar's own that is believed, in characters.
const minBearer = 16

// readBearer reads the token apps must show, and keeps its SHA-256 only. Its error is a *fileError.
func readBearer(path string) (digest [sha256.Size]byte, err error) {
	token, err := readSecretFile(path)
	if err != nil {
		return digest, err
	}
	text := token.Reveal()
	switch {
	case len(text) < minBearer:
		return digest, &fileError{shownPath(path), fault{fmt.Sprintf("holds fewer than %d characters", minBearer), "make one with: openssl rand -hex 32"}}
	case strings.ContainsFunc(text, func(r rune) bool { return r > '~' }):
		return digest, &fileError{shownPath(path), fault{"holds a character that is not ASCII, which no header can carry", "make one with: openssl rand -hex 32"}}
	}
	return sha256.Sum256([]byte(text)), nil
}

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

// asksWho reports whether apps must show who they are, over any network.
func (c Config) asksWho() bool { return c.Auth.BearerFile != "" || c.Auth.ClientCA != "" }

// refuseStrangers is the last look, at the address really listened on: a name in the configuration may stand for any.
func refuseStrangers(l net.Listener, c Config) error {
	if l.Addr().Network() == "unix" || listener.OnlyLoopback(l) || c.asksWho() || c.Auth.None {
		return nil
	}
	return fmt.Errorf("listen: %s is reachable by other machines, and nothing asks them who they are; %s", l.Addr(), trustChoices)
}

const trustChoices = "set auth.bearer_file, or auth.client_ca with tls.cert_file and tls.key_file, or auth.none: true if the network keeps others out; or listen on 127.0.0.1 or unix:/path"

// trustWords says in the log and in check who is answered.
func trustWords(c Config) string {
	who := "every program on this machine"
	switch {
	case len(c.Auth.UIDs) > 0:
		who = "the users " + strings.Join(c.Auth.UIDs, ", ")
	case strings.HasPrefix(c.Listen, "unix:"):
		who = "the users that mode " + c.Server.SocketMode + " lets in"
	case beyondLoopback(c.Listen):
		who = "everybody who reaches it"
	}
	switch bearer, certificate := c.Auth.BearerFile != "", c.Auth.ClientCA != ""; {
	case bearer && certificate:
		return who + " with a token and a client certificate"
	case bearer:
		return who + " with a token"
	case certificate:
		return who + " with a client certificate"
	}
	return who
}

// socketMode reads server.socket_mode.
func socketMode(text string) (fs.FileMode, error) {
	mode, err := strconv.ParseUint(text, 8, 32)
	if err != nil || mode > 0o777 {
		return 0, errors.New("server.socket_mode is not a mode")
	}
	return fs.FileMode(mode), nil
}
