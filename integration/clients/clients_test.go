package clients

// Client libraries by other authors log a user in through igproxy. Most of them exchange a code.
// All of them get a long-lived token, read the user's profile with it, and report Meta's errors.
// Each library gets igproxy's address and no secret; docs/clients.md says what else it needs. The
// programs that use the libraries are in the folders next to this file, and their list is in
// logins_test.go.

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/igproxy/igproxy/integration/harness"
	"github.com/igproxy/igproxy/proxy/mock"
)

// got is the JSON object that a client prints on its standard output.
type got struct {
	Short      string // the short-lived token that the client got for its code
	Long       string // the long-lived token
	ExpiresIn  int    `json:"expires_in"` // in seconds
	UserID     string `json:"user_id"`
	Inspected  string // from debug_token's response for the long-lived token: the app's ID and is_valid
	CodeError  string `json:"code_error"`  // the library's error about a used code
	TokenError string `json:"token_error"` // the library's error about an expired token
	Note       string // see client.note
}

func TestThirdPartyClientsWorkWithIgproxy(t *testing.T) {
	dir := installClients(t)
	for _, l := range logins {
		t.Run(l.heading, func(t *testing.T) {
			t.Parallel()
			l.test(t, dir)
		})
	}
	t.Run("without igproxy, passport-instagram fails on the documented response to a code exchange", func(t *testing.T) {
		i := slices.IndexFunc(instagramClients, func(c client) bool { return c.name == "passport-instagram" })
		anySecret, s := harness.StandIn(t, mock.Options{}, mock.ServerOptions{})
		code := anySecret.Code(appID, callback)
		_, stderr, err := instagramClients[i].start(t, "node", dir, clientEnv(t, s.URL, code))
		if issued := anySecret.Issued(code); err == nil || len(issued) != 1 || !strings.Contains(stderr, "Error: Failed to obtain access token") {
			t.Errorf("passport-instagram: error: got %v, want one; exchanges of the code: got %d, want 1; standard error must say \"Failed to obtain access token\", got\n%s", err, len(issued), stderr)
		}
	})
}

// test runs each client of a login twice: against an igproxy that has only one app, which uses this
// login, and against an igproxy that has several apps.
func (l login) test(t *testing.T, dir string) {
	ig, upstream := harness.StandIn(t, l.standIn, mock.ServerOptions{})
	to := []string{"UPSTREAM_URL=" + upstream.URL, "UPSTREAM_LOGIN_URL=" + upstream.URL, "THREADS_URL=" + upstream.URL, "FACEBOOK_URL=" + upstream.URL}
	env := harness.Without(harness.Environ(to...), "IGPROXY_CLIENT_SECRET")
	alone := harness.Start(t, slices.Concat(env, l.settings), "serve")
	several := harness.Start(t, env, "serve", "--config", l.severalApps(t))
	alone.Listening(t)
	several.Listening(t)
	for i, c := range slices.Concat(l.clients, l.clients) {
		name, base := c.name, alone.URL
		if i >= len(l.clients) {
			name, base = c.name+", one app of several", several.URL+"/apps/shop"
		}
		t.Run(name, func(t *testing.T) {
			n := strconv.Itoa(i)
			used := ig.Code(appID, callback)
			spend(t, upstream, used)
			ig.Reset()
			code, short := ig.Code(appID, callback), l.token+"-short-"+n
			g := c.run(t, dir, clientEnv(t, base, code, append(c.env, "SHORT="+short, "BAD_CODE="+used, "BAD_TOKEN=expired-token-"+n)...))
			if !c.noCodes {
				if issued := ig.Issued(code); len(issued) != 1 || g.Short != issued[0] {
					t.Errorf("the code: Meta issued %q, want one token; the client got %q, want that token", issued, g.Short)
				}
				short = g.Short
			}
			if issued := ig.Issued(short); len(issued) != 1 || g.Long != issued[0] || g.ExpiresIn < 5183000 {
				t.Errorf("the exchange: Meta issued %q, want one token; the client got %q, want that token; expires_in got %d, want at least 5183000", issued, g.Long, g.ExpiresIn)
			}
			if g.UserID != l.user || c.inspects && g.Inspected != appID+" true" {
				t.Errorf("the client read the user %q, want %q; debug_token says %q, want %q if the client calls it", g.UserID, l.user, g.Inspected, appID+" true")
			}
			if !strings.HasPrefix(g.CodeError, c.codeError) || !strings.HasPrefix(g.TokenError, c.tokenError) || g.Note != c.note {
				t.Errorf("the error about the used code is %q, want %q at its start; the error about the expired token is %q, want %q at its start; the note is %q, want %q", g.CodeError, c.codeError, g.TokenError, c.tokenError, g.Note, c.note)
			}
			if strange := ig.Strange(); !slices.Equal(strange, c.strange) {
				t.Errorf("the stand-in reported these requests as strange: %q, want %q", strange, c.strange)
			}
			l.secretWhereItBelongs(t, ig, c)
		})
	}
	for _, p := range []*harness.Process{alone, several} {
		if code, leaked := p.Stop(t), strings.Contains(p.Log.String(), harness.AppSecret); code != 0 || leaked {
			t.Errorf("exit code: got %d, want 0; secret in the log: got %t, want false", code, leaked)
		}
	}
}

