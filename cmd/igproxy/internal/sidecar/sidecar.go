// Package sidecar builds, runs, reloads and drains one igproxy. The package also has the
// functions that `igproxy check --online` calls.
package sidecar

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/igproxy/igproxy/cache"
	"github.com/igproxy/igproxy/cmd/igproxy/internal/config"
	"github.com/igproxy/igproxy/cmd/igproxy/internal/listener"
	"github.com/igproxy/igproxy/cmd/igproxy/internal/logging"
	"github.com/igproxy/igproxy/cmd/igproxy/internal/tracing"
	"github.com/igproxy/igproxy/proxy"
	"github.com/igproxy/igproxy/proxy/admin"
	"github.com/igproxy/igproxy/proxy/lane"
)

// Options configure New.
type Options struct {
	// Config is the configuration at the start; config.Load has accepted it.
	Config config.Config
	// Path is the configuration file, which is watched for changes. Empty means no file.
	Path string
	// Load reads the configuration again; nil: the configuration is never reloaded.
	Load func() (config.Config, []config.Problem)
	// Reloads delivers the signals that request a reload. Nil: no signal requests one.
	Reloads <-chan os.Signal
	// Log receives every log line. New sets its limit of lines; a reload also sets its level.
	Log *logging.Log
	// Build identifies this igproxy.
	Build Build
}

// Build is what the Go toolchain wrote into the binary.
type Build struct{ Version, Commit, Go string }

// Sidecar is one running igproxy: the cache, the proxy, the admin handler and, if it is on,
// interception. All but the cache have their own listeners.
type Sidecar struct {
	conf       config.Config // at the start; reloads.conf returns the configuration in use
	log        *slog.Logger
	lines      *logging.Log // has log as its Logger; sets the level and the limit of lines
	build      Build
	cache      *cache.Cache
	proxy      *proxy.Proxy
	metrics    *proxy.Metrics
	endTracing func(context.Context)
	appNets    []net.Listener
	adminNets  []net.Listener     // admin.listen, and admin.socket if it is set
	apps       []*listener.Server // on appNets

	interceptNets []net.Listener // intercept.listen; empty: off

	admins    []*listener.Server // on adminNets
	intercept *interception      // nil: off
	tls       atomic.Pointer[currentTLS]
	bearers   atomic.Pointer[currentBearers]
	operator  *admin.Handler
	reloads   *reloader
	quits     chan struct{} // POST /quit sends to it
	closers   []func()      // close what was opened; called in reverse order, perhaps twice
}

// New builds and opens everything, or nothing: on an error it closes what it has opened.
func New(o Options) (s *Sidecar, err error) {
	s = &Sidecar{conf: o.Config, log: o.Log.Logger, lines: o.Log, build: o.Build, metrics: proxy.NewMetrics(), quits: make(chan struct{}, 1)}
	defer func() {
		if err != nil {
			s.closeAll()
		}
	}()
	s.metrics.Build(o.Build.Version, o.Build.Commit, o.Build.Go)
	s.metrics.LogLinesDropped(o.Log.Dropped)
	s.lines.SetLines(s.conf.Log.Lines)
	co, err := cacheOptions(s.conf, s.metrics, s.log)
	if err != nil {
		return s, err
	}
	if s.cache, err = cache.New(co); err != nil {
		return s, err
	}
	s.closers = append(s.closers, func() { _ = s.cache.Close(expired()) })
	if err := s.listen(); err != nil {
		return s, err
	}
	po, err := s.proxyOptions(s.conf)
	if err != nil {
		return s, err
	}
	po.Tracer, s.endTracing = tracing.Start(o.Build.Version, s.log)
	s.closers = append(s.closers, func() { s.endTracing(expired()) })
	s.bearers.Store(&currentBearers{po.Bearers})
	if s.proxy, err = proxy.New(po); err != nil {
		return s, err
	}
	s.reloads = newReloader(o, s.metrics, s.apply)
	ao, err := s.adminOptions(s.conf)
	if err != nil {
		return s, err
	}
	if s.operator, err = admin.New(ao); err != nil {
		return s, err
	}
	s.closers = append(s.closers, s.operator.Close)
	return s, s.buildServers()
}

// expired returns a context that has ended, for a close that must not wait.
func expired() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

const (
	adminConnections   = 64          // bounds the connections of each admin listener
	adminHeaderTimeout = time.Second // bounds server.read_header_timeout on admin listeners, whose clients are nearby
	adminSocketMode    = 0o660       // admits the owner and the group to a Unix socket of the admin handler
)

