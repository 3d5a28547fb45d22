package sidecar

import (
	"crypto/tls"
	"net"

	"github.com/igproxy/igproxy/cmd/igproxy/internal/config"
	"github.com/igproxy/igproxy/cmd/igproxy/internal/listener"
)

// buildServers builds the app's server and the admin one.
func (s *Sidecar) buildServers(conf config.Config, secure *tls.Config) {
	o := listener.Options{
		ReadHeaderTimeout: conf.Server.ReadHeaderTimeout,
		ReadTimeout:       conf.Server.ReadTimeout,
		WriteTimeout:      conf.Server.WriteTimeout,
		IdleTimeout:       conf.Server.IdleTimeout,
		MaxHeaderBytes:    conf.Server.MaxHeaderBytes,
		Logger:            s.log,
	}
	admin := o
	admin.Listener, admin.MaxConnections = s.adminNet, adminConnections
	admin.Handler = s.operator
	s.admin = listener.New(admin)

	o.Listener, o.Handler, o.MaxConnections = s.appNet, s.proxy, conf.Server.MaxConnections
	o.UIDs, o.PeerRefused = conf.Auth.UIDs, s.metrics.PeerRefused
	o.Relieve = s.proxy.EndIdle
	if s.secure.Store(secure); secure != nil {
		o.TLS = s.currentTLS()
	}
	if conf.Server.FastLane && secure == nil {
		lane := s.proxy.NewLane(conf.Server.IdleTimeout, conf.Server.WriteTimeout)
		o.Wrap, o.ConnState = lane.Wrap, lane.ConnState
	}
	s.app = listener.New(o)
}

// currentTLS returns how the app's listener speaks TLS: each handshake finds what the last reload
// left.
func (s *Sidecar) currentTLS() *tls.Config {
	first := s.secure.Load()
	return &tls.Config{
		MinVersion: first.MinVersion,
		NextProtos: first.NextProtos,
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			now := s.secure.Load()
			if now.GetConfigForClient != nil {
				return now.GetConfigForClient(hello)
			}
			return now, nil
		},
	}
}

// adminConnections bounds the admin listener.
const adminConnections = 64

// adminSocketMode lets the owner and the group of the admin handlers' Unix socket in.
const adminSocketMode = 0o660

// anyHost reports whether the Host name need not be checked: a Unix socket has none worth checking,
// and beyond loopback the operator decides by allowed_hosts. On loopback it is always checked,
// against web pages that rebind a DNS name.
func anyHost(l net.Listener, allowed []string) bool {
	return !listener.OnlyLoopback(l) && len(allowed) == 0
}
