package proxy

import (
	"net/http"
	"sync"
	"time"

	"github.com/igproxy/igproxy/proxy/graph"
)

// pause is the pause of a whole app after a rate limit. While it lasts, igproxy repeats the error
// instead of asking Meta for tokens that are not in the cache. A rate limit shows that Meta works,
// so the breaker counts it as a success. The zero value means that there is no pause.
type pause struct {
	mu    sync.Mutex   // protects the fields below
	limit *graph.Error // as Meta reported it; the pause ends at its RetryAt; nil: no pause
	since time.Time    // when the pause began
}

// begin starts a pause, or extends the current one. It reports whether to log the change. An
// extension by a second or less is not logged, because calls that were in flight together cause
// such extensions.
func (p *pause) begin(limit *graph.Error, now time.Time) (notable bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	isOver := p.limit == nil || !now.Before(p.limit.RetryAt)
	switch {
	case isOver:
		p.limit, p.since = limit, now
		return limit.RetryAt.After(now)
	case limit.RetryAt.After(p.limit.RetryAt):
		notable = limit.RetryAt.Sub(p.limit.RetryAt) > time.Second
		p.limit = limit
	}
	return notable
}

// current returns the current pause, without the label of the app. It reports false if the app is
// not paused.
func (p *pause) current(now time.Time) (Pause, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.limit == nil || !now.Before(p.limit.RetryAt) {
		return Pause{}, false
	}
	return Pause{Since: p.since, Until: p.limit.RetryAt, Code: p.limit.Code}, true
}

// end ends the pause. The next response from Meta may begin a new pause.
func (p *pause) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.limit = nil
}

// check returns the error that calls get during the pause, with status 429. It returns nil if there
// is no pause.
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
