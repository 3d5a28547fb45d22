package proxy

import (
	"time"

	"github.com/igproxy/igproxy/cache"
	"github.com/igproxy/igproxy/proxy/graph"
)

// margin is how long a token must still be valid to stay in the cache, so that no app gets a token
// that expires on its way to the app.
const margin = time.Minute

// briefTTL is the longest time that igproxy remembers a refusal whose reason may disappear at any
// moment: no access to the account, a missing permission, or an error code that igproxy does not
// know. It is long enough that a program which keeps sending one token does not use up the app's
// rate limit.
const briefTTL = 10 * time.Second

// remember stores an answer for the time that func ttl returns, and returns the answer for the app.
// If another sidecar has stored an answer first, remember may return that answer instead.
func (s *claimStep) remember(c call, claim *cache.Claim, a answer) answer {
	now := time.Now()
	left := s.ttl(c, a, now)
	entry := cache.Entry{Value: encodeAnswer(a), Expires: now.Add(left)}
	switch {
	case a.source == sourceHold, a.is(graph.ClassSecret): // such refusals say nothing about the token
		return a
	case a.is(graph.ClassUserLimit): // in memory only, so that a restart ends a limit that is wrong
		s.cache.Keep(c.key, entry)
		share(claim, a.refusal)
	case left > 0:
		if s.index {
			index(c, claim, a)
		}
		if winner, lost := claim.Remember(entry, beats(a)); lost {
			if b, ok := remembered(winner, sourceFleet); ok {
				return b
			}
		}
	case a.refusal != nil:
		share(claim, a.refusal)
	}
	a.left, a.stored = left, left > 0 && s.cache.Holds(len(entry.Value))
	return a
}

// index puts an answer with a token into the index, so that igproxy can forget the answer when Meta
// refuses a passed-through call with that token.
func index(c call, claim *cache.Claim, a answer) {
	if a.refusal != nil || !c.grant.isIndexed() {
		return
	}
	if token := a.token.Access(); token != "" {
		claim.Index(c.app.indexKey(c.grant, token))
	}
}

// ttl returns how long an answer is remembered. Zero: not at all.
func (s *claimStep) ttl(c call, a answer, now time.Time) time.Duration {
	var left time.Duration
	switch {
	case a.refusal == nil:
		left = min(c.grant.ttl, a.token.Expires.Sub(now)-margin)
	case a.is(graph.ClassToken):
		left = s.negativeTTL
	case a.is(graph.ClassStanding), a.is(graph.ClassRefused) && !c.grant.once: // a refused code may mean a wrong secret
		left = min(briefTTL, s.negativeTTL)
	case a.is(graph.ClassUserLimit):
		left = a.refusal.RetryAt.Sub(now)
	}
	return max(left, 0)
}

// beats returns a function that reports whether this answer replaces the entry that was stored
// first. A token replaces a refusal, and any answer replaces an entry that cannot be decoded. A
// token does not replace a token, because it is not known what a second exchange does to the first
// token.
func beats(a answer) func(cache.Entry) bool {
	return func(stored cache.Entry) bool {
		b, ok := remembered(stored, sourceFleet)
		return !ok || a.refusal == nil && b.refusal != nil
	}
}
