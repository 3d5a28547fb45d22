package proxy

import (
	"context"
	"time"

	"github.com/igproxy/igproxy/cache"
)

// margin is how long before a token's own end it is no longer remembered, so that an app never gets one that ends on the way.
const margin = time.Minute

// standingTTL is how long "no standing with that account" is remembered: somebody may be mending it in Meta's dashboard right now.
const standingTTL = 10 * time.Second

// claimed is the steps "claim" and "remember" around the ones between: memory again, then Redis; what Instagram says is remembered.
type claimed struct {
	cache       *cache.Cache
	negativeTTL time.Duration
	next        exchanger
}

func (s *claimed) Exchange(ctx context.Context, c call) (answer, error) {
	if entry, tier, ok := s.cache.Claim(ctx, c.key); ok {
		if a, ok := remembered(entry, source(tier)); ok {
			return a, nil
		}
	}
	a, err := s.next.Exchange(ctx, c)
	if err != nil {
		return a, err
	}
	a.left, a.stored = s.remember(c, a)
	return a, nil
}

// remember keeps an answer for as long as its class allows.
func (s *claimed) remember(c call, a answer) (left time.Duration, stored bool) {
	now := time.Now()
	keep := s.cache.Remember
	switch {
	case a.refusal == nil:
		left = min(c.grant.ttl, a.token.Expires.Sub(now)-margin)
	case a.source == sourceHold:
		return 0, false
	case a.refusal.class == classToken:
		left = s.negativeTTL
	case a.refusal.class == classStanding:
		left = min(standingTTL, s.negativeTTL)
	case a.refusal.class == classUserLimit: // a pause of this token's in this process, not a fact about the token
		left, keep = a.refusal.RetryAt.Sub(now), s.cache.Keep
	}
	if left <= 0 {
		return 0, false
	}
	value := encodeRecord(a)
	if value == nil {
		return 0, false
	}
	keep(c.key, cache.Entry{Value: value, Expires: now.Add(left)})
	return left, true
}
