package mock

import (
	"slices"
	"strings"
)

// Calls returns the number of requests received, not counting requests to control endpoints.
func (i *Instagram) Calls() int { return i.currentCounters().stats().Total }

// CallsTo returns the number of requests to one endpoint: exchange, refresh, code, read, write,
// app_token, debug_token or other (any unknown path). With the prefix threads_ or facebook_, the
// name means the endpoint of that API. If the endpoint reads a body, a request is counted when its
// body has arrived. CallsTo panics on an unknown name, as SetFault does.
func (i *Instagram) CallsTo(endpoint string) int {
	known := slices.ContainsFunc(families, func(f *family) bool {
		name, found := strings.CutPrefix(endpoint, f.prefix)
		return found && slices.Contains(endpointNames, name)
	})
	if !known {
		panic("mock: unknown endpoint " + endpoint)
	}
	return i.currentCounters().stats().Endpoints[endpoint]
}

var endpointNames = []string{"exchange", "refresh", "code", "app_token", "debug_token", "read", "write", "other"}

// CallsFor returns the number of requests with this token or code. A call to debug_token is counted
// under its input_token, and a request for an app token under the app's ID.
func (i *Instagram) CallsFor(short string) int { return i.currentCounters().token(short).Calls }

// RefreshesFor returns the number of requests for a refresh of this long-lived token, with or
// without success. At Facebook, a refresh is an exchange of a long-lived token that the stand-in
// issued.
func (i *Instagram) RefreshesFor(token string) int {
	return i.currentCounters().token(token).Refreshes
}

// MaxConcurrent returns the largest number of requests with this token or code that were in flight
// at the same time.
func (i *Instagram) MaxConcurrent(short string) int {
	return i.currentCounters().token(short).MaxConcurrent
}

// Issued returns the tokens that the stand-in issued, in order: long-lived tokens if the argument
// is a token, short-lived tokens for a code, and app tokens for an app's ID. Tokens in broken
// responses are included. If a refresh returned the token that was sent, the list contains it.
func (i *Instagram) Issued(short string) []string { return i.currentCounters().issued(short) }

// Strange returns one string for each request that igproxy must not send, at most 1000. The string
// names the parts that are wrong or missing in the request, without their values.
func (i *Instagram) Strange() []string { return i.currentCounters().stats().Strange }

// Requests returns the latest requests, at most 256, in the order of arrival.
func (i *Instagram) Requests() []Request { return i.requests.all() }
