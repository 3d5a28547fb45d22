package proxy

import (
	"net/http"
	"sync"
	"time"

	"github.com/igproxy/igproxy/proxy/graph"
)

// pause is a rate limit on a whole app. While it lasts, igproxy repeats the error instead of asking
// Meta for tokens that are not in the cache. A rate limit is not a failure, so it never reaches the
// breaker. The zero value means that there is no limit.
type pause struct {
	mu    sync.Mutex   // protects limit
	limit *graph.Error // as Meta reported it; the pause ends at its RetryAt, which graph.RetryAt computed
}

// begin starts a pause, or extends the current one.
func (p *pause) begin(limit *graph.Error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.limit == nil || limit.RetryAt.After(p.limit.RetryAt) {
		p.limit = limit
	}
}

// check returns the error that is repeated during the pause, with status 429, or nil if Meta may be
// asked.
func (p *pause) check(now time.Time) *graph.Error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.limit == nil || !now.Before(p.limit.RetryAt) {
		return nil
	}
	repeated := *p.limit
	repeated.Status = http.StatusTooManyRequests
	return &repeated
}
