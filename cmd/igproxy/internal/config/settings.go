package config

import (
	"slices"
	"strings"
	"time"
)

// kind is how a value is written.
type kind string

const (
	kindText     kind = "text"
	kindWord     kind = "word" // one of a few
	kindDuration kind = "duration"
	kindSize     kind = "size"
	kindCount    kind = "whole number"
	kindRatio    kind = "fraction"
	kindList     kind = "list"
	kindSwitch   kind = "switch"
)

// setting is one key of the configuration: what the file, the environment, the checks and config.example.yaml know of it is all here.
type setting struct {
	key  string
	kind kind
	doc  string // one or two sentences
	// low and high bound a number: nanoseconds for a duration, bytes for a size.
	low, high float64
	// words are the values of a kindWord.
	words []string
	// check looks at a text, or at each item of a list, and returns nil if it is right.
	check func(string) *fault
	// example is shown where there is no default.
	example string
	// secret: no message ever repeats the value.
	secret bool
	field  func(*Config) any
}

// settings is the table. Its order is that of config.example.yaml.
func settings() []setting {
	const second, minute, hour = float64(time.Second), float64(time.Minute), float64(time.Hour)
	const ms, million = float64(time.Millisecond), 1_000_000
	return []setting{
		{key: "listen", kind: kindText, check: checkListen, field: func(c *Config) any { return &c.Listen },
			doc: "Where apps reach igproxy: host:port, [::1]:port or unix:/path. Port 0 takes a free one, and the log says which."},
		{key: "allowed_hosts", kind: kindList, check: checkHost, example: "[igproxy.internal]", field: func(c *Config) any { return &c.AllowedHosts },
			doc: "Host names, without port, that requests may ask for. On loopback, loopback's own names are always allowed and no others; elsewhere an empty list allows all."},
		{key: "app_id", kind: kindText, check: checkAppID, example: `"17841400000000002"`, field: func(c *Config) any { return &c.AppID },
			doc: "The Instagram app's id. It keeps the entries of two apps apart that share one Redis."},
		{key: "client_secret", kind: kindText, secret: true, check: checkSecret, example: "(better not here)", field: func(c *Config) any { return &c.ClientSecret },
			doc: "The Instagram app's secret. Keep it out of this file: use client_secret_file or IGPROXY_CLIENT_SECRET."},
		{key: "client_secret_file", kind: kindText, example: "/run/secrets/instagram", field: func(c *Config) any { return &c.ClientSecretFile },
			doc: "The file that holds the client secret; on a second line, while it is being changed, the previous one. One newline at its end is cut off. Read again when it changes."},

		{key: "redirect_uris", kind: kindList, check: checkRedirect, example: "[https://app.example/callback]", field: func(c *Config) any { return &c.RedirectURIs },
			doc: "The redirect URIs that a code may be exchanged with, byte for byte. Without any, POST /oauth/access_token is refused: the sidecar would else exchange anybody's codes."},

		{key: "threads.app_id", kind: kindText, check: checkAppID, example: `"17841400000000003"`, field: func(c *Config) any { return &c.Threads.AppID },
			doc: "The Threads app's id."},
		{key: "threads.client_secret", kind: kindText, secret: true, check: checkSecret, example: "(better not here)", field: func(c *Config) any { return &c.Threads.ClientSecret },
			doc: "The Threads app's secret. Keep it out of this file: use threads.client_secret_file or IGPROXY_THREADS_CLIENT_SECRET."},
		{key: "threads.client_secret_file", kind: kindText, example: "/run/secrets/threads", field: func(c *Config) any { return &c.Threads.ClientSecretFile },
			doc: "The file that holds the Threads app's secret, and maybe the previous one."},
		{key: "threads.redirect_uris", kind: kindList, check: checkRedirect, example: "[https://app.example/threads]", field: func(c *Config) any { return &c.Threads.RedirectURIs },
			doc: "As redirect_uris, for Threads."},
		{key: "threads.url", kind: kindText, check: checkUpstreamURL, field: func(c *Config) any { return &c.Threads.URL },
			doc: "The base URL of Threads. Plain http only on loopback."},

		{key: "auth.bearer_file", kind: kindText, example: "/run/secrets/igproxy-token", field: func(c *Config) any { return &c.Auth.BearerFile },
			doc: "A file with one token of 16 characters or more that every app must send: as X-Igproxy-Token, or as the password of its base URL, http://igproxy:TOKEN@host. Read again when it changes."},
		{key: "auth.client_ca", kind: kindText, example: "/etc/igproxy/clients-ca.pem", field: func(c *Config) any { return &c.Auth.ClientCA },
			doc: "The authorities, in PEM, one of which must have signed an app's client certificate. Needs tls.cert_file. With auth.bearer_file, both are asked for. Read again when it changes."},
		{key: "auth.uids", kind: kindList, check: checkUID, example: "[1000, 1001]", field: func(c *Config) any { return &c.Auth.UIDs },
			doc: "The numbers of the users that may connect to a Unix socket, on Linux. Without it: all that server.socket_mode lets in."},
		{key: "auth.none", kind: kindSwitch, field: func(c *Config) any { return &c.Auth.None },
			doc: "Whether everybody who reaches listen is answered, from other machines too. Write true only where the network keeps others out."},

		{key: "tls.cert_file", kind: kindText, example: "/etc/igproxy/tls.crt", field: func(c *Config) any { return &c.TLS.CertFile },
			doc: "The certificate igproxy shows to apps, with its chain, in PEM. Read again when it changes."},
		{key: "tls.key_file", kind: kindText, example: "/run/secrets/tls.key", field: func(c *Config) any { return &c.TLS.KeyFile },
			doc: "The key of tls.cert_file, in PEM."},

		{key: "admin.listen", kind: kindText, check: checkListen, field: func(c *Config) any { return &c.Admin.Listen },
			doc: "Where /healthz, /readyz, /metrics and the page at / are: host:port, [::1]:port or unix:/path."},

		{key: "upstream.url", kind: kindText, check: checkUpstreamURL, field: func(c *Config) any { return &c.Upstream.URL },
			doc: "Instagram's base URL. Plain http only on loopback, for igproxy mock."},
		{key: "upstream.login_url", kind: kindText, check: checkUpstreamURL, field: func(c *Config) any { return &c.Upstream.LoginURL },
			doc: "Where Instagram's codes are exchanged. Plain http only on loopback."},
		{key: "upstream.timeout", kind: kindDuration, low: 100 * ms, high: minute, field: func(c *Config) any { return &c.Upstream.Timeout },
			doc: "How long Instagram may take for one exchange, all tries and the whole answer together."},
		{key: "upstream.ca_file", kind: kindText, example: "/etc/igproxy/upstream-ca.pem", field: func(c *Config) any { return &c.Upstream.CAFile },
			doc: "The only authorities believed for upstream.url, in PEM. Without it: the system's."},
		{key: "upstream.max_response_bytes", kind: kindSize, low: 1 << 10, high: 16 << 20, field: func(c *Config) any { return &c.Upstream.MaxResponseBytes },
			doc: "The largest answer read from Instagram, after inflating. A larger one counts as nonsense."},
		{key: "upstream.max_in_flight", kind: kindCount, low: 1, high: 100_000, field: func(c *Config) any { return &c.Upstream.MaxInFlight },
			doc: "How many calls of one app and grant may be in flight. Further ones get 503; tokens in the cache are still served."},
		{key: "upstream.retries", kind: kindCount, low: 0, high: 1, field: func(c *Config) any { return &c.Upstream.Retries },
			doc: "How often an exchange that brought no answer is tried again, within upstream.timeout."},

		{key: "cache.ttl", kind: kindDuration, low: second, high: 59 * 24 * hour, field: func(c *Config) any { return &c.Cache.TTL },
			doc: "How long a token is remembered. One hour is the life of the short-lived token it is found by."},
		{key: "cache.negative_ttl", kind: kindDuration, low: 0, high: 59 * 24 * hour, field: func(c *Config) any { return &c.Cache.NegativeTTL },
			doc: "How long Instagram's definite refusal of a token is remembered; at most cache.ttl. 0 turns it off."},
		{key: "cache.max_entries", kind: kindCount, low: 1, high: 10 * million, field: func(c *Config) any { return &c.Cache.MaxEntries },
			doc: "How many answers are kept in memory."},
		{key: "cache.key_file", kind: kindText, example: "/run/secrets/igproxy-cache-key", field: func(c *Config) any { return &c.Cache.KeyFile },
			doc: "A file of 32 to 4096 random bytes, taken as they are, that cache keys and seals are made of. Entries then survive a change of the client secret, which is used otherwise (of two, the previous one)."},

		{key: "refresh.ttl", kind: kindDuration, low: second, high: hour, field: func(c *Config) any { return &c.Refresh.TTL },
			doc: "How long a refreshed token is remembered, so that many processes that refresh one token cost one call."},
		{key: "code.ttl", kind: kindDuration, low: second, high: 50 * minute, field: func(c *Config) any { return &c.Code.TTL },
			doc: "How long the answer to a code is remembered. A code works once; a double callback gets the first one's answer."},

		{key: "passthrough.enabled", kind: kindSwitch, field: func(c *Config) any { return &c.Passthrough.Enabled },
			doc: "Whether every other path (/me, /{id}/media, uploads, paging) goes to Instagram as it came. false: it is a 404."},
		{key: "passthrough.timeout", kind: kindDuration, low: second, high: hour, field: func(c *Config) any { return &c.Passthrough.Timeout },
			doc: "How long one such call may take, bodies included."},
		{key: "passthrough.max_body_bytes", kind: kindSize, low: 1 << 10, high: 1 << 40, field: func(c *Config) any { return &c.Passthrough.MaxBodyBytes },
			doc: "The largest body passed on, of a request or of an answer."},
		{key: "passthrough.rewrite_paging", kind: kindSwitch, field: func(c *Config) any { return &c.Passthrough.RewritePaging },
			doc: "Whether paging.next and paging.previous in answers are made to point at the sidecar. They name Instagram's host and carry the user's token."},

		{key: "redis.mode", kind: kindWord, words: []string{"single", "sentinel", "cluster"}, example: "single", field: func(c *Config) any { return &c.Redis.Mode },
			doc: "How Redis is run. Without it the cache is in memory only."},
		{key: "redis.url", kind: kindText, secret: true, check: checkRedisURL, example: "rediss://redis.internal:6379/0", field: func(c *Config) any { return &c.Redis.URL },
			doc: "The node of mode single: redis://host:port/db, rediss:// for TLS, or unix:///path. Keep a password out of this file: use redis.password_file or IGPROXY_REDIS_URL."},
		{key: "redis.addrs", kind: kindList, check: checkAddr, example: "[redis-1:6379, redis-2:6379]", field: func(c *Config) any { return &c.Redis.Addrs },
			doc: "The sentinels of mode sentinel, some nodes of mode cluster, or the one node of mode single; each as host:port."},
		{key: "redis.master_name", kind: kindText, check: checkName, example: "mymaster", field: func(c *Config) any { return &c.Redis.MasterName },
			doc: "The name the sentinels know the master by. For mode sentinel only."},
		{key: "redis.username", kind: kindText, check: checkName, example: "igproxy", field: func(c *Config) any { return &c.Redis.Username },
			doc: "The user of Redis's access list. Without it: the default user."},
		{key: "redis.password_file", kind: kindText, example: "/run/secrets/redis", field: func(c *Config) any { return &c.Redis.PasswordFile },
			doc: "The file that holds Redis's password. It is read for every new connection, so a rotated one is found."},
		{key: "redis.sentinel_username", kind: kindText, check: checkName, example: "sentinel", field: func(c *Config) any { return &c.Redis.SentinelUsername },
			doc: "The user the sentinels themselves know igproxy by, if they ask."},
		{key: "redis.sentinel_password_file", kind: kindText, example: "/run/secrets/sentinel", field: func(c *Config) any { return &c.Redis.SentinelPasswordFile },
			doc: "The file that holds the sentinels' own password, if they have one."},
		{key: "redis.tls", kind: kindSwitch, field: func(c *Config) any { return &c.Redis.TLS },
			doc: "TLS to redis.addrs, sentinels included. With redis.url, write rediss:// instead."},
		{key: "redis.ca_file", kind: kindText, example: "/etc/igproxy/redis-ca.pem", field: func(c *Config) any { return &c.Redis.CAFile },
			doc: "The only authorities believed for Redis, in PEM. Without it: the system's."},
		{key: "redis.cert_file", kind: kindText, example: "/etc/igproxy/redis-client.pem", field: func(c *Config) any { return &c.Redis.CertFile },
			doc: "igproxy's own certificate for Redis, in PEM, where Redis asks for one. Read for every new connection."},
		{key: "redis.key_file", kind: kindText, example: "/run/secrets/redis-client-key.pem", field: func(c *Config) any { return &c.Redis.KeyFile },
			doc: "The key of redis.cert_file, in PEM."},
		{key: "redis.timeout", kind: kindDuration, low: ms, high: second, field: func(c *Config) any { return &c.Redis.Timeout },
			doc: "What Redis may cost one request. Beyond it the exchange goes on without Redis."},
		{key: "redis.pool_size", kind: kindCount, low: 1, high: 10_000, field: func(c *Config) any { return &c.Redis.PoolSize },
			doc: "The most connections to each Redis node."},
		{key: "redis.idle_timeout", kind: kindDuration, low: second, high: hour, field: func(c *Config) any { return &c.Redis.IdleTimeout },
			doc: "How long a connection to Redis may be idle before it is closed. Keep it below what firewalls, NAT and a managed Redis allow on the way, usually 4 to 6 minutes: they drop it silently."},
		{key: "redis.prefix", kind: kindText, check: checkPrefix, field: func(c *Config) any { return &c.Redis.Prefix },
			doc: "What every Redis key begins with."},

		{key: "coalesce.enabled", kind: kindSwitch, field: func(c *Config) any { return &c.Coalesce.Enabled },
			doc: "Whether the sidecars on one Redis join their exchanges: one asks, the others wait for its answer."},
		{key: "coalesce.lease", kind: kindDuration, low: 200 * ms, high: minute, field: func(c *Config) any { return &c.Coalesce.Lease },
			doc: "How long the others wait for a sidecar that has died. A living one renews its lease every third of this; at least six times redis.timeout."},
		{key: "coalesce.wait", kind: kindDuration, low: 100 * ms, high: minute, field: func(c *Config) any { return &c.Coalesce.Wait },
			doc: "How long a sidecar waits for another one's answer before it asks Instagram itself."},

		{key: "breaker.failures", kind: kindCount, low: 1, high: million, field: func(c *Config) any { return &c.Breaker.Failures },
			doc: "The number of failures in a row that opens a breaker: Instagram is then not asked for a while. Each app, grant and redirect_uri has a breaker of its own, and a token counts once."},
		{key: "breaker.ratio", kind: kindRatio, low: 0, high: 1, field: func(c *Config) any { return &c.Breaker.Ratio },
			doc: "The share of failures within breaker.interval that opens it too."},
		{key: "breaker.min_requests", kind: kindCount, low: 1, high: million, field: func(c *Config) any { return &c.Breaker.MinRequests },
			doc: "breaker.ratio counts only from so many exchanges within breaker.interval."},
		{key: "breaker.interval", kind: kindDuration, low: 300 * ms, high: hour, field: func(c *Config) any { return &c.Breaker.Interval },
			doc: "The length of the rolling window failures are counted in; at least three times upstream.timeout."},
		{key: "breaker.open", kind: kindDuration, low: 100 * ms, high: hour, field: func(c *Config) any { return &c.Breaker.Open },
			doc: "How long an open breaker refuses before it lets probes through."},
		{key: "breaker.probes", kind: kindCount, low: 1, high: 100, field: func(c *Config) any { return &c.Breaker.Probes },
			doc: "How many probes are let through at once; all must succeed to close the breaker."},

		{key: "server.read_header_timeout", kind: kindDuration, low: 100 * ms, high: minute, field: func(c *Config) any { return &c.Server.ReadHeaderTimeout },
			doc: "How long an app may take to send a request's header."},
		{key: "server.read_timeout", kind: kindDuration, low: 100 * ms, high: 5 * minute, field: func(c *Config) any { return &c.Server.ReadTimeout },
			doc: "How long an app may take to send a whole request; at least server.read_header_timeout."},
		{key: "server.write_timeout", kind: kindDuration, low: second, high: 10 * minute, field: func(c *Config) any { return &c.Server.WriteTimeout },
			doc: "How long a request may take from its header to the end of its answer; more than upstream.timeout, redis.timeout, coalesce.wait and one second together."},
		{key: "server.idle_timeout", kind: kindDuration, low: second, high: hour, field: func(c *Config) any { return &c.Server.IdleTimeout },
			doc: "How long an idle connection is kept for an app's next request."},
		{key: "server.max_header_bytes", kind: kindSize, low: 8 << 10, high: 1 << 20, field: func(c *Config) any { return &c.Server.MaxHeaderBytes },
			doc: "The largest request header read, the request line with the token in it included."},
		{key: "server.max_connections", kind: kindCount, low: 1, high: million, field: func(c *Config) any { return &c.Server.MaxConnections },
			doc: "How many connections apps may have open at once. Beyond it the longest idle one is closed; if none is idle, a new one waits."},
		{key: "server.fast_lane", kind: kindSwitch, field: func(c *Config) any { return &c.Server.FastLane },
			doc: "Whether plain hits in memory are answered below net/http, at half the cost. The answers are the same."},
		{key: "server.drain", kind: kindDuration, low: 0, high: 10 * minute, field: func(c *Config) any { return &c.Server.Drain },
			doc: "How long a stop waits for requests and stores under way."},
		{key: "server.socket_mode", kind: kindText, check: checkMode, field: func(c *Config) any { return &c.Server.SocketMode },
			doc: "The mode of the Unix socket in listen, in octal. Whoever may write to it may connect."},

		{key: "log.level", kind: kindWord, words: []string{"debug", "info", "warn", "error"}, field: func(c *Config) any { return &c.Log.Level },
			doc: "The least important lines to log."},
		{key: "log.hits", kind: kindCount, low: 1, high: million, field: func(c *Config) any { return &c.Log.Hits },
			doc: "How many lines a second are logged of hits, in memory and in Redis. The next line says how many had none; the metrics count all."},
		{key: "log.format", kind: kindWord, words: []string{"auto", "json", "text"}, field: func(c *Config) any { return &c.Log.Format },
			doc: "How lines are logged. auto is text when standard error is a terminal, and json otherwise."},
	}
}

// find returns the row of a key.
func (l *loader) find(key string) (setting, bool) {
	i := slices.IndexFunc(l.table, func(s setting) bool { return s.key == key })
	if i < 0 {
		return setting{}, false
	}
	return l.table[i], true
}

// known are all keys, and the sections they are in.
func (l *loader) known() []string {
	names := []string{appsKey}
	for _, s := range l.table {
		if section, _, ok := strings.Cut(s.key, "."); ok && !slices.Contains(names, section) {
			names = append(names, section)
		}
		names = append(names, s.key)
	}
	return names
}
