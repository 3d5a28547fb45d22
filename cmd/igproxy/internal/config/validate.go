package config

import (
	"crypto/tls"
	"errors"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/igproxy/igproxy/proxy"
)

// validate checks how keys fit together.
func (l *loader) validate() {
	l.validateApps()
	l.validateListeners()
	l.validateOperators(runtime.GOOS == "linux")
	l.validateTrust(runtime.GOOS == "linux")
	l.validateTimes()
	l.validateIntercept()
	l.validateRedis()
	l.validateKeep()
}

// contradiction reports a fault under keys[0], unless the value of that key has been refused
// already. The problem has the place of the first key that is set, because a default has no line to
// change.
func (l *loader) contradiction(f fault, keys ...string) {
	if !l.bad[keys[0]] {
		l.report(l.place(keys...), keys[0], f)
	}
}

// refuse reports the same fault for all of the keys that are set.
func (l *loader) refuse(f fault, keys ...string) {
	for _, key := range keys {
		if l.isSet(key) {
			l.contradiction(f, key)
		}
	}
}

func (l *loader) bothOrNone(a, b string) {
	for _, pair := range [][2]string{{a, b}, {b, a}} {
		if !l.isSet(pair[1]) {
			l.refuse(fault{"set without " + pair[1], "set both or neither"}, pair[0])
		}
	}
}

func (l *loader) validateListeners() {
	c := &l.config
	for i, address := range c.Listen {
		if strings.HasSuffix(address, ":0") {
			continue
		}
		if address == c.Admin.Listen {
			l.contradiction(fault{"the same address as listen", "give each its own address"}, "admin.listen", "listen")
		}
		if slices.Contains(c.Listen[:i], address) {
			l.contradiction(fault{quote(address) + " is in the list twice", "keep one"}, "listen")
		}
	}
	if beyondLoopback(c.Admin.Listen) {
		l.warn(l.place("admin.listen"), "admin.listen", fault{"reachable by other machines without authentication: it shows metrics, but no secret",
			"listen on 127.0.0.1 or unix:/path, or let only your monitoring reach it"})
	}
}

// validateOperators checks how operations are reached. hasUIDs says whether igproxy can read the
// UID of a Unix socket's client.
func (l *loader) validateOperators(hasUIDs bool) {
	c := &l.config.Admin
	switch socket := "unix:" + c.Socket; {
	case slices.Contains(l.config.Listen, socket):
		l.contradiction(fault{"the same socket as listen", "give each its own path"}, "admin.socket")
	case socket == c.Listen:
		l.contradiction(fault{"the same socket as admin.listen", "give each its own path"}, "admin.socket")
	}
	switch {
	case !hasUIDs:
		l.refuse(fault{"igproxy can check UIDs only on Linux", "remove it, and set admin.token_file"}, "admin.uids")
	case !l.isSet("admin.socket") && !strings.HasPrefix(c.Listen, "unix:"):
		l.refuse(fault{"allowed only with a Unix socket", "set admin.socket, or remove admin.uids"}, "admin.uids")
	}
	if c.Quit && !l.isSet("admin.socket") && !l.isSet("admin.token_file") && !strings.HasPrefix(c.Listen, "unix:") {
		l.contradiction(fault{"set without admin.socket or admin.token_file, so every POST /quit would be refused", "set one of them"}, "admin.quit")
	}
	if c.TokenFile != "" && beyondLoopback(c.Listen) {
		l.warn(l.place("admin.token_file"), "admin.token_file", fault{"sent without TLS to admin.listen, which other machines can reach: the token can be read on the network",
			"set admin.socket instead, or use a network that encrypts traffic"})
	}
}

// TrustChoices is the next step for a listener that other machines can reach without
// authentication.
const TrustChoices = "set auth.bearer_file, or auth.client_ca with tls.cert_file and tls.key_file, " +
	"or auth.none: true if the network keeps others out; or listen on 127.0.0.1 or unix:/path"

