package mock

import "time"

// Refusals of debug_token, as published.
var (
	noAccess     = graphError{status: 400, Type: "OAuthException", Code: 104, Message: "An access token is required to request this resource."}
	noInput      = graphError{status: 400, Type: "OAuthException", Code: 100, Message: "(#100) The parameter input_token is required"}
	notInspector = graphError{status: 400, Type: "OAuthException", Code: 100,
		Message: "(#100) You must provide an app access token, or a user access token that is an owner or developer of the app"}
)

// refuseDebug checks a call to debug_token. It accepts an access_token that is a valid app token,
// or any valid token that the stand-in issued for the family.
func (x *call) refuseDebug() *graphError {
	access := x.secret
	t, _, issued := x.instagram.issued.token(access)
	dead := x.instagram.issued.dead(access)
	switch {
	case access == "":
		return &noAccess
	case issued && t.family != x.family:
		return &garbage
	case dead != nil:
		return dead
	case x.isAppToken(access):
		if e := x.judgeAppToken(access); e != nil {
			return e
		}
	case !issued && x.family.own(access):
		return &notInspector
	case !issued:
		return &garbage
	}
	if x.short == "" {
		return &noInput
	}
	return nil
}

// inspection is the JSON member "data" in the response of debug_token. Times are in Unix seconds.
// If the inspected token cannot be read, "data" has only the members error, is_valid and scopes.
type inspection struct {
	AppID       string           `json:"app_id,omitempty"`
	Type        string           `json:"type,omitempty"`
	Application string           `json:"application,omitempty"`
	DataExpires int64            `json:"data_access_expires_at,omitempty"`
	Error       *inspectionError `json:"error,omitempty"`
	Expires     int64            `json:"expires_at,omitempty"`
	Valid       bool             `json:"is_valid"`
	Issued      int64            `json:"issued_at,omitempty"`
	Scopes      []string         `json:"scopes"`
	User        string           `json:"user_id,omitempty"`
}

type inspectionError struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
	Subcode int    `json:"subcode,omitempty"`
}

// debugBody describes the input token. A token that the stand-in did not issue, but that looks like
// a token of the family, is described as a long-lived token that is a day old.
func (x *call) debugBody(_, _, members string) string {
	t, age, issued := x.instagram.issued.token(x.short)
	app := x.isAppToken(x.short)
	dead := x.instagram.issued.dead(x.short)
	switch {
	case issued && t.family != x.family, !issued && app && x.judgeAppToken(x.short) != nil, !issued && !app && !x.family.own(x.short):
		unread := inspection{Error: &inspectionError{Code: 190, Message: "Invalid OAuth access token."}, Scopes: []string{}}
		return `{"data":` + encoded(unread) + members + `}`
	case !issued:
		t, age = issuedToken{life: time.Duration(expiresIn(0)) * time.Second, app: app}, 24*time.Hour
	}
	id := x.instagram.app(x.family).id
	if id == "" {
		id, _ = x.splitAppToken(x.secret)
	}
	about := inspection{AppID: id, Type: "APP", Application: "Anna's app", Valid: dead == nil, Scopes: []string{}}
	if !t.app {
		begun := time.Now().Add(-age)
		about.Type, about.User, about.Scopes = "USER", x.family.user, x.family.scopes
		about.Issued, about.Expires, about.DataExpires = begun.Unix(), begun.Add(t.life).Unix(), begun.Add(dataLife).Unix()
	}
	if dead != nil {
		about.Error = &inspectionError{dead.Code, dead.Message, dead.Subcode}
	}
	return `{"data":` + encoded(about) + members + `}`
}
