package proxy

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/igproxy/igproxy/breaker"
)

// guarded is the step "guard": it decides whether Instagram may be asked. In order: a place among the calls under way, the app's hold,
// the breaker.
type guarded struct {
	next     exchanger
	breakers map[string]*breaker.Breaker // by upstream
	places   *places
	timeout  time.Duration // what a call may take; one that began with less says nothing of Instagram
	log      *slog.Logger
}

func (s *guarded) Exchange(ctx context.Context, c call) (a answer, err error) {
	if !s.places.take(ctx) {
		return answer{}, errOverloaded()
	}
	defer s.places.give()
	if word := c.app.hold.check(time.Now()); word != nil {
		return answer{refusal: word, source: sourceHold}, nil
	}
	whole := s.hasTime(ctx)
	refused := s.breakers[c.grant.upstream].Do(func() breaker.Verdict {
		a, err = s.next.Exchange(ctx, c)
		if !whole && isTimeout(err) {
			err = errOverloaded()
		}
		return verdict(err)
	})
	var open *breaker.OpenError
	if errors.As(refused, &open) {
		return answer{}, errBreakerOpen(open.RetryAfter)
	}
	if err == nil {
		s.hear(c, a)
	}
	return a, err
}

// hasTime reports whether a call that begins now has all the time it may take: a flight that waited for a place may not.
func (s *guarded) hasTime(ctx context.Context) bool {
	end, bounded := ctx.Deadline()
	return !bounded || time.Until(end) >= s.timeout
}

func isTimeout(err error) bool {
	var e *GraphError
	return errors.As(err, &e) && e.class == classTimeout
}

// verdict of a call: a definite word, be it a refusal or a rate limit, shows that Instagram is well.
func verdict(err error) breaker.Verdict {
	var e *GraphError
	switch {
	case err == nil:
		return breaker.Success
	case errors.As(err, &e) && e.class.ill():
		return breaker.Failure
	}
	return breaker.Ignored
}

func (s *guarded) hear(c call, a answer) {
	switch refused, restored := c.app.hold.hear(a, c.grant.secret, time.Now()); {
	case refused:
		s.log.Error("Instagram refuses the client secret: no exchange can work until it is right", "app", c.app.label,
			"next_step", "compare the secret with the Instagram app's (not the Facebook app's) in Meta's dashboard; a changed file is read by itself")
	case restored:
		s.log.Info("Instagram accepts the client secret again", "app", c.app.label)
	}
	if which, changed := c.app.hold.settle(a); changed {
		s.log.Warn("another client secret is in use: Instagram refuses the one of before", "app", c.app.label, "which", which)
	}
}

// places bounds the calls under way, and the flights that wait for a place.
type places struct {
	free    chan struct{}
	waiting atomic.Int64
}

// waitersPerPlace bounds the queue: beyond it the wait would outlast the budget anyway.
const waitersPerPlace = 8

func newPlaces(n int) *places { return &places{free: make(chan struct{}, n)} }

// take waits for a place, bounded by the flight's budget and by the length of the queue.
func (p *places) take(ctx context.Context) bool {
	select {
	case p.free <- struct{}{}:
		return true
	default:
	}
	defer p.waiting.Add(-1)
	if p.waiting.Add(1) > int64(waitersPerPlace*cap(p.free)) {
		return false
	}
	select {
	case p.free <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func (p *places) give() { <-p.free }

func (p *places) taken() int { return len(p.free) }
