package mock

import (
	"net/http"
	"strings"
)

// Facebook's calls at /oauth/access_token. Meta documents GET with a query; apps also send POST
// with a query, a form or JSON.
var (
	extendEndpoint = &endpoint{name: "exchange", methods: []string{http.MethodGet, http.MethodPost}, token: "fb_exchange_token",
		login: true, bodied: true,
		must:    []string{"grant_type", "client_id", "client_secret", "fb_exchange_token"},
		refusal: (*call).refuseExtension, verdict: (*call).judgeExtendable,
		issue: (*call).issueLong, body: (*call).tokenBody, succeed: (*call).sendSuccess}
	facebookCodeEndpoint = &endpoint{name: "code", methods: []string{http.MethodGet, http.MethodPost}, token: "code",
		login: true, bodied: true,
		must: []string{"client_id", "client_secret", "code"}, may: "redirect_uri",
		refusal: (*call).refuseFacebookCode, verdict: accept,
		issue: (*call).issueShort, body: (*call).tokenBody, succeed: (*call).sendSuccess}
)

// Facebook's refusals of a login call, as published, except noCode and oddGrant, which are made up.
var (
	noClient    = loginRefusal(101, 0, "Missing client_id parameter.")
	wrongClient = loginRefusal(101, 0, "Error validating application. Invalid application ID.")
	wrongKey    = loginRefusal(1, 0, "Error validating client secret.")
	noExtension = loginRefusal(1, 0, "fb_exchange_token parameter not specified")
	noCode      = loginRefusal(1, 0, "Missing authorization code")
	oddGrant    = loginRefusal(100, 0, "Invalid grant_type")

	oddCode       = loginRefusal(100, 0, "Invalid verification code format.")
	lateCode      = loginRefusal(100, 36007, "This authorization code has expired.")
	otherRedirect = loginRefusal(100, 36008, codeUnverified.Message)
	spentCode     = loginRefusal(100, 36009, "This authorization code has been used.")
)

func loginRefusal(code, subcode int, message string) graphError {
	return graphError{status: 400, Type: "OAuthException", Code: code, Subcode: subcode, Message: message}
}

// refuseClient checks the app's ID, and then the secret.
func (x *call) refuseClient() *graphError {
	app := x.instagram.app(x.family)
	switch {
	case x.client == "":
		return &noClient
	case !app.has(x.client):
		return &wrongClient
	case !app.accepts(x.secret):
		e := x.wrongSecret()
		return &e
	}
	return nil
}

func (x *call) refuseExtension() *graphError {
	if e := x.refuseClient(); e != nil {
		return e
	}
	if x.short == "" {
		return &noExtension
	}
	return nil
}

// judgeExtendable accepts every token, short-lived or long-lived, unless it has a prefix of another
// API, is an app token, or is revoked or expired.
func (x *call) judgeExtendable() *graphError {
	if beginsWith(x.short, x.family.foreign) || x.isAppToken(x.short) {
		return &garbage
	}
	return x.instagram.issued.dead(x.short)
}

// refuseFacebookCode checks a code exchange and marks the code as used, as refuseCode does. The
// grant_type may be missing. The redirect_uri may be missing or empty if the code is not bound to a
// redirect URI.
func (x *call) refuseFacebookCode() *graphError {
	if e := x.refuseClient(); e != nil {
		return e
	}
	switch {
	case x.grant != "" && x.grant != "authorization_code":
		return &oddGrant
	case x.short == "":
		return &noCode
	case strings.ContainsAny(x.short, "# "):
		return &oddCode
	}
	e := x.instagram.issued.take(x.short, x.client, x.value("redirect_uri"))
	x.usedCode = e == nil
	return e
}

// facebookCodeErrors maps messages of other endpoints to the errors of Facebook's code exchange.
var facebookCodeErrors = map[string]graphError{
	expired.Message: lateCode, codeExpired.Message: lateCode, codeUsed.Message: spentCode, codeUnverified.Message: otherRedirect,
	garbage.Message: oddCode, codeUnmatched.Message: oddCode,
}

// worded returns the error that the endpoint sends for e. If the endpoint exchanges a code, an
// error about a token becomes an error about a code.
func (x *call) worded(e graphError) graphError {
	switch {
	case x.endpoint == facebookCodeEndpoint:
		if known, found := facebookCodeErrors[e.Message]; found {
			return known
		}
	case x.endpoint.oldErrors && e.Message == expired.Message:
		return codeExpired
	case x.endpoint.oldErrors && e.Message == garbage.Message:
		return codeUnmatched
	}
	return e
}
