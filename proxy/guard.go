package proxy

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/igproxy/igproxy/breaker"
	"github.com/igproxy/igproxy/proxy/graph"
)

// guardStep is the step "guard": it decides whether Meta may be asked. In order: a place among the calls in flight, the app's
// pause, the token's own pause, the breaker of the circuit.
type guardStep struct {
	next     exchanger
	circuits *circuits
	failures *failures
	timeout  time.Duration // what a call may take; one that began with less says nothing of Instagram
	log      *slog.Logger
}

func (s *guardStep) Exchange(ctx context.Context, c call) (answer, error) {
	b := s.circuits.of(c)
	if !b.places.take(ctx) {
		return answer{}, errOverloaded()
	}
	defer b.places.give()
	if e := c.app.paused(time.Now()); e != nil {
		return answer{refusal: e, source: sourceHold}, nil
	}
	id, now := c.key.ID(), time.Now()
	last, failedBefore := s.failures.last(id, now)
	if failedBefore {
		if e := last.repeated(now); e != nil {
			return answer{}, e
		}
		if b.State() == breaker.HalfOpen && !last.mayProbe(now) {
			return answer{}, errBreakerOpen(last.at.Add(2 * last.pause).Sub(now))
		}
	}
	return s.ask(ctx, c, b, failedBefore)
}

// ask asks through the breaker and notes what came of it.
func (s *guardStep) ask(ctx context.Context, c call, b *circuitState, failedBefore bool) (a answer, err error) {
	whole := s.hasTime(ctx)
	// A half-open breaker does not keep its probe from a retry.
	c.mayRetry = func() bool { return b.State() != breaker.Open && c.app.paused(time.Now()) == nil }
	refused := b.Do(func() breaker.Verdict {
		a, err = s.next.Exchange(ctx, c)
		if !whole && isTimeout(err) {
			err = errOverloaded()
		}
		return verdict(err, failedBefore)
	})
	var open *breaker.OpenError
	var e *graph.Error
	switch {
	case errors.As(refused, &open):
		return answer{}, errBreakerOpen(open.RetryAfter)
	case err == nil:
		s.failures.forget(c.key.ID())
		s.note(c, a)
	case errors.As(err, &e) && isOfToken(e):
		err = s.failures.note(c.key.ID(), e, time.Now())
	}
	return a, err
}

// hasTime reports whether a call that begins now has all the time it may take: a flight that waited for a place may not.
func (s *guardStep) hasTime(ctx context.Context) bool {
	end, bounded := ctx.Deadline()
	return !bounded || time.Until(end) >= s.timeout
}

func isTimeout(err error) bool {
	var e *graph.Error
	return errors.As(err, &e) && (e.Class == graph.ClassTimeout || e.Class == graph.ClassSilent)
}

// verdict returns what a call says about Meta's health. An answer, be it a refusal or a rate limit, is a success. A failure of a token
// that had failed before was counted then.
func verdict(err error, failedBefore bool) breaker.Verdict {
	var e *graph.Error
	switch {
	case err == nil:
		return breaker.Success
	case errors.As(err, &e) && e.Class.IsFailure() && !(failedBefore && isOfToken(e)):
		return breaker.Failure
	}
	return breaker.Ignored
}

// note takes what an answer says about the whole app.
func (s *guardStep) note(c call, a answer) {
	if a.is(graph.ClassAppLimit) {
		c.app.state.limit.begin(a.refusal)
	}
	if !c.grant.secret {
		return
	}
	n := c.app.state.secrets.note(a, time.Now())
	switch {
	case n.refused:
		s.log.Error("Instagram refuses the client secret: no exchange can work until it is right", "app", c.app.label,
			"next_step", "compare the secret with the Instagram app's (not the Facebook app's) in Meta's dashboard; a changed file is read by itself")
	case n.accepted:
		s.log.Info("Instagram accepts the client secret again", "app", c.app.label)
	}
	if n.inUse != "" {
		s.log.Warn("another client secret is in use: Instagram refuses the one of before", "app", c.app.label, "which", n.inUse)
	}
}
