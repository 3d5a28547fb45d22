package config

import (
	"errors"
	"fmt"
	"net/url"
	"runtime"
	"strings"
	"time"
)

// validate checks what no key can be checked for alone. A contradiction is told at the place of the
// key that was set, with the reason.
func (l *loader) validate() {
	l.validateApps()
	l.validateListeners()
	l.validateTrust(runtime.GOOS == "linux")
	l.validateTimes()
	l.validateRedis()
}

// isSet reports whether a key was given, rightly or not.
func (l *loader) isSet(key string) bool { _, ok := l.places[key]; return ok }

// contradiction reports a rule between keys under the first one's name. Its place is that of the
// first key that was set: pointing at a default would help nobody. A key that has been refused
// already is left in peace.
func (l *loader) contradiction(f fault, keys ...string) {
	if l.bad[keys[0]] {
		return
	}
	at := place{source: fromDefaults}
	for _, key := range keys {
		if l.isSet(key) {
			at = l.places[key]
			break
		}
	}
	l.report(at, keys[0], f)
}

// withSource is a key and its duration, for a reason.
func (l *loader) withSource(key string, d time.Duration) string {
	if l.isSet(key) && !l.bad[key] {
		return key + " (" + durationText(d) + ")"
	}
	return key + " (" + durationText(d) + " by default)"
}

func (l *loader) validateListeners() {
	c := &l.config
	if l.bad["listen"] {
		return
	}
	if sameAddress(c.Listen, c.Admin.Listen) && !l.bad["admin.listen"] {
		l.contradiction(fault{"the same address as listen", "give each its own port"}, "admin.listen", "listen")
	}
	if beyondLoopback(c.Admin.Listen) {
		l.warn(l.place("admin.listen"), "admin.listen", fault{"reachable by other machines, and it asks nobody who they are; it shows figures and no secret",
			"listen on 127.0.0.1 or unix:/path, or let only your monitoring reach it"})
	}
}

func (l *loader) validateTimes() {
	c := &l.config
	if least := 3 * c.Upstream.Timeout; c.Breaker.Interval < least {
		l.contradiction(fault{fmt.Sprintf("%s is less than 3 x %s: a failure slower than the window would never be counted",
			durationText(c.Breaker.Interval), l.withSource("upstream.timeout", c.Upstream.Timeout)), "write " + durationText(least) + " or more"},
			"breaker.interval", "upstream.timeout")
	}
	budget, parts := c.Upstream.Timeout+time.Second, l.withSource("upstream.timeout", c.Upstream.Timeout)+" + 1s"
	if c.Redis.Mode != "" {
		budget, parts = budget+c.Redis.Timeout, parts+" + "+l.withSource("redis.timeout", c.Redis.Timeout)
		if c.Coalesce.Enabled {
			budget, parts = budget+c.Coalesce.Wait, parts+" + "+l.withSource("coalesce.wait", c.Coalesce.Wait)
		}
		if least := 6 * c.Redis.Timeout; c.Coalesce.Lease < least {
			l.contradiction(fault{fmt.Sprintf("%s is less than 6 x %s: a renewal that Redis answers late would come too late",
				durationText(c.Coalesce.Lease), l.withSource("redis.timeout", c.Redis.Timeout)), "write " + durationText(least) + " or more"},
				"coalesce.lease", "redis.timeout")
		}
	}
	if c.Server.WriteTimeout <= budget {
		l.contradiction(fault{fmt.Sprintf("%s is not more than what an exchange may take, %s: the answer would be cut off",
			durationText(c.Server.WriteTimeout), parts), "write more than " + durationText(budget)},
			"server.write_timeout", "upstream.timeout", "redis.timeout", "coalesce.wait")
	}
	if c.Server.ReadTimeout < c.Server.ReadHeaderTimeout {
		l.contradiction(fault{fmt.Sprintf("%s is less than %s, which it includes", durationText(c.Server.ReadTimeout),
			l.withSource("server.read_header_timeout", c.Server.ReadHeaderTimeout)), "write " + durationText(c.Server.ReadHeaderTimeout) + " or more"},
			"server.read_timeout", "server.read_header_timeout")
	}
	if c.Passthrough.Enabled && c.Passthrough.Timeout < c.Upstream.Timeout {
		l.contradiction(fault{fmt.Sprintf("%s is less than %s", durationText(c.Passthrough.Timeout), l.withSource("upstream.timeout", c.Upstream.Timeout)),
			"write " + durationText(c.Upstream.Timeout) + " or more"}, "passthrough.timeout", "upstream.timeout")
	}
	if c.Cache.NegativeTTL > c.Cache.TTL {
		l.contradiction(fault{fmt.Sprintf("%s is more than %s: a refusal would be remembered longer than a token",
			durationText(c.Cache.NegativeTTL), l.withSource("cache.ttl", c.Cache.TTL)), "write " + durationText(c.Cache.TTL) + " or less"},
			"cache.negative_ttl", "cache.ttl")
	}
}

