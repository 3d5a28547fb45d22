package proxy

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/igproxy/igproxy/proxy/graph"
)

// Service is the API that an app belongs to.
type Service string

// The services.
const (
	Instagram Service = "instagram"
	Threads   Service = "threads"
)

// grant is one row of the table of token calls. The steps read the fields of the row and never
// check its name, so a new grant is a new row and its test.
type grant struct {
	name      string        // metric label and cache scope: two grants never share entries
	service   Service       // the service whose apps may make the call
	method    string        // the only method, inbound and outbound
	path      string        // the path after an optional version prefix, inbound and outbound
	grantType string        // the value of grant_type
	subject   *subject      // what is exchanged: a token or a code
	secret    bool          // whether the client secret is sent
	upstream  string        // the name of the upstream, one of upstreams
	base      *url.URL      // the upstream's URL
	ttl       time.Duration // how long an answer is remembered at most
	// read turns the body of a success into the token to answer with.
	read func(body []byte, now time.Time) (graph.Token, error)
	// form says that the parameters are a form with a redirect_uri, which must be on the app's list,
	// and that errors have the flat shape of OAuth's code exchange. Otherwise the parameters are a
	// query, and errors are in the Graph envelope.
	form bool
	// repeatable says that asking twice does no harm. A code can only be exchanged once.
	repeatable bool
}

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

// grants returns the rows of the services that have an app. Meta documents the calls under
// https://developers.facebook.com/docs/, in instagram-platform/reference/access_token and
// .../refresh_access_token, threads/get-started/long-lived-tokens, and
// instagram-platform/instagram-api-with-instagram-login/business-login.
func grants(o Options) []*grant {
	ig, th := o.UpstreamURL, o.ThreadsURL
	table := []*grant{
		{name: "exchange", service: Instagram, method: http.MethodGet, path: exchangePath,
			grantType: "ig_exchange_token", subject: tokenSubject, secret: true, upstream: upstreamGraph, base: ig,
			ttl: o.TTL, read: graph.ReadToken, repeatable: true},
		{name: "refresh", service: Instagram, method: http.MethodGet, path: refreshPath,
			grantType: "ig_refresh_token", subject: tokenSubject, upstream: upstreamGraph, base: ig,
			ttl: o.RefreshTTL, read: graph.ReadToken, repeatable: true},
		{name: "code", service: Instagram, method: http.MethodPost, path: codePath,
			grantType: "authorization_code", subject: codeSubject, secret: true, upstream: upstreamLogin,
			base: o.LoginURL, ttl: o.CodeTTL, read: graph.ReadCode, form: true},
		{name: "threads_exchange", service: Threads, method: http.MethodGet, path: exchangePath,
			grantType: "th_exchange_token", subject: tokenSubject, secret: true, upstream: upstreamThreads, base: th,
			ttl: o.TTL, read: graph.ReadToken, repeatable: true},
		{name: "threads_refresh", service: Threads, method: http.MethodGet, path: refreshPath,
			grantType: "th_refresh_token", subject: tokenSubject, upstream: upstreamThreads, base: th,
			ttl: o.RefreshTTL, read: graph.ReadToken, repeatable: true},
		{name: "threads_code", service: Threads, method: http.MethodPost, path: codePath,
			grantType: "authorization_code", subject: codeSubject, secret: true, upstream: upstreamThreads, base: th,
			ttl: o.CodeTTL, read: graph.ReadCode, form: true},
	}
	return slices.DeleteFunc(table, func(g *grant) bool {
		return !slices.ContainsFunc(o.Apps, func(a App) bool { return g.service == cmp.Or(a.Service, Instagram) })
	})
}

// rowsAt returns the rows of a path.
func rowsAt(table []*grant, path string) (rows []*grant) {
	for _, g := range table {
		if g.path == path {
			rows = append(rows, g)
		}
	}
	return rows
}

// rowOf returns the row for the app's service, or nil.
func rowOf(rows []*grant, a *app) *grant {
	for _, g := range rows {
		if g.service == a.Service {
			return g
		}
	}
	return nil
}
