package integration

// The output of commands must not contain a secret, even if the secret is in a wrong place.

import (
	"crypto/rand"
	"strconv"
	"strings"

	"github.com/igproxy/igproxy/integration/harness"
	"github.com/igproxy/igproxy/proxy/mock"
)

// wrongFiles lists configurations with a secret, written as §, in a wrong place.
var wrongFiles = []string{
	"§: x\n", "? §\n: 1\n", "§\n", "- §\n", "*§\n", "&§ a\n", "!§ x\n", "%§\n", "\"§\n", "'§\n", "{§\n", "[§, §\n", "a: b: §\n", "\t§\n", "§: [\n",
	"client_secret: \"§\n", "client_secret: § §\n", "client_secret:\n  - §\n", "client_secret: {§: x}\n", "client_secret: {x: §}\n", "client_secret: §\n x: 1\n",
	"client_secret: §\nclient_secret: §\n", "client_secret: &a §\nlisten: *b\n", "client-secret: §\n", "clientsecret: §\n", "secret: §\n", "CLIENT_SECRET=§\n",
	"upstream:\n  client_secret: §\n", "upstream: §\n", "client_secret_file: §\n", "client_secret_file: [§]\n", "cache:\n  key_file: §\n", "cache:\n  key: §\n",
	"redis:\n  mode: single\n  password: §\n", "redis:\n  mode: single\n  password_file: §\n", "redis:\n  mode: single\n  url: §\n",
	"redis:\n  mode: single\n  url: redis://:§@127.0.0.1:99999\n", "redis:\n  mode: single\n  url: \"redis://:§@ x:1\"\n", "redis:\n  mode: single\n  url: redis://u:§%zz@h:1\n",
	"redis:\n  mode: single\n  url: http://u:§@h:1\n", "redis:\n  mode: single\n  url: \"redis://h:1?password=§\"\n", "redis:\n  mode: single\n  addrs: [\"redis://:§@h:1\"]\n",
	"redis:\n  mode: single\n  addrs: [§]\n", "redis:\n  mode: §\n", "auth:\n  bearer_file: §\n", "auth:\n  bearer: §\n", "auth:\n  uids: [§]\n", "auth:\n  none: §\n",
	"upstream:\n  url: https://user:§@graph.instagram.com\n", "upstream:\n  url: https://graph.instagram.com/?client_secret=§\n",
	"upstream:\n  url: §\n", "upstream:\n  url: \"https://graph.instagram.com#§\"\n", "upstream:\n  timeout: §\n", "upstream:\n  max_in_flight: §\n",
	"log:\n  level: §\n", "log: §\n", "listen: §\n", "admin:\n  listen: §\n", "server:\n  max_header_bytes: §\n", "server:\n  socket_mode: §\n",
	"app_id: §\n", "redirect_uris: [§]\n", "redirect_uris: §\n", "redirect_uris: [\"https://app.example/?code=§\"]\n", "redirect_uris: [\"https://u:§@app.example/\"]\n",
	"threads:\n  client_secret: § §\n", "threads:\n  client_secret: [§]\n", "threads:\n  client_secret_file: §\n", "threads:\n  app_id: §\n", "threads:\n  §: x\n",
	"webhook_secret_file: §\n", "webhook_secret: §\n", "webhook_secret_file: [§]\n", "threads:\n  webhook_secret_file: §\n", "apps:\n  - name: shop\n    webhook_secret_file: §\n",
	"threads: §\n", "threads:\n  url: §\n", "threads:\n  redirect_uris: [§]\n", "threads:\n  client_secret: §\n  client_secret_file: §\n",
	"facebook:\n  client_secret: § §\n", "facebook:\n  client_secret: [§]\n", "facebook:\n  client_secret_file: §\n", "facebook:\n  app_id: §\n", "facebook: §\n", "facebook:\n  url: §\n",
	"facebook:\n  redirect_uris: [§]\n", "facebook:\n  client_secret: §\n  client_secret_file: §\n", "debug_token: §\n", "debug_token:\n  enabled: §\n", "passthrough:\n  appsecret_proof: §\n",
	"apps:\n  - name: shop\n    appsecret_proof: §\n", "apps: §\n", "apps: [§]\n", "apps:\n  - §: x\n", "apps:\n  §: x\n", "apps:\n  - name: §\n", "apps:\n  - name: shop\n    app_id: §\n",
	"apps:\n  - name: shop\n    client_secret: § §\n", "apps:\n  - name: shop\n    client_secret: §\n", "apps:\n  - name: shop\n    client_secret_file: §\n",
	"apps:\n  - name: shop\n    secret: §\n", "apps:\n  - name: shop\n    service: §\n", "apps:\n  - name: shop\n    hosts: [§]\n",
	"apps:\n  - name: shop\n    redirect_uris: [§]\n", "apps:\n  - {name: shop, client_secret: §\n", "client_secret: §\napps:\n  - name: shop\n    client_secret: §\n",
	"passthrough:\n  timeout: §\n", "code:\n  ttl: §\n", "refresh: §\n",
	"breaker:\n  ratio: §\n", "tls:\n  cert_file: §\n  key_file: §\n", "upstream:\n  ca_file: §\n", "auth:\n  client_ca: §\n",
}

