package config_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/igproxy/igproxy/cmd/igproxy/internal/authority"
	"github.com/igproxy/igproxy/cmd/igproxy/internal/config"
)

const (
	caFiles          = "  ca_file: ./ca/igproxy-ca.pem\n  ca_key_file: ./ca/igproxy-ca.key\n"
	interceptChoices = "; set auth.bearer_file, or auth.client_ca with intercept.tls: true, or auth.none: true if the network keeps others out; or listen on 127.0.0.1 or unix:/path"
	tlsFiles         = "tls:\n  cert_file: ./tls.crt\n  key_file: ./tls.key\n"
)

// expectWithAuthority does what expect does, with two authorities, in ./ca and ./other.
func expectWithAuthority(t *testing.T, inputs []input) {
	t.Helper()
	for i, in := range inputs {
		inputs[i].before = func(t *testing.T) {
			for _, dir := range []string{"ca", "other"} {
				if err := authority.Create(dir); err != nil {
					t.Fatal(err)
				}
			}
			if in.before != nil {
				in.before(t)
			}
		}
	}
	expect(t, inputs)
}

func TestAnInterceptListenerBeyondLoopbackNeedsAuthenticationOrAuthNone(t *testing.T) {
	var all []input
	for _, address := range []string{"0.0.0.0:1", ":1", "'[::]:1'", "10.0.0.1:1", "igproxy.internal:1"} {
		all = append(all, input{name: "neither at " + address, yaml: "intercept:\n  listen: " + address + "\n" + caFiles,
			want: []string{"igproxy.yaml:2: intercept.listen: reachable by other machines without authentication" + interceptChoices}})
	}
	for _, address := range []string{"127.0.0.1:1", "localhost:1", "'[::1]:1'", "unix:/run/igproxy-intercept.sock"} {
		all = append(all, input{name: "neither is needed at " + address, yaml: "intercept:\n  listen: " + address + "\n" + caFiles})
	}
	const open = "intercept:\n  listen: 0.0.0.0:1\n" + caFiles
	const secure = open + "  tls: true\n"
	expectWithAuthority(t, append(all, []input{
		{name: "auth.none", yaml: open + "auth:\n  none: true\n",
			want: []string{"warning: igproxy.yaml:2: intercept.listen: reachable by other machines: every program that reaches it can exchange tokens with your secret; listen on 127.0.0.1 or unix:/path, or block other machines at the network level"}},
		{name: "TLS alone is not authentication", yaml: secure + tlsFiles,
			want: []string{"igproxy.yaml:2: intercept.listen: reachable by other machines without authentication" + interceptChoices}},
		{name: "a token", yaml: open + "auth:\n  bearer_file: ./token\n",
			want: []string{"warning: igproxy.yaml:2: intercept.listen: reachable by other machines without TLS: the token in auth.bearer_file can be read on the network; set intercept.tls: true, or use a network that encrypts traffic"}},
		{name: "a token over TLS", yaml: secure + "auth:\n  bearer_file: ./token\n" + tlsFiles},
		{name: "client certificates", yaml: secure + "auth:\n  client_ca: ./ca.pem\n" + tlsFiles},
		{name: "client certificates without intercept.tls", yaml: open + "auth:\n  client_ca: ./ca.pem\n" + tlsFiles,
			want: []string{"igproxy.yaml:2: intercept.listen: reachable by other machines without authentication" + interceptChoices}},
		{name: "client certificates beside a socket", yaml: "listen: unix:/run/s\n" + secure + "auth:\n  client_ca: ./ca.pem\n" + tlsFiles,
			want: nil},
	}...))
}

// If the listener for apps requires authentication and the intercept listener does not, igproxy
// check must report it.
func TestAnInterceptListenerOnLoopbackIsNotAWayAroundAuthentication(t *testing.T) {
	const loopback = "intercept:\n  listen: 127.0.0.1:1\n" + caFiles
	expectWithAuthority(t, []input{
		{name: "client certificates", yaml: loopback + "auth:\n  client_ca: ./ca.pem\n" + tlsFiles,
			want: []string{"igproxy.yaml:2: intercept.listen: open to every program on this machine: the listener requests no client certificate, although auth.client_ca is set; set intercept.tls: true or auth.bearer_file, or listen on unix:/path"}},
		{name: "client certificates with intercept.tls", yaml: loopback + "  tls: true\nauth:\n  client_ca: ./ca.pem\n" + tlsFiles},
		{name: "client certificates and a token", yaml: loopback + "auth:\n  client_ca: ./ca.pem\n  bearer_file: ./token\n" + tlsFiles},
		{name: "auth.uids, but only listen is a socket", yaml: "listen: unix:/run/s\n" + loopback + "auth:\n  uids: [1000]\n",
			want: []string{"warning: igproxy.yaml:3: intercept.listen: open to every user of this machine: auth.uids restricts only Unix sockets; listen on unix:/path, or set auth.bearer_file"}},
		{name: "auth.uids, and both listeners are sockets", yaml: "listen: unix:/run/s\nintercept:\n  listen: unix:/run/i\n" + caFiles + "auth:\n  uids: [1000]\n"},
		{name: "auth.uids, but only intercept.listen is a socket", yaml: "intercept:\n  listen: unix:/run/i\n" + caFiles + "auth:\n  uids: [1000]\n",
			want: []string{"warning: igproxy.yaml:6: auth.uids: restricts only Unix sockets: every user of this machine can connect to the TCP port in listen; listen only on unix:/path, or set auth.bearer_file"}},
	})
}

