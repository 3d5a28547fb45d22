package proxy

import (
	"slices"
	"sync"
	"time"

	"github.com/igproxy/igproxy/proxy/graph"
)

const (
	refusedPause = 5 * time.Second // how long Meta is not asked after it refused every secret of an app
	refusedDoubt = time.Minute     // how long that keeps readiness off; then a request may prove a secret
)

// clientSecrets are an app's client secrets: one, or two while it is being changed. The one that worked last is sent first. If Meta refuses
// it, the call is repeated once with the other. The zero value has none; use sets them.
type clientSecrets struct {
	mu      sync.Mutex
	list    []Secret     // protected by mu, as all below: the current one, then the previous one
	inUse   int          // index in list
	refused time.Time    // when all of them were last refused; zero if they were not, or one was accepted since
	refusal *graph.Error // as Meta reported it
}

// secretNames are the names of the two for the metric and the log, by index.
var secretNames = []string{"current", "previous"}

// use makes list the app's secrets. What is known about other secrets is forgotten. The one in use stays in use unless it was refused.
func (s *clientSecrets) use(list []Secret) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.EqualFunc(s.list, list, Secret.equal) {
		return
	}
	inUse := 0
	if len(s.list) > 0 && s.refused.IsZero() {
		inUse = max(0, indexOf(list, s.list[s.inUse]))
	}
	s.list, s.inUse, s.refused, s.refusal = list, inUse, time.Time{}, nil
}

// first returns the secret to ask with.
func (s *clientSecrets) first() Secret {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.list[s.inUse]
}

// another returns the secret to ask with after this one was refused; not ok if there is no other. It may be new since the call began.
func (s *clientSecrets) another(refused Secret) (other Secret, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, one := range append([]Secret{s.list[s.inUse]}, s.list...) {
		if !one.equal(refused) {
			return one, true
		}
	}
	return Secret{}, false
}

// check returns the refusal to repeat while Meta is not asked because it refused every secret, or nil.
func (s *clientSecrets) check(now time.Time) *graph.Error {
	s.mu.Lock()
	defer s.mu.Unlock()
	until := s.refused.Add(refusedPause)
	if s.refusal == nil || !now.Before(until) {
		return nil
	}
	repeated := *s.refusal
	repeated.RetryAt = until
	return &repeated
}

// areRefused reports whether an operator has to see to the client secret.
func (s *clientSecrets) areRefused(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.refused.IsZero() && now.Sub(s.refused) < refusedDoubt
}

// noted is what an answer changed: whether all secrets are refused now, whether one is accepted again, and which one is in use instead of a
// refused one, if that changed.
type noted struct {
	refused, accepted bool
	inUse             string
}

// note takes what an answer to a call that carried a secret says about it. An answer got with a secret that a reload has replaced says
// nothing.
func (s *clientSecrets) note(a answer, now time.Time) (n noted) {
	s.mu.Lock()
	defer s.mu.Unlock()
	worked := indexOf(s.list, a.with)
	if worked < 0 && !a.with.IsZero() { // zero: the answer of a step that does not name a secret
		return n
	}
	switch wasRefused := !s.refused.IsZero(); {
	case a.provesSecret():
		s.refused, s.refusal = time.Time{}, nil
		n.accepted = wasRefused
		if worked >= 0 && worked != s.inUse && indexOf(s.list, a.without) == s.inUse {
			s.inUse = worked
			n.inUse = secretNames[worked]
		}
	case a.is(graph.ClassSecret) && s.refusesAll(a):
		s.refused, s.refusal = now, a.refusal
		n.refused = !wasRefused
	}
	return n
}

// refusesAll reports whether an answer that refuses the secret leaves none to try. It is called with mu held.
func (s *clientSecrets) refusesAll(a answer) bool {
	return a.with.IsZero() || !slices.ContainsFunc(s.list, func(one Secret) bool { return !one.equal(a.with) && !one.equal(a.without) })
}

// state returns the index of the secret in use and the number of secrets.
func (s *clientSecrets) state() (inUse, of int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.inUse, len(s.list)
}

// provesSecret reports whether an answer shows that the client secret is right: Meta checks it before the token.
func (a answer) provesSecret() bool { return a.refusal == nil || a.is(graph.ClassToken) }

func indexOf(list []Secret, one Secret) int { return slices.IndexFunc(list, one.equal) }