// wrongVariables lists environment variables, without IGPROXY_, that have a secret, written as §,
// in a wrong place.
var wrongVariables = []string{
	"§=1", "CLIENT_SECRET_FILE_§=1", "CLIENT_SECERT=§", "CLIENTSECRET=§", "CLIENT_SECRET=§ §", "CLIENT_SECRET=§\t§", "CLIENT_SECRET_FILE=§", "CACHE_KEY_FILE=§",
	"AUTH_BEARER_FILE=§", "AUTH_BEARER=§", "REDIS_PASSWORD=§", "REDIS_PASSWORD_FILE=§", "REDIS_URL=redis://:§@127.0.0.1:99999", "REDIS_URL=§", "REDIS_MODE=§",
	"UPSTREAM_URL=https://x:§@h", "UPSTREAM_URL=§", "UPSTREAM_TIMEOUT=§", "LOG_LEVEL=§", "LISTEN=§", "ADMIN_LISTEN=§", "ALLOWED_HOSTS=§ §", "CONFIG=§", "TLS_CERT_FILE=§",
	"THREADS_CLIENT_SECRET=§ §", "THREADS_CLIENT_SECRET_FILE=§", "THREADS_APP_ID=§", "THREADS_REDIRECT_URIS=§", "THREADS_URL=§", "THREADS_SECRET=§", "FACEBOOK_CLIENT_SECRET=§ §",
	"FACEBOOK_CLIENT_SECRET_FILE=§", "FACEBOOK_APP_ID=§", "FACEBOOK_REDIRECT_URIS=§ §", "FACEBOOK_URL=https://x:§@h", "FACEBOOK_SECRET=§", "DEBUG_TOKEN_ENABLED=§", "PASSTHROUGH_APPSECRET_PROOF=§", "APP_ID=§", "REDIRECT_URIS=§ §",
	"APPS=§", "WEBHOOK_SECRET_FILE=§", "WEBHOOK_SECRET=§", "THREADS_WEBHOOK_SECRET_FILE=§ §", "APPS_0_CLIENT_SECRET=§", "UPSTREAM_LOGIN_URL=https://x:§@h", "CODE_TTL=§", "PASSTHROUGH_MAX_BODY_BYTES=§",
	"SERVER_DRAIN=§", "AUTH_UIDS=§", "SERVER_MAX_CONNECTIONS=§",
}

// commands runs check, serve, healthcheck and --help, both correctly and with mistakes.
func (l *leaks) commands() {
	var wrong [][2]string // file, variable
	for _, text := range wrongFiles {
		wrong = append(wrong, [2]string{text, ""})
	}
	for _, text := range wrongVariables {
		wrong = append(wrong, [2]string{"", text})
	}
	crowd(3, func(i int) {
		for n := i; n < len(wrong); n += 3 {
			l.wrong(wrong[n][0], wrong[n][1])
		}
	})
	l.online()
	for _, args := range [][]string{{"--version"}, {"--help"}, {"serve", "--help"}, {"check", "--help"}, {"mock", "--help"},
		{"serve", "--client-secret=" + l.secret}, {"serve", "--client-secret", l.secret}} {
		_, stdout, stderr := command(l.t, environ("CLIENT_SECRET="+l.secret), args...)
		l.record("other commands", stdout, stderr)
	}
}

