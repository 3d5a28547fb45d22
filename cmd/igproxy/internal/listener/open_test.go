package listener_test

import (
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/igproxy/igproxy/cmd/igproxy/internal/listener"
)

func loopback(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// refused checks that Open fails, and that want is the text of the error.
func refused(t *testing.T, key, address, want string) {
	t.Helper()
	l, err := listener.Open(key, address, 0o660)
	if err == nil {
		_ = l.Close()
		t.Fatalf("Open succeeded on %s, want the error: %s", address, want)
	}
	if err.Error() != want {
		t.Errorf("got\n  %v\nwant\n  %s", err, want)
	}
}

func TestABusyPortIsReportedWithItsKey(t *testing.T) {
	address := loopback(t).Addr().String()
	refused(t, "admin.listen", address, "admin.listen: "+address+" is in use by another process; stop it or choose another address")
}

func TestAnAddressOfAnotherMachineIsReportedInOneLine(t *testing.T) {
	// 192.0.2.1 is in TEST-NET-1, which is never assigned.
	refused(t, "listen", "192.0.2.1:8080", "listen: cannot listen on 192.0.2.1:8080: bind: cannot assign requested address")
}

func TestASocketOfAnotherProcessIsLeftAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	first, err := listener.Open("listen", "unix:"+path, 0o640)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	refused(t, "listen", "unix:"+path, "listen: "+path+" is in use by another process; stop it or choose another path")
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatalf("the socket of the first listener is gone: %v", err)
	}
	_ = c.Close()
}

// A socket in use does not always accept a connection: its queue can be full, or it can be for
// datagrams.
func TestASocketThatCannotBeProbedIsLeftAlone(t *testing.T) {
	for name, occupy := range map[string]func(t *testing.T, path string){
		"its queue is full": func(t *testing.T, path string) {
			fd := boundSocket(t, path, syscall.SOCK_STREAM)
			if err := syscall.Listen(fd, 0); err != nil {
				t.Fatal(err)
			}
			for range 3 { // until a connection fails, because it would have to wait
				c, err := net.Dial("unix", path)
				if err != nil {
					return
				}
				t.Cleanup(func() { _ = c.Close() })
			}
			t.Fatal("the queue is not full after 3 connections")
		},
		"it receives datagrams": func(t *testing.T, path string) { boundSocket(t, path, syscall.SOCK_DGRAM) },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "s")
			occupy(t, path)
			leftAlone(t, path)
		})
	}
}

// leftAlone checks that Open fails for the socket on path, and leaves the socket there. It returns
// the text of the error.
func leftAlone(t *testing.T, path string) (why string) {
	t.Helper()
	before, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	l, err := listener.Open("listen", "unix:"+path, 0o660)
	if err == nil {
		_ = l.Close()
		t.Fatal("Open on the socket of another process: got no error, want one")
	}
	if !strings.HasPrefix(err.Error(), "listen: "+path+" ") || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %v, want one line that begins with the setting and the path", err)
	}
	if after, gone := os.Lstat(path); gone != nil || !os.SameFile(before, after) {
		t.Errorf("the socket was removed or replaced (error: %v)", gone)
	}
	return err.Error()
}

// boundSocket returns a Unix socket of the given kind. It is bound to path and does not listen yet.
func boundSocket(t *testing.T, path string, kind int) int {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_UNIX, kind, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
	return fd
}

func TestCloseUnlinksOnlyItsOwnSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	first, err := listener.Open("listen", "unix:"+path, 0o660)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	second, err := listener.Open("listen", "unix:"+path, 0o660)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatalf("Close of the first listener removed the socket of the second: %v", err)
	}
	_ = c.Close()
	_ = first.Close() // closed twice, as Sidecar.closeAll may do
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("the second Close of the first listener removed the socket of the second: %v", err)
	}
}

// Without a lock, another process could replace the socket after this process has checked the
// socket and before this process listens. Then all but one of the processes would listen on a
// socket that has no path.
func TestOnlyOneOfManyProcessesGetsTheSocket(t *testing.T) {
	for range 50 {
		path := filepath.Join(t.TempDir(), "s")
		killed, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		killed.SetUnlinkOnClose(false)
		_ = killed.Close()
		opened := make(chan net.Listener, 8)
		start := make(chan struct{})
		var all sync.WaitGroup
		for range cap(opened) {
			all.Go(func() {
				<-start
				if l, err := listener.Open("listen", "unix:"+path, 0o660); err == nil {
					opened <- l
				}
			})
		}
		close(start)
		all.Wait()
		if n := len(opened); n != 1 {
			t.Fatalf("%d listeners on one path, want 1", n)
		}
		_ = (<-opened).Close()
	}
}

func TestAStaleSocketIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	killed, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	killed.SetUnlinkOnClose(false) // as after SIGKILL
	_ = killed.Close()
	l, err := listener.Open("listen", "unix:"+path, 0o640)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o640 {
		t.Errorf("the socket's mode: got %o, want %o", info.Mode().Perm(), 0o640)
	}
	_ = l.Close()
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("Lstat of the path after Close: got the error %v, want os.ErrNotExist", err)
	}
}

func TestAFileOtherThanASocketIsNeverRemoved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "precious")
	if err := os.WriteFile(path, []byte("data"), 0o600); err != nil {
		t.Fatal(err)
	}
	link := path + "-link"
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	refused(t, "listen", "unix:"+path, "listen: "+path+" exists and is not a socket; choose another path")
	refused(t, "listen", "unix:"+link, "listen: "+link+" exists and is not a socket; choose another path")
	if got, err := os.ReadFile(path); string(got) != "data" {
		t.Errorf("the file: got %q (error: %v), want its contents unchanged: \"data\"", got, err)
	}
}

func TestASocketInAMissingFolderIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "nowhere", "s")
	refused(t, "listen", "unix:"+path, "listen: the folder of unix:"+path+" does not exist; create it or choose another path")
}

// addressed is a listener that reports another address.
type addressed struct {
	net.Listener
	addr net.Addr
}

func (a *addressed) Addr() net.Addr { return a.addr }

func TestURLHasTheAddressOfTheListener(t *testing.T) {
	l := loopback(t)
	socket := &addressed{l, &net.UnixAddr{Name: "/s", Net: "unix"}}
	for _, c := range []struct {
		l    net.Listener
		tls  *tls.Config
		want string
	}{
		{l, nil, "http://" + l.Addr().String()},
		{l, &tls.Config{}, "https://" + l.Addr().String()},
		{socket, nil, "unix:/s"},
	} {
		s := listener.New(listener.Options{Listener: c.l, HTTP: &http.Server{TLSConfig: c.tls}, MaxConnections: 1, Logger: slog.New(slog.DiscardHandler)})
		if got := s.URL(); got != c.want {
			t.Errorf("got %s, want %s", got, c.want)
		}
	}
}
