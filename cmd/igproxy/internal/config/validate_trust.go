package config

import "strings"

// validateTrust checks that somebody has decided who is answered, and that the decision is one.
func (l *loader) validateTrust(tellsPeers bool) {
	c := &l.config
	l.bothOrNone("tls.cert_file", "tls.key_file")
	socket := strings.HasPrefix(c.Listen, "unix:")
	if l.isSet("auth.client_ca") && !l.isSet("tls.cert_file") && !l.isSet("tls.key_file") && !socket {
		l.contradiction(fault{"set without tls.cert_file and tls.key_file: a client certificate is shown within TLS", "set all three"}, "auth.client_ca")
	}
	if c.Auth.None {
		for _, key := range []string{"auth.bearer_file", "auth.client_ca", "auth.uids"} {
			if l.isSet(key) {
				l.contradiction(fault{"true, and " + key + " is set too (" + l.place(key).String() + ")", "keep one of the two"}, "auth.none")
			}
		}
	}
	if l.isSet("auth.uids") && !tellsPeers {
		l.contradiction(fault{"this system does not say whose a connection is; Linux does", "remove it, and let server.socket_mode decide"}, "auth.uids")
	}
	if l.bad["listen"] {
		return
	}
	if socket {
		l.notFor("a Unix socket, which never leaves this machine", "tls.cert_file", "tls.key_file", "auth.client_ca")
		return
	}
	l.notFor("a port, whose connections have no user; it is for listen: unix:/path", "auth.uids")
	if beyondLoopback(c.Listen) {
		l.validateOpenDoor()
	}
}

func (l *loader) notFor(what string, keys ...string) {
	for _, key := range keys {
		if l.isSet(key) {
			l.contradiction(fault{"not for " + what, "remove it"}, key)
		}
	}
}

// validateOpenDoor is about a listener that other machines reach. A choice that was made and
// refused has had its line.
func (l *loader) validateOpenDoor() {
	at, bearer, certificates := l.place("listen"), l.isSet("auth.bearer_file"), l.isSet("auth.client_ca")
	switch {
	case l.config.Auth.None:
		l.warn(at, "listen", fault{"reachable by other machines: anybody who reaches it can exchange tokens with your secret",
			"listen on 127.0.0.1 or unix:/path, or keep others out by the network"})
	case !bearer && !certificates && !l.bad["auth.none"]:
		l.report(at, "listen", fault{"reachable by other machines, and nothing asks them who they are", TrustChoices})
	case bearer && !l.isSet("tls.cert_file") && !l.isSet("tls.key_file"):
		l.warn(at, "listen", fault{"reachable by other machines without TLS: the token of auth.bearer_file and users' tokens can be read on the way",
			"set tls.cert_file and tls.key_file, or let the network encrypt"})
	}
}
