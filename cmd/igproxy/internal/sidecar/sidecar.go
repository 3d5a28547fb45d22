package sidecar

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/igproxy/igproxy/cache"
	"github.com/igproxy/igproxy/cmd/igproxy/internal/config"
	"github.com/igproxy/igproxy/cmd/igproxy/internal/listener"
	"github.com/igproxy/igproxy/cmd/igproxy/internal/tracing"
	"github.com/igproxy/igproxy/proxy"
	"github.com/igproxy/igproxy/proxy/admin"
)

// Options configure New.
type Options struct {
	// Config is what runs at first; it has passed config.Load.
	Config config.Config
	// Path is the configuration's file, which is watched for changes; empty: there is none.
	Path string
	// Load reads the configuration again; nil: it is never reloaded.
	Load func() (config.Config, []config.Problem)
	// Reloads asks for a reload; nil: nothing does.
	Reloads <-chan os.Signal
	// Logger receives every log line.
	Logger *slog.Logger
	// SetLevel changes the level of Logger; nil: it stays.
	SetLevel func(level string)
	// LinesDropped counts the lines that Logger lost; nil: it loses none.
	LinesDropped func() int
	// Build says which igproxy this is.
	Build Build
}

// Build is what the Go toolchain wrote into the binary.
type Build struct{ Version, Commit, Go string }

// Sidecar is one running igproxy: the proxy on its listener, the admin handlers on theirs, and the
// cache.
type Sidecar struct {
	conf       config.Config
	log        *slog.Logger
	build      Build
	cache      *cache.Cache
	proxy      *proxy.Proxy
	metrics    *proxy.Metrics
	endTracing func(context.Context)
	appNet     net.Listener
	adminNet   net.Listener
	app, admin *listener.Server
	setLevel   func(string)
	secure     atomic.Pointer[tls.Config]
	operator   *admin.Handler
	reloads    *reloader
}

// New builds and opens everything, or nothing: on an error what was opened is closed again.
func New(o Options) (s *Sidecar, err error) {
	conf, log := o.Config, o.Logger
	s = &Sidecar{conf: conf, log: log, build: o.Build, setLevel: o.SetLevel}
	if s.setLevel == nil {
		s.setLevel = func(string) {}
	}
	var undo []func()
	defer func() {
		if err != nil {
			for _, f := range slices.Backward(undo) {
				f()
			}
		}
	}()
	s.metrics = proxy.NewMetrics()
	s.metrics.Build(o.Build.Version, o.Build.Commit, o.Build.Go)
	if o.LinesDropped != nil {
		s.metrics.LogLinesDropped(o.LinesDropped)
	}
	co, err := cacheOptions(conf, s.metrics, log)
	if err != nil {
		return s, err
	}
	if s.cache, err = cache.New(co); err != nil {
		return s, err
	}
	undo = append(undo, func() { _ = s.cache.Close(context.Background()) })
	sockets, err := inheritedListeners()
	if err != nil {
		return s, err
	}
	defer closeSockets(sockets) // those nobody took
	secure, err := serverTLS(conf, log)
	if err != nil {
		return s, err
	}
	appNet, err := openListener(sockets, "app", "listen", &conf.Listen, conf.SocketMode(), log)
	if err != nil {
		return s, err
	}
	undo = append(undo, func() { _ = appNet.Close() })
	if err := requireTrust(appNet, conf); err != nil {
		return s, err
	}
	adminNet, err := openListener(sockets, "admin", "admin.listen", &conf.Admin.Listen, adminSocketMode, log)
	if err != nil {
		return s, err
	}
	undo = append(undo, func() { _ = adminNet.Close() })
	s.conf, s.appNet, s.adminNet = conf, appNet, adminNet
	po, err := s.proxyOptions(conf)
	if err != nil {
		return s, err
	}
	po.Tracer, s.endTracing = tracing.Start(o.Build.Version, log)
	undo = append(undo, func() { s.endTracing(context.Background()) })
	if s.proxy, err = proxy.New(po); err != nil {
		return s, err
	}
	s.reloads = newReloader(o.Config, origin{path: o.Path, load: o.Load, signals: o.Reloads}, s.metrics, log) // systemd's sockets have addresses of their own
	s.reloads.apply = func(conf config.Config) error {
		notifyReloading(log)
		defer s.ready()
		return s.apply(conf)
	}
	if s.operator, err = admin.New(s.adminOptions(conf)); err != nil {
		return s, err
	}
	s.buildServers(conf, secure)
	return s, nil
}

// Run serves until a signal comes, then drains. A second signal ends it at once, with an error.
func (s *Sidecar) Run(signals <-chan os.Signal) error {
	s.learnPurges()
	failed := make(chan error, 2)
	s.operator.Start()
	s.app.Serve(failed)
	s.admin.Serve(failed)
	s.started()
	stopReloads := s.reloads.start()
	defer stopReloads()
	defer watchdog(s.log, s.checkAlive)()
	select {
	case err := <-failed:
		s.closeAll()
		return fmt.Errorf("serving failed: %w", err)
	case sig := <-signals:
		stopReloads()                           // what drains is not built anew
		within := s.reloads.conf().Server.Drain // a reload may have changed it
		s.log.Info("draining", "signal", sig.String(), "at_most", within.String())
		return s.drain(signals, within)
	}
}

// learnTimeout is how long a start may wait to hear what was purged. A Redis that does not answer
// keeps nobody from starting.
const learnTimeout = 250 * time.Millisecond

func (s *Sidecar) learnPurges() {
	ctx, cancel := context.WithTimeout(context.Background(), learnTimeout)
	defer cancel()
	s.cache.Learn(ctx)
}

func (s *Sidecar) started() {
	s.log.Info("listening", "url", s.URL(), "admin", s.AdminURL(), "upstream", s.conf.Upstream.URL,
		"open_to", s.conf.OpenTo(), "cache", s.conf.CacheTiers(), "version", s.build.Version, "go", s.build.Go)
	s.ready()
}

// ready tells systemd.
func (s *Sidecar) ready() { notifyReady(s.log, "answering on "+s.URL()) }

// drain ends in order: readiness goes, the app's listener stops and its requests are answered,
// flights land, stores finish, spans are sent, and the admin listener goes last, so that an
// orchestrator can watch.
func (s *Sidecar) drain(signals <-chan os.Signal, within time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	s.proxy.Drain()
	notifyStopping(s.log)
	start := time.Now()
	done := make(chan error, 1)
	go func() { // ends when drained, or soon after ctx
		err := errors.Join(s.app.Shutdown(ctx), s.proxy.Close(ctx), s.cache.Close(ctx))
		s.endTracing(ctx) // lost spans are not a failure
		done <- errors.Join(err, s.admin.Shutdown(ctx))
	}()
	select {
	case err := <-done:
		s.closeAll()
		if err != nil {
			return fmt.Errorf("not everything was finished within server.drain (%s): %w", within, err)
		}
		s.log.Info("stopped", "drained_ms", time.Since(start).Milliseconds())
		return nil
	case sig := <-signals:
		cancel()
		s.closeAll()
		<-done
		return fmt.Errorf("stopped at once by a second signal (%s)", sig)
	}
}

// closeAll closes whatever is still open; harmless after a drain.
func (s *Sidecar) closeAll() {
	s.operator.Close()
	s.app.Close()
	s.admin.Close()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = s.cache.Close(ctx)
	s.endTracing(ctx)
}

// URL returns where apps reach the sidecar.
func (s *Sidecar) URL() string { return s.app.URL() }

// AdminURL returns where operators reach it.
func (s *Sidecar) AdminURL() string { return s.admin.URL() }
