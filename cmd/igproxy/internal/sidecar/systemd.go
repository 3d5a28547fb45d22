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
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"
)

// This file is igproxy's interface to systemd: inherited sockets (sd_listen_fds(3)), state
// notifications (sd_notify(3)), and the watchdog (WatchdogSec=). Without systemd it does nothing.

// inheritedListeners returns the listeners that systemd has opened, by name. Several listeners may
// have the name app; one may have the name admin. Their sockets outlive this process. So a client
// that connects between one sidecar's drain and the start of the next is not refused, but waits in
// the socket's queue. On an error inheritedListeners returns the listeners opened so far.
func inheritedListeners() (map[string][]net.Listener, error) {
	sockets := map[string][]net.Listener{}
	files := activation.Files(true)
	defer func() {
		for _, f := range files {
			_ = f.Close() // a listener has a descriptor of its own
		}
	}()
	for _, f := range files {
		switch {
		case f.Name() != "app" && f.Name() != "admin":
			return sockets, fmt.Errorf("a socket from systemd is named %q; "+
				"write FileDescriptorName=app or FileDescriptorName=admin into its socket unit", f.Name())
		case f.Name() == "admin" && len(sockets["admin"]) > 0:
			return sockets, errors.New("two sockets from systemd are named admin; keep one ListenStream= in the socket unit")
		}
		l, err := net.FileListener(f)
		if err != nil {
			return sockets, fmt.Errorf("cannot listen on the socket %s from systemd; write ListenStream= into its socket unit", f.Name())
		}
		sockets[f.Name()] = append(sockets[f.Name()], l)
	}
	return sockets, nil
}

// notify sends a message of sd_notify(3) to systemd: READY=1 at the start and after a reload,
// RELOADING=1 before a reload, STOPPING=1 before a drain, WATCHDOG=1 for the watchdog.
// `systemctl status` shows the text after STATUS=.
func notify(log *slog.Logger, message string) {
	if _, err := daemon.SdNotify(false, message); err != nil {
		log.Warn("systemd unreachable", "message", message, "error", err.Error())
	}
}

func (s *Sidecar) notifyReady() { notify(s.log, "READY=1\nSTATUS=answering on "+s.URL()) }

// watchdog notifies systemd three times per WatchdogSec= while check succeeds; without
// notifications systemd restarts the sidecar. stop ends the notifications.
func watchdog(log *slog.Logger, check func(context.Context) error) (stop func()) {
	limit, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		log.Warn("no watchdog", "WATCHDOG_USEC", os.Getenv("WATCHDOG_USEC"), "next_step", "set WatchdogSec= in the service unit instead")
	}
	if err != nil || limit == 0 {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	var ended sync.WaitGroup
	ended.Go(func() {
		ticks := time.NewTicker(max(limit/3, time.Millisecond))
		defer ticks.Stop()
		for healthy := true; ; {
			one, done := context.WithTimeout(ctx, limit/4)
			err := check(one)
			done()
			switch {
			case ctx.Err() != nil:
				return
			case err == nil:
				notify(log, daemon.SdNotifyWatchdog)
			case healthy: // only the first of several failures in a row is logged
				log.Error("watchdog check failed", "restart_after", limit.String(), "error", err.Error())
			}
			healthy = err == nil
			select {
			case <-ticks.C:
			case <-ctx.Done():
				return
			}
		}
	})
	return func() { cancel(); ended.Wait() }
}

// checkAlive checks, for the watchdog, that each listener for apps answers. In two cases it checks
// the admin listener instead of a Unix socket:
//
//   - auth.uids would refuse this process, and each refusal would be counted and logged.
//   - This process has no permission to connect to the socket or to see it. This can happen if
//     systemd has opened the socket, and a restart would not change it.
//
// checkAlive does not fail during a drain, which closes the listeners and has its own time limit.
func (s *Sidecar) checkAlive(ctx context.Context) error {
	uids := s.conf.Auth.UIDs
	refused := len(uids) > 0 && !slices.Contains(uids, strconv.Itoa(os.Getuid()))
	var err error
	for _, app := range s.apps {
		address := app.Addr()
		unix := address.Network() == "unix"
		if unix && refused {
			address = s.admins[0].Addr()
		}
		failure := acceptsConnections(ctx, address)
		if unix && (errors.Is(failure, fs.ErrPermission) || errors.Is(failure, fs.ErrNotExist)) {
			failure = acceptsConnections(ctx, s.admins[0].Addr())
		}
		err = errors.Join(err, failure)
	}
	if s.proxy.Readiness().Draining {
		return nil
	}
	return err
}

// acceptsConnections checks that the listener at an address accepts a connection and reads from it.
// acceptsConnections closes the sending half of the connection, and waits until the server closes
// the connection too. A server that hangs leaves the connection in the queue. Then the wait ends
// with an error when ctx ends. No request is sent, so nothing is logged or counted.
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
	defer context.AfterFunc(ctx, func() { _ = c.SetReadDeadline(time.Unix(1, 0)) })()
	if n, err := c.Read(make([]byte, 1)); n == 0 && !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}
