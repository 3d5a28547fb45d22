package mock

import (
	"errors"
	"net/http"
	"strconv"
	"time"
)

// tooYoung has a made-up message for a documented rule ("at least 24 hours old"), because the real
// response is not published. Code 190 is a guess too: most token errors have it.
var tooYoung = graphError{status: 400, Type: "OAuthException", Code: 190,
	Message: "Error validating access token: The access token must be at least 24 hours old"}

// refuseExchange checks the secret, the presence of a token, and the grant type, in this order, as
// Instagram does.
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

// judgeShort accepts every token, unless it has a prefix of another API, is revoked or expired, or
// was issued as a long-lived token.
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

// judgeLong refuses tokens that are revoked or expired. Of the others, it accepts long-lived tokens
// that are old enough, and tokens that the stand-in did not issue but that look like tokens of the
// family.
func (x *call) judgeLong() *graphError {
	t, age, issued := x.instagram.issued.token(x.short)
	dead := x.instagram.issued.dead(x.short)
	switch {
	case !x.family.own(x.short):
		return &garbage
	case dead != nil:
		return dead
	case issued && !t.long:
		return &standing // the real error is not published; Instagram sends this error in many cases
	case issued && age < x.instagram.minRefreshAge():
		return &tooYoung
	}
	return nil
}

// minRefreshAge returns the age from which a long-lived token can be refreshed: a day, or a 60th of
// Options.TokenLife if that is less.
func (i *Instagram) minRefreshAge() time.Duration {
	if i.tokenLife == 0 {
		return refreshAge
	}
	return min(refreshAge, i.tokenLife/60)
}

// isRefresh reports whether the call asks for a refresh of a long-lived token. Facebook has one
// call for exchanges and refreshes. That call is a refresh if the stand-in issued its token as a
// long-lived token.
func (x *call) isRefresh() bool {
	t, _, _ := x.instagram.issued.token(x.short)
	return x.endpoint == refreshEndpoint || x.endpoint == extendEndpoint && t.long
}

// issueLong issues a long-lived token. After SetRefresh("same"), a refresh returns the token that
// was sent, with a new life.
func (x *call) issueLong() (token, expires string) {
	prefix := x.family.long
	if x.refresh && x.instagram.refreshesSame() {
		prefix = unchanged
	}
	token, seconds := x.counters.issue(x.short, prefix)
	if life := x.instagram.tokenLife; life > 0 {
		seconds = int(life / time.Second)
	}
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

// The modes of a refresh.
const (
	newMode  = "new"  // a refresh returns a new token and does not change the token that was sent
	sameMode = "same" // a refresh returns the token that was sent, which gets a new life
)

// SetRefresh sets what a refresh returns: "new" for a new token, which is the default, or "same"
// for the token that was sent, with a new life, as Meta may do. Facebook's exchange of a long-lived
// token that the stand-in issued is a refresh too. SetRefresh panics on any other mode, as SetFault
// does.
func (i *Instagram) SetRefresh(mode string) {
	if err := i.setRefresh(mode); err != nil {
		panic("mock: " + err.Error())
	}
}

func (i *Instagram) setRefresh(mode string) error {
	if mode != newMode && mode != sameMode {
		return errors.New("mode must be new or same")
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.same = mode == sameMode
	return nil
}

func (i *Instagram) refreshesSame() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.same
}

func (i *Instagram) serveRefresh(w http.ResponseWriter, r *http.Request) {
	mode := r.FormValue("mode")
	if err := i.setRefresh(mode); err != nil {
		writeMember(w, http.StatusBadRequest, "error", err.Error())
		return
	}
	writeMember(w, http.StatusOK, "refresh", mode)
}
