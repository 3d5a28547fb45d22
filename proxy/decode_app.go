package proxy

import (
	"net/http"
	"slices"

	"github.com/igproxy/igproxy/proxy/graph"
)

// choose finds the app that a call belongs to, and its row: by the path prefix, else by client_id, else by Host, else it is the only one.
// A client_id that is nobody's here is passed over while there is but one app, as it always was.
func (e *engine) choose(r *http.Request, t destination, fit []*grant, p *params) (*app, *grant, *graph.Error) {
	var candidates []*app
	for _, a := range e.apps {
		if (t.named == nil || t.named == a) && rowOf(fit, a) != nil {
			candidates = append(candidates, a)
		}
	}
	if len(candidates) == 0 {
		return nil, nil, errGrantType(slices.DeleteFunc(slices.Clone(t.rows), func(g *grant) bool { return g.service != t.named.Service }))
	}
	if t.named == nil && len(candidates) > 1 {
		if id := p.value[paramClientID]; p.count[paramClientID] > 0 {
			candidates = slices.DeleteFunc(candidates, func(a *app) bool { return a.ID != id })
		} else if host, _ := hostName(r.Host); slices.ContainsFunc(candidates, func(a *app) bool { return slices.Contains(a.Hosts, host) }) {
			candidates = slices.DeleteFunc(candidates, func(a *app) bool { return !slices.Contains(a.Hosts, host) })
		}
	}
	if len(candidates) != 1 {
		return nil, nil, errWhichApp
	}
	return candidates[0], rowOf(fit, candidates[0]), nil
}

// likely is the app of a call that needs no secret, for its service's sake: by client_id, else by Host, else the first one.
func (e *engine) likely(r *http.Request) *app {
	p, refused := readQuery(r.URL.RawQuery)
	host, _ := hostName(r.Host)
	for _, fits := range []func(*app) bool{
		func(a *app) bool {
			return refused == nil && p.count[paramClientID] > 0 && a.ID == p.value[paramClientID]
		},
		func(a *app) bool { return slices.Contains(a.Hosts, host) },
	} {
		if i := slices.IndexFunc(e.apps, fits); i >= 0 {
			return e.apps[i]
		}
	}
	return e.apps[0]
}

// rowOf is the row that an app may use; nil if there is none.
func rowOf(rows []*grant, a *app) *grant {
	for _, g := range rows {
		if g.service == a.Service {
			return g
		}
	}
	return nil
}

// redirect takes the redirect_uri of a code's form, which must be on the app's list: the sidecar would else exchange codes that somebody
// got for a page of their own.
func (a *app) redirect(p *params) (string, *graph.Error) {
	uri := p.value[paramRedirect]
	switch {
	case len(a.RedirectURIs) == 0:
		return "", errNoCodes
	case p.count[paramRedirect] != 1:
		return "", errOneRedirect
	case !slices.Contains(a.RedirectURIs, uri):
		return "", errRedirect
	}
	return uri, nil
}

// hasID reports whether an app has this id.
func (e *engine) hasID(id string) bool {
	return slices.ContainsFunc(e.apps, func(a *app) bool { return a.ID == id })
}
