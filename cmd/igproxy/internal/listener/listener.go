// Package listener serves HTTP on one listener, with a bound on the connections that are open at
// once, and with a drain that loses no request.
package listener

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/igproxy/igproxy/cmd/igproxy/internal/logging"
)

// Options configure New.
type Options struct {
	// Listener is served until Shutdown or Close.
	Listener net.Listener
	// HTTP has the handler, the TLS configuration, the timeouts and the size limit of headers. New
	// wraps the handler, and sets ConnContext, ErrorLog and DisableGeneralOptionsHandler.
	HTTP *http.Server
	// MaxConnections bounds the connections open at once; at least 1.
	MaxConnections int
	// Beside is another Server, whose bound on connections this one shares: the connections of both
	// count together, and MaxConnections is ignored. Nil: the bound is for this listener only.
	Beside *Server
	// UIDs are the IDs, in decimal, of the users whose processes may connect to a Unix socket. If
	// the list is empty, all users may.
	UIDs []string
	// PeerRefused is called for each connection that is refused because of UIDs, and is required
	// with UIDs.
	PeerRefused func()
	// WithPeer adds the user of a Unix socket's connection to the context of its requests. It is
	// not called for other connections, nor if the system does not report the user. May be nil.
	WithPeer func(ctx context.Context, uid uint32) context.Context
	// Lane is the fast lane. Every connection begins in it, and it hands some of them to net/http.
	// Nil: net/http serves all.
	Lane Lane
	// Relieve closes idle connections that this package does not manage, such as those to Meta. It
	// is called when the process has no file descriptor left, and no connection of a client can be
	// closed. May be nil.
	Relieve func()
	// Logger receives net/http's messages, and warnings about refused connections.
	Logger *slog.Logger
}

// Lane is the part of lane.Lane that a Server uses.
type Lane interface {
	Serve(net.Listener) error
	Fallback() net.Listener
	Shutdown(context.Context) error
}

// Server is an HTTP server on one listener.
type Server struct {
	http     *http.Server
	bound    *bound
	secure   bool // whether it uses TLS; http.TLSConfig does not show this, because net/http sets it while serving
	lane     Lane
	log      *slog.Logger
	ending   atomic.Bool   // Shutdown or Close was called
	accepted chan struct{} // closed when nothing more is accepted
	handed   chan struct{} // closed when net/http gets no more connections
}

// New returns a Server that is not serving yet.
func New(o Options) *Server {
	if len(o.UIDs) > 0 {
		o.Listener = &peers{Listener: o.Listener, uids: o.UIDs, refused: o.PeerRefused, log: o.Logger}
	}
	open := newConnections(o.MaxConnections, o.HTTP.ReadHeaderTimeout)
	if o.Beside != nil {
		open = o.Beside.bound.open
	}
	s := &Server{http: o.HTTP, bound: newBound(o.Listener, open), secure: o.HTTP.TLSConfig != nil,
		lane: o.Lane, log: o.Logger, accepted: make(chan struct{}), handed: make(chan struct{})}
	s.http.ErrorLog = logging.ForNetHTTP(o.Logger, slog.LevelWarn)
	// net/http's own handler of OPTIONS * answers for any Host, and waits for an announced body.
	s.http.DisableGeneralOptionsHandler = true
	s.http.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		if uid, err := socketPeer(c); err == nil && o.WithPeer != nil {
			ctx = o.WithPeer(ctx, uid)
		}
		return context.WithValue(ctx, connKey{}, under(c))
	}
	s.http.Handler = s.track(o.HTTP.Handler)
	if o.Relieve != nil {
		s.bound.relieve = o.Relieve
	}
	return s
}

// connKey is the key of a request's *conn in its context.
type connKey struct{}

// track returns a handler that records, on the connection of a request, when the request begins and
// ends. During a drain every response says Connection: close, which net/http turns into a GOAWAY in
// HTTP/2.
func (s *Server) track(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := r.Context().Value(connKey{}).(*conn)
		if !c.begin(r.ProtoMajor == 2) {
			panic(http.ErrAbortHandler) // the connection is closed, so the request must have no effect
		}
		defer c.end()
		if refuseHTTP2(w, r) {
			s.log.Warn("http2 refused", "address", r.RemoteAddr, "next_step", "let the client use HTTP/1.1, or HTTP/2 over TLS with ALPN")
			return
		}
		if s.ending.Load() {
			w.Header().Set("Connection", "close")
			c.closing.Store(true)
		}
		next.ServeHTTP(w, r)
	})
}

