package listener

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// unixSocket is a listener on a Unix socket. When it is closed, it removes the file at its path
// only if that file is still its own socket. A plain net.UnixListener would remove whatever is
// there.
type unixSocket struct {
	*net.UnixListener
	close func() error
}

// Close implements net.Listener.
func (u *unixSocket) Close() error { return u.close() }

// listenUnix listens on a path with the given mode. It replaces the socket of a process that has
// ended, and nothing else.
func listenUnix(path string, mode fs.FileMode) (net.Listener, error) {
	defer lockFolder(filepath.Dir(path))()
	if err := removeStale(path); err != nil {
		return nil, err
	}
	var l *net.UnixListener
	var err error
	withMode(mode, func() { l, err = net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"}) })
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	own, err := os.Lstat(path)
	if err != nil {
		_ = l.Close()
		return nil, err
	}
	return &unixSocket{l, sync.OnceValue(func() error {
		// The path is removed before the socket is closed, because another file could get the inode
		// number of a closed socket.
		if now, err := os.Lstat(path); err == nil && os.SameFile(own, now) {
			_ = os.Remove(path)
		}
		return l.Close()
	})}, nil
}

const (
	probeTimeout = time.Second      // bounds how long the owner of a socket may take to accept a connection
	lockTimeout  = 2 * probeTimeout // bounds how long lockFolder waits for the lock
)

// lockFolder takes a lock, so that processes that start at the same time check and replace sockets
// in a folder one after another. If it cannot lock the folder within lockTimeout, igproxy continues
// without the lock. If it waited longer, any user who can read the folder could keep igproxy from
// starting by holding the lock.
func lockFolder(folder string) (unlock func()) {
	f, err := os.Open(folder)
	if err != nil {
		// net.Listen has a better error for a missing folder. In a folder that this user may not
		// read, net.Listen may still succeed, because it does not read the folder.
		return func() {}
	}
	ctx, cancel := context.WithTimeout(context.Background(), lockTimeout)
	defer cancel()
	poll(ctx.Done(), func() bool {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		return !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR)
	})
	return func() { _ = f.Close() } // releases the lock
}

// removeStale removes a socket whose process has ended. Only a refused connection proves that.
// After any other error a process may still be listening: its queue may be full, for example.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode()&fs.ModeSocket == 0 {
		return &occupied{path + " exists and is not a socket; choose another path"}
	}
	ctx, cancel := context.WithTimeout(context.Background(), probeTimeout)
	defer cancel()
	c, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
	switch {
	case err == nil:
		_ = c.Close()
		return &occupied{path + " is in use by another process; stop it or choose another path"}
	case errors.Is(err, syscall.ECONNREFUSED):
		return os.Remove(path)
	case errors.Is(err, fs.ErrNotExist):
		return nil
	}
	return &occupied{fmt.Sprintf("%s may be in use by another process (%s); stop it, remove the socket, or choose another path", path, systemError(err))}
}

// occupied says why a path cannot be used, with the next step.
type occupied struct{ text string }

func (o *occupied) Error() string { return o.text }
