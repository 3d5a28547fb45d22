package sidecar

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/igproxy/igproxy/cmd/igproxy/internal/listener"
)

// What igproxy and systemd tell each other: sockets that systemd holds (sd_listen_fds(3)), how the
// sidecar is (sd_notify(3)), and that it still answers (WatchdogSec=). Started by anything else,
// none of this does anything.

// socketNames are what FileDescriptorName= in a socket unit may say.
var socketNames = []string{"app", "admin"}

// inheritedListeners are the listeners that systemd has opened already, by name. They outlive this
// process: whoever connects while one sidecar drains and the next one starts waits in the socket's
// queue and is not refused.
func inheritedListeners() (sockets map[string]net.Listener, err error) {
	sockets = map[string]net.Listener{}
	defer func() {
		if err != nil {
			closeSockets(sockets)
		}
	}()
	files := activation.Files(true)
	defer func() {
		for _, f := range files {
			_ = f.Close() // a listener has a descriptor of its own
		}
	}()
	for _, f := range files {
		switch _, twice := sockets[f.Name()]; {
		case !slices.Contains(socketNames, f.Name()):
			return sockets, fmt.Errorf("a socket from systemd is named %q; write FileDescriptorName=app or FileDescriptorName=admin into its socket unit", f.Name())
		case twice:
			return sockets, fmt.Errorf("two sockets from systemd are named %s; keep one ListenStream= in its socket unit", f.Name())
		}
		l, err := net.FileListener(f)
		if err != nil {
			return sockets, fmt.Errorf("the socket %s from systemd cannot be listened on; write ListenStream= into its socket unit", f.Name())
		}
		sockets[f.Name()] = l
	}
	return sockets, nil
}

func closeSockets(sockets map[string]net.Listener) {
	for _, l := range sockets {
		_ = l.Close()
	}
}

// openListener takes systemd's socket of that name, or else listens on the configured address. What
// was taken has an address of its own, and the rest of the sidecar, what it logs and whom it
// trusts, goes by that one.
func openListener(sockets map[string]net.Listener, name, key string, address *string, mode fs.FileMode, log *slog.Logger) (net.Listener, error) {
	l, ok := sockets[name]
	if !ok {
		return listener.Open(key, *address, mode)
	}
	delete(sockets, name)
	*address = l.Addr().String()
	if l.Addr().Network() == "unix" {
		*address = "unix:" + *address
	}
	log.Info("listening on systemd's socket", "name", name, "address", *address)
	return l, nil
}

// notifyReady says that requests are answered, at the start and after a reload; status is what
// systemctl status shows.
func notifyReady(log *slog.Logger, status string) {
	notify(log, daemon.SdNotifyReady, "STATUS="+status)
}

// notifyReloading says that the configuration is being read; notifyReady must follow, whatever came
// of it.
func notifyReloading(log *slog.Logger) {
	notify(log, daemon.SdNotifyReloading, "STATUS=reading the configuration")
}

// notifyStopping says that the sidecar drains.
func notifyStopping(log *slog.Logger) { notify(log, daemon.SdNotifyStopping, "STATUS=draining") }

func notify(log *slog.Logger, lines ...string) {
	if _, err := daemon.SdNotify(false, strings.Join(lines, "\n")); err != nil {
		log.Warn("systemd cannot be told", "what", lines[0], "error", err.Error())
	}
}

// watchdog tells systemd every third of WatchdogSec= that all is well, as long as alive says so; if
// systemd hears nothing it restarts the sidecar. The returned function ends it.
func watchdog(log *slog.Logger, checkAlive func(context.Context) error) (stop func()) {
	limit, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		log.Warn("no watchdog", "WATCHDOG_USEC", os.Getenv("WATCHDOG_USEC"), "next_step", "it is systemd's to set, by WatchdogSec=")
	}
	if err != nil || limit == 0 {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	var ended sync.WaitGroup
	ended.Go(func() {
		ticks := time.NewTicker(max(limit/3, time.Millisecond))
		defer ticks.Stop()
		for well := true; ; {
			one, done := context.WithTimeout(ctx, limit/4)
			err := checkAlive(one)
			done()
			switch {
			case ctx.Err() != nil:
				return
			case err == nil:
				notify(log, daemon.SdNotifyWatchdog)
			case well: // reported once
				log.Error("the app's listener does not answer: systemd's watchdog is not told", "restart_after", limit.String(), "error", err.Error())
			}
			well = err == nil
			select {
			case <-ticks.C:
			case <-ctx.Done():
				return
			}
		}
	})
	return func() { cancel(); ended.Wait() }
}

// checkAlive is what the watchdog asks: does the app's listener answer? In its place the admin
// listener is asked where auth.uids would count and log us as a stranger, and where the app's
// socket is one of systemd's that this service may not enter or see: a restart would not change
// that. A drain, which closes the listener, has its own bound.
func (s *Sidecar) checkAlive(ctx context.Context) error {
	app, admin := s.app.Addr(), s.admin.Addr()
	if uids := s.conf.Auth.UIDs; len(uids) > 0 && !slices.Contains(uids, strconv.Itoa(os.Getuid())) {
		app = admin
	}
	err := acceptsConnections(ctx, app)
	if app.Network() == "unix" && (errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist)) {
		err = acceptsConnections(ctx, admin)
	}
	if s.proxy.Readiness().Draining {
		return nil
	}
	return err
}

// acceptsConnections reports whether who listens there still takes connections and reads them. It
// connects, says goodbye, and waits for the other side's: a server that hangs leaves the connection
// in the queue, and nothing comes. There is no request, so there is nothing to log or to count.
func acceptsConnections(ctx context.Context, address net.Addr) error {
	c, err := (&net.Dialer{}).DialContext(ctx, address.Network(), address.String())
	if err != nil {
		return err
	}
	defer c.Close()
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		if err := half.CloseWrite(); err != nil {
			return err
		}
	}
	if deadline, ok := ctx.Deadline(); ok {
		_ = c.SetReadDeadline(deadline)
	}
	defer context.AfterFunc(ctx, func() { _ = c.SetReadDeadline(time.Unix(1, 0)) })()
	if n, err := c.Read(make([]byte, 1)); n == 0 && !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}
