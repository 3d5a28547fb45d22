package graph

import (
	"net/http"
	"strings"
)

// Class is what an error means for igproxy: whether the operator must act, whether the error is
// remembered, and whether it counts as a failure of Meta. It is also a metric label and a log
// field.
type Class string

// The classes.
const (
	ClassRequest   Class = "request"    // the app sent something that igproxy does not accept
	ClassSignature Class = "signature"  // the webhook or signed request has no valid signature by a secret of the app
	ClassToken     Class = "bad_token"  // the user's token is not valid for the call: remembered
	ClassStanding  Class = "standing"   // the app may not use the account: an operator must act
	ClassSecret    Class = "secret"     // the client secret or the app's ID is refused: an operator must act
	ClassRefused   Class = "refused"    // any other definite refusal: remembered briefly, except for a login's code
	ClassAppLimit  Class = "app_limit"  // a rate limit on the app: its token calls are paused
	ClassUserLimit Class = "user_limit" // a rate limit on a user or page: token calls with that token are paused
	ClassTransient Class = "transient"  // Meta reports that it has failed: counted by the breaker
	ClassBroken    Class = "broken"     // the response is malformed: counted by the breaker
	ClassUnreached Class = "unreached"  // there was no response: counted by the breaker
	ClassTimeout   Class = "timeout"    // there was no response in time: counted by the breaker
	ClassSilent    Class = "silent"     // silence on a reused connection, which may be dead: not counted by the breaker
	ClassHeld      Class = "held"       // the breaker is open, or there are too many calls at once
	ClassInternal  Class = "internal"   // a bug in igproxy
)

// classify returns the class of an error. It looks at the code, the subcode and is_transient, and
// last at the status. It ignores the type, and also the message except in saysSecret, because Meta
// changes types and translates messages.
func classify(e *Error) Class {
	code := e.metaCode()
	switch {
	case code == 4, code == 341, code == 368, code == 613, code >= 80000 && code <= 80099:
		return ClassAppLimit
	case code == 17, code == 32:
		return ClassUserLimit
	case code == 190, code == 452:
		return ClassToken
	case code == 101, saysSecret(e): // 101: the app's ID is invalid
		return ClassSecret
	case code == 1, code == 2, e.Transient != nil && *e.Transient:
		return ClassTransient
	case code == 100 && e.Subcode != SubcodeUnreadable && e.Subcode != SubcodeLoop: // these subcodes are igproxy's own
		return ClassStanding
	case code == 3, code == 10, code == 102, code == 2500, code >= 200 && code <= 299:
		return ClassRefused
	case e.Status == http.StatusTooManyRequests:
		return ClassAppLimit
	case e.Status >= 500:
		return ClassTransient
	}
	return ClassRefused
}

// saysSecret reports whether the error means that the client secret is refused. Meta sends
// "Error validating client secret." with code 100, with code 1 on graph.facebook.com, or in an
// envelope without a code. Only the message distinguishes this error from others with the same
// code. If Meta rewords or translates the message, the app still gets the error, but the class is
// wrong: igproxy does not alert the operator, does not pause the app, and does not try the app's
// previous secret. If the code is 1, the error then counts as a failure of Meta.
func saysSecret(e *Error) bool {
	code := e.metaCode()
	return (code == 100 || code == 1 || code == 0 && !e.Flat) && strings.Contains(strings.ToLower(e.Message), "client secret")
}

// IsRefusal reports whether a status alone, without a readable body, means that Meta has decided
// about the call. Every 4xx means that, except 408, 425 and 429, which mean "try again later".
func IsRefusal(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return false
	}
	return status >= 400 && status < 500
}

// IsFailure reports whether the class counts as a failure of Meta for the breaker.
func (c Class) IsFailure() bool {
	return c == ClassTransient || c == ClassBroken || c == ClassUnreached || c == ClassTimeout
}

// IsDefinite reports whether an error of this class means that Meta has decided about the call.
// Such an error is an answer, not a failure.
func (c Class) IsDefinite() bool {
	switch c {
	case ClassToken, ClassStanding, ClassSecret, ClassRefused, ClassAppLimit, ClassUserLimit:
		return true
	}
	return false
}
