package config_test

import (
	"strings"
	"testing"

	"github.com/igproxy/igproxy/cmd/igproxy/internal/config"
)

const choices = "; set auth.bearer_file, or auth.client_ca with tls.cert_file and tls.key_file, or auth.none: true if the network keeps others out; or listen on 127.0.0.1 or unix:/path"

func TestAListenerBeyondLoopbackNeedsAuthenticationOrAuthNone(t *testing.T) {
	const open = "listen: 0.0.0.0:8080\n"
	var all []input
	for _, address := range []string{"0.0.0.0:1", ":1", "'[::]:1'", "10.0.0.1:1", "igproxy.internal:1"} {
		all = append(all, input{name: "neither at " + address, yaml: "listen: " + address + "\n",
			want: []string{"igproxy.yaml:1: listen: reachable by other machines without authentication" + choices}})
	}
	for _, address := range []string{"127.0.0.1:1", "localhost:1", "'[::1]:1'", "unix:/run/igproxy.sock"} {
		all = append(all, input{name: "neither is needed at " + address, yaml: "listen: " + address + "\n"})
	}
	expect(t, append(all, []input{
		{name: "auth.none", yaml: open + "auth:\n  none: true\n",
			want: []string{"warning: igproxy.yaml:1: listen: reachable by other machines: every program that reaches it can exchange tokens with your secret; listen on 127.0.0.1 or unix:/path, or block other machines at the network level"}},
		{name: "auth.none is false", yaml: open + "auth:\n  none: false\n",
			want: []string{"igproxy.yaml:1: listen: reachable by other machines without authentication" + choices}},
		{name: "auth.none with a word that is neither true nor false", yaml: open + "auth:\n  none: yes\n",
			want: []string{`igproxy.yaml:3: auth.none: "yes" is neither true nor false; write true or false`}},
		{name: "TLS alone is not authentication", yaml: open + "tls:\n  cert_file: ./tls.crt\n  key_file: ./tls.key\n",
			want: []string{"igproxy.yaml:1: listen: reachable by other machines without authentication" + choices}},
		{name: "a token", yaml: open + "auth:\n  bearer_file: ./token\n",
			want: []string{"warning: igproxy.yaml:1: listen: reachable by other machines without TLS: tokens can be read on the network; set tls.cert_file and tls.key_file, or use a network that encrypts traffic"}},
		{name: "a token over TLS", yaml: open + "auth:\n  bearer_file: ./token\ntls:\n  cert_file: ./tls.crt\n  key_file: ./tls.key\n"},
		{name: "client certificates", yaml: open + "auth:\n  client_ca: ./ca.pem\ntls:\n  cert_file: ./tls.crt\n  key_file: ./tls.key\n"},
		{name: "a token and client certificates", yaml: open + "auth:\n  bearer_file: ./token\n  client_ca: ./ca.pem\ntls:\n  cert_file: ./tls.crt\n  key_file: ./tls.key\n"},
		{name: "in the environment", yaml: open, env: []string{"IGPROXY_AUTH_BEARER_FILE=./token", "IGPROXY_TLS_CERT_FILE=./tls.crt", "IGPROXY_TLS_KEY_FILE=./tls.key"}},
		{name: "the admin listener only causes a warning", yaml: "admin:\n  listen: 0.0.0.0:9090\n",
			want: []string{"warning: igproxy.yaml:2: admin.listen: reachable by other machines without authentication: it shows metrics, but no secret; listen on 127.0.0.1 or unix:/path, or let only your monitoring reach it"}},
	}...))
}

