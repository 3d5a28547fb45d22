package clients

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/igproxy/igproxy/integration/harness"
	"github.com/igproxy/igproxy/proxy/mock"
)

const (
	appID    = "17841400000000002"
	callback = "https://app.example/callback"
)

// login is one of Meta's logins, and the clients that use it.
type login struct {
	heading  string       // the heading of its table in docs/clients.md
	standIn  mock.Options // the options of the stand-in
	settings []string     // the settings of an igproxy that has only one app, which uses this login
	app      string       // in YAML, the settings of an app with this login that depend on the login
	prefix   string       // the prefix of the endpoint names that the stand-in reports; empty for Instagram
	token    string       // the prefix of its short-lived tokens
	user     string       // the ID of the stand-in's user
	clients  []client
}

var logins = []login{
	{heading: "Instagram Login", standIn: mock.Options{AppID: appID, Secret: harness.AppSecret},
		settings: []string{"IGPROXY_APP_ID=" + appID, "IGPROXY_REDIRECT_URIS=" + callback, "IGPROXY_CLIENT_SECRET=" + harness.AppSecret},
		app:      "service: instagram", token: "IGAA", user: "17841400000000001", clients: instagramClients},
	{heading: "Facebook Login",
		standIn: mock.Options{Host: "graph.facebook.com", Facebook: mock.App{AppID: appID, Secret: harness.AppSecret}, RequireProof: true},
		settings: []string{"IGPROXY_FACEBOOK_APP_ID=" + appID, "IGPROXY_FACEBOOK_REDIRECT_URIS=" + callback, "IGPROXY_FACEBOOK_CLIENT_SECRET=" + harness.AppSecret,
			"IGPROXY_PASSTHROUGH_APPSECRET_PROOF=true", "IGPROXY_DEBUG_TOKEN_ENABLED=true"},
		app: "service: facebook, appsecret_proof: true", prefix: "facebook_", token: "EAAG", user: "10158000000000001", clients: facebookClients},
	{heading: "Threads", standIn: mock.Options{Host: "graph.threads.net", Threads: mock.App{AppID: appID, Secret: harness.AppSecret}},
		settings: []string{"IGPROXY_THREADS_APP_ID=" + appID, "IGPROXY_THREADS_REDIRECT_URIS=" + callback, "IGPROXY_THREADS_CLIENT_SECRET=" + harness.AppSecret},
		app:      "service: threads", prefix: "threads_", token: "THQV", user: "24000000000000001", clients: threadsClients},
}

// client is a program and the output that it must print.
type client struct {
	name       string
	command    []string // the last element is a file of this folder, or a program built from it
	module     string   // the Python modules that the program needs; empty for other languages
	env        []string // further environment variables
	noCodes    bool     // the program cannot exchange a code, so it starts with a short-lived token
	inspects   bool     // the program calls debug_token
	codeError  string   // the start of its error about a used code
	tokenError string   // the start of its error about an expired token
	note       string   // other text that it must print
	strange    []string // the requests that the stand-in must report as strange
}

var instagramClients = []client{
	{name: "golang.org/x/oauth2", command: []string{"bin/oauth2"}, note: "instagram_business_basic,instagram_business_content_publish",
		codeError: `*oauth2.RetrieveError 400 {"error_type":"OAuthException"`, tokenError: "400 190 463"},
	{name: "github.com/markbates/goth", command: []string{"bin/goth"}, codeError: `*oauth2.RetrieveError 400 {"error_type":"OAuthException"`,
		tokenError: "400 190 463", note: "FetchUser: instagram responded with a 500 trying to fetch user information",
		// FetchUser calls an API that Instagram shut down. igproxy passes the call through.
		strange: []string{"unknown path, no grant_type, no client_secret"}},
	{name: "axios", command: []string{"node", "node/axios.mjs"}, noCodes: true, tokenError: "AxiosError 400 190 463"},
	{name: "instagram-graph-api", command: []string{"node", "node/instagram-graph-api.mjs"}, noCodes: true, tokenError: "OAuthException 190 463"},
	{name: "oauth4webapi", command: []string{"node", "node/oauth4webapi.mjs"}, note: "bearer",
		codeError: "OperationProcessingError 400 This authorization code has been used", tokenError: "OAuthException 190 463"},
	{name: "passport-instagram", command: []string{"node", "node/passport-instagram.mjs"},
		codeError: `InternalOAuthError 400 {"error_type":"OAuthException"`, tokenError: "400 190 463"},
	{name: "simple-oauth2", command: []string{"node", "node/simple-oauth2.mjs"},
		codeError: "400 OAuthException This authorization code has been used", tokenError: "OAuthException 190 463"},
	{name: "libnet-oauth2-perl", command: []string{"perl", "perl/net_oauth2.pl"},
		codeError: "failed oauth call access token: received error: 400 Bad Request", tokenError: "400 190 463"},
	{name: "python3-requests-oauthlib", command: []string{"python3", "python/requests_oauthlib_login.py"}, module: "requests_oauthlib",
		codeError: "MissingTokenError (missing_token) Missing access token parameter.", tokenError: "400 190 463"},
	{name: "ruby-oauth2", command: []string{"ruby", "ruby/oauth2.rb"},
		codeError: "OAuth2::Error 400 This authorization code has been used", tokenError: "OAuth2::Error 400 190 463"},
}

