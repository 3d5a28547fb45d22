package clients

// Client libraries from package registries log a user in through igproxy. They exchange a code, get
// a long-lived token, read the user's profile with it, and report errors as their own error types.
// Each library gets igproxy's address and no secret; docs/clients.md says what else it needs. The
// programs that use the libraries are in the folders next to this file.

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/igproxy/igproxy/integration/harness"
	"github.com/igproxy/igproxy/proxy/mock"
)

const (
	appID    = "17841400000000002"
	callback = "https://app.example/callback"
)

// client is a program and what it must print.
type client struct {
	name       string
	command    []string // the last element is in clients/ or was built from there
	noCodes    bool     // does not support codes and starts with a short-lived token
	codeError  string   // start of its error about a code
	tokenError string   // start of its error about a token
	note       string   // other output
	strange    []string // calls that the stand-in must report as unusual
}

var clients = []client{
	{name: "golang.org/x/oauth2", command: []string{"bin/oauth2"}, note: "instagram_business_basic,instagram_business_content_publish",
		codeError: `*oauth2.RetrieveError 400 {"error_type":"OAuthException"`, tokenError: "400 190 463"},
	{name: "github.com/markbates/goth", command: []string{"bin/goth"}, codeError: `*oauth2.RetrieveError 400 {"error_type":"OAuthException"`,
		tokenError: "400 190 463", note: "FetchUser: instagram responded with a 500 trying to fetch user information",
		// A call to an API that has been shut down is passed through.
		strange: []string{"path, no grant_type, no client_secret"}},
	{name: "axios", command: []string{"node", "node/axios.mjs"}, noCodes: true, tokenError: "AxiosError 400 190 463"},
	{name: "instagram-graph-api", command: []string{"node", "node/instagram-graph-api.mjs"}, noCodes: true, tokenError: "OAuthException 190 463"},
	{name: "oauth4webapi", command: []string{"node", "node/oauth4webapi.mjs"}, note: "bearer",
		codeError: "OperationProcessingError 400 This authorization code has expired", tokenError: "OAuthException 190 463"},
	{name: "passport-instagram", command: []string{"node", "node/passport-instagram.mjs"},
		codeError: `InternalOAuthError 400 {"error_type":"OAuthException"`, tokenError: "400 190 463"},
	{name: "simple-oauth2", command: []string{"node", "node/simple-oauth2.mjs"},
		codeError: "400 OAuthException This authorization code has expired", tokenError: "OAuthException 190 463"},
	{name: "libnet-oauth2-perl", command: []string{"perl", "perl/net_oauth2.pl"},
		codeError: "failed oauth call access token: received error: 400 Bad Request", tokenError: "400 190 463"},
	{name: "python3-requests-oauthlib", command: []string{"python3", "python/requests_oauthlib_login.py"},
		codeError: "MissingTokenError (missing_token) Missing access token parameter.", tokenError: "400 190 463"},
	{name: "ruby-oauth2", command: []string{"ruby", "ruby/oauth2.rb"},
		codeError: "OAuth2::Error 400 This authorization code has expired", tokenError: "OAuth2::Error 400 190 463"},
}

// got is what a client prints on its standard output.
type got struct {
	Short      string
	Long       string
	ExpiresIn  int `json:"expires_in"`
	Username   string
	CodeError  string `json:"code_error"`
	TokenError string `json:"token_error"`
	Note       string
}

