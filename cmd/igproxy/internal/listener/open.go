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

// Open listens on host:port, or on unix:/path with the given mode. Errors take one line and begin
// with key, the name of the setting.
func Open(key, address string, mode fs.FileMode) (l net.Listener, err error) {
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		if err := removeStale(path); err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		withMode(mode, func() { l, err = net.Listen("unix", path) })
	} else {
		l, err = net.Listen("tcp", address)
	}
	if err != nil {
		return nil, Explain(key, address, err)
	}
	return l, nil
}

// Explain turns the error of a failed net.Listen into one line with a next step.
func Explain(key, address string, err error) error {
	var system *net.OpError
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%s: %s is in use by another process; stop it or choose another address", key, address)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s: no permission to listen on %s; choose a port above 1023 or a folder of your own", key, address)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s: the folder of %s does not exist; create it or choose another path", key, address)
	case errors.As(err, &system):
		err = system.Err // without the network and the address
	}
	return fmt.Errorf("%s: cannot listen on %s: %w", key, address, err)
}

// removeStale removes a socket that a killed process left behind. It leaves alone a socket in use
// and every other kind of file.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode()&fs.ModeSocket == 0 {
		return fmt.Errorf("%s exists and is not a socket; choose another path", path)
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

// OnlyLoopback reports whether l listens on an IP address that can be reached only from this
// machine.
func OnlyLoopback(l net.Listener) bool {
	tcp, ok := l.Addr().(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}
