package mock

import (
	"strconv"
	"time"
)

// tooYoung is made up but for its rule, which is documented ("at least 24 hours old"): nobody published the answer. The likeliest code
// is that of everything that is wrong with a token.
var tooYoung = graphError{status: 400, Type: "OAuthException", Code: 190,
	Message: "Error validating access token: The access token must be at least 24 hours old"}

// refuseExchange checks in Instagram's order: secret, then token.
func (x *exchange) refuseExchange() *graphError {
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

func (x *exchange) refuseRefresh() *graphError {
	switch {
	case x.short == "":
		return &noToken
	case x.grant != x.family.refresh:
		return wrongGrant(x.family.refresh)
	}
	return nil
}

// judgeShort lets every token be exchanged that nothing is known against.
func (x *exchange) judgeShort() *graphError {
	t, age, issued := x.instagram.ledger.token(x.short)
	switch {
	case beginsWith(x.short, x.family.foreign):
		return &garbage
	case issued && age >= t.life:
		return &expired
	case issued && t.long:
		return &longLived
	}
	return nil
}

// judgeLong lets a long-lived token be refreshed at its age. One that was not issued here but looks as if is old enough.
func (x *exchange) judgeLong() *graphError {
	t, age, issued := x.instagram.ledger.token(x.short)
	switch {
	case !x.family.own(x.short):
		return &garbage
	case issued && age >= t.life:
		return &expired
	case issued && !t.long:
		return &standing // not published: the answer to whatever Instagram has no better answer to
	case issued && age < refreshAge:
		return &tooYoung
	}
	return nil
}

// judgeAny lets every token read and write that looks like one and has not expired.
func (x *exchange) judgeAny() *graphError {
	t, age, issued := x.instagram.ledger.token(x.short)
	switch {
	case !x.family.own(x.short):
		return &garbage
	case issued && age >= t.life:
		return &expired
	}
	return nil
}

func (x *exchange) issueLong() (token, expires string) {
	token, seconds := x.book.issue(x.short, x.family.long)
	x.instagram.ledger.add(token, time.Duration(seconds)*time.Second, true)
	return token, strconv.Itoa(seconds)
}

// tokenBody is an answer's body of any parts, expires_in as written; "" leaves it out.
func (x *exchange) tokenBody(token, expires, members string) string {
	if expires != "" {
		expires = `,"expires_in":` + expires
	}
	return `{"access_token":"` + token + `","token_type":"bearer"` + expires + members + `}`
}
