package mock

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// The code exchanges of Instagram and Threads. Instagram accepts only a form. Meta documents a form
// for Threads too, but Meta's samples and many apps send the parameters in the query.
var (
	codeEndpoint = &endpoint{name: "code", methods: []string{http.MethodPost}, token: "code", login: true, form: true, strict: true,
		oldErrors: true, bodied: true,
		must:    []string{"client_id", "client_secret", "grant_type", "redirect_uri", "code"},
		refusal: (*call).refuseCode, verdict: accept,
		issue: (*call).issueShort, body: (*call).loginBody, succeed: (*call).sendSuccess}
	threadsCodeEndpoint = &endpoint{name: "code", methods: []string{http.MethodPost, http.MethodGet}, token: "code", login: true, form: true,
		oldErrors: true, bodied: true, must: codeEndpoint.must,
		refusal: (*call).refuseCode, verdict: accept,
		issue: (*call).issueShort, body: (*call).loginBody, succeed: (*call).sendSuccess}
)

// The refusals of the code exchange, as published. It is not certain which of them a wrong secret
// causes. In most reports of "Error validating verification code", the secret was wrong, so the
// stand-in uses that message. The fault wrongsecret uses "Error validating client secret" instead.
// The message for an expired code is made up.
var (
	codeUsed       = codeError("This authorization code has been used")
	codeExpired    = codeError("This authorization code has expired")
	codeUnmatched  = codeError("Matching code was not found or was already used")
	codeUnverified = codeError("Error validating verification code. Please make sure your redirect_uri is identical to the one you used in " +
		"the OAuth dialog request")
	unknownApp  = codeError("Invalid platform app")
	badRedirect = codeError("Invalid redirect_uri")
	badGrant    = codeError("Invalid grant_type")
)

func codeError(message string) graphError {
	return graphError{status: 400, Type: "OAuthException", Message: message}
}

// refuseCode checks a code exchange and marks the code as used. If the call is refused later,
// respond makes the code valid again. Meta does not say whether a refused attempt consumes the
// code; the stand-in assumes that it does not. After a broken connection the code stays used,
// because the app cannot know the outcome and must not use the code again.
func (x *call) refuseCode() *graphError {
	for _, name := range x.endpoint.must {
		if x.value(name) == "" {
			e := codeError("You must provide a " + name)
			return &e
		}
	}
	app, redirect := x.instagram.app(x.family), x.value("redirect_uri")
	switch u, err := url.Parse(redirect); {
	case !app.has(x.client):
		return &unknownApp
	case !app.accepts(x.secret):
		return &codeUnverified
	case x.grant != "authorization_code":
		return &badGrant
	case err != nil || u.Scheme == "" || u.Host == "":
		return &badRedirect
	case strings.Contains(x.short, "#"): // the "#_" that Instagram appends to the redirect URI is not part of a code
		return &codeUnmatched
	}
	e := x.instagram.issued.take(x.short, x.client, redirect)
	x.usedCode = e == nil
	return e
}

// codeEnvelope returns an error in the format of the code exchange.
func codeEnvelope(e graphError) string {
	return encoded(struct {
		Type    string `json:"error_type"`
		Code    int    `json:"code"`
		Message string `json:"error_message"`
	}{e.Type, e.status, e.Message})
}

// issueShort issues a short-lived token. Only Facebook's response says when the token expires.
func (x *call) issueShort() (token, expires string) {
	token, _ = x.counters.issue(x.short, x.family.short)
	x.instagram.issued.add(token, issuedToken{family: x.family, life: shortLife})
	return token, strconv.Itoa(int(shortLife.Seconds()))
}

// loginBody returns the response to a code exchange. Instagram's response has the documented shape
// or the flat shape seen on the wire. The response of Threads is always flat and has fewer members.
func (x *call) loginBody(token, _, members string) string {
	if x.family == threadsFamily {
		return fmt.Sprintf(`{"access_token":"%s","user_id":%s%s}`, token, x.family.user, members)
	}
	if x.instagram.flat() {
		return fmt.Sprintf(`{"access_token":"%s","user_id":%s,"permissions":%s%s}`, token, x.family.user, encoded(x.family.scopes), members)
	}
	return fmt.Sprintf(`{"data":[{"access_token":"%s","user_id":"%s","permissions":"%s"}]%s}`,
		token, x.family.user, strings.Join(x.family.scopes, ","), members)
}
