package listener

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"
	"time"
)

// Open opens a listener on host:port or unix:/path; the mode is the socket's. An error is one clear
// line.
func Open(key, address string, mode fs.FileMode) (l net.Listener, err error) {
	network, target := "tcp", address
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		network, target = "unix", path
		if err := removeStale(path); err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
	}
	if network == "unix" {
		withMode(mode, func() { l, err = net.Listen(network, target) })
	} else {
		l, err = net.Listen(network, target)
	}
	if err != nil {
		return nil, Explain(key, address, err)
	}
	if network == "unix" {
		if err := os.Chmod(target, mode); err != nil {
			_ = l.Close()
			return nil, fmt.Errorf("%s: cannot set the mode of %s: %w", key, target, err)
		}
	}
	return l, nil
}

// Explain puts the system's error into one line with a next step.
func Explain(key, address string, err error) error {
	var system *net.OpError
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%s: %s is in use by another process; stop it or choose another address", key, address)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s: no permission to listen on %s; choose a port above 1023 or a folder that is yours", key, address)
	case errors.As(err, &system):
		err = system.Err // without the network and the address, told already
	}
	return fmt.Errorf("%s: cannot listen on %s: %w", key, address, err)
}

// removeStale removes the socket a killed process left behind. It touches nothing that is no
// socket, or that somebody listens on.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode()&fs.ModeSocket == 0 {
		return fmt.Errorf("%s exists and is no socket; choose another path", path)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	c, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
	if err == nil {
		_ = c.Close()
		return fmt.Errorf("%s is in use by another process; stop it or choose another path", path)
	}
	return os.Remove(path)
}

// OnlyLoopback reports whether an address can be reached from this machine alone, over IP.
func OnlyLoopback(l net.Listener) bool {
	tcp, ok := l.Addr().(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}

// urlOf is a listener's address as a person would type it.
func urlOf(l net.Listener, secure bool) string {
	switch {
	case l.Addr().Network() == "unix":
		return "unix:" + l.Addr().String()
	case secure:
		return "https://" + l.Addr().String()
	}
	return "http://" + l.Addr().String()
}
