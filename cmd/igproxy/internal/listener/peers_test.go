package listener

import (
	"bytes"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
)

func TestASocketHasItsModeFromTheStartAndTheUmaskIsRestored(t *testing.T) {
	t.Chdir(t.TempDir())
	plain := func(name string) os.FileMode {
		if err := os.WriteFile(name, nil, 0o666); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		return info.Mode()
	}
	before := plain("before")
	for _, mode := range []os.FileMode{0o600, 0o660, 0o666} {
		withMode(mode, func() {
			l, err := net.Listen("unix", "s")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			if info, err := os.Stat("s"); err != nil || info.Mode().Perm() != mode {
				t.Errorf("got %v, %v; want %v", info.Mode(), err, mode)
			}
		})
	}
	after := plain("after")
	if after != before {
		t.Errorf("a file made afterwards has mode %v, one made before %v", after, before)
	}
}

func TestASocketAcceptsOnlyItsUsers(t *testing.T) {
	t.Chdir(t.TempDir())
	own, other := strconv.Itoa(os.Getuid()), strconv.Itoa(os.Getuid()+1)
	for name, c := range map[string]struct {
		uids []string
		in   bool
	}{"own user": {[]string{other, own}, true}, "another user": {[]string{other}, false}} {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("unix", name)
			if err != nil {
				t.Fatal(err)
			}
			var log bytes.Buffer
			refused := 0
			server := &http.Server{Handler: http.NotFoundHandler()}
			served := make(chan struct{})
			go func() { // ends with the server
				defer close(served)
				_ = server.Serve(&peers{Listener: l, uids: c.uids, refused: func() { refused++ }, log: slog.New(slog.NewTextHandler(&log, nil))})
			}()
			const tries = 5
			for range tries {
				conn, err := net.Dial("unix", name)
				if err != nil {
					t.Fatal(err)
				}
				_, _ = io.WriteString(conn, "GET / HTTP/1.0\r\n\r\n")
				answer, _ := io.ReadAll(conn)
				_ = conn.Close()
				if got := len(answer) > 0; got != c.in {
					t.Errorf("answered: %v, want %v", got, c.in)
				}
			}
			_ = server.Close()
			<-served
			if want := map[bool]int{true: 0, false: tries}[c.in]; refused != want {
				t.Errorf("%d refusals counted, want %d", refused, want)
			}
			if logged := strings.Contains(log.String(), "auth.uids"); logged == c.in {
				t.Errorf("logged: %v; log: %s", logged, log.String())
			}
		})
	}
}

func TestAConnectionOfAnUnknownUserIsRefused(t *testing.T) {
	here, there := net.Pipe()
	defer here.Close()
	defer there.Close()
	if uid, err := peerUID(here); err == nil {
		t.Errorf("got uid %d for a connection without one", uid)
	}
}

// Linux reports a UID of 4294967295 for TCP, without an error.
func TestOnlyAUnixSocketHasAPeerUID(t *testing.T) {
	t.Chdir(t.TempDir())
	unix, err := net.Listen("unix", "s")
	if err != nil {
		t.Fatal(err)
	}
	for name, l := range map[string]net.Listener{"a Unix socket": unix, "TCP": loopback(t)} {
		b := newBound(l, newConnections(1, 0))
		client, err := net.Dial(l.Addr().Network(), l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		c, err := b.Accept()
		if err != nil {
			t.Fatal(err)
		}
		uid, err := socketPeer(c)
		if want := l == unix; (err == nil) != want || want && int(uid) != os.Getuid() {
			t.Errorf("%s: got UID %d, %v", name, uid, err)
		}
		_, _, _ = client.Close(), c.Close(), b.Close()
	}
}
