package proxy

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/igproxy/igproxy/cache"
)

// maxToken is the longest token accepted, in bytes after decoding. Real ones have about 180 characters.
const maxToken = 4 << 10

// call is one decoded request: everything the steps after decode need, and nothing of the request itself.
type call struct {
	grant *grant
	app   *app
	token Secret
	key   cache.Key
}

// decode reads a request strictly and turns it into a call, or says in Instagram's style what is wrong. It keeps two parameters and
// the bearer token; everything else, an inbound client_secret above all, is dropped here: not compared (that would be an oracle for
// the secret), not forwarded.
func (e *engine) decode(r *http.Request) (call, *GraphError) {
	g, refused := e.route(r)
	if refused != nil {
		return call{}, refused
	}
	q, refused := readQuery(r.URL.RawQuery, g.param)
	if refused != nil {
		return call{}, refused
	}
	if refused := q.checkGrantType(g); refused != nil {
		return call{}, refused
	}
	token, refused := q.pickToken(r.Header["Authorization"])
	if refused != nil {
		return call{}, refused
	}
	return call{grant: g, app: e.app, token: token, key: e.app.keys[g.name].Derive(token.Reveal())}, nil
}

// route finds the grant by path and method.
func (e *engine) route(r *http.Request) (*grant, *GraphError) {
	path := unversioned(strings.TrimSuffix(r.URL.EscapedPath(), "/"))
	for _, g := range e.grants {
		if g.path != path {
			continue
		}
		if r.Method != g.method {
			return nil, errMethod(r.Method, g.method)
		}
		if announcesBody(r) {
			return nil, errBody
		}
		return g, nil
	}
	return nil, errPath
}

// unversioned cuts Meta's version prefix, /v23.0, off a path.
func unversioned(path string) string {
	rest, ok := strings.CutPrefix(path, "/v")
	if !ok {
		return path
	}
	version, rest, ok := strings.Cut(rest, "/")
	major, minor, dotted := strings.Cut(version, ".")
	if !ok || !dotted || !shortNumber(major) || !shortNumber(minor) {
		return path
	}
	return "/" + rest
}

func shortNumber(s string) bool {
	return len(s) >= 1 && len(s) <= 3 && strings.Trim(s, "0123456789") == ""
}

// query is what readQuery keeps of a query string: how often each parameter came, and its last value.
type query struct {
	grantTypes, tokens int
	grantType, token   string
	array              bool // a parameter came as name[] or name[0]
}

// readQuery walks a raw query without building a map. Empty pairs (Meta's own sample has one) and unknown names are passed over.
func readQuery(raw, param string) (q query, refused *GraphError) {
	if strings.Contains(raw, "#") { // no request target has a fragment: RFC 9112, section 3.2
		return q, errFragment
	}
	for raw != "" {
		var pair string
		pair, raw, _ = strings.Cut(raw, "&")
		name, value, _ := strings.Cut(pair, "=")
		name, err := url.QueryUnescape(name)
		if err != nil {
			return q, errQuery
		}
		if value, err = url.QueryUnescape(value); err != nil {
			return q, errQuery
		}
		switch bare, _, array := strings.Cut(name, "["); {
		case name == "grant_type":
			q.grantTypes, q.grantType = q.grantTypes+1, value
		case name == param:
			q.tokens, q.token = q.tokens+1, value
		case array && (bare == "grant_type" || bare == param):
			q.array = true
		}
	}
	return q, nil
}

func (q *query) checkGrantType(g *grant) *GraphError {
	switch {
	case q.array:
		return errArray
	case q.grantTypes == 0:
		return errNoGrantType
	case q.grantTypes > 1:
		return errTwoGrantTypes
	case q.grantType != g.grantType:
		return errGrantType
	}
	return nil
}

// pickToken takes the query's token, or the bearer token (RFC 6750, section 2.1) when the query has none.
func (q *query) pickToken(authorization []string) (Secret, *GraphError) {
	token := q.token
	switch {
	case q.tokens > 1:
		return Secret{}, errTwoTokens
	case q.tokens == 0 && len(authorization) > 1:
		return Secret{}, errTwoTokens
	case q.tokens == 0 && len(authorization) == 1:
		scheme, credentials, _ := strings.Cut(authorization[0], " ")
		if strings.EqualFold(scheme, "Bearer") {
			token = strings.TrimSpace(credentials)
		}
	}
	switch {
	case token == "":
		return Secret{}, errNoToken
	case len(token) > maxToken:
		return Secret{}, errLongToken
	case strings.Contains(token, " "):
		return Secret{}, errBlankToken
	case !printable(token):
		return Secret{}, errTokenCharacters
	}
	return NewSecret(token), nil
}

// printable reports whether s is visible ASCII throughout, as every token of Instagram's is.
func printable(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