func TestInvalidInterceptSettingsAreRefused(t *testing.T) {
	expectWithAuthority(t, []input{
		{name: "files without a listener", yaml: "intercept:\n" + caFiles,
			want: []string{"igproxy.yaml:2: intercept.ca_file: set without intercept.listen, so nothing would be intercepted; set intercept.listen, or remove this key",
				"igproxy.yaml:3: intercept.ca_key_file: set without intercept.listen, so nothing would be intercepted; set intercept.listen, or remove this key"}},
		{name: "a listener without files", yaml: "intercept:\n  listen: 127.0.0.1:1\n",
			want: []string{"igproxy.yaml:2: intercept.ca_file: missing; run igproxy ca init --dir DIR, and set this key to DIR/igproxy-ca.pem",
				"igproxy.yaml:2: intercept.ca_key_file: missing; run igproxy ca init --dir DIR, and set this key to DIR/igproxy-ca.key"}},
		{name: "the address of listen", yaml: "listen: 127.0.0.1:1\nintercept:\n  listen: 127.0.0.1:1\n" + caFiles,
			want: []string{"igproxy.yaml:3: intercept.listen: the same address as listen, admin.listen or admin.socket; give each its own address"}},
		{name: "the address of admin.listen", yaml: "admin:\n  listen: 127.0.0.1:1\nintercept:\n  listen: 127.0.0.1:1\n" + caFiles,
			want: []string{"igproxy.yaml:4: intercept.listen: the same address as listen, admin.listen or admin.socket; give each its own address"}},
		{name: "the socket of admin.socket", yaml: "admin:\n  socket: /run/a\nintercept:\n  listen: unix:/run/a\n" + caFiles,
			want: []string{"igproxy.yaml:4: intercept.listen: the same address as listen, admin.listen or admin.socket; give each its own address"}},
		{name: "TLS without a certificate", yaml: "intercept:\n  listen: 127.0.0.1:1\n  tls: true\n" + caFiles,
			want: []string{"igproxy.yaml:3: intercept.tls: set without tls.cert_file and tls.key_file; set all three, or remove this key"}},
		{name: "a value that is not allowed", yaml: "intercept:\n  listen: 127.0.0.1:1\n  others: allow\n" + caFiles,
			want: []string{`igproxy.yaml:3: intercept.others: "allow" is not an allowed value; write refuse or tunnel`}},
	})
}

// writeAuthority writes an authority that Create would not make: the function change alters the
// certificate before it is signed.
func writeAuthority(t *testing.T, dir string, change func(*x509.Certificate)) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(365 * 24 * time.Hour),
		KeyUsage: x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: true, MaxPathLenZero: true,
		PermittedDNSDomainsCritical: true, PermittedDNSDomains: []string{"facebook.com"},
		ExcludedIPRanges: []*net.IPNet{{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)}, {IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)}}}
	change(template)
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	der, _ := x509.MarshalPKCS8PrivateKey(key)
	write(t, filepath.Join(dir, authority.CertFile), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})))
	write(t, filepath.Join(dir, authority.KeyFile), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
}

