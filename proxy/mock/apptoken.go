package mock

import (
	"net/http"
	"strings"
)

// appTokenEndpoint issues app tokens of Threads and Facebook. Its calls have no token, so they are
// counted under the app's ID.
var appTokenEndpoint = &endpoint{name: "app_token", methods: []string{http.MethodGet, http.MethodPost}, token: "client_id",
	login: true, bodied: true,
	must:    []string{"grant_type", "client_id", "client_secret"},
	refusal: (*call).refuseClient, verdict: accept,
	issue: (*call).issueAppToken, body: (*call).tokenBody, succeed: (*call).sendSuccess}

// The refusals of an invalid app token.
var (
	wrongSignature = graphError{status: 400, Type: "OAuthException", Code: 190, Message: "Invalid OAuth access token signature."}
	wrongAppToken  = graphError{status: 400, Type: "OAuthException", Code: 190, Message: wrongClient.Message}
)

// issueAppToken issues an app token, which never expires.
func (x *call) issueAppToken() (token, expires string) {
	token, _ = x.counters.issue(x.short, x.family.app+x.client+"|")
	x.instagram.issued.add(token, issuedToken{family: x.family, app: true})
	return token, ""
}

// isAppToken reports whether a token has the form of an app token: ID|SECRET, or TH|ID|SECRET for
// Threads. An issued app token has random characters instead of the secret. Instagram has no app
// tokens.
func (x *call) isAppToken(token string) bool {
	return x.family != instagramFamily && strings.HasPrefix(token, x.family.app) && strings.Contains(token[len(x.family.app):], "|")
}

func (x *call) splitAppToken(token string) (id, secret string) {
	id, secret, _ = strings.Cut(strings.TrimPrefix(token, x.family.app), "|")
	return id, secret
}

// judgeAppToken accepts app tokens that the stand-in issued, and app tokens that a client made from
// the app's ID and secret. It refuses revoked app tokens.
func (x *call) judgeAppToken(token string) *graphError {
	_, _, issued := x.instagram.issued.token(token)
	if dead := x.instagram.issued.dead(token); issued || dead != nil {
		return dead
	}
	app := x.instagram.app(x.family)
	id, secret := x.splitAppToken(token)
	switch {
	case !app.has(id):
		return &wrongAppToken
	case !app.accepts(secret):
		return &wrongSignature
	}
	return nil
}
