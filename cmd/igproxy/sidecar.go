package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"github.com/igproxy/igproxy/cache"
	"github.com/igproxy/igproxy/cmd/igproxy/internal/logging"
	"github.com/igproxy/igproxy/cmd/igproxy/internal/tracing"
	"github.com/igproxy/igproxy/proxy"
)

// sidecar is a running igproxy: the proxy on its listener, the admin handlers on theirs, and the cache behind.
type sidecar struct {
	config     Config
	log        *slog.Logger
	cache      *cache.Cache
	proxy      *proxy.Proxy
	metrics    *proxy.Metrics
	endTracing func(context.Context)
	app, admin *listener
	setLevel   func(string) // of log; nil: it stays as it is
	secure     atomic.Pointer[tls.Config]
	operator   atomic.Pointer[http.Handler] // the admin handlers
	reloads    *reloader
	unwatch    func() // ends the admin page's history and streams
}

// newSidecar builds and opens everything, or nothing: on an error what was opened is closed again.
func newSidecar(config Config, from origin, log *slog.Logger) (s *sidecar, err error) {
	s = &sidecar{config: config, log: log}
	asked := config // systemd's sockets have addresses of their own
	defer func() {
		if err != nil {
			s.abandon()
		}
	}()
	metrics := proxy.NewMetrics()
	s.metrics = metrics
	b := readBuild()
	metrics.Build(b.version, b.commit, b.goVersion)
	co, err := cacheOptions(config, metrics, log)
	if err != nil {
		return s, err
	}
	if s.cache, err = cache.New(co); err != nil {
		return s, err
	}
	sockets, err := inherited()
	if err != nil {
		return s, err
	}
	defer closeAll(sockets) // those nobody took
	if s.app, err = s.appListener(&config, sockets, metrics, log); err != nil {
		return s, err
	}
	adminNet, err := open(sockets, "admin", "admin.listen", &config.Admin.Listen, adminSocketMode, log)
	if err != nil {
		return s, err
	}
	s.config = config
	s.admin = newListener(newBounded(adminNet, adminConnections), config, log)
	po, err := s.proxyOptions(config)
	if err != nil {
		return s, err
	}
	po.Tracer, s.endTracing = tracing.Start(tracing.Options{Version: b.version, Logger: log})
	if s.proxy, err = proxy.New(po); err != nil {
		s.endTracing(context.Background())
		return s, err
	}
	s.app.bound.relief = s.proxy.EndIdle // before the first Accept
	if config.Server.FastLane && !s.app.secure {
		lane := s.proxy.NewLane(proxy.LaneOptions{IdleTimeout: config.Server.IdleTimeout, WriteTimeout: config.Server.WriteTimeout})
		s.app.bound.over, s.app.parked = func(c net.Conn) net.Conn { return lane.Conn(c) }, lane
		s.app.server.RegisterOnShutdown(s.app.bound.endAllIdle)
	}
	s.app.server.Handler = s.proxy
	s.reloads = newReloader(asked, from, metrics, log)
	s.reloads.apply = func(config Config) error {
		notifyReloading(log)
		defer s.ready()
		return s.apply(config)
	}
	s.serveOperator(config)
	s.admin.server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { (*s.operator.Load()).ServeHTTP(w, r) })
	s.describe(config)
	return s, nil
}

// appListener opens the app's side: who may connect, how many, and in TLS or not.
func (s *sidecar) appListener(config *Config, sockets map[string]net.Listener, metrics *proxy.Metrics, log *slog.Logger) (*listener, error) {
	secure, err := serverTLS(*config, log)
	if err != nil {
		return nil, err
	}
	s.secure.Store(secure)
	mode, err := socketMode(config.Server.SocketMode)
	if err != nil {
		return nil, err
	}
	l, err := open(sockets, "app", "listen", &config.Listen, mode, log)
	if err != nil {
		return nil, err
	}
	if err := refuseStrangers(l, *config); err != nil {
		_ = l.Close()
		return nil, err
	}
	bound := newBounded(newPeers(l, config.Auth.UIDs, metrics.PeerRefused, log), config.Server.MaxConnections)
	app := newListener(bound, *config, log)
	app.bound = bound
	if app.secure = secure != nil; app.secure {
		app.server.TLSConfig = s.tlsOfNow()
	}
	return app, nil
}

// abandon closes what newSidecar opened before it failed.
func (s *sidecar) abandon() {
	for _, l := range []*listener{s.app, s.admin} {
		if l != nil {
			_ = l.net.Close()
		}
	}
	if s.cache != nil {
		_ = s.cache.Close(context.Background())
	}
}

