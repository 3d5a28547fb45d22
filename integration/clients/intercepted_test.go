package clients

// Programs that have Meta's URLs in their code run unchanged. They only need HTTPS_PROXY
// (http_proxy for Ruby's net/http) and the settings that `igproxy ca show` prints for their
// language. There is one exception: for fetch in older versions of Node.js, and for HTTP/2 in all
// versions, Node.js must also load node/env-proxy.mjs.

import (
	"encoding/json"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/igproxy/igproxy/integration/harness"
	"github.com/igproxy/igproxy/proxy/mock"
)

// interceptedClient is a program whose URLs cannot be changed.
type interceptedClient struct {
	name     string
	client          // only command, module and env are used
	kind     string // how `igproxy ca show` names the language or program
	protocol string // the HTTP version that the program must report; empty if it does not report the version
}

const bothProtocols = "HTTP/1.1 and HTTP/2"

func interceptedClients(t *testing.T) []interceptedClient {
	preload := []string{"node", "--import", "./node/env-proxy.mjs", "node/intercepted-fetch.mjs"}
	fetch := preload
	if out, err := exec.CommandContext(t.Context(), "node", "-p", "process.allowedNodeEnvironmentFlags.has('--use-env-proxy')").Output(); err == nil && strings.HasPrefix(string(out), "true") {
		fetch = []string{"node", "node/intercepted-fetch.mjs"}
	}
	http2 := []string{"HTTP2=1"}
	return []interceptedClient{
		{name: "fetch", client: client{command: fetch}, kind: "Node.js", protocol: "HTTP/1.1"},
		{name: "fetch", client: client{command: preload, env: http2}, kind: "Node.js", protocol: "HTTP/2"},
		{name: "axios", client: client{command: []string{"node", "node/intercepted-axios.mjs"}}, kind: "Node.js"},
		{name: "python3-requests", client: client{command: []string{"python3", "python/intercepted_requests.py"}, module: "requests"}, kind: "Python"},
		{name: "python3-httpx", client: client{command: []string{"python3", "python/intercepted_httpx.py"}, module: "httpx, h2"}, kind: "Python", protocol: "HTTP/1.1"},
		{name: "python3-httpx", client: client{command: []string{"python3", "python/intercepted_httpx.py"}, module: "httpx, h2", env: http2}, kind: "Python", protocol: "HTTP/2"},
		{name: "ruby-faraday", client: client{command: []string{"ruby", "ruby/intercepted_faraday.rb"}}, kind: "Ruby"},
		{name: "Ruby's net/http", client: client{command: []string{"ruby", "ruby/intercepted_net_http.rb"}}, kind: "Ruby"},
		{name: "libwww-perl", client: client{command: []string{"perl", "perl/intercepted.pl"}}, kind: "Perl"},
		{name: "php-curl", client: client{command: []string{"php", "php/intercepted.php"}}, kind: "PHP", protocol: "HTTP/1.1"},
		{name: "php-curl", client: client{command: []string{"php", "php/intercepted.php"}, env: http2}, kind: "PHP", protocol: "HTTP/2"},
		{name: "Go's net/http", client: client{command: []string{"bin/intercepted"}, env: []string{"GODEBUG=http2client=0"}}, kind: "Go", protocol: "HTTP/1.1"},
		{name: "Go's net/http", client: client{command: []string{"bin/intercepted"}}, kind: "Go", protocol: "HTTP/2.0"},
		{name: "curl", client: client{command: []string{"curl/intercepted.sh"}, env: []string{"VERSION=--http1.1"}}, kind: "curl", protocol: "HTTP/1.1"},
		{name: "curl", client: client{command: []string{"curl/intercepted.sh"}, env: []string{"VERSION=--http2"}}, kind: "curl", protocol: "HTTP/2"},
	}
}

func TestUnmodifiedClientsWorkThroughHTTPSProxy(t *testing.T) {
	dir := installClients(t)
	ig, upstream := harness.StandIn(t, mock.Options{AppID: appID, Secret: harness.AppSecret}, mock.ServerOptions{})
	ig.SetLatency(100 * time.Millisecond) // so that two concurrent exchanges become one call
	const token = "the-token-of-the-sidecar-0123456789"
	settings := []string{"UPSTREAM_URL=" + upstream.URL, "UPSTREAM_LOGIN_URL=" + upstream.URL, "APP_ID=" + appID, "REDIRECT_URIS=" + callback}
	open := harness.Intercept(t, harness.Binary, settings...)
	closed := harness.Intercept(t, harness.Binary, append(settings, "AUTH_BEARER_FILE="+harness.File(t, "bearer", token))...)
	withToken := strings.Replace(closed.Proxy, "http://", "http://igproxy:"+token+"@", 1)
	t.Run("clients", func(t *testing.T) {
		for i, c := range interceptedClients(t) {
			run := func(name, proxy string, settings []string, check func(t *testing.T, code, refresh, stdout, stderr string, err error)) {
				t.Run(strings.Join(append([]string{c.name, name}, c.env...), " "), func(t *testing.T) {
					t.Parallel()
					code, refresh := ig.Code(appID, callback), "IGAA-old-"+strconv.Itoa(i)+strings.ReplaceAll(name, " ", "-")
					stdout, stderr, err := c.through(t, dir, proxy, settings, "CODE="+code, "REFRESH="+refresh)
					check(t, code, refresh, stdout, stderr, err)
				})
			}
			served := func(t *testing.T, code, refresh, stdout, stderr string, err error) {
				if err != nil {
					t.Fatalf("%v: %v (make test-all installs what is missing)\n%s%s", c.command, err, stdout, stderr)
				}
				c.judge(t, ig, code, refresh, stdout)
			}
			refused := func(says string) func(t *testing.T, code, refresh, stdout, stderr string, err error) {
				return func(t *testing.T, code, _, stdout, stderr string, err error) {
					if err == nil || !regexp.MustCompile(says).MatchString(stdout+stderr) {
						t.Errorf("the program: error: got %v, want non-nil; output got\n%s%s\nwant a match for %s", err, stdout, stderr, says)
					}
					if n := len(ig.Issued(code)); n > 0 {
						t.Errorf("the code was exchanged %d times, want 0", n)
					}
				}
			}
			run("no token required", open.Proxy, open.Made.Settings(t, c.kind), served)
			run("token required and sent", withToken, closed.Made.Settings(t, c.kind), served)
			run("token required but not sent", closed.Proxy, closed.Made.Settings(t, c.kind), refused(`(?i)407|proxy`))
			run("only the system's authorities trusted", open.Proxy, c.systemOnly(open.Made.Settings(t, c.kind)), refused(`(?i)certificate`))
		}
	})
	for _, p := range []*harness.Interceptor{open, closed} {
		_, metrics, err := harness.Get(t.Context(), p.Admin+"/metrics")
		if joined := regexp.MustCompile(`igproxy_requests_total\{[^}]*grant="exchange"[^}]*source="joined"[^}]*\} [1-9]`); err != nil || !joined.MatchString(metrics) {
			t.Errorf("/metrics: error: got %v, want nil; want at least one joined exchange, got\n%s", err, metrics)
		}
		code, log := p.Stop(t), p.Log.String()
		if secret, own := strings.Contains(log, harness.AppSecret), strings.Contains(log, token); code != 0 || secret || own {
			t.Errorf("exit code: got %d, want 0; client secret in the log: got %t, want false; igproxy's own token in the log: got %t, want false", code, secret, own)
		}
	}
	if strange := ig.Strange(); len(strange) > 0 {
		t.Errorf("the stand-in reported these requests as strange: %q, want none", strange)
	}
}