// listen opens the listeners. Sockets that systemd has opened have their own addresses, which
// replace the configured ones.
func (s *Sidecar) listen() error {
	sockets, err := inheritedListeners()
	for _, l := range slices.Concat(sockets["app"], sockets["admin"]) {
		s.closers = append(s.closers, func() { _ = l.Close() })
	}
	if err != nil {
		return err
	}
	open := func(to *[]net.Listener, key, address string, mode fs.FileMode) error {
		l, err := listener.Open(key, address, mode)
		if err == nil {
			*to = append(*to, l)
			s.closers = append(s.closers, func() { _ = l.Close() })
		}
		return err
	}
	if s.appNets = sockets["app"]; len(s.appNets) > 0 {
		s.conf.Listen = addresses(s.appNets)
	} else {
		for _, address := range s.conf.Listen {
			if err := open(&s.appNets, "listen", address, s.conf.SocketMode()); err != nil {
				return err
			}
		}
	}
	if err := requireTrust(s.appNets, s.conf); err != nil {
		return err
	}
	if s.adminNets = sockets["admin"]; len(s.adminNets) > 0 {
		s.conf.Admin.Listen = addresses(s.adminNets)[0]
	} else if err := open(&s.adminNets, "admin.listen", s.conf.Admin.Listen, adminSocketMode); err != nil {
		return err
	}
	if path := s.conf.Admin.Socket; path != "" {
		if err := open(&s.adminNets, "admin.socket", "unix:"+path, adminSocketMode); err != nil {
			return err
		}
	}
	if address := s.conf.Intercept.Listen; address != "" {
		if err := open(&s.interceptNets, "intercept.listen", address, s.conf.SocketMode()); err != nil {
			return err
		}
		s.conf.Intercept.Listen = addresses(s.interceptNets)[0]
		return requireInterceptTrust(s.interceptNets, s.conf)
	}
	return nil
}

// addresses returns the addresses of listeners, in the syntax of the configuration.
func addresses(listeners []net.Listener) (list []string) {
	for _, l := range listeners {
		address := l.Addr().String()
		if isUnix(l) {
			address = "unix:" + address
		}
		list = append(list, address)
	}
	return list
}

func isUnix(l net.Listener) bool { return l.Addr().Network() == "unix" }

func (s *Sidecar) buildServers() error {
	server := func(h http.Handler) *http.Server {
		c := s.conf.Server
		return &http.Server{Handler: h, ReadHeaderTimeout: c.ReadHeaderTimeout, ReadTimeout: c.ReadTimeout, WriteTimeout: c.WriteTimeout,
			IdleTimeout: c.IdleTimeout, MaxHeaderBytes: c.MaxHeaderBytes}
	}
	for _, l := range s.adminNets {
		operator := server(s.operator)
		operator.ReadHeaderTimeout = min(operator.ReadHeaderTimeout, adminHeaderTimeout)
		s.admins = append(s.admins, listener.New(listener.Options{Listener: l, HTTP: operator, MaxConnections: adminConnections,
			WithPeer: admin.WithPeer, Logger: s.log}))
	}

	current, err := followTLS(s.conf, s.log)
	if err != nil {
		return err
	}
	s.tls.Store(&current)
	s.serveApps(server, current != nil)
	return s.buildIntercept(server)
}

// serveApps builds the servers for apps.
func (s *Sidecar) serveApps(server func(http.Handler) *http.Server, secure bool) {
	for _, l := range s.appNets {
		o := listener.Options{Listener: l, HTTP: server(s.proxy), MaxConnections: s.conf.Server.MaxConnections, Logger: s.log, Relieve: s.proxy.EndIdle}
		if len(s.apps) > 0 {
			o.Beside = s.apps[0]
		}
		newLane := s.proxy.NewLane
		if listener.OnlyLoopback(l) {
			o.HTTP.Handler, newLane = s.proxy.OnLoopback(), s.proxy.NewLaneOnLoopback
		}
		if isUnix(l) {
			o.UIDs, o.PeerRefused = s.conf.Auth.UIDs, s.metrics.PeerRefused
		}
		if secure && !isUnix(l) {
			o.HTTP.TLSConfig = listenerTLS(&s.tls)
		} else if s.conf.Server.FastLane {
			c := s.conf.Server
			o.Lane = newLane(lane.Options{HeaderTimeout: c.ReadHeaderTimeout, IdleTimeout: c.IdleTimeout, WriteTimeout: c.WriteTimeout, Logger: s.log})
		}
		s.apps = append(s.apps, listener.New(o))
	}
}

// adminOptions turns configuration into the admin handler's Options.
func (s *Sidecar) adminOptions(conf config.Config) (admin.Options, error) {
	o := admin.Options{
		Proxy:      s.proxy,
		Hosts:      conf.AllowedHosts,
		AnyHost:    !listener.OnlyLoopback(s.adminNets[0]),
		About:      admin.About{Version: s.build.Version, Commit: s.build.Commit, Go: s.build.Go, RedisMode: conf.Redis.Mode},
		Operations: map[string]func() (bool, any){},
		UIDs:       conf.Admin.UIDs,
		Logger:     s.log,
	}
	o.About.Host, _ = os.Hostname() // if it fails, the page shows no name
	for _, one := range conf.Effective() {
		o.About.Configuration = append(o.About.Configuration, admin.Setting{Name: one[0], Value: one[1], Origin: one[2]})
	}
	if len(s.interceptNets) > 0 {
		o.Intercept = s.interception
	}
	if s.reloads.load != nil {
		o.Operations["reload"] = func() (bool, any) {
			response := s.reloads.reload()
			return response.Reloaded, response
		}
	}
	if conf.Admin.Quit {
		o.Quit = func() {
			select {
			case s.quits <- struct{}{}:
			default: // a quit is pending already
			}
		}
	}
	var err error
	o.Tokens, err = followTokens("admin.token_file", conf.Admin.TokenFile, s.log)
	return o, err
}

