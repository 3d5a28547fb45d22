package harness

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// Interceptor is a running igproxy that intercepts calls to Meta's hosts.
type Interceptor struct {
	*Process
	Proxy string // the URL for HTTPS_PROXY, without a token
	Made  MadeAuthority
}

// MadeAuthority is an authority that `igproxy ca init` has made.
type MadeAuthority struct {
	Cert, Key string // paths
	Bundle    string // path of a file with the system's authorities and this one
	Shown     string // the output of `igproxy ca show`
}

// MakeAuthority makes an authority with igproxy's own commands.
func MakeAuthority(t testing.TB) MadeAuthority {
	t.Helper()
	dir := t.TempDir()
	a := MadeAuthority{Cert: filepath.Join(dir, "igproxy-ca.pem"), Key: filepath.Join(dir, "igproxy-ca.key"), Bundle: filepath.Join(dir, "bundle.pem")}
	for _, command := range []string{"init", "show"} {
		code, out, errs := RunPlain(t, Environ(), "ca", command, "--dir", dir)
		if code != 0 {
			t.Fatalf("igproxy ca %s: exit code %d, want 0\n%s%s", command, code, out, errs)
		}
		a.Shown = out
	}
	_, command, found := strings.Cut(a.Shown, "\n  cat /etc/ssl")
	if !found {
		t.Fatalf("igproxy ca show prints no command for the bundle:\n%s", a.Shown)
	}
	line, _, _ := strings.Cut("cat /etc/ssl"+command, "\n")
	if out, err := exec.Command("sh", "-c", line).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", line, err, out)
	}
	return a
}

// Settings returns the settings that `igproxy ca show` prints for a kind of client, as
// "name=value".
func (a MadeAuthority) Settings(t testing.TB, kind string) (set []string) {
	t.Helper()
	for line := range strings.Lines(a.Shown) {
		kinds, rest, _ := strings.Cut(strings.TrimPrefix(line, "  "), "  ")
		if !strings.HasPrefix(line, "  ") || !slices.Contains(strings.Split(kinds, ", "), kind) {
			continue
		}
		for _, word := range strings.Fields(rest) {
			if strings.Contains(word, "=") {
				set = append(set, strings.TrimSuffix(word, ","))
			}
		}
	}
	if len(set) == 0 {
		t.Fatalf("igproxy ca show prints nothing for %s:\n%s", kind, a.Shown)
	}
	return set
}

// Intercept starts an igproxy that also intercepts calls, on a free port of loopback. binary is
// Binary or the path that Plain returns.
func Intercept(t testing.TB, binary string, settings ...string) *Interceptor {
	t.Helper()
	i := &Interceptor{Made: MakeAuthority(t)}
	i.Process = StartCommand(t, Environ(append(settings, "INTERCEPT_LISTEN=127.0.0.1:0", "INTERCEPT_CA_FILE="+i.Made.Cert, "INTERCEPT_CA_KEY_FILE="+i.Made.Key)...),
		exec.Command(binary, "serve"))
	i.Listening(t)
	i.Proxy, _ = i.Log.Lines("listening")[0]["intercept"].(string)
	return i
}

// Client returns a client that uses i as its HTTPS_PROXY, and trusts only the authority of i.
func (i *Interceptor) Client(t testing.TB, http2 bool) *http.Client {
	t.Helper()
	via, err := url.Parse(i.Proxy)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(via), TLSClientConfig: i.Made.Trust(t), ForceAttemptHTTP2: http2}}
	t.Cleanup(client.CloseIdleConnections)
	return client
}

// Trust returns a TLS configuration for clients that trusts only this authority.
func (a MadeAuthority) Trust(t testing.TB) *tls.Config {
	t.Helper()
	text, err := os.ReadFile(a.Cert)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	return &tls.Config{RootCAs: roots}
}

// Sign returns a certificate for a name or an address, and the certificate's key, both in PEM. It
// signs with the authority's key, as a thief of that key would.
func (a MadeAuthority) Sign(t testing.TB, name string) (cert, key string) {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(a.Cert, a.Key)
	if err != nil {
		t.Fatal(err)
	}
	fresh, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	if ip := net.ParseIP(name); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{name}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, pair.Leaf, &fresh.PublicKey, pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(fresh)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}))
}