// through runs the program with a proxy. PHP gets the settings as options of its command line, and
// every other program gets them as environment variables.
func (c interceptedClient) through(t *testing.T, dir, proxy string, settings []string, more ...string) (stdout, stderr string, err error) {
	t.Helper()
	name := "HTTPS_PROXY"
	if c.name == "Ruby's net/http" {
		name = "http_proxy"
	}
	env := slices.Concat(c.env, more, []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "CLIENT_ID=" + appID, "REDIRECT_URI=" + callback, name + "=" + proxy})
	run := c.client
	if c.kind == "PHP" {
		run.command = []string{"php"}
		for _, s := range settings {
			run.command = append(run.command, "-d", s)
		}
		run.command = append(run.command, c.command[1:]...)
	} else {
		env = append(env, settings...)
	}
	program := run.command[0]
	if c.module != "" {
		program = pythonWith(t, c.module)
	}
	return run.start(t, program, dir, env)
}

// systemOnly returns the settings without the files of igproxy's authority, so that the program
// trusts only the system's authorities.
func (c interceptedClient) systemOnly(settings []string) []string {
	return slices.DeleteFunc(slices.Clone(settings), func(s string) bool { return strings.Contains(s, ".pem") })
}

// judge checks the tokens and the user that the program got, the HTTP version that it reported, and
// the number of tokens that Meta issued.
func (c interceptedClient) judge(t *testing.T, ig *mock.Instagram, code, refresh, stdout string) {
	t.Helper()
	var g struct {
		Short, Refreshed, Protocol string
		Long                       []string
		UserID                     string `json:"user_id"`
	}
	if err := json.Unmarshal([]byte(stdout), &g); err != nil {
		t.Fatalf("the client printed %q, want JSON: %v", stdout, err)
	}
	if issued := ig.Issued(code); len(issued) != 1 || g.Short != issued[0] {
		t.Errorf("the code: Meta issued %q, want one token; the client got %q, want that token", issued, g.Short)
	}
	if issued := ig.Issued(g.Short); len(issued) != 1 || !slices.Equal(g.Long, []string{issued[0], issued[0]}) {
		t.Errorf("two concurrent exchanges: Meta issued %q, want one token; the client got %q, want that token twice", issued, g.Long)
	}
	if issued := ig.Issued(refresh); len(issued) != 1 || g.Refreshed != issued[0] {
		t.Errorf("the refresh: Meta issued %q, want one token; the client got %q, want that token", issued, g.Refreshed)
	}
	if g.UserID != "17841400000000001" || g.Protocol != c.protocol {
		t.Errorf("the client read the user %q over %q, want the user 17841400000000001 over %q", g.UserID, g.Protocol, c.protocol)
	}
}

// The table in docs/clients.md lists the intercepted clients, and the HTTP versions of their tests.
func TestTableOfUnmodifiedClientsMatchesTheTest(t *testing.T) {
	_, table, _ := strings.Cut(slurp(t, "../../docs/clients.md"), "\n### Through HTTPS_PROXY\n")
	table, _, _ = strings.Cut(table, "\n#")
	protocols := map[string]string{}
	for _, c := range interceptedClients(t) {
		if _, second := protocols[c.name]; second {
			protocols[c.name] = bothProtocols
		} else {
			protocols[c.name] = "HTTP/1.1"
		}
	}
	if rows := strings.Count(table, "\n| ") - 1; rows != len(protocols) {
		t.Errorf("docs/clients.md: rows in the table: got %d, want %d, one for each client", rows, len(protocols))
	}
	for name, protocol := range protocols {
		if !regexp.MustCompile(`(?m)^\| ` + regexp.QuoteMeta(name) + ` \| [^|]+ \| ` + protocol + ` \|`).MatchString(table) {
			t.Errorf("docs/clients.md has no row for %s with %s", name, protocol)
		}
	}
}
