package integration

// These must not leak: the client secrets of all apps, the secrets of their webhooks, the cache
// key, Redis's password, igproxy's own token, the key of the authority for interception, login
// codes, users' short-lived tokens, all long-lived tokens of Instagram, Threads and Facebook, app
// tokens, tokens to inspect, and values of appsecret_proof. They must not appear in logs at debug
// level, metrics, admin pages, responses and their headers, the keys, values and channels of Redis,
// the output of commands, a dump of all goroutines, or the command line, in any form that
// leaks_search_test.go lists.
//
// The contents of webhooks and signed requests must not leak either.
//
// Three exceptions are removed before the search. The first is a new token in the response to the
// token call for which Meta issued this token. The second is the contents of a signed request in
// the response to this request. The third is what an app itself sent in a passed-through call or a
// refresh, if Meta repeats it in the response to that app.
//
// /proc/PID/environ is not searched, because the operator put the secrets there, and this file is
// as protected as the memory of the process.

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/igproxy/igproxy/cache/redistest"
	"github.com/igproxy/igproxy/proxy/mock"
)

// configured is the number of secrets that sidecars are configured with. They are the first texts
// in evidence.hidden.
const configured = 14

// leaks is a run of sidecars with known secrets. It records everything that could reveal them.
type leaks struct {
	t *testing.T // of one part of the run
	*evidence

	ig       *mock.Instagram // the upstream of sidecars without the settings in the field hosts
	upstream *mock.Server    // serves ig
	redis    *redistest.Server

	meta  []*mock.Instagram // Meta's hosts for the apps in leaks_apps_test.go
	hosts []string          // the settings of a sidecar that uses these hosts

	// TestNoLeaks names each of these secrets where it calls hide.
	secret, otherSecret, key, password, poorPassword, wrongPassword, bearer string
	shop, club, circle, threads, pagesNow, pagesBefore                      string // secrets of apps in one sidecar

	webhooks string // the secret with which Meta signs webhooks; igproxy never sends it

	interception []string // the settings of interception
	authority    []byte   // the certificate of its authority
}

// evidence collects what all parts of a run record.
type evidence struct {
	mu     sync.Mutex // protects the fields below
	hidden []hidden
	shown  map[string]shown            // tokens and codes
	places map[string]*strings.Builder // what was recorded, by place
}

// shown describes a token or code that an app sends.
type shown struct {
	kind string
	from int // start of its random part
}

// part runs one part as a parallel subtest. The part must stop the sidecars that it starts.
func (l *leaks) part(name string, run func(l *leaks)) {
	l.t.Run(name, func(t *testing.T) {
		t.Parallel()
		part := *l
		part.t = t
		run(&part)
	})
}

// configuredSecrets returns the secrets with which the sidecars are configured.
func (l *leaks) configuredSecrets() []hidden {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.hidden[:configured])
}

// hide returns a new random secret, and adds it to the hidden texts.
func (l *leaks) hide(name string) string {
	text := hex.EncodeToString([]byte(rand.Text()))[:8] + rand.Text()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hidden = append(l.hidden, hidden{name, text, 0})
	return text
}

// short returns a new short-lived token with this prefix.
func (l *leaks) short(prefix string) string { return l.newCredential("a short-lived token", prefix) }

// newCredential returns a new token or code of this kind, with this prefix. The token or code
// contains characters that programs write in several ways.
func (l *leaks) newCredential(kind, prefix string) string {
	text := prefix + rand.Text()[:14] + "+/" + rand.Text()[:12] + "="
	l.mu.Lock()
	defer l.mu.Unlock()
	l.shown[text] = shown{kind, len(prefix)}
	return text
}

// issued returns the tokens that were issued for a token or code.
func (l *leaks) issued(shown string) (all []string) {
	for _, ig := range l.meta {
		all = append(all, ig.Issued(shown)...)
	}
	return append(all, l.ig.Issued(shown)...)
}

// record adds parts to what was seen at a place, such as "the log" or "responses".
func (l *leaks) record(place string, parts ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.places[place] == nil {
		l.places[place] = &strings.Builder{}
	}
	fmt.Fprintln(l.places[place], parts...)
}

// answered records the response to an app that sent this token or code, without the new token that
// the app gets. The response to a code exchange contains the new token twice: at the top level and
// in data.
func (l *leaks) answered(short string, r response) {
	if r.status == 200 {
		long := r.token()
		if !slices.Contains(l.issued(short), long) {
			l.t.Errorf("a response has the token %q, want one of %q, which were issued for %s", long, l.issued(short), short)
		}
		own, none := `{"access_token":"`+long+`",`, `{"access_token":"",`
		r.body = strings.Replace(strings.Replace(r.body, own, none, 1), `"data":[`+own, `"data":[`+none, 1)
		// The stand-in may repeat the client secret and the token that it got. In a refresh it got
		// no secret, so the first string is empty.
		r.body = strings.Replace(r.body, `"you_sent":["","`+short+`"]`, "", 1)
	}
	l.record("responses", r.status, r.body, r.header)
}