func TestThirdPartyClients(t *testing.T) {
	dir := installClients(t)
	ig, upstream := harness.StandIn(t, mock.Options{AppID: appID, Secret: harness.AppSecret}, mock.ServerOptions{})
	to := []string{"UPSTREAM_URL=" + upstream.URL, "UPSTREAM_LOGIN_URL=" + upstream.URL}
	alone := harness.Serve(t, append(to, "APP_ID="+appID, "REDIRECT_URIS="+callback)...)
	several := harness.Start(t, harness.Without(harness.Environ(to...), "IGPROXY_CLIENT_SECRET"), "serve", "--config", severalApps(t))
	several.Listening(t)
	for i, c := range slices.Concat(clients, clients) {
		name, base := c.name, alone.URL
		if i >= len(clients) {
			name, base = c.name+", one app of several", several.URL+"/apps/shop"
		}
		t.Run(name, func(t *testing.T) {
			ig.Reset()
			n := string(rune('a' + i))
			code, short := ig.Code(appID, callback), "IGAA-short-"+n
			g := c.run(t, dir, clientEnv(t, base, code, "SHORT="+short, "BAD_CODE=expired-code-"+n, "BAD_TOKEN=expired-token-"+n))
			if !c.noCodes {
				if issued := ig.Issued(code); len(issued) != 1 || g.Short != issued[0] {
					t.Errorf("the code was exchanged %d times (want 1), or the client got a different token", len(issued))
				}
				short = g.Short
			}
			if issued := ig.Issued(short); len(issued) != 1 || g.Long != issued[0] || g.ExpiresIn < 5183000 {
				t.Errorf("the token was exchanged %d times (want 1), or the client got a different one, or its expires_in is too low: %d", len(issued), g.ExpiresIn)
			}
			if g.Username != "anna.photos" {
				t.Errorf("the client read the user %q", g.Username)
			}
			if !strings.HasPrefix(g.CodeError, c.codeError) || !strings.HasPrefix(g.TokenError, c.tokenError) || g.Note != c.note {
				t.Errorf("the client's errors are %q and %q, and its note is %q", g.CodeError, g.TokenError, g.Note)
			}
			if strange := ig.Strange(); !slices.Equal(strange, c.strange) {
				t.Errorf("Instagram received requests that igproxy must not send: %q", strange)
			}
			secretWhereItBelongs(t, ig, !c.noCodes)
		})
	}
	t.Run("without igproxy, passport-instagram fails on the documented response to a code exchange", func(t *testing.T) {
		i := slices.IndexFunc(clients, func(c client) bool { return c.name == "passport-instagram" })
		anySecret, s := harness.StandIn(t, mock.Options{}, mock.ServerOptions{})
		code := anySecret.Code(appID, callback)
		_, stderr, err := clients[i].start(t, "node", dir, clientEnv(t, s.URL, code))
		if err == nil || len(anySecret.Issued(code)) != 1 || !strings.Contains(stderr, "Error: Failed to obtain access token") {
			t.Errorf("%v, %s", err, stderr)
		}
	})
	for _, p := range []*harness.Process{alone, several} {
		if code := p.Stop(t); code != 0 || strings.Contains(p.Log.String(), harness.AppSecret) {
			t.Errorf("exit code %d, or the secret is in the log", code)
		}
	}
}

// severalApps writes a configuration with two apps, shop (with appID) and club, and returns its
// path.
func severalApps(t *testing.T) (path string) {
	t.Helper()
	return harness.File(t, "several.yaml", fmt.Sprintf(`apps:
  - {name: club, app_id: "17841400000000009", client_secret_file: %s, redirect_uris: [https://club.example/callback]}
  - {name: shop, app_id: %q, client_secret_file: %s, redirect_uris: [%s]}
`, harness.File(t, "club", "the-secret-of-another-app"), appID, harness.File(t, "shop", harness.AppSecret), callback))
}

// clientEnv returns the environment of a client.
func clientEnv(t *testing.T, base, code string, more ...string) []string {
	t.Helper()
	return append(more, "PATH="+os.Getenv("PATH"), "HOME="+t.TempDir(), "IGPROXY="+base, "CLIENT_ID="+appID, "REDIRECT_URI="+callback, "CODE="+code,
		"OAUTHLIB_INSECURE_TRANSPORT=1") // plain HTTP to loopback, for requests-oauthlib
}

// run runs the program to its end and returns what it printed. The test fails if the program's
// environment, arguments or output contain the secret.
func (c client) run(t *testing.T, dir string, env []string) (g got) {
	t.Helper()
	program := c.command[0]
	if program == "python3" {
		program = pythonWith(t, "requests_oauthlib")
	}
	stdout, stderr, err := c.start(t, program, dir, env)
	if err != nil {
		t.Fatalf("%v: %v (make test-all installs what is missing)\n%s%s", c.command, err, stdout, stderr)
	}
	for _, text := range append(slices.Concat(env, c.command), stdout, stderr) {
		if strings.Contains(text, harness.AppSecret) {
			t.Error("the client has the secret")
		}
	}
	if err := json.Unmarshal([]byte(stdout), &g); err != nil {
		t.Fatalf("the client's output is %q: %v", stdout, err)
	}
	return g
}

func (c client) start(t *testing.T, program, dir string, env []string) (stdout, stderr string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, c.command[1:]...)
	if strings.HasPrefix(program, "bin/") {
		cmd.Path = filepath.Join(dir, program)
	}
	var out, errs bytes.Buffer
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, env, &out, &errs
	err = cmd.Run()
	return out.String(), errs.String(), err
}

// pythonWith returns a Python interpreter that has a module. The first python3 in PATH may not be
// the system's, which has Debian's modules.
func pythonWith(t *testing.T, module string) string {
	t.Helper()
	for _, python := range []string{"python3", "/usr/bin/python3"} {
		if exec.CommandContext(t.Context(), python, "-c", "import "+module).Run() == nil {
			return python
		}
	}
	t.Fatalf("no python3 has the module %s: make test-all installs it", module)
	return ""
}