// validateRedis checks that the keys fit redis.mode.
func (l *loader) validateRedis() {
	c := &l.config.Redis
	if l.bad["redis.mode"] {
		return
	}
	if c.Mode == "" {
		for _, key := range []string{"redis.url", "redis.addrs", "redis.master_name", "redis.username", "redis.password_file", "redis.sentinel_username",
			"redis.sentinel_password_file", "redis.tls", "redis.ca_file", "redis.cert_file", "redis.key_file"} {
			if l.isSet(key) && (key != "redis.tls" || c.TLS) {
				l.contradiction(fault{"set, but redis.mode is not, so Redis would not be used", "write redis.mode: single, sentinel or cluster"}, key)
			}
		}
		return
	}
	hasURL, hasAddrs := l.isSet("redis.url"), l.isSet("redis.addrs")
	mode := "mode " + c.Mode
	switch {
	case c.Mode == "single" && hasURL && hasAddrs:
		l.contradiction(fault{"mode single has one node, and redis.url names it already", "keep redis.url or redis.addrs"}, "redis.addrs")
	case c.Mode == "single" && !hasURL && !hasAddrs:
		l.contradiction(fault{"mode single needs a node", "set redis.url, or redis.addrs with one address"}, "redis.mode")
	case c.Mode == "single" && len(c.Addrs) > 1:
		l.contradiction(fault{fmt.Sprintf("mode single has one node, and here are %d", len(c.Addrs)), "keep one, or set redis.mode to sentinel or cluster"},
			"redis.addrs")
	case c.Mode != "single" && !hasAddrs:
		l.contradiction(fault{mode + " needs addresses", "set redis.addrs"}, "redis.mode")
	}
	if c.Mode != "single" && hasURL {
		l.contradiction(fault{"not for " + mode, "set redis.addrs in its place"}, "redis.url")
	}
	if c.Mode == "sentinel" && !l.isSet("redis.master_name") {
		l.contradiction(fault{"mode sentinel needs the master's name", "set redis.master_name"}, "redis.mode")
	}
	if c.Mode != "sentinel" && l.isSet("redis.master_name") {
		l.contradiction(fault{"not for " + mode + ", which has no sentinels", "remove it, or set redis.mode: sentinel"}, "redis.master_name")
	}
	l.validateRedisURL()
	l.validateRedisTLS()
}

// validateRedisTLS checks that what TLS needs is whole, and that TLS is on.
func (l *loader) validateRedisTLS() {
	c := &l.config.Redis
	if !c.TLS && l.isSet("redis.addrs") {
		for _, key := range []string{"redis.ca_file", "redis.cert_file"} {
			if l.isSet(key) {
				l.contradiction(fault{"set, but TLS is off", "write redis.tls: true, or remove this"}, key)
			}
		}
	}
	if c.TLS && strings.HasPrefix(c.URL.Reveal(), "redis://") {
		l.contradiction(fault{"set, but redis.url says redis://", "write rediss:// in redis.url, and remove this"}, "redis.tls")
	}
	l.bothOrNone("redis.cert_file", "redis.key_file")
	for _, key := range []string{"redis.sentinel_username", "redis.sentinel_password_file"} {
		if c.Mode != "sentinel" && l.isSet(key) {
			l.contradiction(fault{"not for mode " + c.Mode + ", which has no sentinels", "remove it, or set redis.mode: sentinel"}, key)
		}
	}
}

