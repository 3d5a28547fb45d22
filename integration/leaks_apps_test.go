package integration

// In this part of TestNoLeaks, a sidecar serves five apps, each with its own secret: two for
// Instagram, two for Threads and one for Facebook. Their code exchanges, token exchanges and
// refreshes succeed, are refused, fail upstream, or get responses that repeat what was sent.

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/igproxy/igproxy/proxy/mock"
)

// tokenCall is a code exchange, a token exchange or a refresh by one of the apps.
type tokenCall struct {
	name  string // the name of the app
	kind  string // the kind of the token or code that it sends
	good  string // the prefix of a token or code that triggers no fault
	path  string
	grant string // grant_type; "" for a code
	id    string // client_id
}

// tokenCalls lists the token calls of all apps. Each call names its app in the path, by the app's
// ID, or by a grant type that fits only this app.
var tokenCalls = []tokenCall{
	{"shop", "a code for the shop", "AQ", "/apps/shop/oauth/access_token", "", "101"},
	{"club", "a code for the club", "AQ", "/v23.0/oauth/access_token", "", "102"},
	{"circle", "a code for the circle", "AQ", "/apps/circle/oauth/access_token", "", "103"},
	{"threads", "a code for Threads", "AQ", "/oauth/access_token", "", threadsID},
	{"club", "a token to exchange for the club", "IGAA", "/access_token", "ig_exchange_token", "102"},
	{"threads", "a token to exchange for Threads", "THQV", "/apps/threads/access_token", "th_exchange_token", ""},
	{"shop", "a token to refresh for the shop", "IGAA", "/apps/shop/refresh_access_token", "ig_refresh_token", ""},
	{"circle", "a token to refresh for the circle", "THAA", "/v1.0/refresh_access_token", "th_refresh_token", "103"},
	{"pages", "a code for Facebook", "AQ", "/v23.0/oauth/access_token", "", pagesID},
	{"pages", "a token to extend for Facebook", "EAA", "/oauth/access_token", "fb_exchange_token", ""},
}

// leastGiven maps kinds of tokens and codes to the minimum number of tokens that Meta must issue
// for each kind. If Meta issues fewer, too few calls of that kind succeed.
var leastGiven = func() map[string]int {
	least := map[string]int{"a short-lived token": 30, keptKind: len(keptCalls)}
	for _, w := range tokenCalls {
		least[w.kind] = 10
	}
	// A login to the shop or to Facebook exchanges a code for a short-lived token, exchanges this
	// token for a long-lived token, and refreshes the long-lived token.
	for _, w := range []tokenCall{tokenCalls[0], tokenCalls[8]} {
		least["a token issued for "+w.kind], least["a token issued for a token issued for "+w.kind] = 1, 1
	}
	return least
}()

// startMeta starts Meta's four hosts, and sets l.meta and l.hosts. The hosts accept every secret,
// so that the calls of every app can trigger faults, some of which repeat the secret.
func (l *leaks) startMeta() {
	authorities := ""
	for _, c := range [][2]string{{"UPSTREAM_URL", "graph.instagram.com"}, {"UPSTREAM_LOGIN_URL", "api.instagram.com"}, {"THREADS_URL", "graph.threads.net"},
		{"FACEBOOK_URL", "graph.facebook.com"}} {
		ig := mock.New(mock.Options{Host: c[1]})
		s, err := mock.Start(ig, mock.ServerOptions{TLS: true})
		must(l.t, err)
		l.t.Cleanup(s.Close)
		l.meta, l.hosts = append(l.meta, ig), append(l.hosts, c[0]+"="+s.URL)
		authorities += string(s.CAPEM)
	}
	config := fmt.Sprintf("apps:\n  - {name: shop, app_id: \"101\", redirect_uris: [%[1]q], client_secret_file: %[2]q, webhook_secret_file: %[5]q}\n"+
		"  - {name: club, app_id: \"102\", redirect_uris: [%[1]q], client_secret: %[3]s, hosts: [club.example]}\n"+
		"  - {name: circle, app_id: \"103\", service: threads, redirect_uris: [%[1]q], client_secret_file: %[4]q}\n"+
		"  - {name: pages, app_id: %[6]q, service: facebook, redirect_uris: [%[1]q], client_secret_file: %[7]q, appsecret_proof: true}\n",
		callback, file(l.t, "shop", l.shop+"\n"), l.club, file(l.t, "circle", l.circle), file(l.t, "webhooks", l.webhooks), pagesID, file(l.t, "pages", l.pagesNow+"\n"+l.pagesBefore+"\n"))
	l.hosts = append(l.hosts, "UPSTREAM_CA_FILE="+file(l.t, "ca.pem", authorities), "CLIENT_SECRET=", "APP_ID=", "WEBHOOK_SECRET_FILE=", "CONFIG="+file(l.t, "apps.yaml", config),
		"DEBUG_TOKEN_ENABLED=true", "THREADS_APP_ID="+threadsID, "THREADS_CLIENT_SECRET="+l.threads, "THREADS_REDIRECT_URIS="+callback, "PASSTHROUGH_TIMEOUT=2s", "PASSTHROUGH_MAX_BODY_BYTES=1MiB",
		"AUTH_BEARER_FILE="+file(l.t, "bearer", l.bearer), "REDIS_MODE=single", "REDIS_URL="+l.redis.URL())
}

