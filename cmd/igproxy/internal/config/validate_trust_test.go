package config_test

import (
	"strings"
	"testing"

	"github.com/igproxy/igproxy/cmd/igproxy/internal/config"
)

const choices = "; set auth.bearer_file, or auth.client_ca with tls.cert_file and tls.key_file, or auth.none: true if the network keeps others out; or listen on 127.0.0.1 or unix:/path"

func TestAListenerBeyondLoopbackNeedsADecision(t *testing.T) {
	const open = "listen: 0.0.0.0:8080\n"
	var all []input
	for _, address := range []string{"0.0.0.0:1", ":1", "'[::]:1'", "10.0.0.1:1", "igproxy.internal:1"} {
		all = append(all, input{name: "undecided at " + address, yaml: "listen: " + address + "\n",
			says: []string{"igproxy.yaml:1: listen: reachable by other machines, and nothing asks them who they are" + choices}})
	}
	for _, address := range []string{"127.0.0.1:1", "localhost:1", "'[::1]:1'", "unix:/run/igproxy.sock"} {
		all = append(all, input{name: "no need at " + address, yaml: "listen: " + address + "\n"})
	}
	expect(t, append(all, []input{
		{name: "none, in plain words", yaml: open + "auth:\n  none: true\n",
			says: []string{"warning: igproxy.yaml:1: listen: reachable by other machines: anybody who reaches it can exchange tokens with your secret; listen on 127.0.0.1 or unix:/path, or keep others out by the network"}},
		{name: "none, not chosen", yaml: open + "auth:\n  none: false\n",
			says: []string{"igproxy.yaml:1: listen: reachable by other machines, and nothing asks them who they are" + choices}},
		{name: "none, in words that are not plain", yaml: open + "auth:\n  none: yes\n",
			says: []string{`igproxy.yaml:3: auth.none: "yes" is neither true nor false; write true or false`}},
		{name: "TLS alone keeps nobody out", yaml: open + "tls:\n  cert_file: ./tls.crt\n  key_file: ./tls.key\n",
			says: []string{"igproxy.yaml:1: listen: reachable by other machines, and nothing asks them who they are" + choices}},
		{name: "a token", yaml: open + "auth:\n  bearer_file: ./token\n",
			says: []string{"warning: igproxy.yaml:1: listen: reachable by other machines without TLS: the token of auth.bearer_file and users' tokens can be read on the way; set tls.cert_file and tls.key_file, or let the network encrypt"}},
		{name: "a token over TLS", yaml: open + "auth:\n  bearer_file: ./token\ntls:\n  cert_file: ./tls.crt\n  key_file: ./tls.key\n"},
		{name: "client certificates", yaml: open + "auth:\n  client_ca: ./ca.pem\ntls:\n  cert_file: ./tls.crt\n  key_file: ./tls.key\n"},
		{name: "both", yaml: open + "auth:\n  bearer_file: ./token\n  client_ca: ./ca.pem\ntls:\n  cert_file: ./tls.crt\n  key_file: ./tls.key\n"},
		{name: "by the environment", yaml: open, env: []string{"IGPROXY_AUTH_BEARER_FILE=./token", "IGPROXY_TLS_CERT_FILE=./tls.crt", "IGPROXY_TLS_KEY_FILE=./tls.key"}},
		{name: "the admin handlers", yaml: "admin:\n  listen: 0.0.0.0:9090\n",
			says: []string{"warning: igproxy.yaml:2: admin.listen: reachable by other machines, and it asks nobody who they are; it shows figures and no secret; listen on 127.0.0.1 or unix:/path, or let only your monitoring reach it"}},
	}...))
}

