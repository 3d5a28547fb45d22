package proxy

import (
	"net/http"
	"strings"
)

// class is what an error of Instagram's, or of ours, means for the steps: who has to act, whether it is remembered, whether it is ill
// health. It is also a metric label, from this fixed set.
type class string

const (
	classRequest   class = "request"   // the app sent something that igproxy does not take; Instagram was not asked
	classToken     class = "bad_token" // the user's token is no good: remembered. Not "token": that is how good answers are counted
	classStanding  class = "standing"  // the app has no standing with that account: remembered for seconds, an operator must act
	classSecret    class = "secret"    // the client secret is refused: an operator must act
	classRefused   class = "refused"   // any other definite refusal: passed on, not remembered
	classAppLimit  class = "app_limit" // a rate limit on the app: all cold tokens wait
	classUserLimit class = "user_limit"
	classTransient class = "transient" // Instagram is ill: counted by the breaker
	classBroken    class = "broken"    // the answer is nonsense: counted by the breaker
	classUnreached class = "unreached" // no answer: counted by the breaker
	classTimeout   class = "timeout"   // no answer in time: counted by the breaker
	classHeld      class = "held"      // not asked: breaker open, hold, or too much at once
	classInternal  class = "internal"  // our own fault
)

// classify reads code, then subcode, then status, in that order: messages are localised and types vary
// (Meta's error handling guide). An error without a code is classified by what else it says. It is
// never classStanding, which is what Meta's own code 100 means.
func classify(e *GraphError) class {
	code := e.metaCode()
	switch {
	case code == 4, code == 341, code == 368, code == 613, code >= 80000 && code <= 80099:
		return classAppLimit
	case code == 17, code == 32:
		return classUserLimit
	case code == 190, code == 452:
		return classToken
	case saysSecret(e):
		return classSecret
	case code == 1, code == 2, e.Transient != nil && *e.Transient:
		return classTransient
	case code == 100 && e.Subcode != subUnreadable: // which another igproxy wrote
		return classStanding
	case code == 3, code == 10, code == 102, code == 2500, code >= 200 && code <= 299:
		return classRefused
	case e.Status == http.StatusTooManyRequests:
		return classAppLimit
	case e.Status >= 500:
		return classTransient
	}
	return classRefused
}

// saysSecret is the one place that looks at a message, because nothing else tells "Error validating client secret." (100, or 1 as on
// graph.facebook.com; in an envelope without a code too) from the standing error (100). Should Meta reword or translate it, the error
// is still passed on as it came; only the alarm to the operator is lost.
func saysSecret(e *GraphError) bool {
	code := e.metaCode()
	return (code == 100 || code == 1 || code == 0 && !e.flat) && strings.Contains(strings.ToLower(e.Message), "client secret")
}

// refusesAlone reports whether a status is an answer about the call whatever the body says. All 4xx
// are, except those that mean "later".
func refusesAlone(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return false
	}
	return status >= 400 && status < 500
}

// ill reports whether the class counts as a failure of Instagram's for the breaker.
func (c class) ill() bool {
	return c == classTransient || c == classBroken || c == classUnreached || c == classTimeout
}

// definite reports whether Instagram has spoken about this call: such a refusal is an answer, not a failure.
func (c class) definite() bool {
	switch c {
	case classToken, classStanding, classSecret, classRefused, classAppLimit, classUserLimit:
		return true
	}
	return false
}