// validateTrust checks that the operator has decided who may use igproxy. hasUIDs is as in
// validateOperators.
func (l *loader) validateTrust(hasUIDs bool) {
	l.bothOrNone("tls.cert_file", "tls.key_file")
	hasTLS := l.isSet("tls.cert_file") || l.isSet("tls.key_file")
	hasSocket := slices.ContainsFunc(l.config.Listen, isUnix) || isUnix(l.config.Intercept.Listen)
	hasPort := slices.ContainsFunc(l.config.Listen, isTCP) || l.config.Intercept.TLS && isTCP(l.config.Intercept.Listen)
	if !hasTLS && hasPort {
		l.refuse(fault{"set without tls.cert_file and tls.key_file: client certificates need TLS", "set all three"}, "auth.client_ca")
	}
	if !l.isSet("auth.client_ca") {
		l.refuse(fault{"set without auth.client_ca, so no client certificate is requested", "set both"}, "auth.client_names")
	}
	if l.config.Auth.None {
		l.refuse(fault{"set although auth.none is true", "keep one of the two"}, "auth.bearer_file", "auth.client_ca", "auth.uids")
	}
	if !hasUIDs {
		l.refuse(fault{"igproxy can check UIDs only on Linux", "remove it, and restrict server.socket_mode"}, "auth.uids")
	}
	if l.bad["listen"] {
		return
	}
	switch {
	case !hasPort:
		l.refuse(fault{"not used: listen has only Unix sockets, which do not use TLS", "remove it"},
			"tls.cert_file", "tls.key_file", "auth.client_ca")
	case !hasSocket:
		l.refuse(fault{"allowed only with a Unix socket, as in listen: unix:/path", "remove it"}, "auth.uids")
	case l.isSet("auth.uids") && slices.ContainsFunc(l.config.Listen, isTCP) && !l.isSet("auth.bearer_file") && !l.isSet("auth.client_ca"):
		l.warn(l.place("auth.uids"), "auth.uids", fault{"restricts only Unix sockets: every user of this machine can connect to the TCP port in listen",
			"listen only on unix:/path, or set auth.bearer_file"})
	}
	if slices.ContainsFunc(l.config.Listen, beyondLoopback) {
		l.validateReachable(hasTLS)
	}
}

// validateReachable checks a listener that other machines can reach.
func (l *loader) validateReachable(hasTLS bool) {
	at, bearer := l.place("listen"), l.isSet("auth.bearer_file")
	switch {
	case l.config.Auth.None:
		l.warn(at, "listen", fault{"reachable by other machines: every program that reaches it can exchange tokens with your secret",
			"listen on 127.0.0.1 or unix:/path, or block other machines at the network level"})
	case !bearer && !l.isSet("auth.client_ca") && !l.bad["auth.none"]: // an invalid auth.none is reported already
		l.report(at, "listen", fault{"reachable by other machines without authentication", TrustChoices})
	case bearer && !hasTLS:
		l.warn(at, "listen", fault{"reachable by other machines without TLS: tokens can be read on the network",
			"set tls.cert_file and tls.key_file, or use a network that encrypts traffic"})
	}
}

// validateTimes checks durations against the durations that limit them. Merge uses it too.
func (l *loader) validateTimes() {
	c := &l.config
	atLeast := func(d, least time.Duration, because string, keys ...string) {
		if d < least {
			l.contradiction(fault{durationText(d) + " is less than " + because, "write " + durationText(least) + " or more"}, keys...)
		}
	}
	atLeast(c.Breaker.Interval, 3*c.Upstream.Timeout, "three times upstream.timeout: slow failures would not be counted",
		"breaker.interval", "upstream.timeout")
	atLeast(c.Server.ReadTimeout, c.Server.ReadHeaderTimeout, "server.read_header_timeout, although a request includes its header",
		"server.read_timeout", "server.read_header_timeout")
	exchange, sum := c.Upstream.Timeout+time.Second, "upstream.timeout + 1s"
	if c.Redis.Mode != "" {
		exchange, sum = exchange+c.Redis.Timeout, sum+" + redis.timeout"
		if c.Coalesce.Enabled {
			exchange, sum = exchange+c.Coalesce.Wait, sum+" + coalesce.wait"
			atLeast(c.Coalesce.Lease, 6*c.Redis.Timeout, "six times redis.timeout: leases would not be renewed in time",
				"coalesce.lease", "redis.timeout")
		}
	}
	atLeast(c.Server.WriteTimeout, exchange, sum+": responses would be cut off",
		"server.write_timeout", "upstream.timeout", "redis.timeout", "coalesce.wait")
	if c.Passthrough.Enabled {
		atLeast(c.Passthrough.Timeout, c.Upstream.Timeout, "upstream.timeout", "passthrough.timeout", "upstream.timeout")
	}
}

