package proxy

import (
	"context"
	"errors"
	"time"

	"github.com/igproxy/igproxy/cache"
	"github.com/igproxy/igproxy/proxy/graph"
)

// failureTTL is how long a failure is shared after the sidecar with the lease got it from Meta. In
// this time, the sidecars that wait for the answer get the failure instead. Otherwise they would
// ask Meta one after another. The step remember shares some refusals, such as a rate limit, for the
// same time.
const failureTTL = time.Second

// claimStep is the steps "claim" and "remember" in one type, because remember ends the claim.
// claimStep looks in memory again, and then in Redis. Redis gives the lease on the token to one
// sidecar of the fleet, and the others wait for the answer.
type claimStep struct {
	cache       *cache.Cache
	negativeTTL time.Duration
	index       bool // indexes answers, so that they are forgotten if Meta refuses their token in a passed-through call
	next        exchanger
}

func (s *claimStep) Exchange(ctx context.Context, c call) (answer, error) {
	if c.grant.ttl == 0 { // the answer is not remembered, so there is nothing to share
		return s.next.Exchange(ctx, c)
	}
	claim := s.cache.Claim(ctx, c.key)
	defer claim.Release() // does nothing if the claim has already ended
	switch claim.Outcome {
	case cache.Hit:
		if a, ok := remembered(claim.Entry, source(claim.Tier)); ok {
			return a, nil
		}
	case cache.Followed:
		if a, ok := remembered(claim.Entry, sourceFleet); ok {
			return a, nil
		}
	case cache.Failed:
		if a, ok := remembered(claim.Entry, sourceFleet); ok && a.refusal != nil {
			if a.refusal.Class.IsDefinite() {
				return a, nil
			}
			a.refusal.Repeated = true
			return answer{}, a.refusal
		}
	}
	if claim.Late() && c.grant.once { // the other sidecar may have used the code, and may still get the answer
		return answer{}, errBusy("another sidecar is asking", "Another sidecar is exchanging this code.")
	}
	a, err := s.next.Exchange(ctx, c)
	if err != nil {
		shareFailure(claim, err)
		return a, err
	}
	return s.remember(c, claim, a), nil
}

// shareFailure shares a failure with the other sidecars if it came from Meta. Any other failure may
// concern only this sidecar. For example, this sidecar got no response from Meta, its breaker is
// open, or it is overloaded. After such a failure, the lease is only released, because the next
// sidecar may succeed.
func shareFailure(claim *cache.Claim, err error) {
	var e *graph.Error
	if errors.As(err, &e) && (e.Class == graph.ClassTransient || e.Class == graph.ClassBroken) {
		share(claim, e)
	}
}

func share(claim *cache.Claim, e *graph.Error) {
	claim.Fail(cache.Entry{Value: encodeAnswer(answer{refusal: e}), Expires: time.Now().Add(failureTTL)})
}
