package proxy

import (
	"maps"
	"sync"
	"time"

	"github.com/igproxy/igproxy/cache"
	"github.com/igproxy/igproxy/proxy/graph"
)

// failures remembers which tokens and codes failed recently, so that one of them cannot look like
// an outage of Meta. Otherwise a worker that keeps sending a token that always fails at Meta would
// open the breaker for all tokens.
//
//   - After a failure igproxy does not ask Meta for the token during a pause, which doubles with
//     each failure. During the pause it answers with the same failure.
//   - The breaker counts only the token's first failure, until Meta answers for the token, or until
//     the token has not failed for breaker.interval or twice its pause, whichever is longer.
//   - The token cannot be the probe of a half-open breaker until twice its pause has passed, so
//     that other tokens probe Meta first.
type failures struct {
	interval time.Duration // of the breaker

	mu  sync.Mutex // protects all
	all map[cache.ID]tokenFailure
}

// tokenFailure is the last failure of a token.
type tokenFailure struct {
	err   *graph.Error
	at    time.Time
	pause time.Duration // counted from at
}

const (
	firstPause = time.Second      // after a token's first failure; each further one doubles it
	lastPause  = 30 * time.Second // the longest pause
	// maxFailed is the largest number of tokens remembered. With the default settings, far fewer
	// fail before a breaker opens. The breaker still counts the failures of further tokens, but
	// these failures are not remembered.
	maxFailed = 4096
)

func newFailures(interval time.Duration) *failures {
	return &failures{interval: interval, all: map[cache.ID]tokenFailure{}}
}

// last returns a token's last failure, and whether that failure still counts.
func (s *failures) last(id cache.ID, now time.Time) (f tokenFailure, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, ok = s.all[id]
	return f, ok && !s.isOver(f, now)
}

func (s *failures) isOver(f tokenFailure, now time.Time) bool {
	return now.Sub(f.at) >= max(s.interval, 2*f.pause)
}

// note remembers a failure and returns a copy of it with the time of the next attempt.
func (s *failures) note(id cache.ID, e *graph.Error, now time.Time) *graph.Error {
	s.mu.Lock()
	defer s.mu.Unlock()
	last, known := s.all[id]
	pause := firstPause
	if known && !s.isOver(last, now) {
		pause = min(2*last.pause, lastPause)
	}
	noted := *e
	if noted.RetryAt.Before(now.Add(pause)) {
		noted.RetryAt = now.Add(pause)
	}
	if len(s.all) >= maxFailed {
		maps.DeleteFunc(s.all, func(_ cache.ID, f tokenFailure) bool { return s.isOver(f, now) })
	}
	if known || len(s.all) < maxFailed {
		s.all[id] = tokenFailure{&noted, now, pause}
	}
	return &noted
}

// forget forgets a token that Meta has answered.
func (s *failures) forget(id cache.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, id)
}

// repeated returns the error to repeat while the token's pause lasts, and nil after that.
func (f tokenFailure) repeated(now time.Time) *graph.Error {
	if now.Sub(f.at) >= f.pause {
		return nil
	}
	e := *f.err
	e.Repeated = true
	return &e
}

// mayProbe reports whether the token may be the probe of a half-open breaker.
func (f tokenFailure) mayProbe(now time.Time) bool { return now.Sub(f.at) >= 2*f.pause }

// mayBeDueToToken reports whether a failure may be due to the token: Meta answered, or may at least
// have received the request. If a host cannot be reached, every token fails alike.
func mayBeDueToToken(e *graph.Error) bool {
	switch e.Class {
	case graph.ClassTransient, graph.ClassBroken, graph.ClassTimeout:
		return true
	case graph.ClassUnreached:
		return e.Cause == "reset" || e.Cause == "closed"
	}
	return false
}
