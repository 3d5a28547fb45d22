package proxy

import (
	"context"
	"time"

	"github.com/igproxy/igproxy/cache"
)

// recallStep is the step "recall": it looks in the memory tier and never waits. It only saves time;
// correctness does not depend on it.
type recallStep struct {
	cache *cache.Cache
	next  exchanger
}

func (s *recallStep) Exchange(ctx context.Context, c call) (answer, error) {
	if entry, ok := s.cache.Recall(c.key); ok {
		if a, ok := remembered(entry, sourceMemory); ok {
			return a, nil
		}
	}
	return s.next.Exchange(ctx, c)
}

// remembered reads an entry of the cache. It reports false if decodeAnswer does. The entry then
// counts as a miss.
func remembered(entry cache.Entry, from source) (answer, bool) {
	now := time.Now()
	a, ok := decodeAnswer(entry.Value, now)
	a.source, a.left = from, entry.Expires.Sub(now)
	return a, ok
}
