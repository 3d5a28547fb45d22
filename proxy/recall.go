package proxy

import (
	"context"
	"time"

	"github.com/igproxy/igproxy/cache"
)

// recallStep is the step "recall": the memory tier, without waiting. It is a short cut; nothing depends on it for correctness.
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

// remembered reads an entry back; one that is no record of ours, or past its end, is a miss.
func remembered(entry cache.Entry, from source) (answer, bool) {
	now := time.Now()
	a, err := decodeRecord(entry.Value, now)
	if err != nil {
		return answer{}, false
	}
	a.source, a.left = from, entry.Expires.Sub(now)
	return a, true
}
