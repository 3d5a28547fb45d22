package proxy

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/igproxy/igproxy/breaker"
	"github.com/igproxy/igproxy/proxy/graph"
)

// guardStep is the step "guard": it decides whether Meta may be asked. It checks, in this order,
// the number of calls in flight, the app's pause, the token's own pause, and the breaker.
type guardStep struct {
	next     exchanger
	circuits *circuits
	failures *failures
	timeout  time.Duration // how long a call may take
	log      *slog.Logger
}

func (s *guardStep) Exchange(ctx context.Context, c call) (answer, error) {
	b := s.circuits.of(c)
	if !b.slots.take(ctx) {
		return answer{}, errOverloaded()
	}
	defer b.slots.give()
	now := time.Now()
	if e := c.app.paused(now); e != nil {
		return answer{refusal: e, source: sourceHold}, nil
	}
	last, failedBefore := s.failures.last(c.key.ID(), now)
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

// ask calls the step ask through the breaker and records the result.
func (s *guardStep) ask(ctx context.Context, c call, b *circuitState, failedBefore bool) (a answer, err error) {
	// A flight that waited for a slot may have less time left than s.timeout. If the call then
	// times out, the reason may be the wait, so the timeout does not count as a failure of Meta.
	end, bounded := ctx.Deadline()
	isLate := bounded && time.Until(end) < s.timeout
	// In a half-open breaker, the call is a probe (a trial call). It may be retried too.
	c.mayRetry = func() bool { return b.State() != breaker.Open && c.app.paused(time.Now()) == nil }
	var e *graph.Error // err as a *graph.Error; nil if it is not one
	refused := b.Do(func() breaker.Verdict {
		a, err = s.next.Exchange(ctx, c)
		if errors.As(err, &e) && isLate && (e.Class == graph.ClassTimeout || e.Class == graph.ClassSilent) {
			e = errOverloaded()
			err = e
		}
		switch {
		case err == nil: // Meta answered; a refusal or a rate limit is an answer
			return breaker.Success
		case e != nil && e.Class.IsFailure() && !(failedBefore && mayBeDueToToken(e)):
			return breaker.Failure
		}
		return breaker.Ignored
	})
	var open *breaker.OpenError
	switch {
	case errors.As(refused, &open):
		return answer{}, errBreakerOpen(open.RetryAfter)
	case err == nil:
		s.failures.forget(c.key.ID())
		s.note(c, a)
	case e != nil && mayBeDueToToken(e):
		err = s.failures.note(c.key.ID(), e, time.Now())
	}
	return a, err
}

// note records what an answer says about the whole app: that it has reached a rate limit, or
// whether Meta accepts its client secret.
func (s *guardStep) note(c call, a answer) {
	if a.is(graph.ClassAppLimit) {
		if c.app.state.limit.begin(a.refusal, time.Now()) {
			s.log.Warn("app paused", "app", c.app.Label, "until", a.refusal.RetryAt, "class", a.refusal.Class,
				"code", a.refusal.Code, "next_step", advicePaused)
		}
	}
	refused, accepted, inUse := c.app.state.secrets.note(a, time.Now())
	if refused {
		s.log.Error("client secret refused", "app", c.app.Label,
			"next_step", advice[graph.ClassSecret]+"; if the secret comes from client_secret_file, save the right one there and igproxy reloads it; otherwise set the right one and restart igproxy")
	}
	if accepted {
		s.log.Info("client secret accepted again", "app", c.app.Label)
	}
	if inUse != "" {
		s.log.Warn("client secret switched", "app", c.app.Label, "which", inUse)
	}
}
