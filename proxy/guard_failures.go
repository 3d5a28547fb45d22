package proxy

import (
	"maps"
	"sync"
	"time"

	"github.com/igproxy/igproxy/cache"
	"github.com/igproxy/igproxy/proxy/graph"
)

// failures remembers which tokens and codes failed recently, so that the failures of one token do
// not look like an outage of Meta. If the breaker counted every failure, a worker that keeps
// sending a token that always fails at Meta would open the breaker for all tokens.
//
//   - After a failure, igproxy pauses the token: it does not ask Meta, and answers with the same
//     failure. The pause doubles with each further failure.
//   - The breaker counts only the token's first failure. It counts a failure of the token again
//     after Meta has answered a call with the token, or after the token has not failed for
//     breaker.interval or twice its pause, whichever is longer.
//   - A half-open breaker lets trial calls, called probes, through. A call with the token cannot be
//     a probe until twice the token's pause has passed since its failure, so that calls with other
//     tokens probe Meta first.
//
// Only failures that may be due to the token are remembered; see mayBeDueToToken. The breaker
// counts all other failures.
type failures struct {
	interval time.Duration // breaker.interval

	mu  sync.Mutex // protects the map all
	all map[cache.ID]tokenFailure
}

// tokenFailure is the last failure of a token.
type tokenFailure struct {
	err   *graph.Error
	at    time.Time     // when the token failed
	pause time.Duration // how long the token is paused after the failure
}

const (
	firstPause = time.Second      // the pause after a token's first failure; each further failure doubles it
	lastPause  = 30 * time.Second // the longest pause
	// maxFailed is the largest number of tokens remembered. With the default settings, far fewer
	// fail before a breaker opens. The failures of further tokens are not remembered, but the
	// breaker still counts them.
	maxFailed = 4096
)

func newFailures(interval time.Duration) *failures {
	return &failures{interval: interval, all: map[cache.ID]tokenFailure{}}
}

// last returns a token's last failure. It reports false if the token has not failed, or if the
// failure no longer matters (see isOver).
func (s *failures) last(id cache.ID, now time.Time) (f tokenFailure, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, ok = s.all[id]
	return f, ok && !s.isOver(f, now)
}

// isOver reports whether a failure was so long ago that it no longer matters: the breaker counts
// the token's next failure again.
func (s *failures) isOver(f tokenFailure, now time.Time) bool {
	return now.Sub(f.at) >= max(s.interval, 2*f.pause)
}

// note remembers a failure. It returns a copy whose RetryAt is not before the end of the token's
// pause.
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

// forget removes the failure of a token after Meta has answered a call with the token.
func (s *failures) forget(id cache.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, id)
}

// repeated returns the error that a call gets while the token's pause lasts. After the pause it
// returns nil.
func (f tokenFailure) repeated(now time.Time) *graph.Error {
	if now.Sub(f.at) >= f.pause {
		return nil
	}
	e := *f.err
	e.Repeated = true
	return &e
}

// mayProbe reports whether a call with the token may be the probe of a half-open breaker.
func (f tokenFailure) mayProbe(now time.Time) bool { return now.Sub(f.at) >= 2*f.pause }

// mayBeDueToToken reports whether a failure may be due to the token. This is possible only if Meta
// has received the request, or may have received it. If Meta cannot be reached, all tokens fail
// alike.
func mayBeDueToToken(e *graph.Error) bool {
	switch e.Class {
	case graph.ClassTransient, graph.ClassBroken, graph.ClassTimeout:
		return true
	case graph.ClassUnreached:
		return e.Cause == "reset" || e.Cause == "closed"
	}
	return false
}
