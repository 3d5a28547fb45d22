package mock

import (
	"maps"
	"slices"
	"strings"
)

// family is one of two similar APIs of Meta, Instagram and Threads. They differ in hosts, names and
// secrets.
type family struct {
	prefix   string   // of its endpoint names in the counters
	exchange string   // grant type
	refresh  string   // grant type
	short    string   // prefix of the short-lived tokens it issues
	long     string   // prefix of the long-lived tokens it issues
	looks    []string // prefixes of tokens that it accepts without having issued them
	foreign  []string // prefixes of tokens that it cannot parse
	user     string   // id of its only user, above 2^53
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

// own reports whether a token looks like a token of the family.
func (f *family) own(token string) bool { return beginsWith(token, f.looks) }

func beginsWith(token string, prefixes []string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(token, p) })
}

// host describes what one of Meta's hosts serves. If family is nil, the request's parameters
// decide.
type host struct {
	family *family
	codes  bool // the code exchange
	graph  bool // everything else
}

// hosts maps names to hosts. The empty name means all hosts on one listener.
var hosts = map[string]host{
	"":                    {codes: true, graph: true},
	"graph.instagram.com": {family: instagramFamily, graph: true},
	"api.instagram.com":   {family: instagramFamily, codes: true},
	"graph.threads.net":   {family: threadsFamily, codes: true, graph: true},
}

// Hosts returns the names that Options.Host accepts.
func Hosts() []string {
	names := slices.Sorted(maps.Keys(hosts))
	return names[1:] // without the empty name
}

func (h host) serves(e *endpoint) bool {
	if e.codes {
		return h.codes
	}
	return h.graph
}

// chooseFamily returns the family of the host or, if the host serves both, the one that the grant
// type, the app id of a code exchange, or the look of the token suggests.
func (x *call) chooseFamily() *family {
	id := x.instagram.app(threadsFamily).id
	switch {
	case x.instagram.host.family != nil:
		return x.instagram.host.family
	case strings.HasPrefix(x.grant, "th_"), x.endpoint.codes && id != "" && x.client == id, x.endpoint.open && threadsFamily.own(x.short):
		return threadsFamily
	}
	return instagramFamily
}
