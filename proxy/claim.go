package proxy

import (
	"context"
	"errors"
	"time"

	"github.com/igproxy/igproxy/cache"
	"github.com/igproxy/igproxy/proxy/graph"
)

// failureTTL is how long a failure of the leader is shared with other sidecars: long enough that those
// that wait get it, and do not ask one after another.
const failureTTL = time.Second

// claimStep is the steps "claim" and "remember", around the ones between them: memory again, then
// Redis, where one sidecar of the fleet gets the lease on the token and the others wait for its answer.
type claimStep struct {
	cache       *cache.Cache
	negativeTTL time.Duration
	next        exchanger
}

func (s *claimStep) Exchange(ctx context.Context, c call) (answer, error) {
	claim := s.cache.Claim(ctx, c.key)
	defer claim.Release() // does nothing once the claim has ended below; ends it if a step panics
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
	if claim.Late() && !c.grant.repeatable { // the code may be used up, and its answer on the way
		return answer{}, errElsewhereNow()
	}
	a, err := s.next.Exchange(ctx, c)
	if err != nil {
		shareFailure(claim, err)
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

// shareFailure shares a failure with the other sidecars if Meta reported it. Any other failure is this
// sidecar's own: it cannot reach Meta, its breaker is open, it is overloaded. Then the lease is only
// freed, because the next sidecar may do better.
func shareFailure(claim *cache.Claim, err error) {
	var e *graph.Error
	if errors.As(err, &e) && (e.Class == graph.ClassTransient || e.Class == graph.ClassBroken) {
		share(claim, e)
	}
}

func share(claim *cache.Claim, e *graph.Error) {
	if value := encodeRecord(answer{refusal: e}); value != nil {
		claim.Fail(cache.Entry{Value: value, Expires: time.Now().Add(failureTTL)})
	}
}

// failed reads a failure that another sidecar shared: an answer if it is definite, an error otherwise.
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
