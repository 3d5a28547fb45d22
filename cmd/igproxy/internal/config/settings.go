package config

import (
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// kind is the form in which a value is written. Messages name it.
type kind string

const (
	kindText     kind = "text"
	kindWord     kind = "word" // one of setting.words
	kindDuration kind = "duration"
	kindSize     kind = "size"
	kindCount    kind = "whole number"
	kindRatio    kind = "fraction"
	kindList     kind = "list"
	kindSwitch   kind = "switch"
)

// setting is one key of the configuration. It has all that is needed to read the key from the file
// or the environment, to check its value, and to generate its documentation.
type setting struct {
	key       string // names the field of Config, in snake case
	kind      kind
	doc       string              // a few sentences
	value     string              // the default, as written in the file; empty: no default
	example   string              // for the documentation of a setting without a default
	low, high float64             // the range of a number; ns for a duration, bytes for a size; a kindRatio exceeds low
	words     []string            // the allowed values of a kindWord
	orText    bool                // a kindList may be one text; in a variable, spaces may then separate items
	check     func(string) *fault // returns what is wrong with a text or an item of a list; nil: no check
}

// settings returns the table of settings, in the order of config.example.yaml. appSettings returns
// the rows for the keys in the list of apps.
func settings() []setting {
	const second, minute, hour = float64(time.Second), float64(time.Minute), float64(time.Hour)
	const ms, million = float64(time.Millisecond), 1_000_000
	return slices.Concat([]setting{
		{key: "listen", kind: kindList, orText: true, value: "127.0.0.1:8080", check: checkListen,
			doc: "Where apps reach igproxy: host:port, [::1]:port or unix:/path, or a list of these, such as [127.0.0.1:8080, '[::1]:8080', " +
				"unix:/run/igproxy/app.sock]. Port 0 picks a free port, which the log shows."},
		{key: "allowed_hosts", kind: kindList, check: checkHost, example: "[igproxy.internal]",
			doc: "Host names, without a port, that requests may use. localhost and loopback addresses are always allowed. Listeners for " +
				"apps also accept the names in apps[].hosts and, for each service that has an app, the names of Meta's hosts (such as " +
				"graph.facebook.com). While this list is empty, a listener for apps that is not on loopback also accepts all other " +
				"names, except those of Meta's hosts for services without an app. If admin.listen is not on loopback, it always accepts " +
				"all names except those of Meta's hosts, because probes use the address of a pod. admin.socket accepts the same names " +
				"as admin.listen."},
	}, credentialSettings("", "instagram"), credentialSettings("threads.", "threads"), []setting{
		{key: "threads.url", kind: kindText, value: "https://graph.threads.net", check: checkUpstreamURL,
			doc: "The base URL of Threads, which is also reachable as https://graph.threads.com. Plain http is allowed only on loopback."},
	}, credentialSettings("facebook.", "facebook"), []setting{
		{key: "facebook.url", kind: kindText, value: "https://graph.facebook.com", check: checkUpstreamURL,
			doc: "The base URL of Facebook. Plain http is allowed only on loopback."},

		{key: "auth.bearer_file", kind: kindText, example: "/run/secrets/igproxy-token",
			doc: "A file with a token of at least 16 characters that every app must send in one of three ways: as X-Igproxy-Token; as " +
				"the password in its base URL (http://igproxy:TOKEN@host); or as Authorization: Bearer, but only in calls with " +
				"access_token in the query, in calls to /oauth/access_token and in calls to paths below /_igproxy/. While the token is being " +
				"rotated, the file has the previous token on a second line, and igproxy accepts both. At intercept.listen, clients send " +
				"the token as the password in HTTPS_PROXY instead. The file is reloaded when it changes."},
		{key: "auth.client_ca", kind: kindText, example: "/etc/igproxy/clients-ca.pem",
			doc: "A file, in PEM, with the certificate authorities that sign the client certificates of apps. This setting needs " +
				"tls.cert_file. If auth.bearer_file is also set, an app needs both a certificate and the token. The file is reloaded " +
				"when it changes."},
		{key: "auth.client_names", kind: kindList, check: checkClientName, example: "[shop.internal, spiffe://example.org/shop]",
			doc: "A client certificate must have one of these names as a subject alternative name. A DNS name is compared without " +
				"regard to letter case, a URI exactly. Without this list, every certificate that an authority in auth.client_ca signed is accepted."},
		{key: "auth.uids", kind: kindList, check: checkUID, example: "[1000, 1001]",
			doc: "The UIDs that may connect to a Unix socket in listen or intercept.listen, on Linux. Without this list, every user whom " +
				"server.socket_mode allows may connect."},
		{key: "auth.none", kind: kindSwitch, value: "false",
			doc: "Whether other machines may use igproxy without authentication. Set it to true only if the network lets only trusted " +
				"programs connect."},

		{key: "tls.cert_file", kind: kindText, example: "/etc/igproxy/tls.crt",
			doc: "The certificate that igproxy presents to apps, with its chain, in PEM. Reloaded when it changes. A Unix socket in listen does not use TLS."},
		{key: "tls.key_file", kind: kindText, example: "/run/secrets/tls.key",
			doc: "The private key of tls.cert_file, in PEM."},

		{key: "admin.listen", kind: kindText, value: "127.0.0.1:9090", check: checkListen,
			doc: "Where /healthz, /readyz, /metrics and the status page at / are served: host:port, [::1]:port or unix:/path. Prometheus " +
				"also uses port 9090 by default: if it runs on the same machine, change one of the two ports."},
		{key: "admin.socket", kind: kindText, check: checkSocket, example: "/run/igproxy/admin.sock",
			doc: "A Unix socket, mode 0660, that serves the same as admin.listen. Root, igproxy's own user and the UIDs in admin.uids " +
				"can run operations (reload, purge, resume, quit) over this socket, and over admin.listen if it is a Unix socket too. " +
				"On systems other than Linux, igproxy does not know the UIDs of clients: use admin.token_file there."},
		{key: "admin.uids", kind: kindList, check: checkUID, example: "[1000]",
			doc: "More UIDs that can run operations over the Unix socket, on Linux. These users must also be in the socket's group."},
		{key: "admin.token_file", kind: kindText, example: "/run/secrets/igproxy-admin-token",
			doc: "A file with a token of at least 16 characters. While the token is being rotated, the file has the previous token on a " +
				"second line. Clients that send either token as Authorization: Bearer TOKEN can run operations over any admin listener. " +
				"The file is reloaded when it changes."},
		{key: "admin.ready_when_refused", kind: kindSwitch, value: "false",
			doc: "Whether /readyz stays ready while Meta refuses the client secrets of all apps, and while igproxy tests them at its " +
				"start (upstream.check_at_start). Known tokens are served in any case. If false, the sidecar is not ready during these " +
				"times. igproxy tests refused secrets again by itself."},
		{key: "admin.quit", kind: kindSwitch, value: "false",
			doc: "Whether POST /quit on an admin listener stops igproxy. igproxy accepts this call only from programs that run on the " +
				"same machine and may run operations. Set it for a Kubernetes Job whose sidecar is an ordinary container: the job calls " +
				"POST /quit when its work is done."},

		{key: "intercept.listen", kind: kindText, check: checkListen, example: "127.0.0.1:8082",
			doc: "Where clients that cannot change their base URL reach igproxy as their HTTPS_PROXY: host:port, [::1]:port or " +
				"unix:/path. Without this setting, nothing is intercepted. See docs/intercept.md."},
		{key: "intercept.ca_file", kind: kindText, example: "/etc/igproxy/ca/igproxy-ca.pem",
			doc: "The certificate, in PEM, of the authority that signs igproxy's certificates for Meta's hosts. igproxy ca init makes " +
				"such an authority, and clients must trust it. Reloaded when it changes."},
		{key: "intercept.ca_key_file", kind: kindText, example: "/run/secrets/igproxy-ca.key",
			doc: "The private key of intercept.ca_file, in PEM. Reloaded when it changes."},
		{key: "intercept.tls", kind: kindSwitch, value: "false",
			doc: "Whether clients speak TLS to intercept.listen, as with HTTPS_PROXY=https://host:port. If so, igproxy uses " +
				"tls.cert_file, and auth.client_ca if it is set. A Unix socket does not use TLS. Few clients can speak TLS to their proxy."},
		{key: "intercept.others", kind: kindWord, value: "refuse", words: []string{"refuse", InterceptTunnel},
			doc: "What igproxy does with connections to hosts that it does not intercept. With refuse, it answers them with 403. With " +
				"tunnel, it passes their bytes on unread, but only to port 443 of public addresses."},
		{key: "intercept.max_tunnels", kind: kindCount, value: "256", low: 1, high: 100_000,
			doc: "How many tunnels to other hosts may be open at once. igproxy answers further requests for a tunnel with 503."},
		{key: "intercept.tunnel_idle", kind: kindDuration, value: "5m", low: second, high: 24 * hour,
			doc: "How long a tunnel may be idle before igproxy closes it."},

		{key: "upstream.url", kind: kindText, value: "https://graph.instagram.com", check: checkUpstreamURL,
			doc: "Instagram's base URL. Plain http is allowed only on loopback, for use with igproxy mock."},
		{key: "upstream.login_url", kind: kindText, value: "https://api.instagram.com", check: checkUpstreamURL,
			doc: "The base URL at which Instagram exchanges codes. Plain http is allowed only on loopback."},
		{key: "upstream.timeout", kind: kindDuration, value: "10s", low: 100 * ms, high: minute,
			doc: "How long one exchange with Meta may take, including retries and the whole response."},
		{key: "upstream.ca_file", kind: kindText, example: "/etc/igproxy/upstream-ca.pem",
			doc: "A file, in PEM, with the only certificate authorities that igproxy trusts for calls to Meta. Without this setting, " +
				"igproxy trusts the system's authorities."},
		{key: "upstream.max_response_bytes", kind: kindSize, value: "64KiB", low: 1 << 10, high: 16 << 20,
			doc: "The largest response accepted from Meta, after decompression. A larger response counts as malformed."},
		{key: "upstream.max_in_flight", kind: kindCount, value: "128", low: 1, high: 100_000,
			doc: "How many calls of one app and grant (a kind of token call, such as exchange or refresh) may be in flight. Code " +
				"exchanges are counted separately for each redirect_uri. Eight times as many calls may wait for a call in flight to end. " +
				"They wait for at most upstream.timeout, plus redis.timeout if redis.mode is set, plus coalesce.wait if " +
				"coalesce.enabled is true as well. Further calls get 503. Cached tokens are still served."},
		{key: "upstream.retries", kind: kindCount, value: "1", low: 0, high: 1,
			doc: "How many times igproxy retries an exchange that got no response or a temporary error from Meta, within upstream.timeout. " +
				"The exchange of a code is never retried."},
		{key: "upstream.max_connection_age", kind: kindDuration, value: "5m", low: second, high: 24 * hour,
			doc: "How often igproxy replaces the connections to Meta that it keeps open. The host name is resolved again for each new " +
				"connection, so this interval also limits how long igproxy may keep calling an address that the name no longer has."},
		{key: "upstream.proxy", kind: kindWord, value: "environment", words: []string{"environment", ProxyNone},
			doc: "Whether calls to Meta go through the proxy that HTTPS_PROXY, HTTP_PROXY and NO_PROXY select. igproxy check and the " +
				"log line \"listening\" show which proxy is used. With none, igproxy uses no proxy."},
		{key: "upstream.check_at_start", kind: kindSwitch, value: "false",
			doc: "Whether igproxy tests each app's client secret when it starts, and when a reload changes the secret. The test is a " +
				"call to Meta with an invalid token. If true, the sidecar is not ready after its start until Meta has answered or " +
				"upstream.timeout has passed, unless admin.ready_when_refused is true. If false, the first request that needs the " +
				"secret shows whether it is right."},

		{key: "cache.ttl", kind: kindDuration, value: "1h", low: second, high: 59 * 24 * hour,
			doc: "How long igproxy caches an app token, or the long-lived token that Meta issued for a short-lived one. A short-lived " +
				"token is valid for one hour. (For tokens of Facebook Login, see refresh.ttl.)"},
		{key: "cache.negative_ttl", kind: kindDuration, value: "1m", low: 0, high: 59 * 24 * hour,
			doc: "How long igproxy remembers that Meta refused a token as invalid. Most other refusals, such as a missing " +
				"permission, are remembered for the same time, but for at most 10s. 0 turns both off."},
		{key: "cache.max_bytes", kind: kindSize, example: "32MiB", low: 1 << 10, high: 1 << 40,
			doc: "How much memory the cache may take. A token takes about 600 bytes. Answers above 8 KiB are kept only in Redis. Without " +
				"this setting, the cache takes an eighth of the memory limit, at least 8 MiB and at most 64 MiB. The memory limit is " +
				"GOMEMLIMIT or, if that is not set, nine tenths of the container's limit."},
		{key: "cache.key_file", kind: kindText, example: "/run/secrets/igproxy-cache-key",
			doc: "A file of 32 to 4096 random bytes from which cache keys and seals are derived, so that entries survive a change of the " +
				"client secret. With this file, every app needs an app_id. Without it, keys and seals are derived from the client " +
				"secret or, while client_secret_file has two lines, from the previous secret."},

		{key: "refresh.ttl", kind: kindDuration, value: "5m", low: second, high: hour,
			doc: "How long the answer to a refresh is cached. The answer to an exchange of Facebook Login is cached for the same time, " +
				"because Facebook uses the same call to refresh a token. Repeated refreshes of one token during this time cost one call to Meta."},
		{key: "code.ttl", kind: kindDuration, value: "2m", low: second, high: 50 * minute,
			doc: "How long the answer to a code exchange is cached. A code works only once; a repeated callback gets the first answer again."},

		{key: "keep.enabled", kind: kindSwitch, value: "false",
			doc: "Whether igproxy refreshes long-lived tokens while they are used. When a call brings a token that igproxy has " +
				"refreshed, igproxy sends the call to Meta with the token's successor, so an app can keep the token that it has stored. " +
				"Successors are sealed and stored in Redis, which must not lose them: see docs/keep.md. Without Redis, they are lost " +
				"when igproxy stops."},
		{key: "keep.refresh_before", kind: kindDuration, value: "240h", low: minute, high: 58 * 24 * hour,
			doc: "igproxy refreshes a token when the token is used and ends within this time."},
		{key: "keep.check_every", kind: kindDuration, value: "24h", low: second, high: 240 * hour,
			doc: "How long igproxy waits after Meta has refreshed a token, or has refused to refresh it, before it tries to refresh the " +
				"token again."},
		{key: "keep.max_per_minute", kind: kindCount, value: "60", low: 1, high: 6000,
			doc: "How many refreshes one sidecar may start per minute. The tokens that end first are refreshed first."},

		{key: "debug_token.enabled", kind: kindSwitch, value: "false",
			doc: "Whether igproxy makes the app's own token for GET /debug_token, so that an app of Facebook Login or Threads can " +
				"inspect users' tokens without its secret. igproxy does so if the call has no bearer token for Meta, and its " +
				"access_token is missing, is APP, or begins like the app's own token: with APP_ID| or, for Threads, with TH|APP_ID|. " +
				"Every program that may use igproxy can then inspect tokens."},

		{key: "passthrough.enabled", kind: kindSwitch, value: "true",
			doc: "Whether requests that are not token calls (/me, /{id}/media, uploads, paging) go to the host of the app's service. " +
				"README.md lists the few things that igproxy changes in them. If false, such requests get 404."},
		{key: "passthrough.timeout", kind: kindDuration, value: "1m", low: second, high: hour,
			doc: "How long a call that is passed through may take, including both bodies. At least upstream.timeout."},
		{key: "passthrough.max_in_flight", kind: kindCount, value: "128", low: 1, high: 100_000,
			doc: "How many calls of one app may be passed through at once. Eight times as many calls may wait for a call in flight to end. " +
				"Further calls, and calls that have waited for a second, get 503."},
		{key: "passthrough.max_body_bytes", kind: kindSize, value: "64MiB", low: 1 << 10, high: 1 << 40,
			doc: "The largest body, of a request or a response, that is passed through."},
		{key: "passthrough.rewrite_paging", kind: kindSwitch, value: "false",
			doc: "Whether igproxy changes paging links in responses so that they point to igproxy. Meta's links point to Meta, and " +
				"contain the user's token."},

		{key: "passthrough.appsecret_proof", kind: kindSwitch, value: "false",
			doc: "Whether igproxy adds appsecret_proof to calls that are passed through with a token, and replaces a proof that the app " +
				"sent. Set it if Require App Secret is on in the app's settings in Meta's dashboard. The token must be in the query, in " +
				"Authorization: Bearer, or in a URL-encoded form of at most 64 KiB. To set this for individual apps, use " +
				"apps[].appsecret_proof instead."},

		{key: "redis.mode", kind: kindWord, words: []string{"single", "sentinel", "cluster"}, example: "single",
			doc: "How Redis is deployed. Without this setting, the cache is in memory only."},
		{key: "redis.url", kind: kindText, check: checkRedisURL, example: "rediss://redis.internal:6379/0",
			doc: "The URL of the node, in mode single: redis://host:port/db, rediss:// for TLS, or unix:///path. Keep a password out of " +
				"the configuration file: use redis.password_file or IGPROXY_REDIS_URL."},
		{key: "redis.addrs", kind: kindList, check: checkAddr, example: "[redis-1:6379, redis-2:6379]",
			doc: "The addresses, as host:port, of the sentinels, of some cluster nodes, or of the one node in mode single."},
		{key: "redis.master_name", kind: kindText, check: checkName, example: "mymaster",
			doc: "The name under which the sentinels know the master. Only for mode sentinel."},
		{key: "redis.username", kind: kindText, check: checkName, example: "igproxy",
			doc: "The Redis ACL user. Without it, igproxy connects as the default user."},
		{key: "redis.password", kind: kindText, check: faultOfSecret, example: "(better not here)",
			doc: "The Redis password. Keep it out of the configuration file: use redis.password_file or IGPROXY_REDIS_PASSWORD."},
		{key: "redis.password_file", kind: kindText, example: "/run/secrets/redis",
			doc: "The file that holds the Redis password. It is read for every new connection, so a rotated password is picked up."},
		{key: "redis.sentinel_username", kind: kindText, check: checkName, example: "sentinel",
			doc: "The ACL user for the sentinels themselves, if they require one."},
		{key: "redis.sentinel_password_file", kind: kindText, example: "/run/secrets/sentinel",
			doc: "The file that holds the password for the sentinels themselves, if they require one."},
		{key: "redis.tls", kind: kindSwitch, value: "false",
			doc: "Whether to use TLS for redis.addrs, including sentinels. With redis.url, use rediss:// instead of this setting."},
		{key: "redis.tls_server_name", kind: kindText, check: checkHost, example: "redis.internal",
			doc: "The name that must be in the certificates of Redis and of the sentinels. igproxy also sends this name as SNI. Without this " +
				"setting, the name is the host in the address. Set it if the addresses are IP addresses or lead through tunnels."},
		{key: "redis.ca_file", kind: kindText, example: "/etc/igproxy/redis-ca.pem",
			doc: "A file, in PEM, with the only certificate authorities that igproxy trusts for Redis. Without this setting, igproxy " +
				"trusts the system's authorities."},
		{key: "redis.cert_file", kind: kindText, example: "/etc/igproxy/redis-client.pem",
			doc: "The client certificate that igproxy presents to Redis, in PEM. Read for every new connection."},
		{key: "redis.key_file", kind: kindText, example: "/run/secrets/redis-client-key.pem",
			doc: "The private key of redis.cert_file, in PEM."},
		{key: "redis.timeout", kind: kindDuration, value: "50ms", low: ms, high: second,
			doc: "How long Redis may delay a request before the exchange continues without Redis."},
		{key: "redis.pool_size", kind: kindCount, value: "32", low: 1, high: 10_000,
			doc: "The maximum number of connections to each Redis node."},
		{key: "redis.idle_timeout", kind: kindDuration, value: "3m", low: second, high: hour,
			doc: "How long a connection to Redis may be idle before igproxy closes it. Keep it below the limits of firewalls, NAT " +
				"and managed Redis services, usually 4 to 6 minutes: they drop idle connections silently."},
		{key: "redis.prefix", kind: kindText, value: "igproxy", check: checkPrefix,
			doc: "The prefix of every Redis key."},

		{key: "coalesce.enabled", kind: kindSwitch, value: "true",
			doc: "Whether sidecars on the same Redis share an exchange: one asks Meta, and the others poll Redis, at first every few " +
				"milliseconds. If false, or if Redis denies scripts, sidecars share answers but do not wait for each other."},
		{key: "coalesce.lease", kind: kindDuration, value: "1.5s", low: 200 * ms, high: minute,
			doc: "How long the other sidecars wait for a sidecar that was killed during an exchange. A running sidecar renews its lease, " +
				"so an exchange may take longer than one lease. At least six times redis.timeout."},
		{key: "coalesce.wait", kind: kindDuration, value: "5s", low: 100 * ms, high: minute,
			doc: "How long a sidecar waits for the answer of another sidecar before it asks Meta itself. A code exchange gets 503 " +
				"instead, because the other sidecar may have used the code."},

		{key: "breaker.failures", kind: kindCount, value: "5", low: 1, high: million,
			doc: "How many failures in a row open a breaker, so that Meta is not asked for a while. Each combination of app, grant " +
				"and redirect_uri has its own breaker. Repeated failures of one token count once, unless igproxy cannot connect to Meta."},
		{key: "breaker.ratio", kind: kindRatio, value: "0.5", low: 0, high: 1,
			doc: "A breaker also opens when at least this share of the exchanges that ended within breaker.interval have failed."},
		{key: "breaker.min_requests", kind: kindCount, value: "20", low: 1, high: million,
			doc: "How many exchanges must have ended within breaker.interval before breaker.ratio applies."},
		{key: "breaker.interval", kind: kindDuration, value: "1m", low: 300 * ms, high: hour,
			doc: "The length of the rolling window in which failures are counted. At least three times upstream.timeout."},
		{key: "breaker.open", kind: kindDuration, value: "10s", low: 100 * ms, high: hour,
			doc: "How long an open breaker refuses exchanges before it allows trial calls (probes)."},
		{key: "breaker.probes", kind: kindCount, value: "1", low: 1, high: 100,
			doc: "How many probes a half-open breaker allows. If all of them succeed, the breaker closes. If one fails, the breaker " +
				"opens again."},

		{key: "server.read_header_timeout", kind: kindDuration, value: "5s", low: 100 * ms, high: minute,
			doc: "How long an app may take to send the header of a request. The admin listener allows at most 1s."},
		{key: "server.read_timeout", kind: kindDuration, value: "10s", low: 100 * ms, high: 5 * minute,
			doc: "How long an app may take to send a whole request, unless the request is passed through (see passthrough.timeout). At " +
				"least server.read_header_timeout."},
		{key: "server.write_timeout", kind: kindDuration, value: "20s", low: second, high: 10 * minute,
			doc: "How long a request may take after its header, unless it is passed through (see passthrough.timeout). At least " +
				"upstream.timeout + 1s, plus redis.timeout if redis.mode is set, plus coalesce.wait if coalesce.enabled is true as " +
				"well."},
		{key: "server.idle_timeout", kind: kindDuration, value: "1m30s", low: second, high: hour,
			doc: "How long an idle connection is kept open for the next request of an app."},
		{key: "server.max_header_bytes", kind: kindSize, value: "16KiB", low: 8 << 10, high: 1 << 20,
			doc: "The largest request header accepted, including the request line, which contains the token."},
		{key: "server.max_connections", kind: kindCount, value: "1024", low: 1, high: million,
			doc: "How many connections apps may have open. Above this number, igproxy closes a connection that has not sent a whole " +
				"request header or, if there is no such connection, the one that has been idle longest. If all connections are waiting " +
				"for responses, new connections wait."},
		{key: "server.fast_lane", kind: kindSwitch, value: "true",
			doc: "Whether plain token requests are served without net/http, at about half the cost. The responses are the same. " +
				"docs/load-testing.md says which requests are plain."},
		{key: "server.drain", kind: kindDuration, value: "20s", low: 0, high: 10 * minute,
			doc: "How long a shutdown waits for requests, and for writes to Redis, to finish."},
		{key: "server.drain_delay", kind: kindDuration, value: "0s", low: 0, high: 10 * minute,
			doc: "How long after SIGTERM igproxy keeps serving as before, except that it is not ready. Then server.drain begins. Set it " +
				"for apps that get SIGTERM at the same time and need tokens while they shut down, and for balancers that need time to " +
				"notice that the sidecar is not ready."},
		{key: "server.socket_mode", kind: kindText, value: "0660", check: checkMode,
			doc: "The mode of a Unix socket in listen or intercept.listen, in octal. Every user who may write to the socket may connect. " +
				"The setting has no effect on a socket that systemd passes to igproxy: its mode is SocketMode in igproxy.socket, 0666 " +
				"by default."},

		{key: "log.level", kind: kindWord, value: "info", words: []string{"debug", "info", "warn", "error"},
			doc: "The lowest level that is logged. debug is currently the same as info."},
		{key: "log.lines", kind: kindCount, value: "100", low: 1, high: million,
			doc: "How many lines of one kind are logged per second. All hits are one kind. Other requests with the same outcome and " +
				"status are one kind. Lines that are not about requests are of one kind if they have the same message. The next line of " +
				"the kind says how many lines were left out (not_logged). The metrics count all requests."},
		{key: "log.format", kind: kindWord, value: "auto", words: []string{"auto", "json", "text"},
			doc: "The format of log lines. auto means text if standard error is a terminal, and json otherwise."},
	})
}

// credentialSettings returns the rows of one app's credentials. section precedes their keys; it is
// empty or ends with a dot. secret is a file name for the example.
func credentialSettings(section, secret string) []setting {
	codes := setting{key: section + "redirect_uris", kind: kindList, check: checkRedirect, example: "[https://app.example/callback]",
		doc: "The redirect URIs with which codes may be exchanged, compared byte for byte. While the list is empty, " +
			"igproxy refuses codes at /oauth/access_token, because it would otherwise exchange codes that were sent to an attacker's redirect URI."}
	if section == "facebook." || strings.HasPrefix(section, appsKey) {
		codes.check = checkRedirectOrNone
		codes.doc += " The item none allows codes without a redirect_uri, such as those of Facebook's embedded signup."
	}
	webhooks := setting{key: section + "webhook_secret_file", kind: kindText, example: "/run/secrets/" + secret + "-webhooks",
		doc: "A file with one or two more secrets, one per line, with which igproxy also checks the signatures of the app's webhooks " +
			"and signed requests. The file is reloaded when it changes."}
	if section == "" || strings.HasPrefix(section, appsKey) {
		webhooks.doc += " An Instagram app may need this setting, because Meta may sign with the secret of the Facebook app to which " +
			"the Instagram app belongs."
	}
	return []setting{
		{key: section + "app_id", kind: kindText, check: checkAppID, example: `"17841400000000002"`,
			doc: "The app's ID in Meta's dashboard. It also separates the cache entries of apps that share a Redis."},
		{key: section + "client_secret", kind: kindText, check: checkSecret, example: "(better not here)",
			doc: "The app's secret. Keep it out of the configuration file: use client_secret_file or " + envName(section+"client_secret") + "."},
		{key: section + "client_secret_file", kind: kindText, example: "/run/secrets/" + secret,
			doc: "A file with the app's secret. While the secret is being rotated, the file has the previous secret on a second line. " +
				"One newline at the end is removed. The file is reloaded when it changes. A pipe, such as <(command) in a shell, is read once."},
		webhooks,
		codes,
	}
}

// isSecret reports whether the value itself is a secret, which does not belong in the configuration
// file.
func (s setting) isSecret() bool {
	return strings.HasSuffix(s.key, "client_secret") || s.key == "redis.password"
}

// field returns the variable in c that holds the setting.
func (s setting) field(c *Config) reflect.Value {
	v := reflect.ValueOf(c).Elem()
	for part := range strings.SplitSeq(s.key, ".") {
		if v.Kind() == reflect.Slice {
			i, _ := strconv.Atoi(part) // written by appKey
			v = v.Index(i)
			continue
		}
		name := strings.ReplaceAll(part, "_", "")
		v = v.FieldByNameFunc(func(field string) bool { return strings.EqualFold(field, name) })
	}
	return v
}

// known returns all keys, and the sections that contain them.
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
