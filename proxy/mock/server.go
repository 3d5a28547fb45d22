package mock

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// ServerOptions configure a Server.
type ServerOptions struct {
	// Addr is the address to listen on. Empty means 127.0.0.1:0, a free port on loopback.
	Addr string
	// TLS makes the server serve HTTPS and HTTP/2, with a certificate from an authority that Start
	// creates. The certificate is valid for 127.0.0.1, ::1, localhost, the hosts that the function
	// Hosts returns, the host in Addr, and the address on which the server listens.
	TLS bool
	// Expired makes the certificate expired. It has no effect without TLS.
	Expired bool
	// WrongName makes the certificate valid only for another host. It has no effect without TLS.
	WrongName bool
}

// Server serves an Instagram on a listener.
type Server struct {
	URL   string // scheme, host and port
	Addr  string // host and port
	CAPEM []byte // the authority's certificate, in PEM; nil without TLS

	pool   *x509.CertPool
	http   *http.Server
	cancel context.CancelFunc // ends handlers that hang or wait
	served chan struct{}      // closed when the accept loop has ended

	mu       sync.Mutex // protects closing; once closing is true, nothing calls handlers.Add
	closing  bool
	handlers sync.WaitGroup
}

// Start listens and serves i until Close. After Close, i can be started again and still has its
// counters, like a host that was down for a while.
func Start(i *Instagram, o ServerOptions) (*Server, error) {
	if o.Addr == "" {
		o.Addr = "127.0.0.1:0"
	}
	s := &Server{served: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	s.http = &http.Server{
		Handler:           s.counted(i),
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ReadHeaderTimeout: 30 * time.Second,
		IdleTimeout:       5 * time.Minute,
		ErrorLog:          slog.NewLogLogger(i.log.Handler(), slog.LevelWarn),
	}
	if err := s.listen(o); err != nil {
		cancel()
		return nil, err
	}
	return s, nil
}

func (s *Server) listen(o ServerOptions) error {
	l, err := net.Listen("tcp", o.Addr)
	if err != nil {
		return err
	}
	addr := l.Addr().(*net.TCPAddr)
	s.Addr = reachable(addr)
	s.URL = "http://" + s.Addr
	serve := func() error { return s.http.Serve(l) }
	if o.TLS {
		if err := s.certify(o, addr.IP); err != nil {
			_ = l.Close()
			return err
		}
		s.URL = "https://" + s.Addr
		serve = func() error { return s.http.ServeTLS(l, "", "") }
	}
	go func() { // ended and awaited by Close
		defer close(s.served)
		_ = serve() // returns http.ErrServerClosed after Close
	}()
	return nil
}

func (s *Server) certify(o ServerOptions, ip net.IP) error {
	a, err := newAuthority()
	if err != nil {
		return err
	}
	leaf, err := a.leaf(o, ip)
	if err != nil {
		return err
	}
	s.CAPEM, s.pool = a.pem(), a.pool()
	s.http.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{leaf}}
	return nil
}

// reachable returns the address at which a client on this machine reaches the listener, even if it
// listens on all addresses.
func reachable(a *net.TCPAddr) string {
	if a.IP.IsUnspecified() {
		return (&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: a.Port}).String()
	}
	return a.String()
}

// counted wraps h so that Close can wait for running handlers. http.Server.Close does not wait for
// them.
func (s *Server) counted(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		if s.closing {
			s.mu.Unlock()
			panic(http.ErrAbortHandler)
		}
		s.handlers.Add(1)
		s.mu.Unlock()
		defer s.handlers.Done()
		h.ServeHTTP(w, r)
	})
}

// CA returns a pool that contains only the stand-in's authority, or nil without TLS.
func (s *Server) CA() *x509.CertPool {
	if s.pool == nil {
		return nil
	}
	return s.pool.Clone()
}

// Close ends the listener, every connection and every handler. It returns when all handlers have
// ended.
func (s *Server) Close() {
	s.mu.Lock()
	s.closing = true
	s.mu.Unlock()
	s.cancel()
	_ = s.http.Close() // closes all connections, even if it cannot close the listener
	<-s.served
	s.handlers.Wait()
}