func (l *loader) bothOrNone(a, b string) {
	for _, pair := range [][2]string{{a, b}, {b, a}} {
		if l.isSet(pair[0]) && !l.isSet(pair[1]) {
			l.contradiction(fault{"set without " + pair[1], "set both or none"}, pair[0])
		}
	}
}

// validateRedisURL checks it against the keys that say the same things.
func (l *loader) validateRedisURL() {
	u, err := url.Parse(l.config.Redis.URL.Reveal())
	if err != nil || u.Scheme == "" {
		return
	}
	if _, has := u.User.Password(); has && l.isSet("redis.password_file") {
		l.contradiction(fault{"set, and redis.url holds a password too", "keep one of the two"}, "redis.password_file")
	}
	if u.User.Username() != "" && l.isSet("redis.username") {
		l.contradiction(fault{"set, and redis.url holds a user name too", "keep one of the two"}, "redis.username")
	}
	for _, key := range []string{"redis.ca_file", "redis.cert_file"} {
		if u.Scheme != "rediss" && l.isSet(key) {
			l.contradiction(fault{"set, but redis.url does not ask for TLS", "write rediss:// in redis.url, or remove this"}, key)
		}
	}
}

// openFiles reads the files the configuration names.
func (l *loader) openFiles() {
	c := &l.config
	l.secretFiles()
	l.secretFile("cache.key_file", c.Cache.KeyFile, func(path string) (err error) {
		c.Cache.Key, err = readKeyFile(path)
		return err
	})
	l.secretFile("auth.bearer_file", c.Auth.BearerFile, func(path string) error { _, err := ReadBearer(path); return err })
	l.openFile("auth.client_ca", c.Auth.ClientCA, func(path string) error { _, err := ReadCertPool(path); return err })
	if c.TLS.CertFile != "" && c.TLS.KeyFile != "" {
		l.secretFile("tls.key_file", c.TLS.KeyFile, func(path string) error { _, err := ReadKeyPair(c.TLS.CertFile, path); return err })
	}
	l.secretFile("redis.password_file", c.Redis.PasswordFile, func(path string) error {
		_, err := ReadSecret(path) // whoever connects reads it again
		return err
	})
	l.secretFile("redis.sentinel_password_file", c.Redis.SentinelPasswordFile, func(path string) error {
		_, err := ReadSecret(path)
		return err
	})
	if c.Redis.CertFile != "" && c.Redis.KeyFile != "" {
		l.secretFile("redis.key_file", c.Redis.KeyFile, func(path string) error { _, err := ReadKeyPair(c.Redis.CertFile, path); return err })
	}
	l.openFile("upstream.ca_file", c.Upstream.CAFile, func(path string) error { _, err := ReadCertPool(path); return err })
	l.openFile("redis.ca_file", c.Redis.CAFile, func(path string) error { _, err := ReadCertPool(path); return err })
}

func (l *loader) secretFile(key, path string, read func(string) error) {
	if l.openFile(key, path, read) && readableByAll(path) {
		l.warn(l.place(key), key, fault{shownPath(path) + " can be read by every user of this machine", "chmod o-r it (Kubernetes: defaultMode: 0440)"})
	}
}

// openFile reports whether there is such a file and it is right.
func (l *loader) openFile(key, path string, read func(string) error) bool {
	if path == "" || l.bad[key] {
		return false
	}
	err := read(path)
	var f *fileError
	if errors.As(err, &f) {
		l.report(l.place(key), key, fault{f.Error(), f.fix})
	}
	return err == nil
}