// apply makes a configuration take effect, except for the listeners, the servers and the Redis
// client. It first builds everything that can fail, and then puts all of it into use.
func (s *Sidecar) apply(conf config.Config) error {
	notify(s.log, "RELOADING=1\nSTATUS=reading the configuration")
	defer s.notifyReady()
	o, err := s.proxyOptions(conf)
	if err != nil {
		return err
	}
	current, err := followTLS(conf, s.log)
	if err != nil {
		return err
	}
	if err := requireTrust(s.appNets, conf); err != nil { // the open listeners, whatever conf.Listen says
		return err
	}
	if err := requireInterceptTrust(s.interceptNets, conf); err != nil {
		return err
	}
	signer, err := s.followAuthority(conf)
	if err != nil {
		return err
	}
	// The open listeners keep their addresses.
	conf.Listen, conf.Admin.Listen, conf.Intercept.Listen = s.conf.Listen, s.conf.Admin.Listen, s.conf.Intercept.Listen
	ao, err := s.adminOptions(conf)
	if err != nil {
		return err
	}
	if err := s.proxy.Reload(o); err != nil {
		return err
	}
	s.tls.Store(&current)
	s.bearers.Store(&currentBearers{o.Bearers})
	if signer != nil {
		s.intercept.signer.Store(&signer)
	}
	s.operator.Reload(ao)
	s.cache.Resize(cacheBytes(conf))
	s.lines.SetLevel(conf.Log.Level)
	s.lines.SetLines(conf.Log.Lines)
	return nil
}

// Run serves until a signal or POST /quit arrives, then drains. A signal during the drain ends Run
// at once, with an error.
func (s *Sidecar) Run(signals <-chan os.Signal) error {
	// Learn reads the purges of the fleet from Redis. Its operations have their own time limits. If
	// Redis does not reply, the sidecar starts anyway.
	s.cache.Learn(context.Background())
	servers := slices.Concat(s.admins, s.apps, s.intercept.servers())
	failed := make(chan error, 2*len(servers)) // each server sends at most two errors
	for _, server := range servers {
		server.Serve(failed)
		s.closers = append(s.closers, server.Close)
	}
	egress, _ := Egress(s.conf) // New has checked it
	s.log.Info("listening", "url", s.URL(), "admin", s.AdminURL(), "upstream", strings.Join(s.conf.Upstreams(), ", "), "egress", egress,
		"open_to", s.openTo(), "intercept", s.InterceptURL(), "operations", s.conf.Operations(), "cache", s.conf.CacheTiers(),
		"keep", s.conf.Kept(), "version", s.build.Version, "go", s.build.Go)
	s.notifyReady()
	stopReloads := s.reloads.start()
	defer stopReloads()
	stopBackground := s.background()
	defer stopBackground()
	defer watchdog(s.log, s.checkAlive)()
	var cause []any
	delayed := true
	select {
	case err := <-failed:
		s.closeAll()
		return fmt.Errorf("serving failed: %w", err)
	case sig := <-signals:
		cause = []any{"signal", sig.String()}
	case <-s.quits: // POST /quit means that no more requests will come
		cause, delayed = []any{"operation", "quit"}, false
	}
	stopReloads() // a reload during the drain would be useless
	stopBackground()
	conf := s.reloads.conf().Server // a reload may have changed these settings
	if delayed && conf.DrainDelay > 0 {
		cause = append(cause, "delay", conf.DrainDelay.String())
	}
	s.log.Info("draining", append(cause, "at_most", conf.Drain.String())...)
	s.proxy.Drain()
	notify(s.log, "STOPPING=1\nSTATUS=draining")
	if delayed {
		if err := s.delay(signals, failed, conf.DrainDelay); err != nil {
			return err
		}
	}
	return s.drain(signals, conf.Drain)
}

// background tests client secrets and refreshes tokens until stop is called. stop waits for a
// running test to end; the Proxy's Close waits for running refreshes.
func (s *Sidecar) background() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { s.proxy.CheckSecrets(ctx) })
	running.Go(func() { s.proxy.KeepTokens(ctx) })
	return func() { cancel(); running.Wait() }
}

func (s *Sidecar) closeAll() {
	for _, f := range slices.Backward(s.closers) {
		f()
	}
}

// URL returns where apps reach the sidecar: one or more URLs, with a comma between them.
func (s *Sidecar) URL() string {
	var urls []string
	for _, server := range s.apps {
		urls = append(urls, server.URL())
	}
	return strings.Join(urls, ", ")
}

// AdminURL returns where operators reach the sidecar.
func (s *Sidecar) AdminURL() string { return s.admins[0].URL() }