// severalApps writes a configuration with four apps and returns its path. Each of the first three
// apps uses a different login. The clients use the fourth app, shop, which has the login l.
func (l login) severalApps(t *testing.T) (path string) {
	t.Helper()
	return harness.File(t, "several.yaml", fmt.Sprintf(`apps:
  - {name: club, app_id: "17841400000000009", client_secret_file: %s, redirect_uris: [https://club.example/callback]}
  - {name: talk, service: threads, app_id: "17841400000000008", client_secret_file: %s, redirect_uris: [https://club.example/callback]}
  - {name: page, service: facebook, app_id: "17841400000000007", client_secret_file: %s, redirect_uris: [https://club.example/callback]}
  - {name: shop, %s, app_id: %q, client_secret_file: %s, redirect_uris: [%s]}
debug_token: {enabled: true}
`, harness.File(t, "club", "the-secret-of-another-app"), harness.File(t, "talk", "the-secret-of-a-third-app"),
		harness.File(t, "page", "the-secret-of-a-fourth-app"), l.app, appID, harness.File(t, "shop", harness.AppSecret), callback))
}

// spend exchanges a code directly at the stand-in, so the stand-in has seen the code but igproxy
// has not.
func spend(t *testing.T, upstream *mock.Server, code string) {
	t.Helper()
	res, err := http.PostForm(upstream.URL+"/oauth/access_token", url.Values{"grant_type": {"authorization_code"}, "client_id": {appID},
		"client_secret": {harness.AppSecret}, "redirect_uri": {callback}, "code": {code}})
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Fatalf("the stand-in answered %s to a valid code, want 200", res.Status)
	}
}

// clientEnv returns the environment of a client.
func clientEnv(t *testing.T, base, code string, more ...string) []string {
	t.Helper()
	return append(more, "PATH="+os.Getenv("PATH"), "HOME="+t.TempDir(), "IGPROXY="+base, "CLIENT_ID="+appID, "REDIRECT_URI="+callback, "CODE="+code,
		"OAUTHLIB_INSECURE_TRANSPORT=1") // plain HTTP to loopback, for requests-oauthlib
}

// run runs the program until it ends and returns what it printed. The test fails if the program's
// environment, arguments or output contain the secret.
func (c client) run(t *testing.T, dir string, env []string) (g got) {
	t.Helper()
	program := c.command[0]
	if c.module != "" {
		program = pythonWith(t, c.module)
	}
	stdout, stderr, err := c.start(t, program, dir, env)
	if err != nil {
		t.Fatalf("%v: %v (make test-all installs what is missing)\n%s%s", c.command, err, stdout, stderr)
	}
	for _, text := range append(slices.Concat(env, c.command), stdout, stderr) {
		if strings.Contains(text, harness.AppSecret) {
			t.Errorf("environment, arguments and output of the client: got %q, want no secret", text)
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

// pythonWith returns a Python interpreter that can import a module. Debian's modules are installed
// for /usr/bin/python3, but PATH may contain another python3 that comes first.
func pythonWith(t *testing.T, module string) string {
	t.Helper()
	for _, python := range []string{"python3", "/usr/bin/python3"} {
		if exec.CommandContext(t.Context(), python, "-c", "import "+module).Run() == nil {
			return python
		}
	}
	t.Fatalf("no python3 can import %s (make test-all installs what is missing)", module)
	return ""
}

// installClients copies the programs into a temporary folder, builds the Go programs and installs
// the Node libraries there, once for all tests. It returns the path of the folder.
func installClients(t *testing.T) (dir string) {
	t.Helper()
	dir, err := installOnce()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

var installOnce = sync.OnceValues(func() (dir string, err error) {
	dir = filepath.Join(filepath.Dir(harness.Binary), "clients") // harness.Main removes it
	if err := os.CopyFS(dir, os.DirFS(".")); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	install := func(in, program string, args ...string) error {
		cmd := exec.CommandContext(ctx, program, args...)
		cmd.Dir = filepath.Join(dir, in)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s %v: %w (make test-all installs what is missing)\n%s", program, args, err, out)
		}
		return nil
	}
	var errs [2]error
	harness.Crowd(2, func(i int) {
		if i == 0 {
			errs[i] = install("go", "go", "build", "-o", filepath.Join(dir, "bin")+"/", "./oauth2", "./oauth2-facebook", "./goth", "./goth-facebook", "./intercepted")
		} else {
			errs[i] = install("node", "npm", "ci", "--ignore-scripts")
		}
	})
	return dir, errors.Join(errs[:]...)
})

// secretWhereItBelongs checks that Meta got the real secret in the calls that need it, and in no
// other call. It also checks how many calls of each kind Meta got. The stand-in checks each
// appsecret_proof itself.
func (l login) secretWhereItBelongs(t *testing.T, ig *mock.Instagram, c client) {
	t.Helper()
	seen := map[string]int{}
	for _, r := range ig.Requests() {
		kind := strings.TrimPrefix(r.Endpoint, l.prefix)
		seen[kind]++
		from := r.RawQuery
		if r.Method == http.MethodPost {
			from = string(r.Body)
		}
		values, err := url.ParseQuery(from)
		want, wantToken := []string{harness.AppSecret}, values["access_token"]
		switch kind {
		case "read", "other":
			want = nil
		case "debug_token":
			want, wantToken = nil, []string{appID + "|" + harness.AppSecret}
		}
		if err != nil || !slices.Equal(values["client_secret"], want) || !slices.Equal(values["access_token"], wantToken) ||
			r.Header.Get("Authorization") != "" && kind != "read" {
			t.Errorf("endpoint %s: client_secret: got %q, want %q; access_token: got %q, want %q; Authorization: got %q, want it only in reads; parse error: got %v, want nil",
				r.Endpoint, values["client_secret"], want, values["access_token"], wantToken, r.Header.Get("Authorization"), err)
		}
	}
	if seen["exchange"] != 2 || seen["read"] != 1 || !c.noCodes && seen["code"] != 2 || c.inspects && seen["debug_token"] != 1 {
		t.Errorf("Meta got these numbers of calls: %v; want 2 exchanges, 1 read, 2 codes if the client can exchange codes, and 1 debug_token if it makes this call", seen)
	}
}
