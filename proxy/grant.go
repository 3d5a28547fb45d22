package proxy

import (
	"net/http"
	"net/url"
	"time"
)

// grant is one row of the table of calls igproxy makes on an app's behalf. The eight steps read the row and know no grant by name, so
// a new grant is a new row and its test.
type grant struct {
	name      string        // metric label and cache scope: entries of two grants never meet
	method    string        // the only method, inbound and outbound
	path      string        // the path behind an optional version prefix, inbound and outbound
	grantType string        // the one value of grant_type
	param     string        // the parameter that carries the user's token, inbound and outbound
	secret    bool          // whether the client secret is added
	base      *url.URL      // the upstream it is asked of
	ttl       time.Duration // how long a token answer is remembered at the most

	// repeatable says that asking twice does no harm: an exchange uses nothing up, as the exchange of a code does.
	repeatable bool
}

// grants builds the table. The exchange is documented by Meta at
// https://developers.facebook.com/docs/instagram-platform/reference/access_token.
func grants(o Options) []*grant {
	return []*grant{{
		name:      "exchange",
		method:    http.MethodGet,
		path:      "/access_token",
		grantType: "ig_exchange_token",
		param:     "access_token",
		secret:    true,
		base:      o.UpstreamURL,
		ttl:       o.TTL,

		repeatable: true,
	}}
}