func TestSettingsOfAccessControlAreChecked(t *testing.T) {
	const socket = "listen: unix:/run/igproxy.sock\n"
	expect(t, []input{
		{name: "a token and client certificates on loopback", yaml: "auth:\n  bearer_file: ./token\n  client_ca: ./ca.pem\ntls:\n  cert_file: ./tls.crt\n  key_file: ./tls.key\n"},
		{name: "auth.uids with a socket", yaml: socket + "auth:\n  uids: [0, 1000]\nserver:\n  socket_mode: 0666\n"},
		{name: "auth.uids with a socket, and a token", yaml: socket + "auth:\n  uids: [1000]\n  bearer_file: ./token\n"},
		{name: "auth.none and a token", yaml: "auth:\n  none: true\n  bearer_file: ./token\n",
			want: []string{"igproxy.yaml:3: auth.bearer_file: set although auth.none is true; keep one of the two"}},
		{name: "auth.none, UIDs and a token", yaml: socket + "auth:\n  none: true\n  uids: [1]\n", env: []string{"IGPROXY_AUTH_BEARER_FILE=./token"},
			want: []string{"igproxy.yaml:4: auth.uids: set although auth.none is true; keep one of the two",
				"environment: IGPROXY_AUTH_BEARER_FILE: set although auth.none is true; keep one of the two"}},
		{name: "client certificates without TLS", yaml: "auth:\n  client_ca: ./ca.pem\n",
			want: []string{"igproxy.yaml:2: auth.client_ca: set without tls.cert_file and tls.key_file: client certificates need TLS; set all three"}},
		{name: "client certificates, and TLS without a key", yaml: "auth:\n  client_ca: ./ca.pem\ntls:\n  cert_file: ./tls.crt\n",
			want: []string{"igproxy.yaml:4: tls.cert_file: set without tls.key_file; set both or neither"}},
		{name: "a key without its certificate", yaml: "tls:\n  key_file: ./tls.key\n",
			want: []string{"igproxy.yaml:2: tls.key_file: set without tls.cert_file; set both or neither"}},
		{name: "TLS on a socket", yaml: socket + "auth:\n  client_ca: ./ca.pem\ntls:\n  cert_file: ./tls.crt\n  key_file: ./tls.key\n",
			want: []string{"igproxy.yaml:3: auth.client_ca: not used: listen has only Unix sockets, which do not use TLS; remove it",
				"igproxy.yaml:5: tls.cert_file: not used: listen has only Unix sockets, which do not use TLS; remove it",
				"igproxy.yaml:6: tls.key_file: not used: listen has only Unix sockets, which do not use TLS; remove it"}},
		{name: "UIDs without a socket", yaml: "auth:\n  uids: [1000]\n",
			want: []string{"igproxy.yaml:2: auth.uids: allowed only with a Unix socket, as in listen: unix:/path; remove it"}},
		{name: "TLS on a port beside a socket", yaml: "listen: [127.0.0.1:1, unix:/run/s]\nauth:\n  client_ca: ./ca.pem\n  uids: [1000]\ntls:\n  cert_file: ./tls.crt\n  key_file: ./tls.key\n"},
		{name: "UIDs with a socket and a port", yaml: "listen: [127.0.0.1:1, unix:/run/s]\nauth:\n  uids: [1000]\n",
			want: []string{"warning: igproxy.yaml:3: auth.uids: restricts only Unix sockets: every user of this machine can connect to the TCP port in listen; listen only on unix:/path, or set auth.bearer_file"}},
		{name: "one of several listeners is beyond loopback", yaml: "listen: [127.0.0.1:1, 10.0.0.1:1]\n",
			want: []string{"igproxy.yaml:1: listen: reachable by other machines without authentication" + choices}},
		{name: "a user by name", yaml: socket + "auth:\n  uids: [www-data]\n",
			want: []string{"igproxy.yaml:3: auth.uids: not a UID; write a number, as id -u prints it"}},
		{name: "an invalid listener causes no second problem", yaml: "listen: nonsense\nauth:\n  uids: [1]\n",
			want: []string{`igproxy.yaml:1: listen: "nonsense" is not an address; ` + "write host:port, [::1]:port or unix:/path"}},
		{name: "an octal mode that another YAML tool wrote in decimal", yaml: "server:\n  socket_mode: 432\n",
			want: []string{`igproxy.yaml:2: server.socket_mode: not a mode; write four octal digits in quotes, such as "0660"`}},
		{name: "a token that is too short", yaml: "auth:\n  bearer_file: ./short\n",
			want: []string{"igproxy.yaml:2: auth.bearer_file: ./short contains fewer than 16 characters; create the file with: openssl rand -hex 32 > FILE"}},
		{name: "a token that is not ASCII", yaml: "auth:\n  bearer_file: ./umlaut\n",
			want: []string{"igproxy.yaml:2: auth.bearer_file: ./umlaut contains a character that is not ASCII, perhaps a byte order mark; create the file with: openssl rand -hex 32 > FILE"}},
		{name: "a token instead of its path", yaml: "auth:\n  bearer_file: " + canary + "\n",
			want: []string{"igproxy.yaml:2: auth.bearer_file: the file named here does not exist; write a path that begins with / or ./, not the secret itself"}},
		{name: "a token that every user can read", yaml: "auth:\n  bearer_file: ./public\n",
			want: []string{"warning: igproxy.yaml:2: auth.bearer_file: ./public can be read by every user of this machine; chmod o-r it (Kubernetes: defaultMode: 0440)"}},
		{name: "a token and the previous token", yaml: "auth:\n  bearer_file: ./two\n"},
		{name: "three tokens", yaml: "auth:\n  bearer_file: ./three\n",
			want: []string{"igproxy.yaml:2: auth.bearer_file: ./three has more than two lines; keep the current secret and, below it, at most the previous one"}},
		{name: "client names without auth.client_ca", yaml: "auth:\n  client_names: [shop.internal]\n",
			want: []string{"igproxy.yaml:2: auth.client_names: set without auth.client_ca, so no client certificate is requested; set both"}},
		{name: "a client name with a wildcard", yaml: "auth:\n  client_names: ['*.internal']\n",
			want: []string{`igproxy.yaml:2: auth.client_names: "*.internal" cannot be the name of a client; write a DNS name without a wildcard, or a URI, such as spiffe://example.org/shop`}},
		{name: "a DNS name and a URI as client names", yaml: "auth:\n  client_ca: ./ca.pem\n  client_names: [shop.internal, spiffe://example.org/shop]\ntls:\n  cert_file: ./tls.crt\n  key_file: ./tls.key\n"},
		{name: "another certificate's key", yaml: "tls:\n  cert_file: ./tls.crt\n  key_file: ./other.key\n",
			want: []string{"igproxy.yaml:3: tls.key_file: ./other.key is not the key of ./tls.crt, or one of the two files is not PEM; name a certificate and the key that belongs to it"}},
		{name: "a file without a certificate", yaml: "auth:\n  client_ca: ./secret\ntls:\n  cert_file: ./tls.crt\n  key_file: ./tls.key\n",
			want: []string{"igproxy.yaml:2: auth.client_ca: ./secret has no certificate in PEM; name a file that contains -----BEGIN CERTIFICATE-----"}},
	})
}