// run serves until a signal comes, then drains. A second signal ends it at once, with an error.
func (s *sidecar) run(signals <-chan os.Signal) error {
	s.learn()
	failed := make(chan error, 2)
	s.unwatch = s.proxy.Watch()
	s.admin.server.RegisterOnShutdown(s.unwatch) // Shutdown would wait for a stream that nobody ends
	s.app.serve(failed)
	s.admin.serve(failed)
	s.started()
	stopReloads := s.reloads.start()
	defer stopReloads()
	defer watchdog(s.log, s.alive)()
	select {
	case err := <-failed:
		s.end()
		return fmt.Errorf("serving failed: %w", err)
	case sig := <-signals:
		stopReloads()                             // what drains is not built anew
		within := s.reloads.config().Server.Drain // a reload may have changed it
		s.log.Info("draining", "signal", sig.String(), "at_most", within.String())
		return s.drain(signals, within)
	}
}

// learnTime is how long a start may wait to hear what was purged. A Redis that does not answer keeps nobody from starting.
const learnTime = 250 * time.Millisecond

func (s *sidecar) learn() {
	ctx, cancel := context.WithTimeout(context.Background(), learnTime)
	defer cancel()
	s.cache.Learn(ctx)
}

func (s *sidecar) started() {
	b := readBuild()
	s.log.Info("listening", "url", s.app.url(), "admin", s.admin.url(), "upstream", s.config.Upstream.URL,
		"open_to", trustWords(s.config), "cache", cacheWords(s.config), "version", b.version, "go", b.goVersion)
	s.ready()
}

// describe tells the page what runs.
func (s *sidecar) describe(config Config) {
	b := readBuild()
	s.proxy.Describe(proxy.About{Version: b.version, Commit: b.commit, Go: b.goVersion, RedisMode: config.Redis.Mode, Configuration: effective(config)})
}

// ready tells systemd.
func (s *sidecar) ready() { notifyReady(s.log, "answering on "+s.app.url()) }

// drain ends in order: readiness goes, the app's listener stops and its requests are answered, flights land, stores finish, spans are sent, and the
// admin listener goes last, so that an orchestrator can watch.
func (s *sidecar) drain(signals <-chan os.Signal, within time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	s.proxy.Drain()
	notifyStopping(s.log)
	start := time.Now()
	done := make(chan error, 1)
	go func() { // ends when drained, or soon after ctx
		err := errors.Join(s.app.shutdown(ctx), s.proxy.Close(ctx), s.cache.Close(ctx))
		s.endTracing(ctx) // lost spans are not a failure
		done <- errors.Join(err, s.admin.server.Shutdown(ctx))
	}()
	select {
	case err := <-done:
		s.end()
		if err != nil {
			return fmt.Errorf("not everything was finished within server.drain (%s): %w", within, err)
		}
		s.log.Info("stopped", "drained_ms", time.Since(start).Milliseconds())
		return nil
	case sig := <-signals:
		cancel()
		s.end()
		<-done
		return fmt.Errorf("stopped at once by a second signal (%s)", sig)
	}
}

// end closes whatever is still open; harmless after a drain.
func (s *sidecar) end() {
	s.unwatch()
	_ = s.app.server.Close()
	s.app.bound.endAllIdle()
	_ = s.admin.server.Close()
	s.app.wait()
	s.admin.wait()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = s.cache.Close(ctx)
	s.endTracing(ctx)
}

// adminConnections bounds the admin listener.
const adminConnections = 64

// listener is an HTTP server and what it listens on.
type listener struct {
	net    net.Listener
	door   *door        // net's outermost
	bound  *bounded     // of the app's listener
	parked net.Listener // connections that come back; nil: none are parked
	server *http.Server
	secure bool // speaks TLS; server.TLSConfig cannot tell, because net/http sets it while it serves
	done   chan struct{}
}

func newListener(l net.Listener, config Config, log *slog.Logger) *listener {
	server := &http.Server{
		ReadHeaderTimeout: config.Server.ReadHeaderTimeout,
		ReadTimeout:       config.Server.ReadTimeout,
		WriteTimeout:      config.Server.WriteTimeout,
		IdleTimeout:       config.Server.IdleTimeout,
		MaxHeaderBytes:    config.Server.MaxHeaderBytes,
		ErrorLog:          logging.ForNetHTTP(log, slog.LevelWarn),
		// net/http answers OPTIONS * by itself, to any Host, and waits for an announced body; the gate does better.
		DisableGeneralOptionsHandler: true,
	}
	watch(server)
	door := newDoor(l)
	return &listener{net: door, door: door, done: make(chan struct{}), server: server}
}

// serve accepts connections in a goroutine that ends when the server is closed.
func (l *listener) serve(failed chan<- error) {
	if l.parked != nil {
		go func() { _ = l.server.Serve(l.parked) }() // ends when the server is closed
	}
	go func() {
		defer close(l.done)
		serve := l.server.Serve
		if l.secure {
			serve = func(n net.Listener) error { return l.server.ServeTLS(n, "", "") } // the certificate is TLSConfig's
		}
		if err := serve(l.net); !errors.Is(err, http.ErrServerClosed) {
			failed <- err
		}
	}()
}

func (l *listener) url() string { return urlOf(l.net, l.secure) }

func (l *listener) wait() { <-l.done }
