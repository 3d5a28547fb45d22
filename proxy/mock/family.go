package mock

import (
	"slices"
	"strings"
)

// family is one of three similar APIs of Meta: Instagram, Threads and Facebook. They differ in
// their hosts, grant types, token prefixes and secrets, and in how an app sends the parameters of a
// login.
type family struct {
	name     string   // the value of the parameter app at the control endpoints
	prefix   string   // prefix of its endpoint names in the counters
	exchange string   // grant type of an exchange
	refresh  string   // grant type of a refresh; empty at Facebook
	short    string   // prefix of the short-lived tokens it issues
	long     string   // prefix of the long-lived tokens it issues
	app      string   // prefix of its app tokens, before the app's ID
	looks    []string // prefixes of tokens that can be its own
	foreign  []string // prefixes of tokens that it cannot parse
	user     string   // ID of its only user; above 2^53, so that a float64 cannot hold it exactly
	username string
	scopes   []string
}

var (
	instagramFamily = &family{name: "instagram", exchange: "ig_exchange_token", refresh: "ig_refresh_token", short: "IGAA", long: "IGAA",
		looks: []string{"IG", "EAA"}, foreign: []string{"THAA", "THQ"}, user: "17841400000000001", username: "anna.photos",
		scopes: []string{"instagram_business_basic", "instagram_business_content_publish"}}
	threadsFamily = &family{name: "threads", prefix: "threads_", exchange: "th_exchange_token", refresh: "th_refresh_token",
		short: "THQV", long: "THAA", app: "TH|",
		looks: []string{"TH"}, foreign: []string{"IG", "EAA"}, user: "24000000000000001", username: "anna.threads",
		scopes: []string{"threads_basic", "threads_content_publish"}}
	facebookFamily = &family{name: "facebook", prefix: "facebook_", exchange: "fb_exchange_token", short: "EAAG", long: "EAAB",
		looks: []string{"EAA"}, foreign: []string{"IG", "TH"}, user: "10158000000000001", username: "anna.pages",
		scopes: []string{"instagram_basic", "pages_show_list"}}
)

var families = []*family{instagramFamily, threadsFamily, facebookFamily}

// familyNamed returns the family with this name, or nil. An empty name means Instagram.
func familyNamed(name string) *family {
	if name == "" {
		return instagramFamily
	}
	at := slices.IndexFunc(families, func(f *family) bool { return f.name == name })
	if at < 0 {
		return nil
	}
	return families[at]
}

// own reports whether a token looks like a token of the family.
func (f *family) own(token string) bool { return beginsWith(token, f.looks) }

func beginsWith(token string, prefixes []string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(token, p) })
}