var facebookClients = []client{
	{name: "golang.org/x/oauth2", command: []string{"bin/oauth2-facebook"},
		codeError: `*oauth2.RetrieveError 400 {"error":{"message":"This authorization code has been used`, tokenError: "400 190 463"},
	{name: "github.com/markbates/goth", command: []string{"bin/goth-facebook"},
		codeError: `*oauth2.RetrieveError 400 {"error":{"message":"This authorization code has been used`, tokenError: "400 190 463"},
	{name: "facebook-nodejs-business-sdk", command: []string{"node", "node/facebook-nodejs-business-sdk.mjs"}, noCodes: true, inspects: true,
		tokenError: "FacebookRequestError 400 190 463", note: "POST: the same token"},
	{name: "fb", command: []string{"node", "node/fb.mjs"}, inspects: true,
		codeError: "FacebookApiException 100 36009", tokenError: "FacebookApiException 190 463"},
	{name: "instagram-graph-api", command: []string{"node", "node/instagram-graph-api-facebook.mjs"}, noCodes: true,
		tokenError: "OAuthException 190 463", note: "without the corrections: 2500 Unknown path components."},
	{name: "passport-facebook", command: []string{"node", "node/passport-facebook.mjs"},
		codeError: "FacebookTokenError 100 36009", tokenError: "400 190 463"},
	{name: "libnet-facebook-oauth2-perl", command: []string{"perl", "perl/net_facebook_oauth2.pl"}, inspects: true,
		codeError: "'OAuthException' This authorization code has been used.", tokenError: "'OAuthException' Error validating access token: Session has expired"},
	{name: "python3-requests-oauthlib", command: []string{"python3", "python/requests_oauthlib_facebook.py"}, module: "requests_oauthlib",
		codeError: "CustomOAuth2Error ({'message': 'This authorization code has been used.'", tokenError: "400 190 463"},
	{name: "python3-social-auth-core", command: []string{"python3", "python/social_core_facebook.py"}, module: "social_core",
		codeError: "AuthCanceled 100 36009", tokenError: "HTTPError 190 463"},
	{name: "ruby-oauth2", command: []string{"ruby", "ruby/oauth2_facebook.rb"},
		codeError: "OAuth2::Error 400 100 36009", tokenError: "OAuth2::Error 400 190 463"},
	{name: "ruby-omniauth-oauth2", command: []string{"ruby", "ruby/omniauth_facebook.rb"},
		codeError: "OAuth2::Error 100 36009", tokenError: "OAuth2::Error 190 463"},
}

var threadsClients = []client{
	{name: "fetch, the code by GET", command: []string{"node", "node/threads.mjs"}, env: []string{"METHOD=GET"},
		codeError: "400 This authorization code has been used", tokenError: "400 190 463"},
	{name: "fetch, the code by POST", command: []string{"node", "node/threads.mjs"}, env: []string{"METHOD=POST"},
		codeError: "400 This authorization code has been used", tokenError: "400 190 463"},
}

// The tables in docs/clients.md list these clients and their versions.
func TestTablesOfClientsMatchTheTest(t *testing.T) {
	page := slurp(t, "../../docs/clients.md")
	pinned := slurp(t, "go/go.mod") + slurp(t, "node/package.json")
	for _, l := range logins {
		_, table, _ := strings.Cut(page, "\n### "+l.heading+"\n")
		table, _, _ = strings.Cut(table, "\n#")
		// The rows of Instagram Login are not counted, because its table also lists curl.
		if rows := strings.Count(table, "\n| ") - 1; rows != len(l.clients) && l.heading != "Instagram Login" {
			t.Errorf("docs/clients.md: rows in the table of %s: got %d, want %d, one for each client", l.heading, rows, len(l.clients))
		}
		for _, c := range l.clients {
			row := regexp.MustCompile(`(?m)^\| ` + regexp.QuoteMeta(c.name) + ` +\| ([^ |]+) +\|.*$`).FindStringSubmatch(table)
			if row == nil {
				t.Errorf("docs/clients.md has no row for %s under %s", c.name, l.heading)
				continue
			}
			version := regexp.MustCompile(`[" \t]` + regexp.QuoteMeta(c.name) + `"?:? "?v?([0-9.]+)`).FindStringSubmatch(pinned)
			if version != nil && version[1] != row[1] {
				t.Errorf("docs/clients.md: version of %s: got %s, want the pinned version %s", c.name, row[1], version[1])
			}
			// The programs in Perl, Python and Ruby use Debian's packages, which are not pinned.
			if version == nil && !strings.HasPrefix(c.command[0], "p") && c.command[0] != "ruby" && row[1] != "any" {
				t.Errorf("neither go.mod nor package.json pins the version of %s", c.name)
			}
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
