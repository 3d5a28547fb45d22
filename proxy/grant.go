package proxy

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/igproxy/igproxy/proxy/graph"
)

// Service is whose API an app belongs to.
type Service string

// The services.
const (
	Instagram Service = "instagram"
	Threads   Service = "threads"
)

// grant is one row of the table of calls igproxy makes on an app's behalf. The eight steps read the row and know no grant by name, so
// a new grant is a new row and its test.
type grant struct {
	name      string        // metric label and cache scope: entries of two grants never meet
	service   Service       // whose apps may make it
	method    string        // the only method, inbound and outbound
	path      string        // the path behind an optional version prefix, inbound and outbound
	grantType string        // the one value of grant_type
	subject   *subject      // what is exchanged: a token or a code
	secret    bool          // whether client id and secret are added as the row's form says
	upstream  string        // the name of the upstream it is asked of, whose breaker guards it: one of upstreams
	base      *url.URL      // the URL of it
	ttl       time.Duration // how long an answer is remembered at the most
	read      reader        // of a success

	// form says that the parameters are a form, and errors are in the flat shape of OAuth's code exchange; else they are a query, and
	// errors are in the Graph envelope. A form carries a redirect_uri, which must be on the app's list.
	form bool
	// repeatable says that asking twice does no harm: an exchange uses nothing up, as the exchange of a code does.
	repeatable bool
}

// reader turns the body of a success into what is answered.
type reader func(body []byte, now time.Time) (graph.Token, error)

// The upstreams, by the names that metrics and logs use.
const (
	upstreamGraph   = "instagram"
	upstreamLogin   = "login"
	upstreamThreads = "threads"
)

var upstreams = []string{upstreamGraph, upstreamLogin, upstreamThreads}

// The paths of the calls, the same for both services.
const (
	exchangePath = "/access_token"
	refreshPath  = "/refresh_access_token"
	codePath     = "/oauth/access_token"
)

// grants builds the table. The sources are Meta's documentation:
// https://developers.facebook.com/docs/instagram-platform/reference/access_token and .../refresh_access_token,
// https://developers.facebook.com/docs/instagram-platform/instagram-api-with-instagram-login/business-login and
// https://developers.facebook.com/docs/threads/get-started/long-lived-tokens.
func grants(o Options) []*grant {
	ig, th := o.UpstreamURL, o.ThreadsURL
	return []*grant{
		{name: "exchange", service: Instagram, method: http.MethodGet, path: exchangePath, grantType: "ig_exchange_token", subject: tokenSubject,
			secret: true, upstream: upstreamGraph, base: ig, ttl: o.TTL, read: graph.ReadToken, repeatable: true},
		{name: "refresh", service: Instagram, method: http.MethodGet, path: refreshPath, grantType: "ig_refresh_token", subject: tokenSubject,
			upstream: upstreamGraph, base: ig, ttl: o.RefreshTTL, read: graph.ReadToken, repeatable: true},
		{name: "code", service: Instagram, method: http.MethodPost, path: codePath, grantType: "authorization_code", subject: codeSubject,
			secret: true, upstream: upstreamLogin, base: o.LoginURL, ttl: o.CodeTTL, read: graph.ReadCode, form: true},
		{name: "threads_exchange", service: Threads, method: http.MethodGet, path: exchangePath, grantType: "th_exchange_token", subject: tokenSubject,
			secret: true, upstream: upstreamThreads, base: th, ttl: o.TTL, read: graph.ReadToken, repeatable: true},
		{name: "threads_refresh", service: Threads, method: http.MethodGet, path: refreshPath, grantType: "th_refresh_token", subject: tokenSubject,
			upstream: upstreamThreads, base: th, ttl: o.RefreshTTL, read: graph.ReadToken, repeatable: true},
		{name: "threads_code", service: Threads, method: http.MethodPost, path: codePath, grantType: "authorization_code", subject: codeSubject,
			secret: true, upstream: upstreamThreads, base: th, ttl: o.CodeTTL, read: graph.ReadCode, form: true},
	}
}

// offered leaves the rows of services that have an app.
func offered(table []*grant, apps []App) (rows []*grant) {
	for _, g := range table {
		if slices.ContainsFunc(apps, func(a App) bool { return g.service == cmp.Or(a.Service, Instagram) }) {
			rows = append(rows, g)
		}
	}
	return rows
}

// at are the rows of a path.
func at(table []*grant, path string) (rows []*grant) {
	for _, g := range table {
		if g.path == path {
			rows = append(rows, g)
		}
	}
	return rows
}
