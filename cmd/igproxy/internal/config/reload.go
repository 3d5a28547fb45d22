package config

import (
	"cmp"
	"crypto/sha256"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/igproxy/igproxy/proxy"
)

// restartKeys are the keys that take effect only after a restart, because they configure parts that
// a reload keeps, such as listeners, servers, breakers and the Redis client. An item with a dot at
// the end stands for all keys of a section. New contents of the files that redis.password_file,
// redis.cert_file and redis.key_file name need no restart, because these files are read again for
// each new connection.
var restartKeys = []string{"listen", "intercept.listen", "intercept.tls", "intercept.others", "intercept.max_tunnels", "intercept.tunnel_idle", "admin.listen", "admin.socket", "auth.uids", "upstream.max_in_flight", "log.format",
	"server.", "redis.", "coalesce.", "breaker."}

// liveKeys are the keys in those sections that take effect without a restart.
var liveKeys = []string{"server.drain", "server.drain_delay"}

func needsRestart(key string) bool {
	return !slices.Contains(liveKeys, key) && slices.ContainsFunc(restartKeys, func(k string) bool {
		return key == k || strings.HasSuffix(k, ".") && strings.HasPrefix(key, k)
	})
}

// equal reports whether the setting has the same value in a and b. DeepEqual also compares the text
// of a Secret.
func (s setting) equal(a, b *Config) bool {
	return reflect.DeepEqual(s.field(a).Interface(), s.field(b).Interface())
}

// Merge returns the configuration to use after a reload. running is the configuration in use, and
// read is the configuration just loaded. A key that needs a restart keeps its running value. Merge
// also returns the keys that change now and the keys that wait for a restart.
func Merge(running, read Config) (next Config, changed, waiting []string) {
	next = read
	kept := next.keep(running)
	for _, key := range differences(running, read) {
		if slices.Contains(kept, key) || needsRestart(key) {
			waiting = append(waiting, key)
		} else {
			changed = append(changed, key)
		}
	}
	for i, f := range next.plainFiles() {
		if needsRestart(f.key) {
			next.digests[i] = running.digests[i]
		}
	}
	return next, changed, waiting
}

// differences returns the keys whose values differ. A client secret counts under client_secret,
// even if it comes from a file. Previous secrets, webhook secrets, the cache key and the contents
// of plainFiles count under the key that names the file. Every difference between listed apps
// counts under apps.
func differences(running, next Config) (keys []string) {
	for _, s := range settings() {
		if !s.equal(&running, &next) {
			keys = append(keys, s.key)
		}
	}
	add := func(key string, differs bool) {
		if differs && !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	differ := func(a, b proxy.Secret) bool { return !reflect.DeepEqual(a, b) }
	before, after := running.allCredentials(), next.allCredentials()
	for _, section := range slices.Sorted(maps.Keys(after)) {
		if was, is := before[section], after[section]; !strings.HasPrefix(section, appsKey) {
			add(section+"client_secret_file", differ(was.PreviousSecret, is.PreviousSecret))
			add(section+"webhook_secret_file", !reflect.DeepEqual(was.WebhookSecrets, is.WebhookSecrets))
		}
	}
	add("cache.key_file", differ(running.Cache.Key, next.Cache.Key))
	add(appsKey, !reflect.DeepEqual(running.Apps, next.Apps))
	for i, f := range next.plainFiles() {
		add(f.key, running.digests[i] != next.digests[i])
	}
	return keys
}

// keep sets the keys of c that need a restart to their running values, and returns the keys whose
// values differed.
func (c *Config) keep(running Config) (kept []string) {
	origins := map[string]string{}
	maps.Copy(origins, c.origins) // a copy: the configuration that was read must not change
	c.origins = origins
	retain := func(match func(key string) bool) {
		for _, s := range settings() {
			if match(s.key) && !s.equal(&running, c) {
				s.field(c).Set(s.field(&running))
				origins[s.key] = cmp.Or(running.origins[s.key], byDefault.where)
				kept = append(kept, s.key)
			}
		}
	}
	retain(needsRestart)
	// Turning TLS on or off needs a restart; another certificate or client authority does not.
	if (running.TLS.CertFile == "") != (c.TLS.CertFile == "") {
		retain(func(key string) bool { return strings.HasPrefix(key, "tls.") || key == "auth.client_ca" })
	}
	// A new timeout may contradict a value that was kept, such as breaker.interval. Then the
	// timeout waits for a restart too.
	l := newLoader(*c)
	if l.validateTimes(); len(l.problems) > 0 {
		retain(func(key string) bool { return key == "upstream.timeout" || key == "passthrough.timeout" })
	}
	return kept
}

// Files returns the paths of the files that have to be watched for a reload: all files that the
// configuration names, except pipes, which can be read only once. The code that uses certificates,
// redis.password_file, auth.bearer_file and admin.token_file reads these files again by itself, but
// Files includes them, so that a reload reports a file with which a restart would fail.
func (c Config) Files() (paths []string) {
	paths = append(paths, c.Cache.KeyFile, c.Auth.BearerFile, c.Auth.ClientCA, c.Admin.TokenFile, c.TLS.CertFile, c.TLS.KeyFile, c.Intercept.CAFile, c.Intercept.CAKeyFile,
		c.Redis.PasswordFile, c.Redis.CertFile, c.Redis.KeyFile)
	for _, app := range c.allCredentials() {
		paths = append(paths, app.ClientSecretFile, app.WebhookSecretFile)
	}
	for _, f := range c.plainFiles() {
		paths = append(paths, f.path)
	}
	slices.Sort(paths) // allCredentials has no order, but Stamps are compared in order
	return watchable(slices.DeleteFunc(paths, func(path string) bool { return path == "" }))
}

// plainFiles returns the files of which Config has digests instead of the contents. New contents
// take effect only with a reload or a restart.
func (c Config) plainFiles() [3]struct{ key, path string } {
	return [...]struct{ key, path string }{{"upstream.ca_file", c.Upstream.CAFile}, {"redis.ca_file", c.Redis.CAFile},
		{"redis.sentinel_password_file", c.Redis.SentinelPasswordFile}}
}

// digestFiles records digests of the plain files, so that a change can be found. A file that cannot
// be read has no digest.
func (c *Config) digestFiles() {
	for i, f := range c.plainFiles() {
		if text, err := readRegular(f.path, maxCertFile); err == nil {
			c.digests[i] = sha256.Sum256(text)
		}
	}
}
