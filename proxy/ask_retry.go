package proxy

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// askRepeatedly asks Meta with one client secret. It repeats a call only if the settings, the
// failure, the call's grant, the guard step, the time left and the retry budget all allow it.
func (u *askStep) askRepeatedly(ctx context.Context, c call) (answer, error) {
	retries := u.retries
	if c.grant.once {
		retries = 0
	}
	for n := 1; ; n++ {
		a, failure := u.try(ctx, c, n)
		if failure == nil {
			return a, nil
		}
		if n > retries || !failure.repeatable || !u.retry(ctx, c) {
			return answer{}, failure.err
		}
	}
}

// These values of a metric label say whether a call that needed a retry got it, and if not, why.
const (
	retrySpent  = "spent"  // Meta is asked again
	retryDenied = "denied" // the budget is empty
	retryHeld   = "held"   // the app is paused, or the breaker has opened
	retryLate   = "late"   // the call timed out before the retry
)

// retry waits before a retry and reports whether to make it.
func (u *askStep) retry(ctx context.Context, c call) bool {
	result := retrySpent
	switch {
	case !c.mayRetry():
		result = retryHeld
	case !u.budget.spend():
		result = retryDenied
	case !waitForRetry(ctx):
		result = retryLate
	case !c.mayRetry(): // other calls may have failed during the wait
		result = retryHeld
	}
	u.metrics.repeated(c, result)
	return result == retrySpent
}

// maxRetryWait is the longest wait before a retry. The waits are fully jittered, that is, evenly
// spread from zero to maxRetryWait. So calls that fail at the same time, even in several sidecars,
// are retried at different times:
// https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter.
const maxRetryWait = 200 * time.Millisecond

// waitForRetry waits for a random time, and reports whether the call still has time left.
func waitForRetry(ctx context.Context) bool {
	select {
	case <-time.After(rand.N(maxRetryWait)):
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// retryBudget limits the retries of all calls of this process together. Each call earns a tenth of
// a retry. Each second earns a whole retry, so that a quiet sidecar can retry too. If every call
// fails, retries increase the load on Meta, which is already failing, only by a tenth and one call
// a second. One retry for each call would double the load.
type retryBudget struct {
	mu     sync.Mutex // protects the fields below
	left   float64    // how many retries may still be made
	filled time.Time  // when earn last added to left
}

const (
	retryShare = 0.1 // earned by each call
	retryRate  = 1   // earned each second
	retrySaved = 10  // the most retries that can be saved
)

func newRetryBudget() *retryBudget { return &retryBudget{left: retrySaved, filled: time.Now()} }

// earn adds what one call earns, and what the time since the previous call has earned.
func (b *retryBudget) earn() {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	b.left = min(b.left+retryShare+retryRate*now.Sub(b.filled).Seconds(), retrySaved)
	b.filled = now
}

// spend takes one retry from the budget. It reports false if the budget is used up.
func (b *retryBudget) spend() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.left < 1-1e-9 { // in floating point, the sum of ten tenths is a little less than 1
		return false
	}
	b.left--
	return true
}