func TestADecisionThatContradictsItselfIsRefused(t *testing.T) {
	const socket = "listen: unix:/run/igproxy.sock\n"
	expect(t, []input{
		{name: "on loopback too", yaml: "auth:\n  bearer_file: ./token\n  client_ca: ./ca.pem\ntls:\n  cert_file: ./tls.crt\n  key_file: ./tls.key\n"},
		{name: "users of a socket", yaml: socket + "auth:\n  uids: [0, 1000]\nserver:\n  socket_mode: 0666\n"},
		{name: "users of a socket, and a token", yaml: socket + "auth:\n  uids: [1000]\n  bearer_file: ./token\n"},
		{name: "none and a token", yaml: "auth:\n  none: true\n  bearer_file: ./token\n",
			says: []string{"igproxy.yaml:2: auth.none: true, and auth.bearer_file is set too (igproxy.yaml:3); keep one of the two"}},
		{name: "none and all others", yaml: socket + "auth:\n  none: true\n  uids: [1]\n", env: []string{"IGPROXY_AUTH_BEARER_FILE=./token"},
			says: []string{"igproxy.yaml:3: auth.none: true, and auth.bearer_file is set too (environment); keep one of the two",
				"igproxy.yaml:3: auth.none: true, and auth.uids is set too (igproxy.yaml:4); keep one of the two"}},
		{name: "client certificates without TLS", yaml: "auth:\n  client_ca: ./ca.pem\n",
			says: []string{"igproxy.yaml:2: auth.client_ca: set without tls.cert_file and tls.key_file: a client certificate is shown within TLS; set all three"}},
		{name: "client certificates with half of TLS", yaml: "auth:\n  client_ca: ./ca.pem\ntls:\n  cert_file: ./tls.crt\n",
			says: []string{"igproxy.yaml:4: tls.cert_file: set without tls.key_file; set both or none"}},
		{name: "a key without its certificate", yaml: "tls:\n  key_file: ./tls.key\n",
			says: []string{"igproxy.yaml:2: tls.key_file: set without tls.cert_file; set both or none"}},
		{name: "TLS on a socket", yaml: socket + "auth:\n  client_ca: ./ca.pem\ntls:\n  cert_file: ./tls.crt\n  key_file: ./tls.key\n",
			says: []string{"igproxy.yaml:3: auth.client_ca: not for a Unix socket, which never leaves this machine; remove it",
				"igproxy.yaml:5: tls.cert_file: not for a Unix socket, which never leaves this machine; remove it",
				"igproxy.yaml:6: tls.key_file: not for a Unix socket, which never leaves this machine; remove it"}},
		{name: "users of a port", yaml: "auth:\n  uids: [1000]\n",
			says: []string{"igproxy.yaml:2: auth.uids: not for a port, whose connections have no user; it is for listen: unix:/path; remove it"}},
		{name: "users by name", yaml: socket + "auth:\n  uids: [www-data]\n",
			says: []string{`igproxy.yaml:3: auth.uids: "www-data" is not the number of a user; write numbers as id -u tells them`}},
		{name: "a listener that is none brings no second line", yaml: "listen: nonsense\nauth:\n  uids: [1]\n",
			says: []string{`igproxy.yaml:1: listen: "nonsense" is not an address; ` + "write host:port, [::1]:port or unix:/path"}},
		{name: "a mode that other readers made a number of", yaml: "server:\n  socket_mode: 432\n",
			says: []string{`igproxy.yaml:2: server.socket_mode: "432" is not a mode; write four octal digits in quotes, such as "0660"`}},
		{name: "a token too short", yaml: "auth:\n  bearer_file: ./short\n",
			says: []string{"igproxy.yaml:2: auth.bearer_file: ./short holds fewer than 16 characters; make one with: openssl rand -hex 32"}},
		{name: "a token no header can carry", yaml: "auth:\n  bearer_file: ./umlaut\n",
			says: []string{"igproxy.yaml:2: auth.bearer_file: ./umlaut holds a character that is not ASCII, which no header can carry; make one with: openssl rand -hex 32"}},
		{name: "a token where its path belongs", yaml: "auth:\n  bearer_file: " + canary + "\n",
			says: []string{"igproxy.yaml:2: auth.bearer_file: the file named here does not exist; write a path here, beginning with / or ./, and not the secret itself"}},
		{name: "a token for everybody to read", yaml: "auth:\n  bearer_file: ./public\n",
			says: []string{"warning: igproxy.yaml:2: auth.bearer_file: ./public can be read by every user of this machine; chmod o-r it (Kubernetes: defaultMode: 0440)"}},
		{name: "another certificate's key", yaml: "tls:\n  cert_file: ./tls.crt\n  key_file: ./other.key\n",
			says: []string{"igproxy.yaml:3: tls.key_file: ./other.key is not the key of ./tls.crt, or one of them is not PEM; name a certificate and its own key"}},
		{name: "an authority that is none", yaml: "auth:\n  client_ca: ./secret\ntls:\n  cert_file: ./tls.crt\n  key_file: ./tls.key\n",
			says: []string{"igproxy.yaml:2: auth.client_ca: ./secret holds no certificate in PEM; name a file with -----BEGIN CERTIFICATE----- in it"}},
	})
}

func TestTheLogSaysWhoIsAnswered(t *testing.T) {
	for environ, want := range map[string]string{
		"":                                     "every program on this machine",
		"LISTEN=0.0.0.0:1":                     "everybody who reaches it",
		"LISTEN=0.0.0.0:1 AUTH_BEARER_FILE=/t": "everybody who reaches it with a token",
		"LISTEN=10.0.0.1:1 AUTH_BEARER_FILE=/t AUTH_CLIENT_CA=/c": "everybody who reaches it with a token and a client certificate",
		"AUTH_CLIENT_CA=/c": "every program on this machine with a client certificate",
		"LISTEN=unix:/s":    "the users that mode 0660 lets in",
		"LISTEN=unix:/s AUTH_UIDS=0,1000 AUTH_BEARER_FILE=/t": "the users 0, 1000 with a token",
	} {
		var env []string
		for _, s := range strings.Fields(environ) {
			env = append(env, "IGPROXY_"+s)
		}
		c, _ := config.Load("", env)
		if got := c.OpenTo(); got != want {
			t.Errorf("%s: got %q, want %q", environ, got, want)
		}
	}
}