func TestSettingsOfOperationsAreCheckedAndSummarized(t *testing.T) {
	const socket = "admin:\n  socket: /run/igproxy/admin.sock\n"
	expect(t, []input{
		{name: "a socket", yaml: socket + "  uids: [1000]\n"},
		{name: "a token", yaml: "admin:\n  token_file: ./token\n"},
		{name: "a socket and a token", yaml: socket + "  token_file: ./token\n"},
		{name: "admin.listen is the socket", yaml: "admin:\n  listen: unix:/run/s\n  uids: [1000]\n"},
		{name: "UIDs without a socket", yaml: "admin:\n  uids: [1000]\n",
			want: []string{"igproxy.yaml:2: admin.uids: allowed only with a Unix socket; set admin.socket, or remove admin.uids"}},
		{name: "a user by name", yaml: socket + "  uids: [www-data]\n",
			want: []string{"igproxy.yaml:3: admin.uids: not a UID; write a number, as id -u prints it"}},
		{name: "the same socket as listen", yaml: "listen: unix:/run/igproxy/admin.sock\n" + socket,
			want: []string{"igproxy.yaml:3: admin.socket: the same socket as listen; give each its own path"}},
		{name: "the same socket as admin.listen", yaml: socket + "  listen: unix:/run/igproxy/admin.sock\n",
			want: []string{"igproxy.yaml:2: admin.socket: the same socket as admin.listen; give each its own path"}},
		{name: "a relative path", yaml: "admin:\n  socket: admin.sock\n",
			want: []string{`igproxy.yaml:2: admin.socket: "admin.sock" is not the path of a socket; write an absolute path of at most 103 bytes, without unix:`}},
		{name: "an address instead of a path", yaml: "admin:\n  socket: unix:/run/s\n",
			want: []string{`igproxy.yaml:2: admin.socket: "unix:/run/s" is not the path of a socket; write an absolute path of at most 103 bytes, without unix:`}},
		{name: "a folder", yaml: "admin:\n  socket: /run/\n",
			want: []string{`igproxy.yaml:2: admin.socket: "/run/" is not the path of a socket; write an absolute path of at most 103 bytes, without unix:`}},
		{name: "a short token", yaml: "admin:\n  token_file: ./short\n",
			want: []string{"igproxy.yaml:2: admin.token_file: ./short contains fewer than 16 characters; create the file with: openssl rand -hex 32 > FILE"}},
		{name: "a token that every user can read", yaml: "admin:\n  token_file: ./public\n",
			want: []string{"warning: igproxy.yaml:2: admin.token_file: ./public can be read by every user of this machine; chmod o-r it (Kubernetes: defaultMode: 0440)"}},
		{name: "a token beyond loopback", yaml: "admin:\n  listen: 0.0.0.0:9090\n  token_file: ./token\n",
			want: []string{"warning: igproxy.yaml:2: admin.listen: reachable by other machines without authentication: it shows metrics, but no secret; listen on 127.0.0.1 or unix:/path, or let only your monitoring reach it",
				"warning: igproxy.yaml:3: admin.token_file: sent without TLS to admin.listen, which other machines can reach: the token can be read on the network; set admin.socket instead, or use a network that encrypts traffic"}},
	})
	t.Chdir(t.TempDir())
	write(t, "token", "0123456789abcdef")
	for environ, want := range map[string]string{
		"":                     "off (a reload is possible with SIGHUP)",
		"ADMIN_SOCKET=/s":      "by root and igproxy's own user, over /s",
		"ADMIN_LISTEN=unix:/l": "by root and igproxy's own user, over /l",
		"ADMIN_SOCKET=/s ADMIN_UIDS=7,8 ADMIN_TOKEN_FILE=./token": "by root, igproxy's own user and the UIDs 7, 8, over /s, and by every client with the token in admin.token_file",
		"ADMIN_SOCKET=/s ADMIN_UIDS=7":                            "by root, igproxy's own user and UID 7, over /s",
	} {
		var env []string
		for _, s := range strings.Fields(environ) {
			env = append(env, "IGPROXY_"+s)
		}
		c, _ := config.Load("", env)
		if got := c.Operations(); got != want {
			t.Errorf("Operations with the environment %q: got %q, want %q", environ, got, want)
		}
	}
}

