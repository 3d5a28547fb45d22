package mock

import (
	"slices"
	"strings"
)

// Fault is one thing that can go wrong. A call gets the fault if its token or code starts with the
// fault's name and a hyphen (expired-1). A request for an app token gets it if the app's ID starts
// in this way. After SetFault, every call with a token or code and every request for an app token
// gets the fault. If a fault changes something that a response does not contain, such as
// expires_in in the response to a code exchange, it has no effect on that response.
type Fault struct {
	Name        string
	Description string // one line, for help texts

	play func(*call)
}

// Prefix returns what a token or code must start with to trigger the fault.
func (f Fault) Prefix() string { return f.Name + "-" }

// Faults lists all faults, grouped by kind.
func Faults() []Fault { return slices.Clone(faults) }

// faults is the table of all faults. It is never modified.
var faults = []Fault{
	// Refusals in Instagram's envelope: refusals.go.
	{"expired", "400, code 190/463: the session has expired", refusing(expired)},
	{"revoked", "400, code 190/460: the user changed the password or revoked the permission", refusing(revoked)},
	{"garbage", "400, code 190: the token cannot be parsed", refusing(garbage)},
	{"longlived", "400, code 452/4279019: the token is already long-lived", refusing(longLived)},
	{"standing", "400, code 100: the misleading \"Unsupported request - method type: get\" for an app without access", refusing(standing)},
	{"permission", "403, code 10: a permission is missing", refusing(permission)},
	{"wrongsecret", "400, code 100 (at Facebook code 1): the client secret is refused", (*call).refuseSecret},
	{"limit4", "400, code 4: the app's rate limit, with the usage headers", refusing(limit4)},
	{"limit17", "403, code 17: the user's rate limit", refusing(limit17)},
	{"limit32", "400, code 32: the page's rate limit", refusing(limit32)},
	{"limit613", "400, code 613: the rate limit of one API call", refusing(limit613)},
	{"limit429", "429, code 4, with Retry-After: 7", refusing(limit429)},
	{"down", "500, code 2, is_transient: Instagram is down", refusing(down)},
	{"unknown", "500, code 1: an unknown error", refusing(unknown)},
	{"reflecterr", "400, code 190, with the client secret and the token in message, title, text and headers", (*call).reflectError},

	// Pages, a refusal without an envelope, unusual bodies, and a redirect: bodies.go.
	{"invite", "400 without an envelope, error_code 1349245: a tester who has not accepted the invite", (*call).invite},
	{"html", "503 with an HTML page", page(503)},
	{"html200", "200 with an HTML page", page(200)},
	{"html403", "403 with an HTML page, as Meta's edge sends it", page(403)},
	{"empty200", "200 with an empty body", body(func(*call) string { return "" })},
	{"array200", "200 with the answer inside an array", body(func(x *call) string { return "[" + x.success("") + "]" })},
	{"null200", "200 with null", body(func(*call) string { return "null" })},
	{"error200", "200 with an error envelope", (*call).error200},
	{"noexpires", "200 without expires_in", (*call).noExpires},
	{"stringexpires", "200 with expires_in as a string", expires(`"5183944"`)},
	{"zeroexpires", "200 with expires_in 0", expires("0")},
	{"negativeexpires", "200 with expires_in -1", expires("-1")},
	{"hugeexpires", "200 with expires_in 9223372036854775807", expires("9223372036854775807")},
	{"notoken", "200 without access_token", body(func(*call) string { return `{"token_type":"bearer","expires_in":5183944}` })},
	{"emptytoken", "200 with an empty access_token", body(func(x *call) string { return x.endpoint.body(x, "", "5183944", "") })},
	{"dupkeys", "200 with two different access_token members", (*call).twoTokens},
	{"extra", "200 with unknown members, oddly spaced, one of them a number above 2^53", (*call).extra},
	{"lettercase", "200 with ACCESS_TOKEN, Token_Type and eXpires_in after the real members", (*call).letterCase},
	{"trailing", "200 with two JSON objects", body(func(x *call) string { return x.success("") + x.success("") })},
	{"badjson", "200 with a JSON object that is cut off", body(func(x *call) string { s := x.success(""); return s[:len(s)-12] })},
	{"deep", "200 with an unknown member of 20,000 nested arrays", body(func(x *call) string { return x.success(deepMember()) })},
	{"reflect", "200 with the client secret and the token in unknown members and headers", (*call).reflect},
	{"redirect", "302 to /__trap, where requests are counted", (*call).redirect},

	// Sizes: sizes.go.
	{"huge", "200 with 8 MiB", (*call).huge},
	{"endless", "200 with a body that is cut off after 64 MiB, before it is complete", (*call).endless},
	{"gzipbomb", "200 with 256 KiB that inflate to 256 MiB; a good response if the client does not accept gzip", (*call).gzipBomb},
	{"hugeheaders", "200 with 1 MiB of headers", (*call).hugeHeaders},

	// The connection and the clock: wire.go.
	{"truncated", "200, but the connection closes before the announced length", (*call).truncated},
	{"hang", "sends nothing until the client disconnects", (*call).hang},
	{"hangbody", "200 and headers, then nothing", (*call).hangBody},
	{"drip", "a good response, one byte per second", (*call).drip},
	{"slow", "a good response after 300 ms", (*call).slow},
	{"reset", "the connection is reset (RST)", (*call).reset},
	{"close", "the connection is closed without a response", (*call).hangUp},
	{"garbageline", "an invalid status line (HTTP/2: a reset stream)", (*call).garbageLine},
	{"flaky", "the first call with a token gets no response (the connection closes); later calls succeed", (*call).flaky},
	{"flaky500", "the first call with a token gets 500, code 2; later calls succeed", (*call).flaky500},
}

func faultNamed(name string) *Fault {
	for i := range faults {
		if faults[i].Name == name {
			return &faults[i]
		}
	}
	return nil
}

func faultNames() (names []string) {
	for _, f := range faults {
		names = append(names, f.Name)
	}
	return names
}

// probes is the prefix of the made-up tokens that `igproxy check --online` sends. Instagram refuses
// them as garbage.
const probes = "igproxy-check-"

// chooseFault returns the fault for a token: the fault that is set for every token or, if none is
// set, the fault that the token's prefix names. A token of `igproxy check --online` gets the fault
// garbage. If no fault applies, chooseFault returns nil.
func chooseFault(forAll *Fault, short string) *Fault {
	if forAll != nil {
		return forAll
	}
	if strings.HasPrefix(short, probes) {
		return faultNamed("garbage")
	}
	name, _, hyphen := strings.Cut(short, "-")
	if !hyphen {
		return nil
	}
	return faultNamed(name)
}
