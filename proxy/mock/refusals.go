package mock

import "fmt"

var yes = true

// Instagram's errors. The messages are as published; the times in them are made up.
var (
	expired = graphError{status: 400, Type: "OAuthException", Code: 190, Subcode: 463, Message: "Error validating access token: Session has " +
		"expired on Sunday, 01-Nov-26 10:00:00 PST. The current time is Sunday, 01-Nov-26 11:00:03 PST."}
	revoked = graphError{status: 400, Type: "OAuthException", Code: 190, Subcode: 460, Message: "Error validating access token: The session " +
		"has been invalidated because the user changed their password or Facebook has changed the session for security reasons."}
	garbage   = graphError{status: 400, Type: "OAuthException", Code: 190, Message: "Invalid OAuth access token - Cannot parse access token"}
	longLived = graphError{status: 400, Type: "OAuthException", Code: 452, Subcode: 4279019, Message: "Session key invalid. This could be " +
		"because the session key has an incorrect format, or because the user has revoked this session"}
	standing   = unsupported("get") // the app has no access to the account
	permission = graphError{status: 403, Type: "OAuthException", Code: 10,
		Message: "(#10) Application does not have permission for this action"}
	down = graphError{status: 500, Type: "OAuthException", Code: 2, Transient: &yes,
		Message: "An unexpected error has occurred. Please retry your request later."}
	unknown = graphError{status: 500, Type: "OAuthException", Code: 1, Message: "An unknown error has occurred."}
)

// Rate limits: https://developers.facebook.com/docs/graph-api/overview/rate-limiting.
// Some of these errors contain is_transient, although they do not mean that Instagram is
// unavailable.
var (
	limit4 = graphError{status: 400, Type: "OAuthException", Code: 4, Transient: &yes, Message: "(#4) Application request limit reached",
		header: map[string]string{
			"X-App-Usage": `{"call_count":100,"total_cputime":25,"total_time":25}`,
			"X-Business-Use-Case-Usage": `{"17841400000000001":[{"type":"instagram","call_count":100,"total_cputime":25,"total_time":25,` +
				`"estimated_time_to_regain_access":5}]}`,
		}}
	limit17  = graphError{status: 403, Type: "OAuthException", Code: 17, Transient: &yes, Message: "(#17) User request limit reached"}
	limit32  = graphError{status: 400, Type: "OAuthException", Code: 32, Message: "(#32) Page request limit reached"}
	limit613 = graphError{status: 400, Type: "OAuthException", Code: 613, Message: "(#613) Calls to this api have exceeded the rate limit."}
	limit429 = graphError{status: 429, Type: "OAuthException", Code: 4, Message: "(#4) Application request limit reached",
		header: map[string]string{"Retry-After": "7"}}
)

func refusing(e graphError) func(*call) {
	return func(x *call) { x.refuse(e) }
}

func (x *call) refuseSecret() { x.refuse(x.wrongSecret()) }

// reflectError sends an error that contains the token and the secret. A proxy must remove both.
func (x *call) reflectError() {
	both := fmt.Sprintf("token %s, client secret %s", x.short, x.secret)
	x.refuse(graphError{status: 400, Type: "OAuthException", Code: 190, Message: "Invalid OAuth access token: " + both,
		UserTitle: "About " + both, UserMsg: "Sorry about " + both, header: x.reflectingHeaders()})
}

// reflectingHeaders returns headers that contain the token and the secret where Instagram sends
// harmless values.
func (x *call) reflectingHeaders() map[string]string {
	both := encoded(map[string]string{"access_token": x.short, "client_secret": x.secret})
	return map[string]string{"X-App-Usage": both, "X-Business-Use-Case-Usage": both, "X-Fb-Debug": x.secret + " " + x.short}
}
