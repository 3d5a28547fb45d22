package sidecar

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/igproxy/igproxy/cmd/igproxy/internal/authority"
	"github.com/igproxy/igproxy/cmd/igproxy/internal/config"
	"github.com/igproxy/igproxy/cmd/igproxy/internal/intercept"
	"github.com/igproxy/igproxy/cmd/igproxy/internal/listener"
	"github.com/igproxy/igproxy/proxy/admin"
)

// interception is the HTTP proxy for clients that cannot change their base URL. Its outer server
// answers CONNECT requests. Its inner server answers the requests on intercepted connections.
type interception struct {
	handler *intercept.Handler
	outer   *listener.Server
	inner   *listener.Server
	signer  atomic.Pointer[currentAuthority]
}

// currentAuthority returns the authority for the next connection.
type currentAuthority func() *authority.Authority

// followAuthority returns a function that returns the authority. The function reads the authority
// again when its files change. followAuthority returns nil if interception is off, or if a reload
// has removed the settings of the files. After such a reload the previous authority stays in use,
// because only a restart ends interception.
func (s *Sidecar) followAuthority(c config.Config) (currentAuthority, error) {
	cert, key := c.Intercept.CAFile, c.Intercept.CAKeyFile
	if len(s.interceptNets) == 0 || cert == "" || key == "" {
		return nil, nil
	}
	f, err := config.Follow("intercept.ca_file", s.log, func() (*authority.Authority, error) { return config.ReadAuthority(cert, key) }, cert, key)
	if err != nil {
		return nil, fmt.Errorf("intercept.ca_file: %w", err)
	}
	return f, nil
}

// buildIntercept builds the servers for interception, if it is on.
func (s *Sidecar) buildIntercept(server func(http.Handler) *http.Server) error {
	if len(s.interceptNets) == 0 {
		return nil
	}
	signer, err := s.followAuthority(s.conf)
	if err != nil {
		return err
	}
	c, l := s.conf.Intercept, s.interceptNets[0]
	i := &interception{}
	i.signer.Store(&signer)
	o := intercept.Options{Hosts: s.proxy.MetaHosts, Addr: l.Addr(), Release: listener.Release, Count: s.metrics.Connected, Logger: s.log,
		Bearers: func() [][sha256.Size]byte {
			if f := s.bearers.Load().digests; f != nil {
				return f()
			}
			return nil
		}}
	if c.Others == config.InterceptTunnel {
		o.Tunnels = intercept.TunnelOptions{MaxTunnels: c.MaxTunnels, IdleTimeout: c.TunnelIdle}
	}
	i.handler = intercept.New(o)
	s.metrics.Tunnels(i.handler.Tunnels)
	s.closers = append(s.closers, i.handler.Close)

	outer := listener.Options{Listener: l, HTTP: server(i.handler), Beside: s.apps[0], Logger: s.log, Relieve: s.proxy.EndIdle}
	// An HTTP/2 stream cannot be hijacked, so the outer server speaks HTTP/1.1 only.
	outer.HTTP.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){}
	if isUnix(l) {
		outer.UIDs, outer.PeerRefused = s.conf.Auth.UIDs, s.metrics.PeerRefused
	} else if c.TLS {
		outer.HTTP.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			conf := (*s.tls.Load())().Clone()
			conf.NextProtos = []string{"http/1.1"}
			return conf, nil
		}}
	}
	i.outer = listener.New(outer)
	inner := listener.Options{Listener: i.handler.Listener(), HTTP: server(s.proxy.Intercepted()), Beside: s.apps[0], Logger: s.log, Relieve: s.proxy.EndIdle}
	inner.HTTP.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"},
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			name := strings.ToLower(hello.ServerName)
			if !slices.Contains(s.proxy.MetaHosts(), name) {
				return nil, errors.New("the client asks for a host that is not intercepted")
			}
			return (*i.signer.Load())().Leaf(name)
		}}
	inner.HTTP.ConnState = func(c net.Conn, state http.ConnState) {
		if secure, ok := c.(*tls.Conn); ok && state == http.StateClosed {
			s.countHandshake(secure.ConnectionState())
		}
	}
	i.inner = listener.New(inner)
	s.intercept = i
	return nil
}

// countHandshake counts and logs a failed handshake, after its intercepted connection was closed.
// The usual reason is that the client does not trust the authority. net/http's own log line may
// give another reason, because the server cannot read an alert that a client sends unencrypted.
func (s *Sidecar) countHandshake(state tls.ConnectionState) {
	host := strings.ToLower(state.ServerName)
	if state.HandshakeComplete || host == "" { // a connection without a name may only have tested the port
		return
	}
	if !slices.Contains(s.proxy.MetaHosts(), host) {
		host = "other"
	}
	s.metrics.Connected(host, intercept.HandshakeFailed)
	s.log.Warn("intercepted handshake failed", "host", host, "next_step", "let the client trust the authority in intercept.ca_file")
}

// servers returns the servers of an interception, or nil if it is off.
func (i *interception) servers() []*listener.Server {
	if i == nil {
		return nil
	}
	return []*listener.Server{i.outer, i.inner}
}

// shutdown ends an interception within ctx: first the outer server, which hands connections over,
// then the inner server and the tunnels, which receive them.
func (i *interception) shutdown(ctx context.Context) error {
	if i == nil {
		return nil
	}
	err := i.outer.Shutdown(ctx)
	tunnels := make(chan error, 1)
	go func() { tunnels <- i.handler.Shutdown(ctx) }() // ends before shutdown returns
	return errors.Join(err, i.inner.Shutdown(ctx), <-tunnels)
}

// interception returns what the admin handler shows about interception. Call it only if
// interception is on.
func (s *Sidecar) interception() admin.Interception {
	i := s.intercept
	return admin.Interception{Listen: i.outer.URL(), Hosts: s.proxy.MetaHosts(), Others: s.conf.Intercept.Others, Ends: (*i.signer.Load())().Ends()}
}

// InterceptURL returns the URL that clients use as their HTTPS_PROXY, or "off".
func (s *Sidecar) InterceptURL() string {
	if s.intercept == nil {
		return "off"
	}
	return s.intercept.outer.URL()
}

// requireInterceptTrust checks the addresses on which the listeners for interception really listen.
// It returns an error if other machines can reach a listener without authentication. The check of
// the configuration is not enough, because a name in intercept.listen may resolve to any address.
func requireInterceptTrust(listeners []net.Listener, c config.Config) error {
	byCertificate := c.Intercept.TLS && c.Auth.ClientCA != ""
	for _, l := range listeners {
		if !isUnix(l) && !listener.OnlyLoopback(l) && c.Auth.BearerFile == "" && !byCertificate && !c.Auth.None {
			return ConfigurationError(fmt.Sprintf("intercept.listen: %s is reachable by other machines without authentication; %s", l.Addr(), config.InterceptChoices))
		}
	}
	return nil
}
