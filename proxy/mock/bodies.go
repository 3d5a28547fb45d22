package mock

import (
	"fmt"
	"strings"
)

// extraMembers are unknown members that a proxy must pass on byte for byte. A proxy that decodes
// and encodes them changes them: a float64 cannot hold the first number exactly, the spacing is
// unusual, and the escapes can be written in other ways.
const extraMembers = `,"user_id":17841400000000001,"permissions":{ "scopes":[ "instagram_business_basic" ,"caf\u00e9\/"],  "n" : 1.50e2 }`

// body returns a fault that sends status 200 and the body that build returns.
func body(build func(*call) string) func(*call) {
	return func(x *call) { x.respond(200, jsonType, build(x)) }
}

// expires returns a fault whose response is valid except for the value of expires_in.
func expires(value string) func(*call) {
	return body(func(x *call) string {
		token, _ := x.endpoint.issue(x)
		return x.endpoint.body(x, token, value, "")
	})
}

// page returns a fault that sends an HTML page with this status, as Meta's edge does.
func page(status int) func(*call) {
	return func(x *call) {
		x.respond(status, htmlType, `<!DOCTYPE html><html lang="en" id="facebook"><head><title>Error</title></head>`+
			`<body><h1>Sorry, something went wrong.</h1><p>We're working on getting this fixed as soon as we can.</p></body></html>`)
	}
}

// invite refuses the call in the format that users of Threads' login have reported.
func (x *call) invite() {
	x.respond(400, jsonType, `{"error_message":"Invalid Request: The user has not accepted the invite to test the app","error_code":1349245}`)
}

// letterCase adds members whose names differ from those of the real members only in case. They
// reveal clients that ignore the case of names.
func (x *call) letterCase() {
	x.respond(200, jsonType, x.success(`,"ACCESS_TOKEN":"IGAAother","Token_Type":"other","eXpires_in":1`))
}

func (x *call) error200() {
	x.respond(200, jsonType, x.envelope(expired))
}

func (x *call) noExpires() {
	token, _ := x.endpoint.issue(x)
	x.respond(200, jsonType, x.endpoint.body(x, token, "", ""))
}

func (x *call) twoTokens() {
	second, _ := x.endpoint.issue(x)
	x.respond(200, jsonType, x.success(fmt.Sprintf(`,"access_token":"%s"`, second)))
}

func (x *call) extra() {
	members := extraMembers
	if x.endpoint.oldErrors || x.endpoint.open { // these endpoints can send user_id or permissions themselves
		members = strings.NewReplacer("user_id", "owner_id", "permissions", "granted").Replace(members)
	}
	x.respond(200, jsonType, x.success(members))
}

// deepMember returns a member nested deeper than any decoder should follow, yet small enough to
// pass a limit on bytes.
func deepMember() string {
	const levels = 20_000
	return `,"deep":` + strings.Repeat("[", levels) + strings.Repeat("]", levels)
}

func (x *call) reflect() {
	h := x.w.Header()
	for name, value := range x.reflectingHeaders() {
		h.Set(name, value)
	}
	x.respond(200, jsonType, x.success(`,"you_sent":`+encoded([]string{x.secret, x.short})))
}

// trap is the target of redirects. A client that follows them sends the original URL, with the
// secret and the token, as Referer.
const trap = "/__trap"

func (x *call) redirect() {
	x.w.Header().Set("Location", trap)
	x.respond(302, htmlType, "")
}