func TestOpenToDescribesAllowedClients(t *testing.T) {
	for environ, want := range map[string]string{
		"":                                     "every program on this machine",
		"LISTEN=0.0.0.0:1":                     "everything that reaches it",
		"LISTEN=0.0.0.0:1 AUTH_BEARER_FILE=/t": "everything that reaches it with a token",
		"LISTEN=10.0.0.1:1 AUTH_BEARER_FILE=/t AUTH_CLIENT_CA=/c": "everything that reaches it with a token and a client certificate",
		"AUTH_CLIENT_CA=/c AUTH_CLIENT_NAMES=a,b":                 "every program on this machine with a client certificate for a, b",
		"AUTH_CLIENT_CA=/c": "every program on this machine with a client certificate",
		"LISTEN=unix:/s":    "the users that mode 0660 allows",
		"LISTEN=unix:/s AUTH_UIDS=0,1000 AUTH_BEARER_FILE=/t": "the UIDs 0, 1000 with a token",
	} {
		var env []string
		for _, s := range strings.Fields(environ) {
			env = append(env, "IGPROXY_"+s)
		}
		c, _ := config.Load("", env)
		if got := c.OpenTo(); got != want {
			t.Errorf("OpenTo with the environment %q: got %q, want %q", environ, got, want)
		}
	}
}
