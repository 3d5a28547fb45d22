package config_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/igproxy/igproxy/cmd/igproxy/internal/config"
)

// canary is the client secret of these tests. No message may contain it.
const canary = "s3cr3t-canary-0123456789"

// configFiles fills a new folder with the files that these tests name, and changes to that folder,
// so that paths in messages are short and known.
func configFiles(t *testing.T) {
	t.Helper()
	t.Chdir(t.TempDir())
	pair, other := newPair(t, "igproxy"), newPair(t, "other")
	for name, text := range map[string]string{
		"secret": canary + "\n", "public": canary, "empty": "", "assigned": "APP_SECRET=" + canary, "newline": "\n", "spaces": canary + " " + canary, "short": "short", "two": canary + "\n" + canary + "2\n", "three": canary + "\n" + canary + "\n" + canary + "\n",
		"large": strings.Repeat(canary, 400), "ca.pem": newPair(t, "authority").cert, "token": canary, "umlaut": "ä" + canary, "marked": "\ufeff" + canary + "\n", "rotated": canary + "\n\ufeff" + canary + "\n",
		"tls.crt": pair.cert, "tls.key": pair.key, "other.key": other.key,
	} {
		write(t, name, text)
	}
	if err := os.Chmod("public", 0o644); err != nil { // regardless of the umask
		t.Fatal(err)
	}
	if err := os.Mkdir("folder", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo("fifo", 0o600); err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// pemPair is a self-signed certificate and its key.
type pemPair struct{ cert, key string }

func newPair(t *testing.T, name string) pemPair {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{"localhost"},
		// Tests with simulated time, which begins in 2000, need a certificate that is valid then.
		NotBefore: time.Unix(0, 0), NotAfter: time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pemPair{string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}))}
}

// input is a configuration file and an environment, and all problems that they must cause, in
// order.
type input struct {
	name, yaml string
	env        []string
	noSecret   bool               // if false, load sets IGPROXY_CLIENT_SECRET
	want       []string           // one line per problem; warnings begin with "warning: "
	before     func(t *testing.T) // if set, it changes the files that configFiles wrote
}

// load writes the file as igproxy.yaml, loads it, and checks that no problem contains the canary.
func (in input) load(t *testing.T) (config.Config, []string) {
	t.Helper()
	write(t, "igproxy.yaml", in.yaml)
	env := slices.Clone(in.env)
	if !in.noSecret {
		env = append(env, "IGPROXY_CLIENT_SECRET="+canary)
	}
	conf, problems := config.Load("igproxy.yaml", env)
	var lines []string
	for _, p := range problems {
		line := p.String()
		if p.Warning {
			line = "warning: " + line
		}
		if strings.Contains(fmt.Sprintf("%+v", p), canary) {
			t.Errorf("got the problem %+v, want one without the secret", p)
		}
		lines = append(lines, line)
	}
	return conf, lines
}

