package mock

import (
	"strconv"
	"time"
)

// tooYoung has a made-up message for a documented rule ("at least 24 hours old"); the real response
// is not published. Most token errors have code 190, so it is the likeliest here too.
var tooYoung = graphError{status: 400, Type: "OAuthException", Code: 190,
	Message: "Error validating access token: The access token must be at least 24 hours old"}

// refuseExchange checks in Instagram's order: the secret, then the token.
func (x *call) refuseExchange() *graphError {
	switch {
	case !x.instagram.app(x.family).accepts(x.secret):
		return &wrongSecret
	case x.short == "":
		return &noToken
	case x.grant != x.family.exchange:
		return wrongGrant(x.family.exchange)
	}
	return nil
}

func (x *call) refuseRefresh() *graphError {
	switch {
	case x.short == "":
		return &noToken
	case x.grant != x.family.refresh:
		return wrongGrant(x.family.refresh)
	}
	return nil
}

// judgeShort accepts every token except those known to be foreign, dead or long-lived.
func (x *call) judgeShort() *graphError {
	t, _, issued := x.instagram.issued.token(x.short)
	dead := x.instagram.issued.dead(x.short)
	switch {
	case beginsWith(x.short, x.family.foreign):
		return &garbage
	case dead != nil:
		return dead
	case issued && t.long:
		return &longLived
	}
	return nil
}

// judgeLong accepts a long-lived token that is old enough. A token that was not issued here counts
// as such if it looks like a token of the family.
func (x *call) judgeLong() *graphError {
	t, age, issued := x.instagram.issued.token(x.short)
	dead := x.instagram.issued.dead(x.short)
	switch {
	case !x.family.own(x.short):
		return &garbage
	case dead != nil:
		return dead
	case issued && !t.long:
		return &standing // not published; this is Instagram's catch-all
	case issued && age < refreshAge:
		return &tooYoung
	}
	return nil
}

func (x *call) issueLong() (token, expires string) {
	token, seconds := x.counters.issue(x.short, x.family.long)
	x.instagram.issued.add(token, issuedToken{family: x.family, life: time.Duration(seconds) * time.Second, long: true})
	return token, strconv.Itoa(seconds)
}

// tokenBody returns a response body with expires_in as given, or without it if expires is "".
func (x *call) tokenBody(token, expires, members string) string {
	if expires != "" {
		expires = `,"expires_in":` + expires
	}
	return `{"access_token":"` + token + `","token_type":"bearer"` + expires + members + `}`
}