// wrong runs check with a secret in a wrong place: in a configuration file with this text, or in an
// environment variable. If check reports an error, wrong also runs serve.
func (l *leaks) wrong(text, variable string) {
	secret := l.hide("a secret in " + strconv.Quote(text+variable))
	text, variable = strings.ReplaceAll(text, "§", secret), strings.ReplaceAll(variable, "§", secret)
	settings := []string{"CLIENT_SECRET=" + l.secret}
	if text != "" {
		settings = append(settings, "CONFIG="+file(l.t, "igproxy.yaml", text))
	}
	if variable != "" {
		settings = append(settings, variable)
	}
	code, stdout, stderr := harness.RunPlain(l.t, environ(settings...), "check")
	l.record("check", stdout, stderr)
	if code != 0 {
		_, stdout, stderr = harness.RunPlain(l.t, environ(settings...), "serve")
		l.record("serve that does not start", stdout, stderr)
	}
}

// online runs check --online against an Instagram and a Redis that fail in many ways. It also runs
// healthcheck against addresses at which there is no sidecar.
func (l *leaks) online() {
	t := l.t
	ig := mock.New(mock.Options{Secret: l.secret}) // not l.ig, because SetFault also affects the calls of other parts
	upstream, err := mock.Start(ig, mock.ServerOptions{TLS: true})
	must(t, err)
	t.Cleanup(upstream.Close)
	good := []string{"UPSTREAM_URL=" + upstream.URL, "UPSTREAM_CA_FILE=" + caFile(t, upstream), "UPSTREAM_TIMEOUT=500ms", "CLIENT_SECRET=" + l.secret,
		"REDIS_MODE=single", "REDIS_ADDRS=" + l.redis.Addr(), "REDIS_PASSWORD_FILE=" + file(t, "password", l.password)}
	check := func(settings ...string) {
		_, stdout, stderr := command(t, environ(append(good[:len(good):len(good)], settings...)...), "check", "--online")
		l.record("check --online", stdout, stderr)
	}
	check()
	for _, fault := range []string{"reflect", "reflecterr", "html", "garbageline", "redirect", "hang", "reset", "standing", "limit4", "badjson"} {
		ig.SetFault(fault)
		check()
	}
	ig.SetFault("")
	check("CLIENT_SECRET=" + l.otherSecret)
	check("REDIS_PASSWORD_FILE=" + file(t, "password", l.wrongPassword))
	check("REDIS_USERNAME=poor", "REDIS_PASSWORD_FILE="+file(t, "password", l.poorPassword))
	check("UPSTREAM_CA_FILE=")
	for _, reply := range []string{"-ERR " + l.password, "+" + l.password, "-NOPERM " + l.password, "-WRONGPASS " + l.password, "$5\r\n" + l.password, ""} {
		check("REDIS_ADDRS=" + strings.TrimPrefix(scripted(t, reply), "redis://"))
	}
	check("REDIS_ADDRS=127.0.0.1:1")
	for _, admin := range []string{"127.0.0.1:1", "unix:/nonexistent/" + rand.Text(), l.redis.Addr(), upstream.Addr} {
		_, stdout, stderr := command(t, environ("CLIENT_SECRET="+l.secret, "ADMIN_LISTEN="+admin), "healthcheck", "--timeout", "1s")
		l.record("healthcheck", stdout, stderr)
	}
}

// appsOnline runs check --online with the secrets of all apps, while Meta's hosts fail in many
// ways.
func (l *leaks) appsOnline() {
	setAll := func(fault string) {
		for _, ig := range l.meta {
			ig.SetFault(fault)
		}
	}
	for _, fault := range []string{"", "wrongsecret", "reflect", "reflecterr", "redirect", "html", "garbageline", "badjson", "down", "reset", "hang"} {
		setAll(fault)
		_, stdout, stderr := command(l.t, environ(append(l.hosts, "UPSTREAM_TIMEOUT=500ms")...), "check", "--online")
		l.record("check --online", stdout, stderr)
	}
	setAll("")
}
