package proxy

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"
)

// joinStep is the step "join". In this process it runs one exchange per token, however many callers
// ask for the token at the same time. Such an exchange is called a flight. Only this file uses
// package singleflight.
//
// A flight has its own time budget. If the caller that started it disconnects, the flight continues
// and its answer is remembered, because Meta may already have done the exchange. If a caller seems
// to have disconnected, its handler still waits, because a client that has closed only its sending
// half looks the same.
//
// A flight recovers its own panics, which would otherwise end the process.
type joinStep struct {
	next    exchanger
	budget  time.Duration
	log     *slog.Logger
	flights *flights
}

// flights holds the flights of this process. A reload keeps them: if a flight for a token began
// before the reload, callers that arrive after the reload join that flight.
type flights struct {
	group   singleflight.Group
	running atomic.Int64
	pending atomic.Int64 // callers whose flight has not ended, including callers that gave up
}

// grace is the time that a caller waits beyond the flight's budget, in case a step exceeds it.
const grace = 250 * time.Millisecond

func (s *joinStep) Exchange(ctx context.Context, c call) (answer, error) {
	// led is true if this caller began the flight. The flight writes led before it sends its
	// result. Exchange reads led only after it has received the result.
	led := false
	s.flights.pending.Add(1)
	id := c.key.ID()
	results := s.flights.group.DoChan(string(id[:]), func() (any, error) {
		led = true
		return s.fly(context.WithoutCancel(ctx), c)
	})
	patience := time.NewTimer(s.budget + grace)
	defer patience.Stop()
	select {
	case r := <-results:
		s.flights.pending.Add(-1)
		a, _ := r.Val.(answer)
		a.joined = !led
		return a, r.Err
	case <-patience.C:
		go func() { // ends with the flight, which ends soon after its budget
			<-results
			s.flights.pending.Add(-1)
		}()
		return answer{}, errTimeout()
	}
}

// fly runs the next steps once, under the flight's own budget.
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

// panicKind returns the text of a runtime error. For any other panic it returns only the type of
// the value, because the value may contain a secret.
func panicKind(v any) string {
	if err, ok := v.(runtime.Error); ok {
		return err.Error()
	}
	return fmt.Sprintf("%T", v)
}

// wait returns when no caller waits and no flight runs, or with an error when ctx ends. It polls
// because callers may still arrive while Close waits, which a sync.WaitGroup does not allow.
func (f *flights) wait(ctx context.Context) error {
	for f.pending.Load() > 0 {
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("%d flights still running: %w", f.running.Load(), ctx.Err())
		}
	}
	return nil
}
