package config

import (
	"cmp"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"
)

// RequiresAuth reports whether apps must authenticate with a token or a certificate.
func (c Config) RequiresAuth() bool { return c.Auth.BearerFile != "" || c.Auth.ClientCA != "" }

// OpenTo says in words who may use igproxy. It does not repeat a text that is the same for several
// listeners.
func (c Config) OpenTo() string {
	var all []string
	for _, address := range c.Listen {
		if who := c.openTo(address); !slices.Contains(all, who) {
			all = append(all, who)
		}
	}
	return strings.Join(all, "; ")
}

func (c Config) openTo(address string) string {
	who := "every program on this machine"
	switch {
	case isUnix(address) && len(c.Auth.UIDs) > 0:
		who = "the UIDs " + strings.Join(c.Auth.UIDs, ", ")
	case isUnix(address):
		who = "the users that mode " + c.Server.SocketMode + " allows"
	case beyondLoopback(address):
		who = "everything that reaches it"
	}
	and := " with "
	if c.Auth.BearerFile != "" {
		who, and = who+and+"a token", " and "
	}
	if c.Auth.ClientCA != "" && !isUnix(address) {
		who += and + "a client certificate"
		if len(c.Auth.ClientNames) > 0 {
			who += " for " + strings.Join(c.Auth.ClientNames, ", ")
		}
	}
	return who
}

// Operations says in words who may run operations: reload, purge, resume and quit.
func (c Config) Operations() string {
	var ways []string
	socket := c.Admin.Socket
	if path, ok := strings.CutPrefix(c.Admin.Listen, "unix:"); ok && socket == "" {
		socket = path
	}
	if socket != "" {
		who := "root and igproxy's own user"
		switch uids := strings.Join(c.Admin.UIDs, ", "); len(c.Admin.UIDs) {
		case 0:
		case 1:
			who = "root, igproxy's own user and UID " + uids
		default:
			who = "root, igproxy's own user and the UIDs " + uids
		}
		ways = append(ways, who+", over "+socket)
	}
	if c.Admin.TokenFile != "" {
		ways = append(ways, "every client with the token in admin.token_file")
	}
	if len(ways) == 0 {
		return "off (a reload is possible with SIGHUP)"
	}
	return "by " + strings.Join(ways, ", and by ")
}

// SocketMode returns server.socket_mode, parsed.
func (c Config) SocketMode() fs.FileMode {
	mode, _ := strconv.ParseUint(c.Server.SocketMode, 8, 9) // Load has checked it
	return fs.FileMode(mode)
}

// CacheTiers returns the cache tiers in use.
func (c Config) CacheTiers() string {
	if c.Redis.Mode == "" {
		return "memory"
	}
	return "memory, redis (" + c.Redis.Mode + ")"
}

// Kept says in words whether igproxy keeps tokens alive, and when it refreshes them.
func (c Config) Kept() string {
	const day = 24 * time.Hour
	before := c.Keep.RefreshBefore
	switch {
	case !c.Keep.Enabled:
		return "off"
	case before%day == 0 && before > day:
		return fmt.Sprintf("on (refreshes tokens %d days before they end)", before/day)
	}
	return "on (refreshes tokens " + durationText(before) + " before they end)"
}

// AppNames returns the names of the apps.
func (c Config) AppNames() string {
	var names []string
	for _, a := range c.Apps {
		names = append(names, a.Name)
	}
	if !c.ClientSecret.IsZero() {
		names = append(names, "default")
	}
	if !c.Threads.ClientSecret.IsZero() {
		names = append(names, "threads")
	}
	if !c.Facebook.ClientSecret.IsZero() {
		names = append(names, "facebook")
	}
	return strings.Join(names, ", ")
}

// Upstreams returns the URLs at which igproxy calls Meta for the apps, each once. It leaves out
// upstream.login_url.
func (c Config) Upstreams() (urls []string) {
	for _, s := range []struct {
		name string
		service
	}{{"instagram", service{c.credentials, c.Upstream.URL}}, {"threads", c.Threads}, {"facebook", c.Facebook}} {
		called := !s.ClientSecret.IsZero() || slices.ContainsFunc(c.Apps, func(a App) bool { return cmp.Or(a.Service, "instagram") == s.name })
		if called && !slices.Contains(urls, s.URL) {
			urls = append(urls, s.URL)
		}
	}
	return urls
}

// Effective returns the key, the value in use and the origin of every setting. The value of a
// secret, or of a URL that may contain one, is "set", or empty if the setting is not set. The
// origin is "default", FILE:LINE, the name of a variable, or, for a secret in its own file, the key
// that names the file.
func (c Config) Effective() (all [][3]string) {
	rows := settings()
	for i := range c.Apps {
		rows = append(rows, appSettings(i)...)
	}
	for _, s := range rows {
		all = append(all, [3]string{s.key, s.text(&c), cmp.Or(c.origins[s.key], byDefault.where)})
	}
	return all
}
