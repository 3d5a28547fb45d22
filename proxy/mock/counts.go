package mock

import (
	"slices"
	"strings"
)

// Calls is how many requests came, whatever they asked for, but for the control endpoints.
func (i *Instagram) Calls() int { return i.counters().stats().Total }

// CallsTo is how many requests came to one endpoint: exchange, refresh, code, read, write, other (a path that is none), and the same
// behind threads_ for Threads. A request with a body counts once the body is there. It panics on any other name, as SetFault does.
func (i *Instagram) CallsTo(endpoint string) int {
	if !slices.Contains(endpointNames, strings.TrimPrefix(endpoint, threadsFamily.prefix)) {
		panic("mock: unknown endpoint " + endpoint)
	}
	return i.counters().stats().Endpoints[endpoint]
}

var endpointNames = []string{"exchange", "refresh", "code", "read", "write", "other"}

// CallsFor is how many requests carried this token or code.
func (i *Instagram) CallsFor(short string) int { return i.counters().token(short).Calls }

// MaxConcurrent is how many requests with this token or code were under way at once, at most.
func (i *Instagram) MaxConcurrent(short string) int { return i.counters().token(short).MaxConcurrent }

// Issued are the tokens made for this token or code, in order, those in broken answers included: long-lived ones for a token,
// short-lived ones for a code.
func (i *Instagram) Issued(short string) []string { return i.counters().issued(short) }

// Strange names what igproxy must not send and did, one text a request; values are never in it.
func (i *Instagram) Strange() []string { return i.counters().stats().Strange }

// Requests are the latest requests, 256 at most, in the order of arrival.
func (i *Instagram) Requests() []Request { return i.requests.all() }
