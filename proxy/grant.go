package proxy

import (
	"cmp"
	"net/url"
	"slices"
	"time"
)

// Service is the API that an app belongs to.
type Service string

// The services.
const (
	Instagram Service = "instagram"
	Threads   Service = "threads"
)

// grant is one row of the table of token calls. The steps read the fields of the row and never
// check its name, so a new grant needs only a new row and a test.
type grant struct {
	name      string        // metric label, and cache scope: two grants never share entries
	service   Service       // the service whose apps may make the call
	path      string        // the path after an optional version prefix, inbound and outbound
	grantType string        // the value of grant_type
	*subject                // whether a token or a code is exchanged, and how
	secret    bool          // whether the client secret is sent
	upstream  string        // the name of the upstream, one of upstreams
	base      *url.URL      // the upstream's URL
	ttl       time.Duration // the longest time that an answer is remembered
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

// grants returns the rows of the services for which there is an app. Meta documents the calls under
// https://developers.facebook.com/docs/, in instagram-platform/reference/access_token and
// .../refresh_access_token, threads/get-started/long-lived-tokens, and
// instagram-platform/instagram-api-with-instagram-login/business-login.
func grants(o Options) []*grant {
	ig, th := o.UpstreamURL, o.ThreadsURL
	table := []*grant{
		{name: "exchange", service: Instagram, path: exchangePath, grantType: "ig_exchange_token",
			subject: tokenSubject, secret: true, upstream: upstreamGraph, base: ig, ttl: o.TTL},
		{name: "refresh", service: Instagram, path: refreshPath, grantType: "ig_refresh_token",
			subject: tokenSubject, upstream: upstreamGraph, base: ig, ttl: o.RefreshTTL},
		{name: "code", service: Instagram, path: codePath, grantType: "authorization_code",
			subject: codeSubject, secret: true, upstream: upstreamLogin, base: o.LoginURL, ttl: o.CodeTTL},
		{name: "threads_exchange", service: Threads, path: exchangePath, grantType: "th_exchange_token",
			subject: tokenSubject, secret: true, upstream: upstreamThreads, base: th, ttl: o.TTL},
		{name: "threads_refresh", service: Threads, path: refreshPath, grantType: "th_refresh_token",
			subject: tokenSubject, upstream: upstreamThreads, base: th, ttl: o.RefreshTTL},
		{name: "threads_code", service: Threads, path: codePath, grantType: "authorization_code",
			subject: codeSubject, secret: true, upstream: upstreamThreads, base: th, ttl: o.CodeTTL},
	}
	return slices.DeleteFunc(table, func(g *grant) bool {
		return !slices.ContainsFunc(o.Apps, func(a App) bool { return g.service == cmp.Or(a.Service, Instagram) })
	})
}

// rowsAt returns the rows with this path.
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
