package proxy

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"time"
)

// Service is the service of Meta that an app belongs to.
type Service string

// The services.
const (
	Instagram Service = "instagram"
	Threads   Service = "threads"
	Facebook  Service = "facebook"
)

// grant is one row of the table of token calls. The steps read the fields of the row and never
// check its name, so a new grant needs only a new row and a test.
type grant struct {
	name         string        // metric label; also part of the cache keys, so two grants never share entries
	service      Service       // the service whose apps may make the call
	path         string        // the path, without a version, of the app's call and of the call to Meta
	grantType    string        // the value of grant_type; empty: the call has no such parameter
	implied      bool          // apps may leave grant_type out, and igproxy does not send it to Meta
	*subject                   // what is exchanged
	secret       bool          // whether the client secret is sent
	clientID     bool          // whether the app's ID is sent
	post         bool          // true: Meta gets a form by POST; false: Meta gets a query by GET
	flat         bool          // errors have the flat shape of Instagram's code exchange
	hasAccount   bool          // Meta's error code 100 means that the app may not use the account
	checksSecret bool          // a call with an invalid token shows whether the client secret is right
	refreshes    bool          // Meta answers a long-lived token with a token that ends later; see keep.go
	takesShort   bool          // the call also accepts a short-lived token, and always returns a long-lived token
	appToken     bool          // the call is made with the app's ID and client secret as its access_token
	upstream     string        // the name of the upstream, one of upstreams
	base         *url.URL      // the upstream's URL
	ttl          time.Duration // the longest time for which a token is remembered; zero: no answer is remembered
}

// method returns the method of the request to Meta.
func (g *grant) method() string {
	if g.post {
		return http.MethodPost
	}
	return http.MethodGet
}

// The names of the upstreams in metrics and logs.
const (
	upstreamGraph    = "instagram"
	upstreamLogin    = "login"
	upstreamThreads  = "threads"
	upstreamFacebook = "facebook"
)

var upstreams = []string{upstreamGraph, upstreamLogin, upstreamThreads, upstreamFacebook}

// The paths of the calls.
const (
	exchangePath = "/access_token"
	refreshPath  = "/refresh_access_token"
	oauthPath    = "/oauth/access_token"
	debugPath    = "/debug_token"
)

// grants returns the rows of the services for which an app is configured. It leaves out the rows of
// /debug_token if Options.DebugToken is not set. Meta documents the calls under
// https://developers.facebook.com/docs/:
//
//   - Instagram: instagram-platform/reference/access_token, .../refresh_access_token, and
//     instagram-platform/instagram-api-with-instagram-login/business-login;
//   - Threads: threads/get-started/get-access-tokens-and-permissions and .../long-lived-tokens;
//   - Facebook: facebook-login/guides/access-tokens/get-long-lived,
//     facebook-login/guides/advanced/manual-flow, facebook-login/guides/access-tokens, and
//     facebook-login/guides/access-tokens/debugging.
func grants(o Options) []*grant {
	table := slices.Concat(instagramGrants(o), threadsGrants(o), facebookGrants(o))
	return slices.DeleteFunc(table, func(g *grant) bool {
		return g.appToken && !o.DebugToken || !slices.ContainsFunc(o.Apps, func(a App) bool { return g.service == cmp.Or(a.Service, Instagram) })
	})
}

func instagramGrants(o Options) []*grant {
	return family(grant{service: Instagram, upstream: upstreamGraph, base: o.UpstreamURL, hasAccount: true},
		grant{name: "exchange", path: exchangePath, grantType: "ig_exchange_token",
			subject: tokenSubject, secret: true, checksSecret: true, ttl: o.TTL},
		grant{name: "refresh", path: refreshPath, grantType: "ig_refresh_token",
			subject: tokenSubject, refreshes: true, ttl: o.RefreshTTL},
		grant{name: "code", path: oauthPath, grantType: "authorization_code", upstream: upstreamLogin, base: o.LoginURL,
			subject: codeSubject, secret: true, clientID: true, post: true, flat: true, ttl: o.CodeTTL})
}

func threadsGrants(o Options) []*grant {
	return family(grant{service: Threads, upstream: upstreamThreads, base: o.ThreadsURL, hasAccount: true},
		grant{name: "threads_exchange", path: exchangePath, grantType: "th_exchange_token",
			subject: tokenSubject, secret: true, checksSecret: true, ttl: o.TTL},
		grant{name: "threads_refresh", path: refreshPath, grantType: "th_refresh_token",
			subject: tokenSubject, refreshes: true, ttl: o.RefreshTTL},
		grant{name: "threads_code", path: oauthPath, grantType: "authorization_code",
			subject: codeSubject, secret: true, clientID: true, post: true, flat: true, ttl: o.CodeTTL},
		grant{name: "threads_app_token", path: oauthPath, grantType: "client_credentials",
			subject: appSubject, secret: true, clientID: true, ttl: o.TTL},
		grant{name: "threads_debug_token", path: debugPath, subject: debugSubject, secret: true, appToken: true})
}

// facebookGrants returns Facebook's rows. An exchange can also extend a long-lived token. The new
// token then replaces the old one, so the answer is remembered only as long as the answer to a
// refresh.
func facebookGrants(o Options) []*grant {
	return family(grant{service: Facebook, upstream: upstreamFacebook, base: o.FacebookURL, path: oauthPath, secret: true, clientID: true},
		grant{name: "facebook_exchange", grantType: "fb_exchange_token",
			subject: extendSubject, checksSecret: true, refreshes: true, takesShort: true, ttl: o.RefreshTTL},
		grant{name: "facebook_code", grantType: "authorization_code", implied: true,
			subject: facebookCodeSubject, ttl: o.CodeTTL},
		grant{name: "facebook_app_token", grantType: "client_credentials",
			subject: appSubject, ttl: o.TTL},
		grant{name: "facebook_debug_token", path: debugPath, subject: debugSubject, appToken: true})
}

// family returns the rows of one service. It fills the empty fields of each row from common.
func family(common grant, list ...grant) (all []*grant) {
	for i := range list {
		g := &list[i]
		g.service, g.upstream, g.base = common.service, cmp.Or(g.upstream, common.upstream), cmp.Or(g.base, common.base)
		g.path, g.hasAccount = cmp.Or(g.path, common.path), common.hasAccount
		g.secret, g.clientID = g.secret || common.secret, g.clientID || common.clientID
		all = append(all, g)
	}
	return all
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

// checkRow returns the row of the call that tests the app's client secret. The call has an invalid
// token. Meta checks the secret first, so its error shows whether the secret is right.
func checkRow(table []*grant, a *app) *grant {
	return rowOf(slices.DeleteFunc(slices.Clone(table), func(g *grant) bool { return !g.checksSecret }), a)
}

// codeRow returns the row of the app's code exchange.
func codeRow(table []*grant, a *app) *grant {
	return rowOf(slices.DeleteFunc(slices.Clone(table), func(g *grant) bool { return !g.once }), a)
}