// validateRedis checks that the keys fit redis.mode.
func (l *loader) validateRedis() {
	c := &l.config.Redis
	hasURL, hasAddrs := l.isSet("redis.url"), l.isSet("redis.addrs")
	switch {
	case l.bad["redis.mode"]:
		return
	case c.Mode == "":
		for _, s := range l.table {
			if strings.HasPrefix(s.key, "redis.") && s.value == "" || s.key == "redis.tls" && c.TLS {
				l.refuse(fault{"set without redis.mode, so Redis would not be used", "set redis.mode to single, sentinel or cluster"}, s.key)
			}
		}
		return
	case c.Mode == "single" && (hasURL == hasAddrs || len(c.Addrs) > 1):
		l.contradiction(fault{"mode single needs exactly one node", "set redis.url, or redis.addrs with one address"}, "redis.mode")
	case c.Mode != "single":
		l.refuse(fault{"allowed only in mode single", "set redis.addrs instead"}, "redis.url")
		if !hasAddrs {
			l.contradiction(fault{"mode " + c.Mode + " needs addresses", "set redis.addrs"}, "redis.mode")
		}
	}
	if c.Mode != "sentinel" {
		l.refuse(fault{"allowed only in mode sentinel", "remove it, or set redis.mode: sentinel"},
			"redis.master_name", "redis.sentinel_username", "redis.sentinel_password_file")
	} else if !l.isSet("redis.master_name") {
		l.contradiction(fault{"mode sentinel needs the name of the master", "set redis.master_name"}, "redis.mode")
	}
	l.bothOrNone("redis.cert_file", "redis.key_file")
	if l.isSet("redis.password_file") {
		l.refuse(fault{"redis.password_file is set too", "keep one of the two"}, "redis.password")
	}
	l.warnOfWrapping("redis.password", "", c.Password)
	l.validateRedisURL()
	l.warnOfReadablePasswords()
}

// warnOfWrapping warns of a password that looks like a line of an env file. That is not an error,
// because the password may really look like this. path is the path of the password's file, or
// empty.
func (l *loader) warnOfWrapping(key, path string, password proxy.Secret) {
	f := faultOfWrapping(password.Reveal())
	if f == nil {
		return
	}
	if path != "" {
		f.what = shownPath(path) + " " + f.what
	}
	l.warn(l.place(key), key, *f)
}

// warnOfReadablePasswords warns if a password for Redis would travel to another machine without
// TLS.
func (l *loader) warnOfReadablePasswords() {
	c := &l.config.Redis
	u, err := url.Parse(c.URL.Reveal())
	if err != nil || c.TLS || u.Scheme == "rediss" {
		return
	}
	_, inURL := u.User.Password()
	if !inURL && !l.isSet("redis.password") && !l.isSet("redis.password_file") && !l.isSet("redis.sentinel_password_file") {
		return
	}
	what := fault{"on another machine, with a password and without TLS: the password can be read on the network",
		"write rediss:// in redis.url, or redis.tls: true with redis.addrs, or use a network that encrypts traffic"}
	if u.Scheme == "redis" && !isLoopback(u.Hostname()) {
		l.warn(l.place("redis.url"), "redis.url", what)
	}
	if slices.ContainsFunc(c.Addrs, beyondLoopback) {
		l.warn(l.place("redis.addrs"), "redis.addrs", what)
	}
}

