package proxy

import (
	"context"
	"errors"
	"time"

	"github.com/igproxy/igproxy/cache"
	"github.com/igproxy/igproxy/proxy/graph"
)

// margin is how long before a token's own end it is no longer remembered, so that an app never gets one that ends on the way.
const margin = time.Minute

// standingTTL is how long "no standing with that account" is remembered: somebody may be mending it in Meta's dashboard right now.
const standingTTL = 10 * time.Second

// failureTTL is how long other sidecars hear of a failure that their leader met: long enough that those who wait get it, and do not ask
// one after another.
const failureTTL = time.Second

// claimStep is the steps "claim" and "remember" around the ones between: memory again, then Redis, where one sidecar of the fleet gets the
// lease on the token and the others wait for its answer; what Instagram says is remembered.
type claimStep struct {
	cache       *cache.Cache
	negativeTTL time.Duration
	next        exchanger
}

func (s *claimStep) Exchange(ctx context.Context, c call) (answer, error) {
	claim := s.cache.Claim(ctx, c.key)
	defer claim.Release() // does nothing once the claim has ended below; ends it when a step panics
	switch claim.Outcome {
	case cache.Hit, cache.Followed:
		if a, ok := remembered(claim.Entry, sourceOf(claim)); ok {
			return a, nil
		}
	case cache.Failed:
		if a, err, ok := failed(claim.Entry); ok {
			return a, err
		}
	}
	if claim.Late() && !c.grant.repeatable { // it may be used up by now, and the answer on its way
		return answer{}, errElsewhereNow()
	}
	a, err := s.next.Exchange(ctx, c)
	if err != nil {
		fail(claim, err)
		return a, err
	}
	return s.remember(c, claim, a), nil
}

func sourceOf(claim *cache.Claim) source {
	if claim.Outcome == cache.Followed {
		return sourceFleet
	}
	return source(claim.Tier)
}

// fail shares a failure with the other sidecars if Meta said it. Any other failure is this sidecar's own (Meta is out of its reach, its
// breaker is open, it is overloaded): the lease is freed, and the next sidecar may do better.
func fail(claim *cache.Claim, err error) {
	var e *graph.Error
	if errors.As(err, &e) && (e.Class == graph.ClassTransient || e.Class == graph.ClassBroken) {
		tell(claim, e)
	}
}

func tell(claim *cache.Claim, e *graph.Error) {
	if value := encodeRecord(answer{refusal: e}); value != nil {
		claim.Fail(cache.Entry{Value: value, Expires: time.Now().Add(failureTTL)})
	}
}

// failed reads the failure another sidecar left: an answer, if it is Instagram's definite word, or an error.
func failed(entry cache.Entry) (a answer, err error, ok bool) {
	a, ok = remembered(entry, sourceFleet)
	if !ok || a.refusal == nil {
		return answer{}, nil, false
	}
	if a.refusal.Class.IsDefinite() {
		return a, nil, true
	}
	return answer{}, a.refusal, true
}

// remember keeps an answer for as long as its class allows, and returns the one to give: should another sidecar have stored one first,
// it may be that one.
func (s *claimStep) remember(c call, claim *cache.Claim, a answer) answer {
	now := time.Now()
	left := s.ttl(c, a, now)
	entry := cache.Entry{Value: encodeRecord(a), Expires: now.Add(left)}
	switch {
	case entry.Value == nil, a.source == sourceHold, a.is(graph.ClassSecret): // about this sidecar, not about the token
		return a
	case a.is(graph.ClassUserLimit): // a pause of this token's; it is not stored, so that no mistake of ours outlives this process
		s.cache.Keep(c.key, entry)
		tell(claim, a.refusal)
	case left > 0:
		if winner, lost := claim.Remember(entry, beats(a)); lost {
			if b, ok := remembered(winner, sourceFleet); ok {
				return b
			}
		}
	case a.refusal != nil:
		tell(claim, a.refusal)
	}
	a.left, a.stored = left, left > 0
	return a
}

// ttl is how long an answer is remembered; 0: not at all.
func (s *claimStep) ttl(c call, a answer, now time.Time) time.Duration {
	var left time.Duration
	switch {
	case a.refusal == nil:
		left = min(c.grant.ttl, a.token.Expires.Sub(now)-margin)
	case a.is(graph.ClassToken):
		left = s.negativeTTL
	case a.is(graph.ClassStanding):
		left = min(standingTTL, s.negativeTTL)
	case a.is(graph.ClassUserLimit):
		left = a.refusal.RetryAt.Sub(now)
	}
	return max(left, 0)
}

// beats says when an answer is better than the one stored first: a token is, than a refusal. What a second exchange of one token
// brings is not known, so the first token kept wins.
func beats(a answer) func(cache.Entry) bool {
	return func(stored cache.Entry) bool {
		b, ok := remembered(stored, sourceFleet)
		return !ok || a.refusal == nil && b.refusal != nil
	}
}
