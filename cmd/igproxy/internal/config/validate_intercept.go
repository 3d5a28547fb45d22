package config

import (
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/igproxy/igproxy/cmd/igproxy/internal/authority"
)

// validateIntercept checks how the keys of interception fit together, and how they fit other keys.
func (l *loader) validateIntercept() {
	c := &l.config.Intercept
	if c.Listen == "" {
		l.refuse(fault{"set without intercept.listen, so nothing would be intercepted", "set intercept.listen, or remove this key"},
			"intercept.ca_file", "intercept.ca_key_file")
		return
	}
	if slices.Contains(l.config.Listen, c.Listen) || c.Listen == l.config.Admin.Listen || c.Listen == "unix:"+l.config.Admin.Socket {
		if !strings.HasSuffix(c.Listen, ":0") {
			l.contradiction(fault{"the same address as listen, admin.listen or admin.socket", "give each its own address"}, "intercept.listen")
		}
	}
	for key, file := range map[string]string{"intercept.ca_file": authority.CertFile, "intercept.ca_key_file": authority.KeyFile} {
		if !l.isSet(key) {
			l.contradiction(fault{"missing", "run igproxy ca init --dir DIR, and set this key to DIR/" + file}, key, "intercept.listen")
		}
	}
	if c.TLS && l.config.TLS.CertFile == "" {
		l.contradiction(fault{"set without tls.cert_file and tls.key_file", "set all three, or remove this key"}, "intercept.tls")
	}
	l.validateInterceptTrust()
}

// validateInterceptTrust checks who may use intercept.listen.
func (l *loader) validateInterceptTrust() {
	c, auth := &l.config.Intercept, &l.config.Auth
	if isUnix(c.Listen) {
		return
	}
	proven := auth.BearerFile != "" || c.TLS && auth.ClientCA != ""
	at, beyond := l.place("intercept.listen"), beyondLoopback(c.Listen)
	switch {
	case beyond && auth.None:
		l.warn(at, "intercept.listen", fault{"reachable by other machines: every program that reaches it can exchange tokens with your secret",
			"listen on 127.0.0.1 or unix:/path, or block other machines at the network level"})
	case beyond && !proven && !l.bad["auth.none"]: // an invalid auth.none is reported already
		l.report(at, "intercept.listen", fault{"reachable by other machines without authentication", InterceptChoices})
	case beyond && !c.TLS:
		l.warn(at, "intercept.listen", fault{"reachable by other machines without TLS: the token in auth.bearer_file can be read on the network",
			"set intercept.tls: true, or use a network that encrypts traffic"})
	case !proven && auth.ClientCA != "":
		l.report(at, "intercept.listen", fault{"open to every program on this machine: the listener requests no client certificate, although auth.client_ca is set",
			"set intercept.tls: true or auth.bearer_file, or listen on unix:/path"})
	case !proven && l.isSet("auth.uids"):
		l.warn(at, "intercept.listen", fault{"open to every user of this machine: auth.uids restricts only Unix sockets", "listen on unix:/path, or set auth.bearer_file"})
	}
}

// InterceptChoices is the next step for an intercept listener that other machines can reach without
// authentication.
const InterceptChoices = "set auth.bearer_file, or auth.client_ca with intercept.tls: true, " +
	"or auth.none: true if the network keeps others out; or listen on 127.0.0.1 or unix:/path"

// endsSoon is the remaining lifetime of an authority below which openAuthority warns.
const endsSoon = 60 * 24 * time.Hour

// openAuthority reads and checks the authority, and warns if it expires soon.
func (l *loader) openAuthority() {
	c := &l.config.Intercept
	if c.Listen == "" || c.CAFile == "" || c.CAKeyFile == "" || l.bad["intercept.ca_file"] || l.bad["intercept.ca_key_file"] {
		return
	}
	a, err := ReadAuthority(c.CAFile, c.CAKeyFile)
	var wrong *fileError
	if errors.As(err, &wrong) && wrong.path == c.CAFile {
		l.report(l.place("intercept.ca_file"), "intercept.ca_file", fault{wrong.Error(), wrong.fix})
		return
	}
	_, ok := openSecret(l, "intercept.ca_key_file", c.CAKeyFile, func(string) (*authority.Authority, error) { return a, err })
	if ok && time.Until(a.Ends()) < endsSoon {
		l.warn(l.place("intercept.ca_file"), "intercept.ca_file", fault{shownPath(c.CAFile) + " expires on " + a.Ends().UTC().Format(time.DateOnly),
			"make another authority with igproxy ca init, and let clients trust both before you switch to the new one"})
	}
}

// ReadAuthority reads the certificate and the key of the authority for interception. Its error is a
// *fileError.
func ReadAuthority(certPath, keyPath string) (*authority.Authority, error) {
	pair, err := ReadKeyPair(certPath, keyPath)
	if err != nil {
		return nil, err
	}
	a, err := authority.New(pair)
	if err != nil {
		return nil, &fileError{certPath, fault{"cannot be used: " + err.Error(), "make an authority with igproxy ca init"}}
	}
	return a, nil
}
