package proxy

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/igproxy/igproxy/proxy/graph"
)

// Failure describes the requests of one kind that got an error. Requests are of one kind if the
// fields from App to Cause are the same. A Failure contains nothing that the client sent, and no
// text from Meta.
type Failure struct {
	App     string `json:"app"`
	Grant   string `json:"grant"`
	Outcome string `json:"outcome"`
	Status  int    `json:"status"`
	Code    int    `json:"code"`
	Subcode int    `json:"subcode,omitempty"`
	Cause   string `json:"cause"`
	// Count is how many requests failed in this way, from First to Last.
	Count uint64    `json:"count"`
	First time.Time `json:"first"`
	Last  time.Time `json:"last"`
	// RequestID is the X-Request-Id of the last of these requests.
	RequestID string `json:"request_id"`
}

// maxFailures is how many kinds of failure are kept.
const maxFailures = 20

// lastFailures keeps the last failures. Failures of the same kind share an entry. Otherwise, the
// error that igproxy repeats for each request during an outage would push out the failure with
// which the outage began.
type lastFailures struct {
	mu   sync.Mutex // protects list
	list []Failure  // the latest first
}

// note records a request if it failed. A request whose caller disconnected is not a failure.
func (s *lastFailures) note(x *requestState, now time.Time) {
	e := x.refusal()
	if e == nil || x.gone {
		return
	}
	one := Failure{App: x.app, Grant: x.grant, Outcome: x.outcome(), Status: x.status, Code: e.Code, Subcode: e.Subcode,
		Cause: causeOf(e), First: now}
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.list, func(f Failure) bool {
		f.Count, f.First, f.Last, f.RequestID = one.Count, one.First, one.Last, one.RequestID
		return f == one
	})
	switch {
	case i >= 0:
		one = s.list[i]
	case len(s.list) < maxFailures:
		s.list = append(s.list, Failure{})
		i = len(s.list) - 1
	default:
		i = len(s.list) - 1 // the oldest is forgotten
	}
	one.Count, one.Last, one.RequestID = one.Count+1, now, x.id.String()
	copy(s.list[1:i+1], s.list[:i])
	s.list[0] = one
}

// Failures returns the last failures, the latest first, with one entry for each kind.
func (p *Proxy) Failures() []Failure {
	s := &p.carried.metrics.failures
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.list)
}

// classCauses are the causes that causeOf returns for Meta's refusals without a Cause.
var classCauses = map[graph.Class]string{
	graph.ClassToken:     "Meta refused the user's token",
	graph.ClassStanding:  "the app has no access to the account",
	graph.ClassSecret:    "Meta refused the client secret",
	graph.ClassRefused:   "Meta refused the call",
	graph.ClassAppLimit:  "rate limit of the app",
	graph.ClassUserLimit: "rate limit of the user or page",
}

// causeOf returns the cause of an error in words. If igproxy rejected the request and the error has
// no Cause, the cause has the first sentence of igproxy's message. Meta's messages are never used.
func causeOf(e *graph.Error) string {
	cause := e.Cause
	switch {
	case e.Class == graph.ClassRequest && cause == "":
		message, _, _ := strings.Cut(e.Message, ". ")
		cause = "igproxy rejected the request: " + message
	case e.Class == graph.ClassUnreached:
		cause = "the connection to Meta failed (" + cause + ")"
	case cause == "":
		cause = classCauses[e.Class]
	}
	if e.Repeated {
		cause += ", repeated for the same token"
	}
	return strings.TrimSuffix(cause, ".")
}
