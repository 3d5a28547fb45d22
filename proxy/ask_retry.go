package proxy

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// retryBudget bounds how often Instagram is asked again, over all calls of this process. When everything fails, retries then add a tenth
// to the load of an Instagram that is ill already; one retry a call, without a budget, would double it.
//
// It is a bucket with two inlets: each call earns a tenth of a retry, so that retries stay a tenth of the last calls, and time brings a
// few, so that a quiet sidecar can still retry.
type retryBudget struct {
	mu     sync.Mutex // protects the three below
	earned float64    // by calls
	spare  float64    // by time
	filled time.Time  // when spare was last filled
}

const (
	retryShare  = 0.1 // earned by a call
	retryEarned = 10  // at most, so what the last hundred calls earned
	retryRate   = 1   // spare ones a second
	retrySpare  = 10  // at most
)

func newRetryBudget() *retryBudget { return &retryBudget{spare: retrySpare, filled: time.Now()} }

// earn is for each call, whatever becomes of it.
func (b *retryBudget) earn() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.earned = min(b.earned+retryShare, retryEarned)
}

// spend takes one retry, an earned one first. False: there is none.
func (b *retryBudget) spend(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.spare = min(b.spare+retryRate*max(now.Sub(b.filled).Seconds(), 0), retrySpare)
	b.filled = now
	const whole = 1 - 1e-9 // ten tenths are one retry, and in binary a little less
	switch {
	case b.earned >= whole:
		b.earned = max(b.earned-1, 0)
	case b.spare >= whole:
		b.spare = max(b.spare-1, 0)
	default:
		return false
	}
	return true
}

// What becomes of a repetition that a call would need. It is a metric label.
const (
	retrySpent  = "spent"  // Instagram is asked again
	retryDenied = "denied" // the budget is empty
	retryHeld   = "held"   // the app's pause, or the breaker, came in between
	retryLate   = "late"   // the call's time ended first
)

// again waits for the moment of a repetition. False: there is none.
func (u *askStep) again(ctx context.Context, c call) bool {
	result := u.permit(c)
	if result == retrySpent {
		switch {
		case !waitForRetry(ctx):
			result = retryLate
		case u.held(c): // by what other calls heard in the meantime
			result = retryHeld
		}
	}
	u.metrics.repeated(c, result)
	return result == retrySpent
}

func (u *askStep) permit(c call) string {
	switch {
	case u.held(c):
		return retryHeld
	case !u.budget.spend(time.Now()):
		return retryDenied
	}
	return retrySpent
}

// held reports whether guard would no longer let the call through.
func (u *askStep) held(c call) bool {
	return c.mayRetry != nil && !c.mayRetry()
}

// retryPause is the longest pause before a repetition. It is fully jittered, so that many calls that failed at once, and many sidecars,
// do not come back at once: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter. There is one repetition, so
// nothing grows.
const retryPause = 200 * time.Millisecond

// waitForRetry reports false when the call's time ends first.
func waitForRetry(ctx context.Context) bool {
	t := time.NewTimer(rand.N(retryPause))
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
