// Package breaker implements a circuit breaker. After too many failures it refuses calls for a
// while. Then it lets a few calls through, the probes. Their verdicts close the breaker or open it
// again.
//
// The library gobreaker provides the state machine and the rolling window. This package adds four
// things:
//
//   - Changes of state are reported in order, and outside all locks.
//   - The error for a refused call says when to try again.
//   - A call that panics or ends its goroutine counts as a failure.
//   - A failed probe continues the current outage.
package breaker

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"
)

// Verdict says how a call counts.
type Verdict int

// The verdicts. A call that does not return (panic, Goexit) counts as a Failure.
const (
	Failure Verdict = iota // the service failed
	Success                // the service works, whatever it answered
	Ignored                // says nothing about the service: the call was canceled, or never sent
)

// State is closed (calls pass), open (calls are refused) or half-open (only probes pass).
type State string

// The three states.
const (
	Closed   State = "closed"
	Open     State = "open"
	HalfOpen State = "half-open"
)

// buckets is how many parts the rolling window has. Calls are forgotten one part at a time.
const buckets = 10

// Options configure a Breaker.
type Options struct {
	// Failures is how many failures in a row, within Interval, open the breaker. At least 1.
	Failures int
	// Ratio opens the breaker when at least this share of the calls within Interval failed. Ignored
	// calls are left out. In (0, 1].
	Ratio float64
	// MinRequests is how many calls, apart from Ignored ones, must have ended within Interval
	// before Ratio counts. At least 1.
	MinRequests int
	// Interval is the length of the rolling window. It must be well above the time that a call
	// takes, because the result of a call that takes longer than Interval is not counted. At least
	// 10 ms.
	Interval time.Duration
	// Open is how long calls are refused before probes are let through. More than 0.
	Open time.Duration
	// Probes is how many probes a half-open breaker lets through, apart from Ignored ones. If all
	// of them succeed, the breaker closes. If one fails, the breaker opens again. At least 1.
	Probes int
	// OnChange is called for every change of state, in order, one at a time, outside all locks. May
	// be nil.
	OnChange func(Change)
}

// Change is a change of a breaker's state.
type Change struct {
	From, To State
	Outage   // the outage that the change begins, continues or ends
}

// Outage is the time during which a breaker is not closed. A failed probe does not begin a new
// outage.
type Outage struct {
	Since  time.Time // when the breaker opened
	Probes int       // number of probes since then
}

// OpenError is returned for a call that was refused.
type OpenError struct {
	RetryAfter time.Duration // how long to wait before trying again; more than 0
}

// Error implements error.
func (e *OpenError) Error() string {
	return fmt.Sprintf("circuit breaker is open, retry after %s", e.RetryAfter)
}

// Breaker guards the calls to one service. Safe for concurrent use.
type Breaker struct {
	inner    *gobreaker.TwoStepCircuitBreaker[struct{}]
	open     time.Duration
	until    atomic.Int64 // when an open breaker becomes half-open, in Unix nanoseconds
	onChange func(Change)

	mu        sync.Mutex // protects the fields below
	outage    Outage     // the current one; zero while the breaker is closed
	closedAt  time.Time  // when the last outage ended; see ClosedAt
	queue     []Change   // the changes that notify has not yet passed to onChange
	notifying bool       // a goroutine is passing the queue to onChange
}

// verdictError carries a verdict through gobreaker.
type verdictError Verdict

func (v verdictError) Error() string { return [...]string{"failure", "success", "ignored"}[v] }

// New builds a closed breaker. It returns an error if an option is outside its range.
func New(o Options) (*Breaker, error) {
	if o.Failures < 1 || !(o.Ratio > 0 && o.Ratio <= 1) || o.MinRequests < 1 || o.Interval < buckets*time.Millisecond ||
		o.Open <= 0 || o.Probes < 1 {
		return nil, fmt.Errorf("breaker: an option is outside of its range: failures %d, ratio %v, min_requests %d, interval %s, open %s, probes %d",
			o.Failures, o.Ratio, o.MinRequests, o.Interval, o.Open, o.Probes)
	}
	b := &Breaker{open: o.Open, onChange: o.OnChange}
	if b.onChange == nil {
		b.onChange = func(Change) {}
	}
	b.inner = gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		MaxRequests:  uint32(o.Probes),
		Interval:     o.Interval,
		BucketPeriod: o.Interval / buckets,
		Timeout:      o.Open,
		ReadyToTrip: func(c gobreaker.Counts) bool {
			// c.Requests would include calls in flight, whose outcome is not known yet.
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

// Do runs the given function and counts its verdict, or returns an *OpenError without running it. A
// panic in the function counts as a failure and reaches the caller.
func (b *Breaker) Do(call func() Verdict) error {
	done, err := b.inner.Allow()
	b.notify()
	if err != nil {
		return &OpenError{RetryAfter: b.retryAfter()}
	}
	b.countProbe()
	verdict := Failure
	defer func() { // runs also after a panic or Goexit, because a half-open breaker refuses calls until its probes end
		done(verdictError(verdict))
		b.notify()
	}()
	verdict = call()
	return nil
}

// countProbe counts a call that was let through, if it is a probe.
func (b *Breaker) countProbe() {
	if b.inner.State() != gobreaker.StateHalfOpen {
		return
	}
	b.mu.Lock()
	b.outage.Probes++
	b.mu.Unlock()
}

// Outage returns the current outage, or the zero Outage while the breaker is closed.
func (b *Breaker) Outage() Outage {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.outage
}

// ClosedAt returns the time at which the last outage ended. It returns the zero time before the
// first outage and during an outage.
func (b *Breaker) ClosedAt() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.closedAt
}

// State returns the current state. An open breaker becomes half-open once Options.Open has passed.
func (b *Breaker) State() State {
	s := b.inner.State()
	b.notify()
	return stateOf(s)
}

// retryAfter returns the time until probes are let through, but at least a second (or Options.Open,
// if that is shorter). While probes run, it returns this minimum, because their verdicts come soon.
func (b *Breaker) retryAfter() time.Duration {
	return max(time.Until(time.Unix(0, b.until.Load())), min(time.Second, b.open))
}

// changed queues a change for notify. It does not call onChange, because gobreaker holds a lock
// while it calls changed.
func (b *Breaker) changed(_ string, from, to gobreaker.State) {
	now := time.Now()
	if to == gobreaker.StateOpen {
		b.until.Store(now.Add(b.open).UnixNano())
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if from == gobreaker.StateClosed {
		b.outage, b.closedAt = Outage{Since: now}, time.Time{}
	}
	b.queue = append(b.queue, Change{stateOf(from), stateOf(to), b.outage})
	if to == gobreaker.StateClosed {
		b.outage, b.closedAt = Outage{}, now
	}
}

// notify passes queued changes to onChange. Only one goroutine at a time does so, to keep the
// order. That goroutine also passes on the changes that are queued meanwhile, so no change is lost.
func (b *Breaker) notify() {
	for c, ok := b.next(false); ok; c, ok = b.next(true) {
		b.onChange(c)
	}
}

// next takes the oldest change off the queue. mine is true if the caller is the goroutine that
// notifies. ok is false if the queue is empty or another goroutine notifies.
func (b *Breaker) next(mine bool) (c Change, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.notifying && !mine {
		return c, false
	}
	if b.notifying = len(b.queue) > 0; !b.notifying {
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
