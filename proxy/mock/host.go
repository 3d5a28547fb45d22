package mock

import (
	"maps"
	"net/http"
	"slices"
	"strings"
)

// host describes what one of Meta's hosts serves. If family is nil, the stand-in finds the family
// of each request from its contents.
type host struct {
	family *family
	login  bool // the calls at /oauth/access_token
	graph  bool // everything else
}

// hosts maps names to hosts. The empty name means all hosts on one listener.
var hosts = map[string]host{
	"":                    {login: true, graph: true},
	"graph.instagram.com": {family: instagramFamily, graph: true},
	"api.instagram.com":   {family: instagramFamily, login: true},
	"graph.threads.net":   {family: threadsFamily, login: true, graph: true},
	"graph.threads.com":   {family: threadsFamily, login: true, graph: true},
	"graph.facebook.com":  {family: facebookFamily, login: true, graph: true},
}

// Hosts returns the names that Options.Host accepts.
func Hosts() []string {
	names := slices.Sorted(maps.Keys(hosts))
	return names[1:] // without the empty name
}

func (h host) serves(e *endpoint) bool {
	if e.login {
		return h.login
	}
	return h.graph
}

// may reports whether requests to the host can be for one of these families.
func (h host) may(families ...*family) bool {
	return h.family == nil || slices.Contains(families, h.family)
}

// chooseFamily returns the family of the host or, if the host serves all families, the family of
// the request.
func (x *call) chooseFamily() *family {
	switch {
	case x.instagram.host.family != nil:
		return x.instagram.host.family
	case strings.HasPrefix(x.grant, "th_"):
		return threadsFamily
	case x.endpoint.login:
		return x.chooseByApp()
	case x.endpoint.open:
		return x.chooseByToken()
	}
	return instagramFamily
}

// chooseByApp chooses by grant type and app ID. If the app ID is unknown, it chooses Facebook for
// calls that api.instagram.com never accepts: calls for an app token, calls that are not a POST,
// and calls with a code but without a grant type.
func (x *call) chooseByApp() *family {
	if x.grant == facebookFamily.exchange {
		return facebookFamily
	}
	for _, f := range families {
		if id := x.instagram.app(f).id; id != "" && x.client == id {
			return f
		}
	}
	if x.grant == appGrant || x.r.Method != http.MethodPost || x.grant == "" && x.value("code") != "" {
		return facebookFamily
	}
	return instagramFamily
}

// chooseByToken chooses by the tokens of a read, a write or a call to debug_token. If the tokens do
// not decide, three kinds of calls go to Facebook: calls to debug_token, calls with an edge that
// only Facebook has, and calls whose token begins with EAA, if the call has an appsecret_proof or
// Facebook requires one. All other calls go to Instagram, even if the token begins with EAA,
// because Instagram accepts such tokens too.
func (x *call) chooseByToken() *family {
	inspecting := x.endpoint == debugEndpoint
	if f := x.familyOf(x.secret); inspecting && f != nil { // x.secret is the caller's access_token
		return f
	}
	if f := x.familyOf(x.short); f != nil {
		return f
	}
	proven := facebookFamily.own(x.short) && (x.value("appsecret_proof") != "" || x.instagram.requiresProof())
	if inspecting || proven || slices.Contains(facebookEdges, x.edge) {
		return facebookFamily
	}
	return instagramFamily
}

// familyOf returns the family for which the stand-in issued a token. Of other tokens it recognises
// only those of Threads and the app tokens of Facebook; for the rest it returns nil.
func (x *call) familyOf(token string) *family {
	t, _, issued := x.instagram.issued.token(token)
	switch {
	case issued:
		return t.family
	case threadsFamily.own(token):
		return threadsFamily
	case strings.Contains(token, "|"): // an app token
		return facebookFamily
	}
	return nil
}
