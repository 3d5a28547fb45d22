package config_test

import "testing"

func TestAContradictionIsReportedWithItsReason(t *testing.T) {
	expect(t, []input{
		{name: "two listeners on the same address", yaml: "listen: 127.0.0.1:7000\nadmin:\n  listen: 127.0.0.1:7000\n",
			want: []string{"igproxy.yaml:3: admin.listen: the same address as listen; give each its own address"}},
		{name: "a list of listeners", yaml: "listen: [127.0.0.1:7000, '[::1]:7000', unix:/run/s]\n"},
		{name: "a list of one listener", yaml: "listen: [127.0.0.1:7000]\n"},
		{name: "an empty list counts as unset", yaml: "listen: []\n"},
		{name: "several free ports", yaml: "listen: [127.0.0.1:0, 127.0.0.1:0]\n"},
		{name: "several listeners in the environment", env: []string{"IGPROXY_LISTEN= 127.0.0.1:7000, [::1]:7000 unix:/run/s\n"}},
		{name: "one invalid listener of several in the environment", env: []string{"IGPROXY_LISTEN=127.0.0.1:7000 nonsense"},
			want: []string{`environment: IGPROXY_LISTEN: "nonsense" is not an address; write host:port, [::1]:port or unix:/path`}},
		{name: "a socket with a space in its path", yaml: "listen: unix:/run/my app/s\n"},
		{name: "a listener twice", yaml: "listen: [127.0.0.1:7000, 127.0.0.1:7000]\n",
			want: []string{`igproxy.yaml:1: listen: "127.0.0.1:7000" is in the list twice; keep one`}},
		{name: "one of several listeners has the address of the admin listener", yaml: "listen: [127.0.0.1:7000, 127.0.0.1:9090]\n",
			want: []string{"igproxy.yaml:1: admin.listen: the same address as listen; give each its own address"}},
		{name: "quit, but no POST /quit would be accepted", yaml: "admin:\n  quit: true\n",
			want: []string{"igproxy.yaml:2: admin.quit: set without admin.socket or admin.token_file, so every POST /quit would be refused; set one of them"}},
		{name: "quit over a socket", yaml: "admin:\n  listen: unix:/run/s\n  quit: true\n"},
		{name: "two listeners on the same address, one of them by default", yaml: "listen: 127.0.0.1:9090\n",
			want: []string{"igproxy.yaml:1: admin.listen: the same address as listen; give each its own address"}},
		{name: "a window too short for the timeout", yaml: "upstream:\n  timeout: 10s\nbreaker:\n  interval: 20s\n",
			want: []string{"igproxy.yaml:4: breaker.interval: 20s is less than three times upstream.timeout: slow failures would not be counted; write 30s or more"}},
		{name: "a timeout too long for the default window", yaml: "upstream:\n  timeout: 25s\nserver:\n  write_timeout: 1m\n",
			want: []string{"igproxy.yaml:2: breaker.interval: 1m is less than three times upstream.timeout: slow failures would not be counted; write 1m15s or more"}},
		{name: "a write timeout that would cut responses off", yaml: "server:\n  write_timeout: 10s\n",
			want: []string{"igproxy.yaml:2: server.write_timeout: 10s is less than upstream.timeout + 1s: responses would be cut off; write 11s or more"}},
		{name: "a write timeout without room for Redis", yaml: "server:\n  write_timeout: 11040ms\nredis:\n  mode: single\n  addrs: [127.0.0.1:6379]\n",
			want: []string{"igproxy.yaml:2: server.write_timeout: 11.04s is less than upstream.timeout + 1s + redis.timeout + coalesce.wait: responses would be cut off; write 16.05s or more"}},
		{name: "a write timeout without room for coalesce.wait, which is not used", yaml: "server:\n  write_timeout: 12s\nredis:\n  mode: single\n  addrs: [127.0.0.1:6379]\ncoalesce:\n  enabled: false\n"},
		{name: "a lease that ends before it is renewed", yaml: "redis:\n  mode: single\n  addrs: [127.0.0.1:6379]\n  timeout: 300ms\n",
			want: []string{"igproxy.yaml:4: coalesce.lease: 1.5s is less than six times redis.timeout: leases would not be renewed in time; write 1.8s or more"}},
		{name: "a read timeout below the timeout for the header", yaml: "server:\n  read_timeout: 1s\n",
			want: []string{"igproxy.yaml:2: server.read_timeout: 1s is less than server.read_header_timeout, although a request includes its header; write 5s or more"}},
		{name: "redis set without a mode", yaml: "redis:\n  addrs: [127.0.0.1:6379]\n  username: me\n",
			want: []string{"igproxy.yaml:2: redis.addrs: set without redis.mode, so Redis would not be used; set redis.mode to single, sentinel or cluster",
				"igproxy.yaml:3: redis.username: set without redis.mode, so Redis would not be used; set redis.mode to single, sentinel or cluster"}},
		{name: "single without a node", yaml: "redis:\n  mode: single\n",
			want: []string{"igproxy.yaml:2: redis.mode: mode single needs exactly one node; set redis.url, or redis.addrs with one address"}},
		{name: "single with two nodes", yaml: "redis:\n  mode: single\n  addrs: [a:1, b:2]\n",
			want: []string{"igproxy.yaml:2: redis.mode: mode single needs exactly one node; set redis.url, or redis.addrs with one address"}},
		{name: "single with a URL and an address", yaml: "redis:\n  mode: single\n  url: redis://a\n  addrs: [a:1]\n",
			want: []string{"igproxy.yaml:2: redis.mode: mode single needs exactly one node; set redis.url, or redis.addrs with one address"}},
		{name: "sentinel without addresses and without a master's name", yaml: "redis:\n  mode: sentinel\n",
			want: []string{"igproxy.yaml:2: redis.mode: mode sentinel needs addresses; set redis.addrs",
				"igproxy.yaml:2: redis.mode: mode sentinel needs the name of the master; set redis.master_name"}},
		{name: "sentinel with a URL", yaml: "redis:\n  mode: sentinel\n  url: redis://a\n  addrs: [a:1]\n  master_name: m\n",
			want: []string{"igproxy.yaml:3: redis.url: allowed only in mode single; set redis.addrs instead"}},
		{name: "cluster without addresses", yaml: "redis:\n  mode: cluster\n",
			want: []string{"igproxy.yaml:2: redis.mode: mode cluster needs addresses; set redis.addrs"}},
		{name: "cluster with a master's name", yaml: "redis:\n  mode: cluster\n  addrs: [a:1]\n  master_name: m\n",
			want: []string{"igproxy.yaml:4: redis.master_name: allowed only in mode sentinel; remove it, or set redis.mode: sentinel"}},
		{name: "two user names for redis", yaml: "redis:\n  mode: single\n  url: redis://me@a\n  username: you\n",
			want: []string{"igproxy.yaml:4: redis.username: redis.url contains a user name too; keep one of the two"}},
		{name: "a password in the file", yaml: "redis:\n  mode: single\n  url: redis://:pw@127.0.0.1\n",
			want: []string{"warning: igproxy.yaml:3: redis.url: a password in the configuration file; use redis.password_file or IGPROXY_REDIS_URL instead"}},
		{name: "redis.tls with a URL without TLS", yaml: "redis:\n  mode: single\n  url: redis://a\n  tls: true\n",
			want: []string{"igproxy.yaml:4: redis.tls: set, but redis.url begins with redis://; write rediss:// in redis.url, and remove this"}},
		{name: "a certificate authority for addresses without TLS", yaml: "redis:\n  mode: cluster\n  addrs: [a:1]\n  ca_file: ./ca.pem\n",
			want: []string{"igproxy.yaml:4: redis.ca_file: set, but TLS to Redis is off; write rediss:// in redis.url, or redis.tls: true with redis.addrs"}},
		{name: "a certificate without its key", yaml: "redis:\n  mode: cluster\n  addrs: [a:1]\n  tls: true\n  cert_file: ./ca.pem\n",
			want: []string{"igproxy.yaml:5: redis.cert_file: set without redis.key_file; set both or neither"}},
		{name: "a user for sentinels in mode cluster", yaml: "redis:\n  mode: cluster\n  addrs: [a:1]\n  sentinel_username: me\n",
			want: []string{"igproxy.yaml:4: redis.sentinel_username: allowed only in mode sentinel; remove it, or set redis.mode: sentinel"}},
		{name: "a switch that is neither true nor false", yaml: "coalesce:\n  enabled: on\n",
			want: []string{`igproxy.yaml:2: coalesce.enabled: "on" is neither true nor false; write true or false`}},
		{name: "a certificate authority for a URL without TLS", yaml: "redis:\n  mode: single\n  url: redis://a\n  ca_file: ./ca.pem\n",
			want: []string{"igproxy.yaml:4: redis.ca_file: set, but TLS to Redis is off; write rediss:// in redis.url, or redis.tls: true with redis.addrs"}},
	})
}

