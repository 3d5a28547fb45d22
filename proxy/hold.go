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
	mu      sync.Mutex // protects the three below
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

// hear takes note of an answer about the app; proves says that the call carried the client secret. It reports whether the client secret has just become refused, or right again.
func (h *hold) hear(e *GraphError, proves bool, now time.Time) (refused, restored bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch was := !h.refused.IsZero(); {
	case !proves && (e == nil || e.class != classAppLimit):
	case e == nil, e.class == classToken: // proves the secret: Instagram checks it before the token
		h.refused = time.Time{}
		return false, was
	case e.class == classSecret:
		if until := now.Add(secretHold); until.After(h.until) {
			h.until, h.word = until, e
		}
		h.refused = now
		return !was, false
	case e.class == classAppLimit && e.RetryAt.After(h.until):
		h.until, h.word = e.RetryAt, e
	}
	return false, false
}

// forgetSecret forgets what was said of a client secret that is no longer in use. A rate limit stays.
func (h *hold) forgetSecret() {
	h.mu.Lock()
	defer h.mu.Unlock()
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