func TestProblemsOfTheAuthorityAreReported(t *testing.T) {
	const yaml = "intercept:\n  listen: 127.0.0.1:1\n" + caFiles
	soon := time.Now().Add(59 * 24 * time.Hour)
	ended := time.Now().Add(-time.Minute)
	const again = "; make an authority with igproxy ca init"
	var all []input
	for name, c := range map[string]struct {
		before func(t *testing.T)
		want   []string
	}{
		"a valid authority": {func(*testing.T) {}, nil},
		"the key of another authority": {func(t *testing.T) {
			if err := os.Rename("other/igproxy-ca.key", "ca/igproxy-ca.key"); err != nil {
				t.Fatal(err)
			}
		}, []string{"igproxy.yaml:4: intercept.ca_key_file: ./ca/igproxy-ca.key is not the key of ./ca/igproxy-ca.pem, or one of the two files is not PEM; name a certificate and the key that belongs to it"}},
		"a key that everyone can read": {func(t *testing.T) {
			if err := os.Chmod("ca/igproxy-ca.key", 0o644); err != nil {
				t.Fatal(err)
			}
		}, []string{"warning: igproxy.yaml:4: intercept.ca_key_file: ./ca/igproxy-ca.key can be read by every user of this machine; chmod o-r it (Kubernetes: defaultMode: 0440)"}},
		"no certificate": {func(t *testing.T) { _ = os.Remove("ca/igproxy-ca.pem") },
			[]string{"igproxy.yaml:3: intercept.ca_file: ./ca/igproxy-ca.pem does not exist; create it, or correct the path"}},
		"no key": {func(t *testing.T) { _ = os.Remove("ca/igproxy-ca.key") },
			[]string{"igproxy.yaml:4: intercept.ca_key_file: ./ca/igproxy-ca.key does not exist; create it, or correct the path"}},
		"no name constraints": {func(t *testing.T) {
			writeAuthority(t, "ca", func(c *x509.Certificate) { c.PermittedDNSDomains, c.ExcludedIPRanges = nil, nil })
		}, []string{"igproxy.yaml:3: intercept.ca_file: ./ca/igproxy-ca.pem cannot be used: it has no critical name constraints, or they permit domains other than instagram.com, threads.net, threads.com, facebook.com" + again}},
		"no exclusion of IP addresses": {func(t *testing.T) { writeAuthority(t, "ca", func(c *x509.Certificate) { c.ExcludedIPRanges = nil }) },
			[]string{"igproxy.yaml:3: intercept.ca_file: ./ca/igproxy-ca.pem cannot be used: its name constraints do not exclude all IP addresses" + again}},
		"a certificate for a site": {func(t *testing.T) {
			writeAuthority(t, "ca", func(c *x509.Certificate) { c.IsCA, c.MaxPathLenZero = false, false })
		}, []string{"igproxy.yaml:3: intercept.ca_file: ./ca/igproxy-ca.pem cannot be used: it is not the certificate of an authority" + again}},
		"an expired authority": {func(t *testing.T) { writeAuthority(t, "ca", func(c *x509.Certificate) { c.NotAfter = ended }) },
			[]string{"igproxy.yaml:3: intercept.ca_file: ./ca/igproxy-ca.pem cannot be used: it expired on " + ended.UTC().Format(time.DateOnly) + again}},
		"an authority that expires soon": {func(t *testing.T) { writeAuthority(t, "ca", func(c *x509.Certificate) { c.NotAfter = soon }) },
			[]string{"warning: igproxy.yaml:3: intercept.ca_file: ./ca/igproxy-ca.pem expires on " + soon.UTC().Format(time.DateOnly) + "; make another authority with igproxy ca init, and let clients trust both before you switch to the new one"}},
	} {
		all = append(all, input{name: name, yaml: yaml, before: c.before, want: c.want})
	}
	// An invalid variable leaves the value from the file in effect. A fault of that value must not
	// be reported as a fault of the variable.
	all = append(all, input{name: "an invalid variable", yaml: yaml, env: []string{"IGPROXY_INTERCEPT_CA_FILE=a\tb"},
		before: func(t *testing.T) { _ = os.Remove("ca/igproxy-ca.pem") },
		want: []string{"warning: environment: IGPROXY_INTERCEPT_CA_FILE: overrides igproxy.yaml:3, which sets the same key; remove one of the two",
			"environment: IGPROXY_INTERCEPT_CA_FILE: contains a control character or a line break; remove it"}})
	expectWithAuthority(t, all)
}

// The intercept listener, its TLS and its tunnels are built once, at the start. The table in
// docs/configuration.md says which keys need a restart.
func TestAllInterceptKeysButTheAuthoritysFilesNeedARestart(t *testing.T) {
	running := config.Default()
	running.Intercept.Listen, running.Intercept.CAFile, running.Intercept.CAKeyFile = "127.0.0.1:1", "./a", "./k"
	read := running
	read.Intercept.Listen, read.Intercept.CAFile, read.Intercept.CAKeyFile = "127.0.0.1:2", "./b", "./l"
	read.Intercept.TLS, read.Intercept.Others, read.Intercept.MaxTunnels, read.Intercept.TunnelIdle = true, config.InterceptTunnel, 7, time.Hour
	next, changed, waiting := config.Merge(running, read)
	if want := []string{"intercept.ca_file", "intercept.ca_key_file"}; !slices.Equal(changed, want) {
		t.Errorf("keys that take effect now: got %q, want %q", changed, want)
	}
	if want := []string{"intercept.listen", "intercept.tls", "intercept.others", "intercept.max_tunnels", "intercept.tunnel_idle"}; !slices.Equal(waiting, want) {
		t.Errorf("keys that wait for a restart: got %q, want %q", waiting, want)
	}
	want := running.Intercept
	want.CAFile, want.CAKeyFile = "./b", "./l"
	if next.Intercept != want {
		t.Errorf("the settings in use: got %+v, want %+v", next.Intercept, want)
	}
}
