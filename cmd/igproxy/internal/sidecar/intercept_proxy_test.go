package sidecar_test

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/igproxy/igproxy/cmd/igproxy/internal/authority"
	"github.com/igproxy/igproxy/cmd/igproxy/internal/config"
	"github.com/igproxy/igproxy/cmd/igproxy/internal/logging"
	"github.com/igproxy/igproxy/cmd/igproxy/internal/sidecar"
	"github.com/igproxy/igproxy/proxy/admin"
)

// intercepting runs a sidecar that intercepts calls, until the test ends. others is the value of
// intercept.others.
func intercepting(t *testing.T, others string, change func(*config.Config)) *sidecar.Sidecar {
	t.Helper()
	dir := t.TempDir()
	if err := authority.Create(dir); err != nil {
		t.Fatal(err)
	}
	o := options(t, logging.Start(io.Discard, "info", "text"))
	c := &o.Config.Intercept
	c.Listen, c.CAFile, c.CAKeyFile, c.Others = "127.0.0.1:0", filepath.Join(dir, authority.CertFile), filepath.Join(dir, authority.KeyFile), others
	if change != nil {
		change(&o.Config)
	}
	s, err := sidecar.New(o)
	if err != nil {
		t.Fatal(err)
	}
	signals, ended := make(chan os.Signal, 1), make(chan error, 1)
	go func() { ended <- s.Run(signals) }() // ends with the signal
	t.Cleanup(func() {
		signals <- syscall.SIGTERM
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return s
}

// asked sends the head of a request to the listener for interception and returns the status.
func asked(t *testing.T, s *sidecar.Sidecar, head string) int {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(s.InterceptURL(), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(c, head+"\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: strings.Fields(head)[0]})
	if err != nil {
		t.Fatalf("%s: %v", head, err)
	}
	_ = res.Body.Close()
	return res.StatusCode
}

func TestTheStatusSaysWhatIsIntercepted(t *testing.T) {
	s := intercepting(t, "refuse", nil)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	res, err := client.Get(s.AdminURL() + "/status")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	var got admin.Status
	if err := json.NewDecoder(res.Body).Decode(&got); err != nil {
		t.Fatal(err)
	}
	i := got.Intercept
	if i == nil || i.Listen != s.InterceptURL() || !slices.Contains(i.Hosts, "graph.instagram.com") || i.Others != "refuse" || time.Until(i.Ends) < 9*365*24*time.Hour {
		t.Errorf("got %+v, want Listen %s, graph.instagram.com among the Hosts, Others refuse, and Ends in about 10 years", i, s.InterceptURL())
	}
}

// The listener for interception leads to Meta's token hosts. Whatever intercept.others says, the
// listener is not a way into this machine, its network, or the metadata service of its cloud
// provider.
func TestTheListenerForInterceptionIsNoOpenProxy(t *testing.T) {
	const meta = "CONNECT graph.instagram.com:443 HTTP/1.1\r\nHost: graph.instagram.com:443"
	refusing, tunnelling := intercepting(t, "refuse", nil), intercepting(t, config.InterceptTunnel, nil)
	for name, s := range map[string]*sidecar.Sidecar{"refuse": refusing, "tunnel": tunnelling} {
		if got := asked(t, s, meta); got != http.StatusOK {
			t.Errorf("%s: a token host: got %d, want 200", name, got)
		}
		for _, request := range []string{"GET http://127.0.0.1/", "GET http://graph.instagram.com/me", "GET /healthz", "POST http://example.com/"} {
			if got := asked(t, s, request+" HTTP/1.1\r\nHost: example.com"); got != http.StatusMethodNotAllowed {
				t.Errorf("%s: %s: got %d, want 405", name, request, got)
			}
		}
		for _, target := range []string{"127.0.0.1:443", "localhost:443", "[::1]:443", "0.0.0.0:443", "10.0.0.1:443", "192.168.1.1:443", "169.254.169.254:443",
			"100.100.100.200:443", "[fd00:ec2::254]:443", "[::ffff:127.0.0.1]:443", "93.184.215.14:22", "graph.instagram.com:80"} {
			if got := asked(t, s, "CONNECT "+target+" HTTP/1.1\r\nHost: "+target); got != http.StatusForbidden {
				t.Errorf("%s: CONNECT %s: got %d, want 403", name, target, got)
			}
		}
	}
	if got := asked(t, refusing, "CONNECT www.facebook.com:443 HTTP/1.1\r\nHost: www.facebook.com:443"); got != http.StatusForbidden {
		t.Errorf("another host of Meta: got %d, want 403", got)
	}
}

func TestAuthBearerFileAlsoProtectsInterception(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bearer")
	if err := os.WriteFile(path, []byte("own-token-of-igproxy\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := intercepting(t, "refuse", func(c *config.Config) { c.Auth.BearerFile = path })
	for token, want := range map[string]int{"": http.StatusProxyAuthRequired, "guess": http.StatusProxyAuthRequired, "own-token-of-igproxy": http.StatusOK} {
		head := "CONNECT graph.instagram.com:443 HTTP/1.1\r\nHost: graph.instagram.com:443"
		if token != "" {
			head += "\r\nProxy-Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("igproxy:"+token))
		}
		if got := asked(t, s, head); got != want {
			t.Errorf("with the token %q: got %d, want %d", token, got, want)
		}
	}
}
