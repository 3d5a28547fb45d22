package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"
)

// joinStep is the step "join": one flight per token in this process, however many callers ask at once. This file is the only home of
// singleflight.
//
// A flight is detached from the caller that started it and has its own budget: when the caller leaves, the flight goes on, because the
// exchange may be paid for already, and its answer is remembered. It recovers its own panics, which would else end the process.
type joinStep struct {
	next    exchanger
	budget  time.Duration
	log     *slog.Logger
	flights *flights
}

// flights are those in the air. A reload carries them over: a token's second caller joins the first one's flight, whichever engine it began
// on, and Close waits for all of them.
type flights struct {
	group   singleflight.Group
	running atomic.Int64

	mu    sync.Mutex    // protects all below
	waits int           // callers that wait, and leavers' flights: Close waits for them
	none  chan struct{} // closed when waits is 0 again; nil: nobody waits for that
}

// arrive counts a caller in. A sync.WaitGroup would not do: when a drain is cut short, callers still come while Close waits.
func (f *flights) arrive() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.waits++
}

// depart counts it out.
func (f *flights) depart() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.waits--; f.waits == 0 && f.none != nil {
		close(f.none)
		f.none = nil
	}
}

// grace is how much longer than the flight's budget a caller waits, should a step not keep to the budget.
const grace = 250 * time.Millisecond

// errCallerGone is the end of a caller's wait, not of the flight.
var errCallerGone = errors.New("the caller left")

func (s *joinStep) Exchange(ctx context.Context, c call) (answer, error) {
	led := false // written by this caller's own flight, read after its result came: ordered by the channel
	s.flights.arrive()
	id := c.key.ID()
	results := s.flights.group.DoChan(string(id[:]), func() (any, error) {
		led = true
		return s.fly(context.WithoutCancel(ctx), c)
	})
	patience := time.NewTimer(s.budget + grace)
	defer patience.Stop()
	select {
	case r := <-results:
		s.flights.depart()
		a, _ := r.Val.(answer)
		a.joined = !led
		return a, r.Err
	case <-patience.C:
		s.leave(results)
		return answer{}, errTimeout()
	case <-ctx.Done():
		s.leave(results)
		return answer{}, errCallerGone
	}
}

// leave lets the caller go and keeps count of the flight it leaves behind.
func (s *joinStep) leave(results <-chan singleflight.Result) {
	go func() { // ends with the flight, which ends with its budget
		<-results
		s.flights.depart()
	}()
}

// fly runs the steps behind join once, under the flight's own budget.
func (s *joinStep) fly(ctx context.Context, c call) (a answer, err error) {
	s.flights.running.Add(1)
	defer s.flights.running.Add(-1)
	ctx, cancel := context.WithTimeout(ctx, s.budget)
	defer cancel()
	defer func() {
		if v := recover(); v != nil {
			a, err = answer{}, errInternal("panic: "+panicKind(v))
			s.log.Error("panic in a flight", "panic", panicKind(v), "stack", string(debug.Stack()))
		}
	}()
	return s.next.Exchange(ctx, c)
}

// panicKind is a panic's text when the runtime wrote it, else its type only: a value can hold anything.
func panicKind(v any) string {
	if err, ok := v.(runtime.Error); ok {
		return err.Error()
	}
	return fmt.Sprintf("%T", v)
}

// wait returns when no caller waits and no flight runs.
func (f *flights) wait(ctx context.Context) error {
	f.mu.Lock()
	if f.waits == 0 {
		f.mu.Unlock()
		return nil
	}
	if f.none == nil {
		f.none = make(chan struct{})
	}
	none := f.none
	f.mu.Unlock()
	select {
	case <-none:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%d flights still in the air: %w", f.running.Load(), ctx.Err())
	}
}
