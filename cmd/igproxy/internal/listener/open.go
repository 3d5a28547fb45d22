package listener

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strings"
	"syscall"
)

// Open listens on host:port, or on unix:/path with the given mode. An error is one line that
// begins with key, the name of the setting.
func Open(key, address string, mode fs.FileMode) (l net.Listener, err error) {
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		l, err = listenUnix(path, mode)
	} else {
		l, err = net.Listen("tcp", address)
	}
	if err != nil {
		return nil, Explain(key, address, err)
	}
	return l, nil
}

// Explain turns the error of a failed net.Listen into one line. For the common errors, the line
// also says what to do.
func Explain(key, address string, err error) error {
	var reason *occupied
	switch {
	case errors.As(err, &reason):
		return fmt.Errorf("%s: %w", key, reason)
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%s: %s is in use by another process; stop it or choose another address", key, address)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s: no permission to listen on %s; choose a port above 1023 or a folder that this user may write to", key, address)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s: the folder of %s does not exist; create it or choose another path", key, address)
	}
	return fmt.Errorf("%s: cannot listen on %s: %w", key, address, systemError(err))
}

// systemError returns the error of a network operation without the network and the address.
func systemError(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

// OnlyLoopback reports whether l listens on an IP address that can be reached only from this
// machine.
func OnlyLoopback(l net.Listener) bool {
	tcp, ok := l.Addr().(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}