// sidecar starts a sidecar that calls the stand-in over TLS. The sidecar has the common settings
// and the given ones.
func (l *leaks) sidecar(settings ...string) *process {
	all := append([]string{"UPSTREAM_URL=" + l.upstream.URL, "UPSTREAM_CA_FILE=" + caFile(l.t, l.upstream), "UPSTREAM_TIMEOUT=2s",
		"CLIENT_SECRET=" + l.secret, "APP_ID=1", "WEBHOOK_SECRET_FILE=" + file(l.t, "webhooks", l.webhooks+"\n"), "CACHE_KEY_FILE=" + file(l.t, "key", l.key), "BREAKER_FAILURES=1000000", "BREAKER_RATIO=1",
		"BREAKER_MIN_REQUESTS=1000000", "BREAKER_INTERVAL=10m"}, settings...)
	p := start(l.t, append(environ(all...), "GOTRACEBACK=crash"), "serve")
	if slices.Contains(settings, "LOG_FORMAT=text") {
		var at []string
		eventually(l.t, "igproxy listens", func() bool { at = listening.FindStringSubmatch(p.Log.String()); return at != nil })
		p.URL, p.Admin = at[1], at[2]
	} else {
		p.Listening(l.t)
	}
	cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.Cmd.Process.Pid))
	must(l.t, err)
	l.record("the command line", string(cmdline))
	return p
}

var listening = regexp.MustCompile(`msg=listening url=(\S+) admin=(\S+)`)

// pages records the pages of the admin listener and the output of healthcheck.
func (l *leaks) pages(p *process) {
	_, stdout, stderr := command(l.t, environ("CLIENT_SECRET="+l.secret, "ADMIN_LISTEN="+strings.TrimPrefix(p.Admin, "http://")), "healthcheck")
	l.record("healthcheck", stdout, stderr)
	for _, path := range []string{"/metrics", "/readyz", "/healthz", "/", "/status", "/debug/pprof/", "/debug/vars"} {
		r := p.page(l.t, path)
		l.record("admin "+path, r.status, r.body, r.header)
	}
}

func TestNoLeaks(t *testing.T) {
	t.Parallel()
	l := &leaks{t: t, evidence: &evidence{shown: map[string]shown{}, places: map[string]*strings.Builder{}}}
	l.secret, l.otherSecret, l.key = l.hide("the client secret"), l.hide("a refused client secret"), l.hide("the cache key")
	l.password, l.poorPassword, l.wrongPassword = l.hide("Redis's password"), l.hide("the password of a user with few permissions"), l.hide("a wrong password")
	l.bearer = l.hide("igproxy's own token")
	l.webhooks = l.hide("the secret of webhooks")
	l.shop, l.club, l.circle, l.threads = l.hide("the shop's secret"), l.hide("the club's secret"), l.hide("the circle's secret"), l.hide("the Threads secret")
	l.pagesNow, l.pagesBefore = l.hide("the Facebook app's secret"), l.hide("the Facebook app's previous secret")
	l.ig = mock.New(mock.Options{Secret: l.secret})
	server, err := mock.Start(l.ig, mock.ServerOptions{TLS: true})
	must(t, err)
	t.Cleanup(func() { server.Close() })
	l.upstream = server
	l.redis = redistest.Start(t, redistest.Options{Password: l.password})
	l.redis.Do("ACL", "SETUSER", "poor", "on", ">"+l.poorPassword, "~igproxy:*", "+get", "+ping")
	broken := redistest.Start(t, redistest.Options{Password: l.password})
	l.startMeta()
	l.startAuthority()
	watched := []func(){l.monitor(l.redis), l.monitor(broken)}

	t.Run("parts", func(t *testing.T) {
		l := *l
		l.t = t
		l.part("commands", (*leaks).commands)
		l.part("apps", (*leaks).apps)
		l.part("guarded", (*leaks).guarded)
		l.part("kept", (*leaks).kept)
		l.part("open", func(l *leaks) { l.open(broken) })
		for fault, settings := range map[string][]string{ // these pause the whole app, so each has its own sidecar
			"limit4-":      {"REDIS_MODE=single", "REDIS_ADDRS=" + l.redis.Addr(), "REDIS_PASSWORD_FILE=" + file(t, "password", l.wrongPassword)},
			"limit613-":    {"REDIS_MODE=single", "REDIS_ADDRS=" + l.redis.Addr(), "REDIS_USERNAME=poor", "REDIS_PASSWORD_FILE=" + file(t, "password", l.poorPassword)},
			"limit429-":    {"REDIS_MODE=single", "REDIS_URL=redis://:" + l.password + "@127.0.0.1:1", "LOG_FORMAT=text"},
			"wrongsecret-": {"CLIENT_SECRET=" + l.otherSecret, "COALESCE_ENABLED=false"},
		} {
			l.part(fault, func(l *leaks) { l.limited(fault, settings) })
		}
		l.part("endings", (*leaks).endings)
	})
	for _, end := range watched {
		end()
	}
	l.record("redis, all", l.redis.Dump())
	for _, key := range l.redis.Keys() {
		if l.redis.Do("TYPE", key) == "zset" { // a list of revoked tokens or of purges
			l.record("redis, all", key, l.redis.Do("ZRANGE", key, "0", "-1", "WITHSCORES"))
		}
	}

	l.judge(map[string]string{"responses": `"error"`, "passed-through responses": "X-Fb-Trace-Id", gotInPassing: "GET /v23.0/me/media?", "raw responses": "HTTP/1.1 400", "the command line": "serve", "admin /metrics": "igproxy_requests_total",
		"admin /readyz": `"draining":true`, "admin /healthz": "ok", "admin /": "<title>igproxy", "admin /status": `"configuration":`, "admin /debug/pprof/": "404", "admin /debug/vars": "404",
		"the log": `"outcome":"token"`, "a dump of all goroutines": "goroutine 1 gp=", "redis, monitored": `"evalsha" `, "redis, all": "igproxy:{",
		"check": " to fix", "check --online": "error    upstream", "serve that does not start": "igproxy: ", "healthcheck": "ready", "other commands": "igproxy"})
}