// apps sends the calls of all apps through a healthy sidecar, through a sidecar that is killed
// while calls hang, and through a sidecar whose upstreams are unreachable. It also runs igproxy
// check --online.
func (l *leaks) apps() {
	l.hanging() // first, because the faults below pause apps, whose calls then do not reach Meta
	p := l.sidecar(l.hosts...)
	l.logins(p)
	l.signatures(p, "/apps/shop", l.shop, l.webhooks)
	l.signatures(p, "/apps/threads", l.threads)
	l.facebook(p)
	crowd(2, func(i int) { []func(*process){l.everyFault, l.passes}[i](p) })
	l.misplacedForms(p)
	l.held()
	l.pages(p)

	nowhere := "=https://127.0.0.1:1"
	gone := l.sidecar(append(l.hosts, "UPSTREAM_URL"+nowhere, "UPSTREAM_LOGIN_URL"+nowhere, "THREADS_URL"+nowhere, "FACEBOOK_URL"+nowhere, "LOG_FORMAT=text")...)
	for _, w := range tokenCalls {
		if r := l.sendTwice(gone, w, w.good); r.status != 503 {
			l.t.Errorf("%s, with a closed port: got %d; want 503", w.kind, r.status)
		}
	}
	for _, c := range passing {
		if r := l.pass(gone, c, "IGAA"); r.status != 503 {
			l.t.Errorf("%s, with a closed port: got %d; want 503", c.kind, r.status)
		}
	}
	l.pages(gone)
	l.appsOnline()
	l.end(p)
	l.end(gone)
}

// send makes the call with text as its token or code.
func (w tokenCall) send(ctx context.Context, p *process, text, bearer string) (response, error) {
	if w.grant == "" {
		form := url.Values{"client_id": {w.id}, "grant_type": {"authorization_code"}, "redirect_uri": {callback}, "code": {text}}
		return sendRequest(ctx, "POST", p.URL+w.path, form.Encode(), "X-Igproxy-Token", bearer, "Content-Type", "application/x-www-form-urlencoded")
	}
	param := "access_token"
	if w.grant == "fb_exchange_token" {
		param = w.grant
	}
	query := url.Values{"grant_type": {w.grant}, param: {text}, "client_id": {w.id}}
	return sendRequest(ctx, "GET", p.URL+w.path+"?"+query.Encode(), "", "X-Igproxy-Token", bearer)
}

