// Package listener serves HTTP on one listener: with a bound on the connections that are open at once, and a
// drain that loses no request.
package listener

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/igproxy/igproxy/cmd/igproxy/internal/logging"
)

// Options configure a Server.
type Options struct {
	// Listener is served until Shutdown or Close.
	Listener net.Listener
	// Handler answers requests.
	Handler http.Handler
	// MaxConnections bounds the connections open at once; at least 1.
	MaxConnections int
	// UIDs are the users whose processes may connect to a Unix socket, in decimal; none: all.
	UIDs []string
	// PeerRefused is called for each connection of another user; nil: nothing is.
	PeerRefused func()
	// TLS is how connections are encrypted; nil: they are not.
	TLS *tls.Config
	// The timeouts and the bound on a request's header are net/http's.
	ReadHeaderTimeout, ReadTimeout, WriteTimeout, IdleTimeout time.Duration
	MaxHeaderBytes                                            int

	// Wrap returns what a connection is served through; nil: itself.
	Wrap func(net.Conn) net.Conn
	// ConnState sees each change of a connection's state before the bound does; nil: nothing does.
	ConnState func(net.Conn, http.ConnState)
	// Passing marks the context of a connection beyond the bound, which gets one answer; nil: no mark.
	Passing func(context.Context) context.Context
	// Relieve closes idle connections elsewhere when the process has no descriptor left; nil: there are none.
	Relieve func()
	// OnShutdown ends requests that would otherwise not end; nil: there are none.
	OnShutdown func()
	// Logger receives what net/http reports.
	Logger *slog.Logger
}

// Server is an HTTP server on one listener.
type Server struct {
	http       *http.Server
	door       *door
	bound      *bounded
	secure     bool // http.TLSConfig does not tell: net/http sets it while it serves
	onShutdown func()
	done       chan struct{}
}

// New returns a Server that is not serving yet.
func New(o Options) *Server {
	bound := newBounded(newPeers(o.Listener, o.UIDs, o.PeerRefused, o.Logger), o.MaxConnections)
	if o.Relieve != nil {
		bound.relieve = o.Relieve
	}
	if o.Wrap != nil {
		bound.wrap = o.Wrap
	}
	s := &Server{
		door: newDoor(bound), bound: bound, secure: o.TLS != nil, done: make(chan struct{}),
		onShutdown: func() {},
		http: &http.Server{
			Handler:           o.Handler,
			TLSConfig:         o.TLS,
			ReadHeaderTimeout: o.ReadHeaderTimeout,
			ReadTimeout:       o.ReadTimeout,
			WriteTimeout:      o.WriteTimeout,
			IdleTimeout:       o.IdleTimeout,
			MaxHeaderBytes:    o.MaxHeaderBytes,
			ErrorLog:          logging.ForNetHTTP(o.Logger, slog.LevelWarn),
			// net/http answers OPTIONS * by itself, to any Host, and waits for an announced body.
			DisableGeneralOptionsHandler: true,
		},
	}
	if o.OnShutdown != nil {
		s.onShutdown = o.OnShutdown
	}
	watch(s.http, o.ConnState, o.Passing)
	return s
}

// watch reports the state of the server's connections to the bound.
func watch(server *http.Server, connState func(net.Conn, http.ConnState), passingTimeout func(context.Context) context.Context) {
	server.ConnState = func(c net.Conn, state http.ConnState) {
		if connState != nil {
			connState(c, state)
		}
		p := boundConnUnder(c)
		switch {
		case p == nil:
		case state == http.StateIdle:
			p.Idle(time.Now())
		default:
			p.idle.Store(0)
		}
	}
	server.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		if p := boundConnUnder(c); p != nil && !p.end.IsZero() && passingTimeout != nil {
			return passingTimeout(ctx)
		}
		return ctx
	}
}

// Serve accepts connections in goroutines that end with the server; an error that ends it early is sent to failed.
func (s *Server) Serve(failed chan<- error) {
	go func() {
		defer close(s.done)
		serve := s.http.Serve
		if s.secure {
			serve = func(l net.Listener) error { return s.http.ServeTLS(l, "", "") } // the certificate is TLSConfig's
		}
		if err := serve(s.door); !errors.Is(err, http.ErrServerClosed) {
			failed <- err
		}
	}()
}

// Close ends every connection now, and waits for Serve. It is harmless after Shutdown.
func (s *Server) Close() {
	_ = s.http.Close()
	<-s.done
}

// Addr returns the address listened on.
func (s *Server) Addr() net.Addr { return s.door.Addr() }

// URL returns the address as a person would type it.
func (s *Server) URL() string { return urlOf(s.door, s.secure) }
