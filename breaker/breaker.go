// Package breaker is one circuit breaker: after too many failures it refuses at once for a while, then lets a few probes decide.
//
// It promises that the callback runs outside every lock and in the order of the changes, that a refusal says when to come back, and
// that a call which panics or ends its goroutine gives its place back. It knows neither HTTP nor Redis nor what a call does: the
// caller says afterwards whether it failed. The state machine and the rolling window are gobreaker's; this file is its only home.
package breaker

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"
)

// Verdict is what a guarded call says of itself.
type Verdict int

// The verdicts. Failure is the zero value, so that a call that never comes back to say (panic, Goexit) counts as one.
const (
	Failure Verdict = iota // the other side is ill
	Success                // the other side is well, whatever it answered
	Ignored                // says nothing about the other side: the caller left, the call was never sent
)

// State is closed (calls pass), open (calls are refused) or half-open (probes decide).
type State string

// The three states.
const (
	Closed   State = "closed"
	Open     State = "open"
	HalfOpen State = "half-open"
)

// buckets is how finely the rolling window forgets: a failure is forgotten Interval/buckets at a time.
const buckets = 10

// Options configure a Breaker.
type Options struct {
	// Failures in a row that open the breaker. At least 1.
	Failures int
	// Ratio of failures among the calls of the last Interval that opens it, in (0, 1].
	Ratio float64
	// MinRequests that must have ended within Interval before Ratio counts. At least 1.
	MinRequests int
	// Interval is the length of the rolling window. A failure that takes longer than Interval is never counted, so it must be well
	// above the longest call; at least 10 ms.
	Interval time.Duration
	// Open is how long calls are refused before probes are let through. More than 0.
	Open time.Duration
	// Probes that may run at once while half-open, and must all succeed to close. At least 1.
	Probes int
	// OnChange is told of every change of state, in order, one at a time, outside all locks. Nil: nobody is told.
	OnChange func(from, to State)
}

// OpenError says that a call was refused and when it is worth coming back.
type OpenError struct {
	RetryAfter time.Duration // more than 0
}

// Error implements error.
func (e *OpenError) Error() string {
	return fmt.Sprintf("circuit breaker is open, retry after %s", e.RetryAfter)
}

// Breaker guards calls to one other side. Safe for concurrent use.
type Breaker struct {
	gate     *gobreaker.TwoStepCircuitBreaker[struct{}]
	open     time.Duration
	until    atomic.Int64 // when an open breaker half-opens, Unix nanoseconds
	onChange func(from, to State)

	mu      sync.Mutex // protects queue and telling
	queue   []change
	telling bool
}

type change struct{ from, to State }

// verdicts travel through gobreaker as errors.
type verdictError Verdict

func (v verdictError) Error() string { return [...]string{"failure", "success", "ignored"}[v] }

// New builds a closed breaker. The error names the option, its value and what it may be.
func New(o Options) (*Breaker, error) {
	switch {
	case o.Failures < 1:
		return nil, fmt.Errorf("breaker failures is %d: it must be at least 1", o.Failures)
	case !(o.Ratio > 0 && o.Ratio <= 1):
		return nil, fmt.Errorf("breaker ratio is %v: it must be more than 0 and at most 1", o.Ratio)
	case o.MinRequests < 1:
		return nil, fmt.Errorf("breaker min_requests is %d: it must be at least 1", o.MinRequests)
	case o.Interval < buckets*time.Millisecond:
		return nil, fmt.Errorf("breaker interval is %s: it must be at least %s", o.Interval, buckets*time.Millisecond)
	case o.Open <= 0:
		return nil, fmt.Errorf("breaker open is %s: it must be more than 0", o.Open)
	case o.Probes < 1:
		return nil, fmt.Errorf("breaker probes is %d: it must be at least 1", o.Probes)
	}
	b := &Breaker{open: o.Open, onChange: o.OnChange}
	if b.onChange == nil {
		b.onChange = func(State, State) {}
	}
	b.gate = gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		MaxRequests:  uint32(o.Probes),
		Interval:     o.Interval,
		BucketPeriod: o.Interval / buckets,
		Timeout:      o.Open,
		ReadyToTrip: func(c gobreaker.Counts) bool {
			// Requests counts calls under way as well; only calls that ended say something.
			ended := c.TotalSuccesses + c.TotalFailures
			return c.ConsecutiveFailures >= uint32(o.Failures) ||
				ended >= uint32(o.MinRequests) && float64(c.TotalFailures) >= o.Ratio*float64(ended)
		},
		IsSuccessful:  func(err error) bool { return err == verdictError(Success) },
		IsExcluded:    func(err error) bool { return err == verdictError(Ignored) },
		OnStateChange: b.changed,
	})
	return b, nil
}

// Do runs call if the breaker lets it through, and counts its verdict. It returns an *OpenError, without running call, if not, and
// nil otherwise. A call that panics counts as a failure and goes on panicking.
func (b *Breaker) Do(call func() Verdict) error {
	done, err := b.gate.Allow()
	b.tell()
	if err != nil {
		return &OpenError{RetryAfter: b.retryAfter()}
	}
	verdict := Failure
	defer func() { // also on panic and on runtime.Goexit: a half-open breaker would else refuse for ever
		done(verdictError(verdict))
		b.tell()
	}()
	verdict = call()
	return nil
}

// State is the state now; an open breaker whose time is over counts as half-open.
func (b *Breaker) State() State {
	s := b.gate.State()
	b.tell()
	return stateOf(s)
}

// retryAfter is the time until probes are let through; while they run (half-open) it is short, as they decide soon.
func (b *Breaker) retryAfter() time.Duration {
	return max(time.Until(time.Unix(0, b.until.Load())), min(time.Second, b.open))
}

// changed runs under gobreaker's lock, so it only notes what happened; tell speaks later, outside it.
func (b *Breaker) changed(_ string, from, to gobreaker.State) {
	if to == gobreaker.StateOpen {
		b.until.Store(time.Now().Add(b.open).UnixNano())
	}
	b.mu.Lock()
	b.queue = append(b.queue, change{stateOf(from), stateOf(to)})
	b.mu.Unlock()
}

// tell hands queued changes to onChange. One goroutine at a time speaks, for order's sake; a change that comes while it speaks is
// spoken by the same goroutine before it stops, so that none is lost.
func (b *Breaker) tell() {
	for c, ok := b.next(false); ok; c, ok = b.next(true) {
		b.onChange(c.from, c.to)
	}
}

// next takes the oldest change off the queue; speaking is true for the goroutine that already holds the word.
func (b *Breaker) next(speaking bool) (c change, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.telling && !speaking {
		return c, false
	}
	if b.telling = len(b.queue) > 0; !b.telling {
		return c, false
	}
	c, b.queue = b.queue[0], b.queue[1:]
	return c, true
}

func stateOf(s gobreaker.State) State {
	switch s {
	case gobreaker.StateOpen:
		return Open
	case gobreaker.StateHalfOpen:
		return HalfOpen
	default:
		return Closed
	}
}
