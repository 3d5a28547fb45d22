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
	classSilent    class = "silent"    // no byte in time on a kept connection, which may be dead: it says nothing about Meta
	classHeld      class = "held"      // not asked: breaker open, hold, or too much at once
	classInternal  class = "internal"  // our own fault
)

// classify reads code, then subcode, then status, in that order: messages are localised and types vary (Meta's error handling guide).
func classify(e *GraphError) class {
	switch {
	case e.Code == 4, e.Code == 341, e.Code == 368, e.Code == 613, e.Code >= 80000 && e.Code <= 80099:
		return classAppLimit
	case e.Code == 17, e.Code == 32:
		return classUserLimit
	case e.Code == 190, e.Code == 452:
		return classToken
	case saysSecret(e):
		return classSecret
	case e.Code == 1, e.Code == 2, e.Transient != nil && *e.Transient:
		return classTransient
	case e.Code == 100:
		return classStanding
	case e.Code == 3, e.Code == 10, e.Code == 102, e.Code == 2500, e.Code >= 200 && e.Code <= 299:
		return classRefused
	case e.Status == 429:
		return classAppLimit
	case e.Status >= 500:
		return classTransient
	}
	return classRefused
}

// saysSecret is the one place that looks at a message, because nothing else tells "Error validating client secret." (100, or 1 as on
// graph.facebook.com) from the standing error (100). Should Meta reword or translate it, the error is still passed on as it came; only
// the alarm to the operator is lost.
func saysSecret(e *GraphError) bool {
	return (e.Code == 100 || e.Code == 1) && strings.Contains(strings.ToLower(e.Message), "client secret")
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

// classifyFlat reads an error of the code exchange. Its code repeats the status and its messages vary, so all that is definite is the
// status: a code that is used up, unknown, or for another redirect_uri. None of them is remembered.
func classifyFlat(e *GraphError) class {
	switch {
	case e.Status == http.StatusTooManyRequests:
		return classAppLimit
	case e.Status >= 500:
		return classTransient
	}
	return classRefused
}