// guarded drives a sidecar that requires apps to send its own token.
func (l *leaks) guarded() {
	p := l.sidecar(append(l.interception, "AUTH_BEARER_FILE="+file(l.t, "bearer", l.bearer+"\n"), "REDIS_MODE=single", "REDIS_URL="+l.redis.URL())...)
	l.signatures(p, "", l.secret, l.webhooks)
	l.faults(p)
	l.strangers(p)
	l.intercepted(p)
	l.end(p)
}

// open drives a sidecar without authentication and with a failing Redis.
func (l *leaks) open(redis *redistest.Server) {
	liar := redistest.StartLiar(l.t, redis)
	p := l.sidecar("REDIS_MODE=single", "REDIS_URL="+liar.URL(), "REDIS_PASSWORD_FILE="+file(l.t, "password", l.password), "CACHE_MAX_BYTES=1KiB")
	l.signatures(p, "/apps/default", l.webhooks, l.secret)
	l.misplaced(p)
	l.hostile(p)
	l.redisFails(p, redis, liar)
	l.end(p)
}

// limited triggers a fault that pauses the whole app.
func (l *leaks) limited(fault string, settings []string) {
	p := l.sidecar(settings...)
	for _, prefix := range []string{fault, "IGAA"} { // the fault starts a pause; the other token is sent during it
		short := l.short(prefix)
		l.answered(short, p.ask(l.t, short))
	}
	l.pages(p)
	l.end(p)
}

// end stops a sidecar and records its log.
func (l *leaks) end(p *process) {
	if code := p.Stop(l.t); code != 0 {
		l.t.Errorf("exit code %d, want 0", code)
	}
	l.record("the log", p.Log)
}

// endings stops two sidecars during an exchange: one by two SIGTERMs, and the other by SIGQUIT,
// which dumps every goroutine.
func (l *leaks) endings() {
	t := l.t
	patient := []string{"REDIS_MODE=single", "REDIS_URL=" + l.redis.URL(), "UPSTREAM_TIMEOUT=1m", "SERVER_WRITE_TIMEOUT=2m", "SERVER_DRAIN=2m"}
	stopped, dumped := l.sidecar(patient...), l.sidecar(patient...)
	gone := make(chan struct{}, 2)
	for _, p := range []*process{stopped, dumped} {
		short, hanging := l.short("IGAA"), l.short("hang-")
		l.answered(short, p.ask(t, short))
		l.signatures(p, "", l.secret, l.webhooks)
		go func() { // ends with the process
			_, _ = p.try(t.Context(), hanging)
			gone <- struct{}{}
		}()
		eventually(t, "an exchange hangs", func() bool { return l.ig.CallsFor(hanging) > 0 })
		l.pages(p)
	}
	_ = stopped.Cmd.Process.Signal(syscall.SIGTERM)
	eventually(t, "the sidecar drains", func() bool { return len(stopped.Log.Lines("draining")) == 1 })
	r, err := fetch(t.Context(), noKeepAlive, stopped.Admin+"/readyz")
	must(t, err)
	l.record("admin /readyz", r.body, r.header)
	_ = stopped.Cmd.Process.Signal(syscall.SIGTERM)
	stopped.Wait(t)
	l.record("the log", stopped.Log)
	l.quit(dumped)
	<-gone
	<-gone
}

// quit ends a sidecar with SIGQUIT and records its log with the dump of its goroutines.
func (l *leaks) quit(p *process) {
	_ = p.Cmd.Process.Signal(syscall.SIGQUIT)
	p.Wait(l.t)
	log, dump, _ := strings.Cut(p.Log.String(), "SIGQUIT: quit")
	l.record("the log", log)
	l.record("a dump of all goroutines", dump)
}
