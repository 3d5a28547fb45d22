package config

// What other programs and people are shown of a configuration.

import (
	"io/fs"
	"strings"

	"github.com/igproxy/igproxy/proxy"
)

// AsksWho reports whether apps must show who they are, over any network.
func (c Config) AsksWho() bool { return c.Auth.BearerFile != "" || c.Auth.ClientCA != "" }

// TrustChoices are the next step where a listener is reachable and nothing asks who connects.
const TrustChoices = "set auth.bearer_file, or auth.client_ca with tls.cert_file and tls.key_file, or auth.none: true if the network keeps others out; or listen on 127.0.0.1 or unix:/path"

// OpenTo says who is answered.
func (c Config) OpenTo() string {
	who := "every program on this machine"
	switch {
	case len(c.Auth.UIDs) > 0:
		who = "the users " + strings.Join(c.Auth.UIDs, ", ")
	case strings.HasPrefix(c.Listen, "unix:"):
		who = "the users that mode " + c.Server.SocketMode + " lets in"
	case beyondLoopback(c.Listen):
		who = "everybody who reaches it"
	}
	switch bearer, certificate := c.Auth.BearerFile != "", c.Auth.ClientCA != ""; {
	case bearer && certificate:
		return who + " with a token and a client certificate"
	case bearer:
		return who + " with a token"
	case certificate:
		return who + " with a client certificate"
	}
	return who
}

// SocketMode is server.socket_mode.
func (c Config) SocketMode() fs.FileMode {
	mode, _ := socketMode(c.Server.SocketMode) // Load has refused what is not a mode
	return mode
}

// CacheTiers says which tiers are in use.
func (c Config) CacheTiers() string {
	if c.Redis.Mode == "" {
		return "memory"
	}
	return "memory, redis (" + c.Redis.Mode + ")"
}

// AppNames says which apps there are, and for which of them codes are exchanged.
func (c Config) AppNames() string {
	var words []string
	add := func(name string, threads, codes bool, previous proxy.Secret) {
		if threads {
			name += " (Threads)"
		}
		if codes {
			name += " with codes"
		}
		if !previous.IsZero() {
			name += " with a previous secret"
		}
		words = append(words, name)
	}
	for _, a := range c.Apps {
		add(a.Name, a.Service == string(proxy.Threads), len(a.RedirectURIs) > 0, a.PreviousSecret)
	}
	if !c.ClientSecret.IsZero() {
		add("default", false, len(c.RedirectURIs) > 0, c.PreviousSecret)
	}
	if !c.Threads.ClientSecret.IsZero() {
		add("threads", true, len(c.Threads.RedirectURIs) > 0, c.Threads.PreviousSecret)
	}
	return strings.Join(words, ", ")
}

// Effective is every setting with the value in force, for the admin listener's page. A secret, and
// whatever may hold one, is "set".
func (c Config) Effective() (pairs [][2]string) {
	rows := settings()
	for i := range c.Apps {
		rows = append(rows, appSettings(i)...)
	}
	for _, s := range rows {
		pairs = append(pairs, [2]string{s.key, s.text(&c)})
	}
	return pairs
}
