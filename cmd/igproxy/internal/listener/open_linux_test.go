package listener_test

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/igproxy/igproxy/cmd/igproxy/internal/listener"
)

// A user who may not connect to a socket cannot find out whether a process still listens on it.
// Root may connect to every socket. So if root runs this test, the test takes the rights of another
// user.
func TestASocketThatOnlyOthersMayUseIsLeftAlone(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "s")
	l, err := listener.Open("listen", "unix:"+path, 0o660)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	if err := os.Chmod(path, 0); err != nil {
		t.Fatal(err)
	}
	if os.Getuid() == 0 {
		for _, f := range []string{folder, filepath.Dir(folder)} {
			if err := os.Chmod(f, 0o755); err != nil { //nolint:gosec // the other user has to see the socket
				t.Fatal(err)
			}
		}
		const otherUser = 65534
		runtime.LockOSThread() // Setfsuid changes the rights of one thread only
		defer runtime.UnlockOSThread()
		if err := syscall.Setfsuid(otherUser); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = syscall.Setfsuid(0) }()
	}
	if why := leftAlone(t, path); !strings.Contains(why, "permission denied") {
		t.Errorf("got the error %s, want permission denied", why)
	}
}