// installClients installs the programs and their libraries into a temporary folder.
func installClients(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(".")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	install := func(in, program string, args ...string) {
		cmd := exec.CommandContext(ctx, program, args...)
		cmd.Dir = filepath.Join(dir, in)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s %v: %v (make test-all installs what is missing)\n%s", program, args, err, out)
		}
	}
	harness.Crowd(2, func(i int) {
		if i == 0 {
			install("go", "go", "build", "-o", filepath.Join(dir, "bin")+"/", "./oauth2", "./goth")
		} else {
			install("node", "npm", "ci", "--ignore-scripts")
		}
	})
	if t.Failed() {
		t.FailNow()
	}
	return dir
}

// secretWhereItBelongs checks that Instagram got the real secret with the calls that need it, and
// with no others.
func secretWhereItBelongs(t *testing.T, ig *mock.Instagram, codes bool) {
	t.Helper()
	seen := map[string]int{}
	for _, r := range ig.Requests() {
		seen[r.Endpoint]++
		from := r.RawQuery
		if r.Endpoint == "code" {
			from = string(r.Body)
		}
		values, err := url.ParseQuery(from)
		want := []string{harness.AppSecret}
		if r.Endpoint == "read" || r.Endpoint == "other" {
			want = nil
		}
		if err != nil || !slices.Equal(values["client_secret"], want) || r.Header.Get("Authorization") != "" && want != nil {
			t.Errorf("a call of kind %s (%v): the wrong secret, or a secret in a header", r.Endpoint, err)
		}
	}
	if seen["exchange"] != 2 || seen["read"] != 1 || codes && seen["code"] != 2 {
		t.Errorf("Instagram got %v", seen)
	}
}

// A program whose URLs cannot be changed reaches igproxy through its resolver, and igproxy presents
// a certificate for Instagram's name.
func TestClientWithoutABaseURL(t *testing.T) {
	ig, upstream := harness.StandIn(t, mock.Options{AppID: appID, Secret: harness.AppSecret}, mock.ServerOptions{})
	a := harness.NewAuthority(t)
	cert, key := a.Sign(t, "igproxy", "graph.instagram.com")
	p := harness.Serve(t, "UPSTREAM_URL="+upstream.URL, "TLS_CERT_FILE="+harness.File(t, "cert.pem", cert), "TLS_KEY_FILE="+harness.File(t, "key.pem", key),
		"ALLOWED_HOSTS=graph.instagram.com")
	here, _ := url.Parse(p.URL)
	curl := func(path string) string {
		ctx, cancel := context.WithTimeout(t.Context(), harness.Patience)
		defer cancel()
		out, err := exec.CommandContext(ctx, "curl", "-sS", "--noproxy", "*", "--cacert", a.File, "--connect-to", "graph.instagram.com:443:"+here.Host,
			"https://graph.instagram.com"+path).CombinedOutput()
		if err != nil {
			t.Fatalf("curl: %v\n%s", err, out)
		}
		return string(out)
	}
	answer, issued := curl(harness.ExchangePath("IGAA-fixed")), ig.Issued("IGAA-fixed")
	if len(issued) != 1 || !strings.Contains(answer, `"access_token":"`+issued[0]+`"`) {
		t.Fatalf("no token, or the wrong one, in %s", answer)
	}
	if me := curl("/me?fields=username&access_token=" + issued[0]); !strings.Contains(me, `"username":"anna.photos"`) {
		t.Errorf("read %s", me)
	}
	if strange := ig.Strange(); len(strange) > 0 {
		t.Errorf("Instagram received requests that igproxy must not send: %q", strange)
	}
}

// The table in docs/clients.md lists the clients of this test and their versions.
func TestTableOfClientsMatchesTheTest(t *testing.T) {
	table := slurp(t, "../../docs/clients.md")
	pinned := slurp(t, "go/go.mod") + slurp(t, "node/package.json")
	for _, c := range clients {
		row := regexp.MustCompile(`(?m)^\| ` + regexp.QuoteMeta(c.name) + ` +\| ([^ |]+) +\|.*$`).FindStringSubmatch(table)
		if row == nil {
			t.Errorf("docs/clients.md has no row for %s", c.name)
			continue
		}
		version := regexp.MustCompile(regexp.QuoteMeta(c.name) + `"?:? "?v?([0-9.]+)`).FindStringSubmatch(pinned)
		if version != nil && version[1] != row[1] {
			t.Errorf("docs/clients.md says version %s of %s; the pinned version is %s", row[1], c.name, version[1])
		}
		if version == nil && !strings.HasPrefix(c.command[0], "p") && c.command[0] != "ruby" {
			t.Errorf("neither go.mod nor package.json pins the version of %s", c.name)
		}
	}
}

func slurp(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
