package mock

import (
	"maps"
	"slices"
	"strings"
)

// family is one of the two interfaces that Meta built alike: Instagram's and Threads'. They differ in hosts, names and secrets.
type family struct {
	prefix   string   // of its endpoints' names in the counters
	exchange string   // its grant types
	refresh  string   //
	short    string   // how the tokens begin that it issues
	long     string   //
	looks    []string // how tokens begin that it takes for its own without having issued them
	foreign  []string // how tokens begin that it cannot parse
	user     string   // the id of its one user, above 2^53
	username string
	scopes   []string
}

var (
	instagramFamily = &family{exchange: "ig_exchange_token", refresh: "ig_refresh_token", short: "IGAA", long: "IGAA",
		looks: []string{"IG", "EAA"}, foreign: []string{"THAA", "THQ"}, user: "17841400000000001", username: "anna.photos",
		scopes: []string{"instagram_business_basic", "instagram_business_content_publish"}}
	threadsFamily = &family{prefix: "threads_", exchange: "th_exchange_token", refresh: "th_refresh_token", short: "THQV", long: "THAA",
		looks: []string{"TH"}, foreign: []string{"IG", "EAA"}, user: "24000000000000001", username: "anna.threads",
		scopes: []string{"threads_basic", "threads_content_publish"}}
)

// own reports whether a token looks like one of the family's.
func (f *family) own(token string) bool { return beginsWith(token, f.looks) }

func beginsWith(token string, prefixes []string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(token, p) })
}

// host is what one of Meta's hosts serves. The family is nil where a request's parameters tell it.
type host struct {
	family *family
	codes  bool // the code exchange
	graph  bool // everything else
}

// hosts by name. The one without a name is all of them on one listener.
var hosts = map[string]host{
	"":                    {codes: true, graph: true},
	"graph.instagram.com": {family: instagramFamily, graph: true},
	"api.instagram.com":   {family: instagramFamily, codes: true},
	"graph.threads.net":   {family: threadsFamily, codes: true, graph: true},
}

// Hosts are the names that Options.Host takes.
func Hosts() []string {
	names := slices.Sorted(maps.Keys(hosts))
	return names[1:] // without the one that has none
}

func (h host) serves(e *endpoint) bool {
	if e.codes {
		return h.codes
	}
	return h.graph
}

// family is whose request it is: the host's; else the grant type tells it, the app id of a code exchange, or the token's look.
func (x *exchange) chooseFamily() *family {
	id := x.instagram.app(threadsFamily).id
	switch {
	case x.instagram.host.family != nil:
		return x.instagram.host.family
	case strings.HasPrefix(x.grant, "th_"), x.endpoint.codes && id != "" && x.client == id, x.endpoint.open && threadsFamily.own(x.short):
		return threadsFamily
	}
	return instagramFamily
}
