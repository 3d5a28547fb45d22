package mock

import (
	"fmt"
	"strings"
)

// extraMembers stand behind the known three and must survive as they are: the number does not fit a float64, the spacing is odd, the
// escapes are one choice of several.
const extraMembers = `,"user_id":17841400000000001,"permissions":{ "scopes":[ "instagram_business_basic" ,"caf\u00e9\/"],  "n" : 1.50e2 }`

// body is an answer with status 200 whose body alone is at fault.
func body(of func(*exchange) string) func(*exchange) {
	return func(x *exchange) { x.reply(200, jsonType, of(x)) }
}

// expires is a good answer but for the value of expires_in.
func expires(value string) func(*exchange) {
	return body(func(x *exchange) string {
		token, _ := x.endpoint.issue(x)
		return x.endpoint.body(x, token, value, "")
	})
}

// page is an answer of Meta's edge, which speaks HTML.
func page(status int) func(*exchange) {
	return func(x *exchange) {
		x.reply(status, htmlType, `<!DOCTYPE html><html lang="en" id="facebook"><head><title>Error</title></head>`+
			`<body><h1>Sorry, something went wrong.</h1><p>We're working on getting this fixed as soon as we can.</p></body></html>`)
	}
}

// invite is a refusal in the shape of Threads' login, as its users report it.
func (x *exchange) invite() {
	x.reply(400, jsonType, `{"error_message":"Invalid Request: The user has not accepted the invite to test the app","error_code":1349245}`)
}

// letterCase tempts clients that decode without regard to case.
func (x *exchange) letterCase() {
	x.reply(200, jsonType, x.success(`,"ACCESS_TOKEN":"IGAAother","Token_Type":"other","eXpires_in":1`))
}

func (x *exchange) error200() {
	x.reply(200, jsonType, x.envelope(expired))
}

func (x *exchange) noExpires() {
	token, _ := x.endpoint.issue(x)
	x.reply(200, jsonType, x.endpoint.body(x, token, "", ""))
}

func (x *exchange) twoTokens() {
	second, _ := x.endpoint.issue(x)
	x.reply(200, jsonType, x.success(fmt.Sprintf(`,"access_token":"%s"`, second)))
}

func (x *exchange) extra() {
	members := extraMembers
	if x.endpoint.codes || x.endpoint.open { // their answers have members of these names
		members = strings.NewReplacer("user_id", "owner_id", "permissions", "granted").Replace(members)
	}
	x.reply(200, jsonType, x.success(members))
}

// deepMember is deeper than any decoder should go, and small enough to reach it.
func deepMember() string {
	const levels = 20_000
	return `,"deep":` + strings.Repeat("[", levels) + strings.Repeat("]", levels)
}

func (x *exchange) reflect() {
	h := x.w.Header()
	for name, value := range x.reflectingHeaders() {
		h.Set(name, value)
	}
	x.reply(200, jsonType, x.success(`,"you_sent":`+encoded([]string{x.secret, x.short})))
}

// trap is where a redirect leads. Nobody may follow: the whole first URL, with secret and token, would travel on as Referer.
const trap = "/__trap"

func (x *exchange) redirect() {
	x.w.Header().Set("Location", trap)
	x.reply(302, htmlType, "")
}