// sendRequest sends one request over its own connection. fields alternates names and values of
// header fields. sendRequest does not decompress the response.
func sendRequest(ctx context.Context, method, target, body string, fields ...string) (response, error) {
	r, err := http.NewRequestWithContext(ctx, method, target, strings.NewReader(body))
	if err != nil {
		return response{}, err
	}
	r.Header.Set("Accept-Encoding", "gzip")
	for i := 0; i < len(fields); i += 2 {
		r.Header.Add(fields[i], fields[i+1])
	}
	start := time.Now()
	res, err := noKeepAlive.Do(r)
	if err != nil {
		return response{}, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	return response{res.StatusCode, res.Header, string(text), time.Since(start)}, err
}

// sendTwice makes the call twice with a new token or code that has this prefix, because the second
// answer may come from memory. If the first call times out, sendTwice makes no second call.
func (l *leaks) sendTwice(p *process, w tokenCall, prefix string) (first response) {
	text := l.newCredential(w.kind, prefix)
	for i := range 2 {
		r, err := w.send(l.t.Context(), p, text, l.bearer)
		if err != nil {
			l.t.Errorf("%s, %s: %v", w.kind, prefix, err)
			return r
		}
		if l.answered(text, r); i == 0 {
			first = r
		}
		if r.status == http.StatusGatewayTimeout {
			break
		}
	}
	return first
}

// logins logs in to each app of Instagram and Threads: it exchanges a code for a short-lived token,
// exchanges this token for a long-lived token, and refreshes the long-lived token.
func (l *leaks) logins(p *process) {
	for name, family := range map[string]string{"shop": "ig_", "club": "ig_", "circle": "th_", "threads": "th_"} {
		code := slices.IndexFunc(tokenCalls, func(w tokenCall) bool { return w.name == name && w.grant == "" })
		text := l.newCredential(tokenCalls[code].kind, tokenCalls[code].good)
		base := "/apps/" + name
		for _, w := range []tokenCall{tokenCalls[code], {path: base + "/access_token", grant: family + "exchange_token"}, {path: base + "/refresh_access_token", grant: family + "refresh_token"}} {
			r, err := w.send(l.t.Context(), p, text, l.bearer)
			if err != nil || r.status != 200 {
				l.t.Fatalf("%s: %s got %d %s, %v; want 200", name, w.path, r.status, r.body, err)
			}
			l.answered(text, r)
			if text = r.token(); w.grant != "" {
				for _, ig := range l.meta {
					ig.Age(25 * time.Hour) // a token must be a day old for a refresh
				}
			}
		}
	}
}

// pausingFaults lists the prefixes of the faults that pause a whole app.
var pausingFaults = []string{"wrongsecret-", "limit4-", "limit613-", "limit429-"}

// closingFault is the prefix of a fault that sends more headers than igproxy accepts. igproxy then
// closes the connection to Meta, which can end other calls on it. So everyFault and passes send
// this fault after their concurrent calls.
const closingFault = "hugeheaders-"

// prefixes returns good, which is the prefix of tokens or codes without a fault, and then the
// prefixes of all faults except closingFault and pausingFaults.
func prefixes(good string) []string {
	all := []string{good}
	for _, f := range mock.Faults() {
		if f.Prefix() != closingFault && !slices.Contains(pausingFaults, f.Prefix()) {
			all = append(all, f.Prefix())
		}
	}
	return all
}

// everyFault makes every token call with every fault that does not pause the app. It works on only
// two rows of tokenCalls at a time, so that upstream.max_in_flight does not refuse any call.
func (l *leaks) everyFault(p *process) {
	for n := 0; n < len(tokenCalls); n += 2 {
		crowd(2, func(i int) {
			w := tokenCalls[n+i]
			all := prefixes(w.good)
			twelveAtATime(len(all), func(i int) { l.sendTwice(p, w, all[i]) })
		})
	}
	for _, w := range tokenCalls {
		l.sendTwice(p, w, closingFault)
	}
}

// held makes each token call with each fault that pauses an app, and then, while the apps are
// paused, with tokens and codes that trigger no fault. Calls of a paused app do not reach Meta. So
// each fault gets two new sidecars: the second gets the calls in reverse order, so that exchanges
// and refreshes come before the code exchanges.
func (l *leaks) held() {
	asked := func() (n int) {
		for _, ig := range l.meta {
			n += ig.Calls()
		}
		return n
	}
	for _, fault := range pausingFaults {
		for _, reverse := range []bool{false, true} {
			p := l.sidecar(l.hosts...)
			calls := slices.Clone(tokenCalls)
			if reverse {
				slices.Reverse(calls)
			}
			began := map[string]bool{} // the apps whose first call has been made
			for _, w := range calls {
				before := asked()
				if r := l.sendTwice(p, w, fault); r.status < 400 {
					l.t.Errorf("%s, %s: got %d, want an error", w.kind, fault, r.status)
				}
				if !began[w.name] && asked() == before {
					l.t.Errorf("%s, %s: the first call of the app %s did not reach Meta", w.kind, fault, w.name)
				}
				began[w.name] = true
			}
			for _, w := range calls {
				l.sendTwice(p, w, w.good)
			}
			l.pages(p)
			l.end(p)
		}
	}
}

// hanging ends a sidecar with SIGQUIT while a code exchange, a refresh and passed-through calls
// hang.
func (l *leaks) hanging() {
	p := l.sidecar(append(l.hosts, "UPSTREAM_TIMEOUT=1m", "PASSTHROUGH_TIMEOUT=1m", "SERVER_WRITE_TIMEOUT=2m")...)
	answers := make(chan response, 2+len(passing))
	wait := func(text string, ask func() (response, error)) {
		go func() { // ends with the process
			r, _ := ask()
			answers <- r
		}()
		eventually(l.t, "the call hangs", func() bool {
			return slices.ContainsFunc(l.meta, func(ig *mock.Instagram) bool { return ig.CallsFor(text) > 0 })
		})
	}
	for _, w := range []tokenCall{tokenCalls[2], tokenCalls[7]} {
		text := l.newCredential(w.kind, "hang-")
		wait(text, func() (response, error) { return w.send(l.t.Context(), p, text, l.bearer) })
	}
	for _, c := range passing {
		text := l.newCredential(c.kind, "hang-")
		wait(text, func() (response, error) { return c.ask(l.t.Context(), p, text, l.bearer) })
	}
	l.quit(p)
	for range cap(answers) {
		if r := <-answers; r.status != 0 {
			l.t.Errorf("a call got %d %s, want no response, because the call hangs until the sidecar ends", r.status, r.body)
		}
	}
}
