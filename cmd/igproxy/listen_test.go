package main

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// refused listens and expects one line.
func refused(t *testing.T, key, address, want string) {
	t.Helper()
	l, err := listen(key, address, 0o660)
	if err == nil {
		_ = l.Close()
		t.Fatalf("listens on %s, want: %s", address, want)
	}
	if err.Error() != want {
		t.Errorf("got\n  %v\nwant\n  %s", err, want)
	}
}

func TestABusyPortIsToldWithItsKey(t *testing.T) {
	address := loopback(t).Addr().String()
	refused(t, "admin.listen", address, "admin.listen: "+address+" is in use by another process; stop it or choose another address")
}

func TestAnAddressThatIsNotOursIsToldWithoutTheSystemCall(t *testing.T) {
	refused(t, "listen", "192.0.2.1:8080", "listen: cannot listen on 192.0.2.1:8080: bind: cannot assign requested address") // TEST-NET-1, nobody's
}

func TestASocketOfAnotherProcessIsLeftAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	first, err := listen("listen", "unix:"+path, 0o640)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	refused(t, "listen", "unix:"+path, "listen: "+path+" is in use by another process; stop it or choose another path")
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatalf("the first one's socket is gone: %v", err)
	}
	_ = c.Close()
}

func TestAStaleSocketIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	killed, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	killed.SetUnlinkOnClose(false) // as SIGKILL leaves it
	_ = killed.Close()
	l, err := listen("listen", "unix:"+path, 0o640)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("got mode %v, %v; want %o", info, err, 0o640)
	}
	_ = l.Close()
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("the socket is left behind: %v", err)
	}
}

func TestAFileThatIsNoSocketIsNeverRemoved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "precious")
	write(t, path, "data")
	link := path + "-link"
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	refused(t, "listen", "unix:"+path, "listen: "+path+" exists and is no socket; choose another path")
	refused(t, "listen", "unix:"+link, "listen: "+link+" exists and is no socket; choose another path")
	if got, err := os.ReadFile(path); string(got) != "data" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestASocketInAFolderThatIsMissing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "nowhere", "s")
	refused(t, "listen", "unix:"+path, "listen: cannot listen on unix:"+path+": bind: no such file or directory")
}

func TestHostNamesAreCheckedOnLoopbackAlways(t *testing.T) {
	tcp := loopback(t)
	every, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer every.Close()
	beyond := &addressed{every, &net.TCPAddr{IP: net.IPv4zero, Port: 80}}
	socket := &addressed{every, &net.UnixAddr{Name: "/s", Net: "unix"}}
	for _, c := range []struct {
		l       net.Listener
		allowed []string
		any     bool
		url     string
	}{
		{tcp, nil, false, "http://" + tcp.Addr().String()}, {tcp, []string{"a"}, false, "http://" + tcp.Addr().String()},
		{beyond, nil, true, "http://0.0.0.0:80"}, {beyond, []string{"a"}, false, "http://0.0.0.0:80"},
		{socket, nil, true, "unix:/s"}, {socket, []string{"a"}, false, "unix:/s"},
	} {
		if got := anyHost(c.l, c.allowed); got != c.any {
			t.Errorf("%v with %v: any host %v, want %v", c.l.Addr(), c.allowed, got, c.any)
		}
		if got := urlOf(c.l, true); got != strings.Replace(c.url, "http:", "https:", 1) {
			t.Errorf("with TLS: got %s, want %s", got, c.url)
		}
		if got := urlOf(c.l, false); got != c.url {
			t.Errorf("got %s, want %s", got, c.url)
		}
	}
}

// addressed is a listener that claims another address.
type addressed struct {
	net.Listener
	addr net.Addr
}

func (a *addressed) Addr() net.Addr { return a.addr }

func TestAWarningGoesWithEveryAddressThatOthersReach(t *testing.T) {
	for address, want := range map[string]bool{"127.0.0.1:1": false, "localhost:1": false, "[::1]:1": false, "[::ffff:127.0.0.1]:1": false, "unix:/s": false,
		":1": true, "0.0.0.0:1": true, "[::]:1": true, "10.0.0.1:1": true, "igproxy.internal:1": true} {
		if got := beyondLoopback(address); got != want {
			t.Errorf("%s: got %v, want %v", address, got, want)
		}
	}
}

func TestTwoListenersInEachOthersWay(t *testing.T) {
	for pair, want := range map[string]bool{
		"127.0.0.1:1 127.0.0.1:1": true, "localhost:1 127.0.0.1:1": true, "127.0.0.1:1 [::1]:1": false, ":1 127.0.0.1:1": true, "0.0.0.0:1 10.0.0.1:1": true,
		"127.0.0.1:1 127.0.0.1:2": false, "127.0.0.1:0 127.0.0.1:0": false, "127.0.0.1:01 127.0.0.1:1": true, "unix:/s unix:/s": true, "unix:/a/../s unix:/s": true,
		"unix:/s 127.0.0.1:1": false, "a:1 A:1": true,
	} {
		a, b, _ := strings.Cut(pair, " ")
		if sameAddress(a, b) != want || sameAddress(b, a) != want {
			t.Errorf("%s: got %v and %v, want %v", pair, sameAddress(a, b), sameAddress(b, a), want)
		}
	}
}
