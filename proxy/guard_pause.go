package proxy

import (
	"net/http"
	"sync"
	"time"
)

const (
	secretHold  = 5 * time.Second // how long a refused client secret is not tried again
	secretDoubt = time.Minute     // how long it keeps readiness off; then one more request may prove it
)

// hold is Instagram's last word about the whole app: a rate limit, or a refused client secret. While it lasts Instagram is not asked,
// and the word is repeated. It is no ill health, so the breaker knows nothing of it.
type hold struct {
	mu      sync.Mutex // protects all below
	secrets secrets
	until   time.Time
	word    *GraphError
	refused time.Time // when the client secret was last refused; zero: it was not, or has proved right since
}

// check returns the word to repeat, or nil when Instagram may be asked.
func (h *hold) check(now time.Time) *GraphError {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.word == nil || !now.Before(h.until) {
		return nil
	}
	word := *h.word
	word.RetryAt = h.until
	if word.class == classAppLimit {
		word.Status = http.StatusTooManyRequests
	}
	return &word
}

// hear takes note of an answer about the app; proves says that the call carried the client secret. It reports whether the client secret has
// just become refused, or right again. A word about a secret that is none of the app's any more, or while there is another to try, is none
// about the app.
func (h *hold) hear(a answer, proves bool, now time.Time) (refused, restored bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch was := !h.refused.IsZero(); {
	case a.is(classAppLimit):
		if e := a.refusal; e.RetryAt.After(h.until) {
			h.until, h.word = e.RetryAt, e
		}
	case !proves || !h.secrets.knows(a.with):
	case a.provesSecret():
		h.refused = time.Time{}
		return false, was
	case a.is(classSecret) && h.secrets.allRefused(a):
		if until := now.Add(secretHold); until.After(h.until) {
			h.until, h.word = until, a.refusal
		}
		h.refused = now
		return !was, false
	}
	return false, false
}

// provesSecret: Instagram checks it before the token.
func (a answer) provesSecret() bool { return a.refusal == nil || a.is(classToken) }

// forgetSecret forgets what was said of client secrets that are no longer those in use. A rate limit stays. It is called with mu held.
func (h *hold) forgetSecret() {
	h.refused = time.Time{}
	if h.word != nil && h.word.class == classSecret {
		h.until, h.word = time.Time{}, nil
	}
}

// secretRefused reports whether an operator has to see to the client secret.
func (h *hold) secretRefused(now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !h.refused.IsZero() && now.Sub(h.refused) < secretDoubt
}

// holds keeps each app's hold, by its label, over a reload.
type holds struct {
	mu  sync.Mutex // protects all
	all map[string]*hold
}

func (h *holds) of(label string) *hold {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.all == nil {
		h.all = map[string]*hold{}
	}
	if h.all[label] == nil {
		h.all[label] = &hold{}
	}
	return h.all[label]
}