// Like a token in auth.bearer_file, a password for Redis causes a warning if it is sent to another
// machine without TLS.
func TestARedisPasswordSentToAnotherMachineWithoutTLSCausesAWarning(t *testing.T) {
	const single, file = "redis:\n  mode: single\n", "  password_file: ./secret\n"
	const readable = ": on another machine, with a password and without TLS: the password can be read on the network; " +
		"write rediss:// in redis.url, or redis.tls: true with redis.addrs, or use a network that encrypts traffic"
	environment := []string{"IGPROXY_REDIS_URL=redis://:" + canary + "@redis.internal"}
	expect(t, []input{
		{name: "in the environment", yaml: single, env: environment, want: []string{"warning: environment: IGPROXY_REDIS_URL" + readable}},
		{name: "in a file", yaml: single + "  url: redis://10.0.0.1\n" + file, want: []string{"warning: igproxy.yaml:3: redis.url" + readable}},
		{name: "an address", yaml: single + "  addrs: [redis:6379]\n" + file, want: []string{"warning: igproxy.yaml:3: redis.addrs" + readable}},
		{name: "one node of two", yaml: "redis:\n  mode: cluster\n  addrs: [127.0.0.1:1, '[2001:db8::1]:1']\n" + file,
			want: []string{"warning: igproxy.yaml:3: redis.addrs" + readable}},
		{name: "for the sentinels only", yaml: "redis:\n  mode: sentinel\n  addrs: [a:1]\n  master_name: m\n  sentinel_password_file: ./secret\n",
			want: []string{"warning: igproxy.yaml:3: redis.addrs" + readable}},
		{name: "on loopback", yaml: single + "  url: redis://localhost:6379\n" + file},
		{name: "addresses of loopback", yaml: single + "  addrs: ['[::1]:6379']\n" + file},
		{name: "on a socket", yaml: single + "  url: unix:///run/redis.sock\n" + file},
		{name: "over TLS", yaml: single + "  url: rediss://10.0.0.1\n" + file},
		{name: "addresses over TLS", yaml: single + "  addrs: [redis:6379]\n  tls: true\n" + file},
		{name: "without a password", yaml: single + "  url: redis://10.0.0.1\n"},
	})
}