// validateRedisURL checks redis.url against the keys that can contradict it.
func (l *loader) validateRedisURL() {
	u, err := url.Parse(l.config.Redis.URL.Reveal())
	if err != nil || l.bad["redis.url"] {
		return
	}
	if _, has := u.User.Password(); has {
		l.refuse(fault{"redis.url contains a password too", "keep one of the two"}, "redis.password", "redis.password_file")
		if at := l.place("redis.url"); at != inEnvironment {
			l.warn(at, "redis.url", fault{"a password in the configuration file", "use redis.password_file or IGPROXY_REDIS_URL instead"})
		}
	}
	if u.User.Username() != "" {
		l.refuse(fault{"redis.url contains a user name too", "keep one of the two"}, "redis.username")
	}
	switch {
	case u.Scheme == "redis" && l.config.Redis.TLS:
		l.contradiction(fault{"set, but redis.url begins with redis://", "write rediss:// in redis.url, and remove this"}, "redis.tls")
	case u.Scheme != "rediss" && !l.config.Redis.TLS:
		l.refuse(fault{"set, but TLS to Redis is off", "write rediss:// in redis.url, or redis.tls: true with redis.addrs"},
			"redis.ca_file", "redis.cert_file", "redis.tls_server_name")
	}
}

// openFiles reads and checks the files that the configuration names. It stores the secrets of apps
// and the cache key; the parts of igproxy that need the other files read them again.
func (l *loader) openFiles() {
	c := &l.config
	for section, app := range c.allCredentials() {
		if secrets, ok := openSecret(l, section+"client_secret_file", app.ClientSecretFile, readClientSecrets); ok {
			app.ClientSecret, app.PreviousSecret = secrets[0], secrets[1]
		}
		if secrets, ok := openSecret(l, section+"webhook_secret_file", app.WebhookSecretFile, readClientSecrets); ok {
			app.WebhookSecrets = slices.DeleteFunc(secrets[:], proxy.Secret.IsZero)
		}
	}
	c.Cache.Key, _ = openSecret(l, "cache.key_file", c.Cache.KeyFile, readKeyFile)
	openSecret(l, "auth.bearer_file", c.Auth.BearerFile, ReadBearers)
	openSecret(l, "admin.token_file", c.Admin.TokenFile, ReadBearers)
	for key, path := range map[string]string{"redis.password_file": c.Redis.PasswordFile, "redis.sentinel_password_file": c.Redis.SentinelPasswordFile} {
		password, _ := openSecret(l, key, path, ReadSecret)
		l.warnOfWrapping(key, path, password)
	}
	openFile(l, "auth.client_ca", c.Auth.ClientCA, ReadCertPool)
	openFile(l, "upstream.ca_file", c.Upstream.CAFile, ReadCertPool)
	openFile(l, "redis.ca_file", c.Redis.CAFile, ReadCertPool)
	pair := func(key, certFile, keyFile string) {
		if certFile != "" {
			openSecret(l, key, keyFile, func(path string) (*tls.Certificate, error) { return ReadKeyPair(certFile, path) })
		}
	}
	pair("tls.key_file", c.TLS.CertFile, c.TLS.KeyFile)
	l.openAuthority()
	pair("redis.key_file", c.Redis.CertFile, c.Redis.KeyFile)
}

// openSecret reads a file as openFile does, and warns if every user can read it.
func openSecret[T any](l *loader, key, path string, read func(path string) (T, error)) (T, bool) {
	v, ok := openFile(l, key, path, read)
	if ok && readableByAll(path) {
		what := shownPath(path) + " can be read by every user of this machine"
		l.warn(l.place(key), key, fault{what, "chmod o-r it (Kubernetes: defaultMode: 0440)"})
	}
	return v, ok
}

// openFile reads the file that a key names, and reports what is wrong with it. It returns false if
// the key names no file, or if its value or the file was refused.
func openFile[T any](l *loader, key, path string, read func(path string) (T, error)) (v T, ok bool) {
	if path == "" || l.bad[key] {
		return v, false
	}
	v, err := read(path)
	var f *fileError
	if errors.As(err, &f) {
		l.report(l.place(key), key, fault{f.Error(), f.fix})
	}
	return v, err == nil
}
