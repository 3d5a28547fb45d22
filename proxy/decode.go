package proxy

import (
	"net/http"
	"slices"

	"github.com/igproxy/igproxy/proxy/graph"
)

// decode reads a token call strictly. It keeps a few parameters and the bearer token, and drops
// everything else. It drops an inbound client_secret without comparing it, because a comparison
// would let a caller test guesses.
//
// If decode refuses the request, refused is the error for the response. Then only two fields of c
// may be used: c.app, which is nil if the app is not known yet, and c.grant. If the grant is not
// known yet, c.grant is the result of likelyRow.
func (e *engine) decode(r *http.Request, t destination) (c call, refused *graph.Error) {
	p, refused := readParams(r, e.large)
	if refused != nil {
		return call{grant: e.likelyRow(r, t.rows, &p)}, refused
	}
	if p.count[paramCode] > 0 {
		e.addBasicID(&p, r)
	}
	fit, refused := p.grants(t.rows)
	if refused != nil {
		return call{grant: e.likelyRow(r, t.rows, &p)}, refused
	}
	if c.app, refused = e.choose(r, t, fit, &p); refused != nil {
		return call{grant: e.likelyRow(r, fit, &p)}, refused
	}
	c.grant = rowOf(fit, c.app)
	// A code needs no check here: an app without an ID has no redirect_uris, so its codes are
	// refused below.
	if c.app.ID == "" && (c.grant.clientID || c.grant.appToken) && !c.grant.once {
		return c, errNoID
	}
	if c.token, refused = p.pick(c.grant.subject, e.metasAuthorization(r, p)); refused != nil {
		return c, refused
	}
	if e.trust.owns(c.token.Reveal()) {
		return c, errOwnToken
	}
	if c.grant.once {
		// Without the list of redirect_uris, igproxy would exchange codes that were issued for
		// another site. A call without a redirect_uri needs an empty item in the list.
		c.redirect = p.value[paramRedirect]
		if p.count[paramRedirect] > 1 || !slices.Contains(c.app.RedirectURIs, c.redirect) {
			// Only Facebook issues codes without a redirect_uri.
			if p.count[paramRedirect] <= 1 && c.redirect == "" && c.app.Service == Facebook {
				return c, errNoRedirect
			}
			return c, errRedirect
		}
	}
	c.key = c.app.key(c.grant, c.token, c.redirect)
	return c, nil
}

// likelyRow returns a row for a request that is refused before its row is known. The row decides
// the form of the error. likelyRow narrows the rows in three steps: to those with the grant_type of
// the request, to those of the service that the request's client_id or Host selects, and to those
// with flat errors. It skips a step that would leave no row, and returns the first row left.
func (e *engine) likelyRow(r *http.Request, rows []*grant, p *params) *grant {
	apps := narrow(e.apps, r, p)
	for _, fits := range []func(*grant) bool{
		func(g *grant) bool { return g.grantType == p.value[paramGrantType] },
		func(g *grant) bool {
			return slices.ContainsFunc(apps, func(a *app) bool { return a.Service == g.service })
		},
		func(g *grant) bool { return g.flat },
	} {
		if left := slices.DeleteFunc(slices.Clone(rows), func(g *grant) bool { return !fits(g) }); len(left) > 0 {
			rows = left
		}
	}
	return rows[0]
}

// metasAuthorization returns the Authorization fields that may have the token for Meta. It returns
// nil if the only field has igproxy's own token and there is a parameter access_token.
func (e *engine) metasAuthorization(r *http.Request, p params) []string {
	fields := r.Header["Authorization"]
	if len(fields) == 1 && p.count[paramToken] > 0 {
		if token, ok := bearer(fields[0]); ok && e.trust.owns(token) {
			return nil
		}
	}
	return fields
}

// addBasicID adds the user name of Basic authentication to the parameters as client_id, if it is
// the ID of an app. OAuth libraries send the ID with a code in this way (RFC 6749, section 2.3.1).
// Any other user name comes from a base URL such as http://igproxy:TOKEN@host and is ignored. An ID
// that was also sent as client_id is not counted twice.
func (e *engine) addBasicID(p *params, r *http.Request) {
	for _, authorization := range r.Header["Authorization"] {
		one := &http.Request{Header: http.Header{"Authorization": {authorization}}}
		id, _, ok := one.BasicAuth()
		known := id != "" && slices.ContainsFunc(e.apps, func(a *app) bool { return a.ID == id })
		if ok && known && (p.count[paramClientID] == 0 || p.value[paramClientID] != id) {
			p.add(paramNames[paramClientID], id)
		}
	}
}

// choose returns the app that a token call belongs to. The rows in fit are those that fit the
// call's grant_type. The app is the first of these:
//   - the app that the path prefix or an app token names (see takesAppToken);
//   - the only app that has a row in fit, unless isForAnother reports true;
//   - the app with a row in fit that client_id and Host select, if they select only one.
//
// If there is no such app, choose returns an error that names the apps with a row in fit.
func (e *engine) choose(r *http.Request, t destination, fit []*grant, p *params) (*app, *graph.Error) {
	if t.app != nil {
		return t.app, nil
	}
	var candidates []*app
	for _, a := range e.apps {
		if rowOf(fit, a) != nil {
			candidates = append(candidates, a)
		}
	}
	if len(candidates) == 1 && !e.isForAnother(candidates[0], fit, t, p) {
		return candidates[0], nil
	}
	fits := narrow(candidates, r, p)
	if len(fits) != 1 {
		return nil, errWhichApp(candidates)
	}
	return fits[0], nil
}

// isForAnother reports whether the client_id of a call is the ID of an app of this sidecar other
// than a. It reports false if the grant does not send the client_id to Meta, or if the Host names a
// service.
func (e *engine) isForAnother(a *app, fit []*grant, t destination, p *params) bool {
	id := p.value[paramClientID]
	return t.service == "" && rowOf(fit, a).clientID && id != "" && id != a.ID &&
		slices.ContainsFunc(e.apps, func(other *app) bool { return other.ID == id })
}

// narrow returns the apps with the client_id of the request, or all apps if the request has no
// client_id. If some of these apps have the Host name of the request, narrow returns only those.
func narrow(apps []*app, r *http.Request, p *params) []*app {
	host, _ := hostName(r.Host)
	var byID, byHost []*app
	for _, a := range apps {
		if p.count[paramClientID] > 0 && a.ID != p.value[paramClientID] {
			continue
		}
		byID = append(byID, a)
		if a.hasHost(host) {
			byHost = append(byHost, a)
		}
	}
	if len(byHost) > 0 {
		return byHost
	}
	return byID
}

// likelyApp returns the app that a passed-through call most likely belongs to: the app with the
// call's client_id, otherwise the app with the call's Host name, otherwise the first app. If the
// Host is one of Meta's hosts, and the sidecar has apps of that host's service, likelyApp considers
// only those apps. If there are several apps, it refuses a call with more than one client_id.
func (e *engine) likelyApp(r *http.Request, t destination) (*app, *graph.Error) {
	p, _ := readQuery(r.URL.RawQuery)
	if p.count[paramClientID] > 1 && len(e.apps) > 1 {
		return nil, errTwice("client_id")
	}
	apps := slices.DeleteFunc(slices.Clone(e.apps), func(a *app) bool { return t.service != "" && a.Service != t.service })
	if len(apps) == 0 {
		apps = e.apps
	}
	if fit := narrow(apps, r, &p); len(fit) > 0 {
		return fit[0], nil
	}
	return narrow(apps, r, &params{})[0], nil
}
