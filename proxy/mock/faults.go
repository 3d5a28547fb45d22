package mock

import (
	"slices"
	"strings"
)

// Fault is one thing that can go wrong. A token or code that starts with its name and a hyphen (expired-1) meets it, whatever it is sent
// to; so does every one after SetFault. Where a fault speaks of something that an answer does not have, as expires_in in that to a code,
// the answer is good.
type Fault struct {
	Name        string
	Description string // one line, for help texts

	play func(*exchange)
}

// Prefix is what a token or code must start with to meet the fault.
func (f Fault) Prefix() string { return f.Name + "-" }

// Faults lists all faults, those of one kind together.
func Faults() []Fault { return slices.Clone(faults) }

// faults is the one table. It does not change.
var faults = []Fault{
	// Refusals in Instagram's envelope: refusals.go.
	{"expired", "400, code 190/463: the session has expired", refusing(expired)},
	{"revoked", "400, code 190/460: the user changed the password or took the permission back", refusing(revoked)},
	{"garbage", "400, code 190: the token cannot be parsed", refusing(garbage)},
	{"longlived", "400, code 452/4279019: the token is long-lived already", refusing(longLived)},
	{"standing", "400, code 100: the lying \"Unsupported request - method type: get\" of an app without standing", refusing(standing)},
	{"permission", "403, code 10: a permission is missing", refusing(permission)},
	{"wrongsecret", "400, code 100: the client secret is refused", refusing(wrongSecret)},
	{"limit4", "400, code 4: the app's rate limit, with the usage headers", refusing(limit4)},
	{"limit17", "403, code 17: the user's rate limit", refusing(limit17)},
	{"limit32", "400, code 32: the page's rate limit", refusing(limit32)},
	{"limit613", "400, code 613: a rate limit of one call", refusing(limit613)},
	{"limit429", "429, code 4, with Retry-After: 7", refusing(limit429)},
	{"down", "500, code 2, is_transient: Instagram is down", refusing(down)},
	{"unknown", "500, code 1: an unknown error", refusing(unknown)},
	{"reflecterr", "400, code 190, with client secret and token in message, title, text and headers", (*exchange).reflectError},

	// Pages, refusals without an envelope, and answers that are no token, or more than one: bodies.go.
	{"invite", "400 without an envelope, error_code 1349245: a tester who has not accepted the invite", (*exchange).invite},
	{"html", "503 with an HTML page", page(503)},
	{"html200", "200 with an HTML page", page(200)},
	{"html403", "403 with an HTML page, as of Meta's edge", page(403)},
	{"empty200", "200 without a byte of body", body(func(*exchange) string { return "" })},
	{"array200", "200 with the answer inside an array", body(func(x *exchange) string { return "[" + x.success("") + "]" })},
	{"null200", "200 with null", body(func(*exchange) string { return "null" })},
	{"error200", "200 with an error envelope", (*exchange).error200},
	{"noexpires", "200 without expires_in", (*exchange).noExpires},
	{"stringexpires", "200 with expires_in as a string", expires(`"5183944"`)},
	{"zeroexpires", "200 with expires_in 0", expires("0")},
	{"negativeexpires", "200 with expires_in -1", expires("-1")},
	{"hugeexpires", "200 with expires_in 9223372036854775807", expires("9223372036854775807")},
	{"notoken", "200 without access_token", body(func(*exchange) string { return `{"token_type":"bearer","expires_in":5183944}` })},
	{"emptytoken", "200 with an empty access_token", body(func(x *exchange) string { return x.endpoint.body(x, "", "5183944", "") })},
	{"dupkeys", "200 with two different access_token members", (*exchange).twoTokens},
	{"extra", "200 with unknown members, oddly spaced, one a number above 2^53", (*exchange).extra},
	{"lettercase", "200 with ACCESS_TOKEN, Token_Type and eXpires_in after the true members", (*exchange).letterCase},
	{"trailing", "200 with two JSON objects", body(func(x *exchange) string { return x.success("") + x.success("") })},
	{"badjson", "200 with half a JSON object", body(func(x *exchange) string { s := x.success(""); return s[:len(s)-12] })},
	{"deep", "200 with an unknown member of 20,000 nested arrays", body(func(x *exchange) string { return x.success(deepMember()) })},
	{"reflect", "200 with client secret and token in unknown members and headers", (*exchange).reflect},
	{"redirect", "302 to /__trap, where hits are counted", (*exchange).redirect},

	// Sizes: sizes.go.
	{"huge", "200 with 8 MiB", (*exchange).huge},
	{"endless", "200 without end, up to 64 MiB", (*exchange).endless},
	{"gzipbomb", "200 with 256 KiB that inflate to 256 MiB, if gzip is accepted; else a good answer", (*exchange).gzipBomb},
	{"hugeheaders", "200 with 1 MiB of headers", (*exchange).hugeHeaders},

	// The connection and the clock: wire.go.
	{"truncated", "200, but the connection closes before the announced length", (*exchange).truncated},
	{"hang", "not a byte, until the client leaves", (*exchange).hang},
	{"hangbody", "200 and headers, then nothing", (*exchange).hangBody},
	{"drip", "a good answer, one byte a second", (*exchange).drip},
	{"slow", "a good answer, 300 ms later", (*exchange).slow},
	{"reset", "the connection is reset (RST)", (*exchange).reset},
	{"close", "the connection is closed without a byte", (*exchange).hangUp},
	{"garbageline", "a status line that is none (HTTP/2: a reset stream)", (*exchange).garbageLine},
	{"flaky", "the first call for a token is closed without a byte, later ones are good", (*exchange).flaky},
	{"flaky500", "the first call for a token gets 500, code 2, later ones are good", (*exchange).flaky500},
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

// probes is how the tokens start that igproxy's own check sends: they are no tokens, and Instagram says so.
const probes = "igproxy-check-"

// chooseFault is the fault that a token meets: the one set for all, or its own.
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