func expect(t *testing.T, inputs []input) {
	t.Helper()
	for _, in := range inputs {
		t.Run(in.name, func(t *testing.T) {
			configFiles(t)
			if in.before != nil {
				in.before(t)
			}
			if _, got := in.load(t); !slices.Equal(got, in.want) {
				t.Errorf("got the problems\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(in.want, "\n  "))
			}
		})
	}
}

func TestAValidConfigurationCausesNoProblem(t *testing.T) {
	expect(t, []input{
		{name: "nothing but the secret"},
		{name: "comments only", yaml: "# nothing\n"},
		{name: "empty sections and keys", yaml: "listen:\nupstream:\nredis:\n  mode:\n"},
		{name: "a document marker at the start", yaml: "---\nlisten: 127.0.0.1:1\n"},
		{name: "a byte order mark", yaml: "\ufefflisten: 127.0.0.1:1\n"},
		{name: "a secret file", yaml: "client_secret_file: ./secret\n", noSecret: true},
		{name: "a single Redis", yaml: "redis:\n  mode: single\n  url: rediss://me@redis:6379/1\n  password_file: ./secret\n  ca_file: ./ca.pem\n"},
		{name: "a Redis on a socket", yaml: "redis:\n  mode: single\n  url: unix:///run/redis.sock?db=1\n"},
		{name: "sentinels", yaml: "redis:\n  mode: sentinel\n  addrs: [a:1, '[::1]:2']\n  master_name: m\n"},
		{name: "a cluster", yaml: "redis:\n  mode: cluster\n  addrs:\n    - a:1\n    - b:2\n"},
		{name: "the stand-in", yaml: "upstream:\n  url: http://127.0.0.1:8081\n"},
		{name: "sockets", yaml: "listen: unix:/run/igproxy/app.sock\nadmin:\n  listen: unix:/run/igproxy/admin.sock\n"},
		{name: "two free ports", yaml: "listen: 127.0.0.1:0\nadmin:\n  listen: 127.0.0.1:0\n"},
		{name: "a size in bytes, a duration of zero", yaml: "upstream:\n  max_response_bytes: 65536\nserver:\n  drain: 0\ncache:\n  negative_ttl: 0s\n"},
	})
}

func TestAMissingOrUnreadableFileIsOneProblem(t *testing.T) {
	t.Chdir(t.TempDir())
	for path, want := range map[string]string{
		"nowhere.yaml": "nowhere.yaml: does not exist; create it, or correct the path",
		".":            ".: cannot be read; check that it is a file, and that this user may read it",
	} {
		_, problems := config.Load(path, []string{"IGPROXY_CLIENT_SECRET=" + canary})
		if len(problems) != 1 || problems[0].String() != want {
			t.Errorf("%s: got the problems %v, want only %s", path, problems, want)
		}
	}
}

// Whatever mistake is made with a secret, no message repeats the secret. In these texts, % stands
// for the secret.
func TestNoMessageContainsASecret(t *testing.T) {
	for _, yaml := range []string{
		"client_secret: %", "client_secert: %", "clientSecret: %", "client-secret: %", "secret: %", "upstream:\n  client_secret: %", "client_secret: [%]",
		"client_secret: {a: %}", "client_secret: &%", "client_secret: *%", "client_secret: !%", "client_secret: \"%", "client_secret: '%\nlisten: 1", "client_secret:%",
		"client_secret:\n\t%", "client_secret: |\n  %\n  second", "client_secret: % # no", "client_secret: @%", "client_secret: '%' '%'", "client_secret: % %",
		"client_secret: %\nclient_secret: %", "client_secret_file: %", "redis:\n  url: redis://:%@", "redis:\n  url: redis://me:%@h:x",
		"redis:\n  url: redis://:%/@h", "redis:\n  url: redis://h?password=%", "redis:\n  url: %", "redis:\n  password: %", "redis:\n  password_file: %",
		"redis:\n  mode: single\n  url: redis://:%@h", "redis:\n  addrs: ['redis://:%@h:1']", "redis:\n  mode: redis://:%@h", "redis:\n  addrs: [':%@h:1']",
		"app_id: %", "redis:\n  username: '% %'", "upstream:\n  url: https://%@graph.instagram.com", "upstream:\n  url: https://graph.instagram.com/?client_secret=%",
		"listen: \"127.0.0.1:1\nclient_secret: %\n", "log:\n  level: \"info\nclient_secret: %\"", "cache:\n  key_file: %", "%: 1", "%: {%: 1}", "%: 1\n%: 2", "upstream:\n  %: 1", "upstream: {% }", "? %\n: 1", "- client_secret: %", "\x01%",
	} {
		t.Run(yaml, func(t *testing.T) {
			t.Chdir(t.TempDir())
			in := input{yaml: strings.ReplaceAll(yaml, "%", canary), noSecret: true}
			if _, lines := in.load(t); len(lines) == 0 {
				t.Error("got no problem, want one or more")
			}
		})
	}
	for _, variable := range []string{"IGPROXY_CLIENT_SECRET=% %", "IGPROXY_CLIENT_SECERT=%", "IGPROXY_%=1", "IGPROXY_SECRET=%", "IGPROXY_REDIS_URL=redis://:%@h:x", "IGPROXY_REDIS_PASSWORD=%",
		"IGPROXY_CLIENT_SECRET_FILE=%", "IGPROXY_APP_ID=%", "IGPROXY_UPSTREAM_URL=https://u:%@h"} {
		t.Run(variable, func(t *testing.T) {
			t.Chdir(t.TempDir())
			in := input{env: []string{strings.ReplaceAll(variable, "%", canary)}, noSecret: true}
			if _, lines := in.load(t); len(lines) == 0 {
				t.Error("got no problem, want one or more")
			}
		})
	}
}
