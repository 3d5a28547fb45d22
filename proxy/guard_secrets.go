package proxy

import (
	"slices"
	"sync"
	"time"

	"github.com/igproxy/igproxy/proxy/graph"
)

const (
	// refusedPause is the pause after Meta has refused every secret of an app. While it lasts,
	// igproxy makes no token calls to Meta for this app.
	refusedPause = 5 * time.Second
	// firstCheck is the time from a refusal to the first check. A check is a call that igproxy
	// makes by itself to test the secrets. The time to the next check doubles with each check, up
	// to lastCheck. If unproven secrets are checked, the first check comes at once, and the second
	// after firstCheck.
	firstCheck = 10 * time.Second
	lastCheck  = 5 * time.Minute
)

// The states of an app's client secrets.
const (
	secretUnproven = "unproven" // no call has shown yet whether Meta accepts them
	secretAccepted = "accepted" // Meta accepts one of them
	secretRefused  = "refused"  // Meta refuses all of them
)

// clientSecrets are an app's client secrets: one, or two during a rotation. The secret that worked
// last is sent first. If Meta refuses it, the call is repeated once with the other secret. The zero
// value has no secrets; the method use sets them.
type clientSecrets struct {
	mu         sync.Mutex    // protects the fields below
	list       []Secret      // the current one, then the previous one
	inUse      int           // index in list
	accepted   bool          // Meta has accepted a secret in list
	refusal    *graph.Error  // Meta's error if it has refused every secret; nil once it accepts one
	refusedAt  time.Time     // when Meta last refused every secret
	nextCheck  time.Duration // from refusedAt until the next check is due
	checkAt    time.Time     // when the next check of unproven secrets is due; zero: now
	checkPause time.Duration // from the last check of unproven secrets to checkAt
}

// secretNames are the names of the two secrets in the metric and the log, by index in the list.
var secretNames = []string{"current", "previous"}

// use replaces the app's secrets with list. If the secret in use is also in list, and Meta has not
// refused it, it stays in use and keeps its state. Everything else that was known about the old
// secrets is forgotten. If list equals the app's current secrets, use does nothing.
func (s *clientSecrets) use(list []Secret) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.EqualFunc(s.list, list, Secret.equal) {
		return
	}
	inUse := -1
	if len(s.list) > 0 && s.refusal == nil {
		inUse = indexOf(list, s.list[s.inUse])
	}
	s.accepted = s.accepted && inUse >= 0
	s.list, s.inUse, s.refusal, s.checkAt, s.checkPause = list, max(0, inUse), nil, time.Time{}, 0
}

// pick returns the secret to send. The parameter refused is the secret that Meta has just refused
// in this call; zero: Meta has refused none yet. pick returns the secret in use or, if Meta has
// refused that secret, the app's other secret. A reload may have added the other secret since the
// call began. pick reports false if the app has no other secret.
func (s *clientSecrets) pick(refused Secret) (one Secret, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, one := range append([]Secret{s.list[s.inUse]}, s.list...) {
		if !one.equal(refused) {
			return one, true
		}
	}
	return Secret{}, false
}

// paused returns the refusal that calls get while the app is paused because Meta refuses its
// secrets. It returns nil if the app is not paused for that reason.
func (s *clientSecrets) paused(now time.Time) *graph.Error {
	s.mu.Lock()
	defer s.mu.Unlock()
	until := s.refusedAt.Add(refusedPause)
	if s.refusal == nil || !now.Before(until) {
		return nil
	}
	repeated := *s.refusal
	repeated.RetryAt = until
	return &repeated
}

// standing returns the state of the secrets. If the state is secretRefused, an operator must act.
func (s *clientSecrets) standing() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.refusal != nil:
		return secretRefused
	case s.accepted:
		return secretAccepted
	}
	return secretUnproven
}

// scheduleCheck reports whether a check is due now. If it is, scheduleCheck also sets the time of
// the next one. Unproven secrets are checked only if the parameter unproven is true. The time
// between checks grows even if Meta does not answer, so igproxy makes few checks during an outage.
func (s *clientSecrets) scheduleCheck(unproven bool, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.refusal != nil:
		if now.Sub(s.refusedAt) < s.nextCheck {
			return false
		}
		s.nextCheck = min(2*s.nextCheck, lastCheck)
		return true
	case unproven && !s.accepted && !now.Before(s.checkAt):
		s.checkPause = min(max(2*s.checkPause, firstCheck), lastCheck)
		s.checkAt = now.Add(s.checkPause)
		return true
	}
	return false
}

// note updates the state from the answer to a call. refused reports that Meta now refuses all
// secrets, and did not before. accepted reports that Meta accepts a secret again after it had
// refused all. If the answer changes which secret is in use, inUse is the name of the secret that
// is now in use. An answer changes nothing if its call was made without a secret, or with a secret
// that a reload has removed.
func (s *clientSecrets) note(a answer, now time.Time) (refused, accepted bool, inUse string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	with, wasRefused := indexOf(s.list, a.with), s.refusal != nil
	switch {
	case with < 0:
	case a.refusal == nil, a.is(graph.ClassToken): // Meta checks the secret before the token
		s.refusal, s.accepted = nil, true
		if with != s.inUse && indexOf(s.list, a.without) == s.inUse {
			s.inUse, inUse = with, secretNames[with]
		}
		return false, wasRefused, inUse
	case a.is(graph.ClassSecret):
		if !slices.ContainsFunc(s.list, func(one Secret) bool { return !one.equal(a.with) && !one.equal(a.without) }) {
			s.refusal, s.refusedAt, s.accepted = a.refusal, now, false
			if !wasRefused {
				s.nextCheck = firstCheck
			}
			return !wasRefused, false, ""
		}
	}
	return false, false, ""
}

// state returns the index of the secret in use and the number of secrets.
func (s *clientSecrets) state() (inUse, of int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.inUse, len(s.list)
}

func indexOf(list []Secret, one Secret) int { return slices.IndexFunc(list, one.equal) }
