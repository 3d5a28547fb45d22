package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/igproxy/igproxy/cache"
	"github.com/igproxy/igproxy/proxy"
)

// sidecar is a running igproxy: the proxy on its listener, the admin handlers on theirs, and the cache behind.
type sidecar struct {
	config     Config
	log        *slog.Logger
	cache      *cache.Cache
	proxy      *proxy.Proxy
	metrics    *proxy.Metrics
	app, admin *listener
	unwatch    func() // ends the admin page's history and streams
}

// newSidecar builds and opens everything, or nothing: on an error what was opened is closed again.
func newSidecar(config Config, log *slog.Logger) (s *sidecar, err error) {
	s = &sidecar{config: config, log: log}
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
	if s.app, err = appListener(config, metrics, log); err != nil {
		return s, err
	}
	adminNet, err := listen("admin.listen", config.Admin.Listen, adminSocketMode)
	if err != nil {
		return s, err
	}
	s.admin = newListener(newBounded(adminNet, adminConnections), config, log)
	po, err := proxyOptions(config)
	if err != nil {
		return s, err
	}
	if po.Bearer, err = bearerOf(config, log); err != nil {
		return s, err
	}
	po.Cache, po.Metrics, po.Logger, po.AnyHost = s.cache, metrics, log, anyHost(s.app.net, config.AllowedHosts)
	if s.proxy, err = proxy.New(po); err != nil {
		return s, err
	}
	s.app.bound.relief = s.proxy.EndIdle // before the first Accept
	s.app.server.Handler = s.proxy
	s.proxy.Describe(proxy.About{Version: b.version, Commit: b.commit, Go: b.goVersion, RedisMode: config.Redis.Mode, Configuration: effective(config)})
	s.admin.server.Handler = s.proxy.Admin(config.AllowedHosts, anyHost(adminNet, config.AllowedHosts))
	return s, nil
}

// appListener opens the app's side: who may connect, how many, and in TLS or not.
func appListener(config Config, metrics *proxy.Metrics, log *slog.Logger) (*listener, error) {
	secure, err := serverTLS(config, log)
	if err != nil {
		return nil, err
	}
	mode, err := socketMode(config.Server.SocketMode)
	if err != nil {
		return nil, err
	}
	l, err := listen("listen", config.Listen, mode)
	if err != nil {
		return nil, err
	}
	if err := refuseStrangers(l, config); err != nil {
		_ = l.Close()
		return nil, err
	}
	bound := newBounded(newPeers(l, config.Auth.UIDs, metrics.PeerRefused, log), config.Server.MaxConnections)
	app := newListener(bound, config, log)
	app.bound = bound
	app.secure, app.server.TLSConfig = secure != nil, secure
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
	failed := make(chan error, 2)
	s.unwatch = s.proxy.Watch()
	s.admin.server.RegisterOnShutdown(s.unwatch) // Shutdown would wait for a stream that nobody ends
	s.app.serve(failed)
	s.admin.serve(failed)
	s.started()
	select {
	case err := <-failed:
		s.end()
		return fmt.Errorf("serving failed: %w", err)
	case sig := <-signals:
		s.log.Info("draining", "signal", sig.String(), "at_most", s.config.Server.Drain.String())
		return s.drain(signals)
	}
}

func (s *sidecar) started() {
	b := readBuild()
	s.log.Info("listening", "url", s.app.url(), "admin", s.admin.url(), "upstream", s.config.Upstream.URL,
		"open_to", trustWords(s.config), "cache", cacheWords(s.config), "version", b.version, "go", b.goVersion)
}

// drain ends in order: readiness goes, the app's listener stops and its requests are answered, flights land, stores finish, and the
// admin listener goes last, so that an orchestrator can watch.
func (s *sidecar) drain(signals <-chan os.Signal) error {
	ctx, cancel := context.WithTimeout(context.Background(), s.config.Server.Drain)
	defer cancel()
	s.proxy.Drain()
	start := time.Now()
	done := make(chan error, 1)
	go func() { // ends when drained, or soon after ctx
		done <- errors.Join(s.app.server.Shutdown(ctx), s.proxy.Close(ctx), s.cache.Close(ctx), s.admin.server.Shutdown(ctx))
	}()
	select {
	case err := <-done:
		s.end()
		if err != nil {
			return fmt.Errorf("not everything was finished within server.drain (%s): %w", s.config.Server.Drain, err)
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
	_ = s.admin.server.Close()
	s.app.wait()
	s.admin.wait()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = s.cache.Close(ctx)
}

// adminConnections bounds the admin listener.
const adminConnections = 64

// listener is an HTTP server and what it listens on.
type listener struct {
	net    net.Listener
	bound  *bounded // of the app's listener
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
		ErrorLog:          slog.NewLogLogger(log.With("from", "net/http").Handler(), slog.LevelWarn),
		// net/http answers OPTIONS * by itself, to any Host, and waits for an announced body; the gate does better.
		DisableGeneralOptionsHandler: true,
	}
	watch(server)
	return &listener{net: l, done: make(chan struct{}), server: server}
}

// serve accepts connections in a goroutine that ends when the server is closed.
func (l *listener) serve(failed chan<- error) {
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