// Serve accepts connections in goroutines that end with the server. If an error ends a goroutine
// early, the error is sent to failed.
func (s *Server) Serve(failed chan<- error) {
	serve := s.http.Serve
	if s.secure {
		serve = func(l net.Listener) error { return s.http.ServeTLS(l, "", "") } // TLSConfig has the certificate
	}
	run := func(serve func(net.Listener) error, l net.Listener, ended ...chan struct{}) {
		if err := serve(l); !errors.Is(err, http.ErrServerClosed) && !s.ending.Load() {
			failed <- err
		}
		for _, c := range ended {
			close(c)
		}
	}
	if s.lane == nil {
		go run(serve, s.bound, s.accepted, s.handed)
		return
	}
	go run(s.lane.Serve, s.bound, s.accepted)
	go run(serve, s.lane.Fallback(), s.handed)
}

const (
	// farewell is how long a drain waits for the next request on a connection, so that its response
	// can say Connection: close.
	farewell = time.Second
	// farewellTimeout bounds how long a drain waits for requests that arrive slowly, and for
	// responses that began before the drain. After that the lane and net/http shut down.
	farewellTimeout = 5 * time.Second
	// closeTimeout bounds how long Close waits for requests that the lane is answering.
	closeTimeout = 100 * time.Millisecond
)

// Shutdown ends the server within ctx, without dropping a request of an accepted connection.
//
// net/http's Shutdown closes idle connections without looking for a request that has arrived. And
// net/http drops every request that it reads after the call of Shutdown. So net/http's Shutdown
// must not be called while a request can still arrive. The steps of this Shutdown are:
//
//  1. No more connections are accepted. If systemd holds the socket, new connections wait in the
//     socket's queue. If not, they are refused.
//  2. Every response says Connection: close. That ends a connection that is in use.
//  3. A connection that stays quiet for a second, and has nothing left to read, is closed.
//  4. The lane, and then net/http, wait for requests that take longer. net/http also ends HTTP/2,
//     with a GOAWAY.
func (s *Server) Shutdown(ctx context.Context) error {
	s.ending.Store(true)
	_ = s.bound.Close()
	select {
	case <-s.accepted:
	case <-ctx.Done():
	}
	start := time.Now()
	bounded, cancel := context.WithTimeout(ctx, farewellTimeout)
	defer cancel()
	poll(bounded.Done(), func() bool { return s.bound.endQuiet(start, farewell) == 0 })
	if err := s.endLane(ctx, start); err != nil {
		return err
	}
	return s.http.Shutdown(ctx)
}

// endLane waits until no connection is left in the lane.
func (s *Server) endLane(ctx context.Context, start time.Time) error {
	if s.lane == nil {
		return nil
	}
	ended := make(chan error, 1)
	go func() { ended <- s.lane.Shutdown(ctx) }()
	for {
		select {
		case err := <-ended:
			return err
		case <-time.After(pollInterval):
			s.bound.endQuiet(start, farewell)
		}
	}
}

// Close closes every connection at once. It waits for the goroutines of Serve and, for at most
// closeTimeout, for requests in the lane. It is harmless after Shutdown.
func (s *Server) Close() {
	s.ending.Store(true)
	_ = s.bound.Close()
	if s.lane != nil {
		<-s.accepted
		for _, c := range s.bound.open.snapshot() {
			go c.Close() // returns when the lane has answered its current request on c
		}
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		_ = s.lane.Shutdown(ctx)
	}
	_ = s.http.Close()
	<-s.handed
}

// Addr returns the address listened on.
func (s *Server) Addr() net.Addr { return s.bound.Addr() }

// URL returns the address as a person would type it.
func (s *Server) URL() string {
	switch {
	case s.Addr().Network() == "unix":
		return "unix:" + s.Addr().String()
	case s.secure:
		return "https://" + s.Addr().String()
	}
	return "http://" + s.Addr().String()
}
