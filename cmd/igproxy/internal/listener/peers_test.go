package listener

import (
	"bytes"
	"errors"
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
			info, err := os.Stat("s")
			if err != nil {
				t.Fatal(err)
			}
			if info.Mode().Perm() != mode {
				t.Errorf("the socket's mode: got %o, want %o", info.Mode().Perm(), mode)
			}
		})
	}
	after := plain("after")
	if after != before {
		t.Errorf("the umask was not restored: a new file has mode %v, want %v", after, before)
	}
}

func TestASocketAcceptsOnlyItsUsers(t *testing.T) {
	t.Chdir(t.TempDir())
	own, other := strconv.Itoa(os.Getuid()), strconv.Itoa(os.Getuid()+1)
	for name, c := range map[string]struct {
		uids []string
		in   bool // whether the user of this process may connect
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
				response, _ := io.ReadAll(conn)
				_ = conn.Close()
				if got := len(response) > 0; got != c.in {
					t.Errorf("answered: got %v, want %v", got, c.in)
				}
			}
			_ = server.Close()
			<-served
			if want := map[bool]int{true: 0, false: tries}[c.in]; refused != want {
				t.Errorf("refused connections: got %d, want %d", refused, want)
			}
			if logged := strings.Contains(log.String(), "auth.uids"); logged == c.in {
				t.Errorf("a refused connection is logged: got %v, want %v; the log:\n%s", logged, !c.in, log.String())
			}
		})
	}
}

// piped is a listener that accepts one end of a pipe, and then fails.
type piped struct {
	net.Listener
	conn net.Conn
}

func (p *piped) Accept() (net.Conn, error) {
	if c := p.conn; c != nil {
		p.conn = nil
		return c, nil
	}
	return nil, net.ErrClosed
}

// The system reports no user for a connection that is not a socket, such as a pipe.
func TestAConnectionOfAnUnknownUserIsRefused(t *testing.T) {
	here, there := net.Pipe()
	defer there.Close()
	refused := 0
	l := &peers{Listener: &piped{conn: here}, uids: []string{"0", strconv.Itoa(os.Getuid())}, refused: func() { refused++ }, log: slog.New(slog.DiscardHandler)}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) || refused != 1 {
		t.Errorf("Accept: got %v, want net.ErrClosed after the only connection; refused connections: got %d, want 1", err, refused)
	}
	if _, err := there.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("a read by the refused client: got %v, want io.EOF", err)
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
			t.Errorf("%s: got the UID %d and the error %v, want the UID %d only for the Unix socket, and an error for TCP", name, uid, err, os.Getuid())
		}
		_, _, _ = client.Close(), c.Close(), b.Close()
	}
}
