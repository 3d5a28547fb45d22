package admin

import (
	"net/http"
	"sync"
	"time"
)

// Outcomes of an operation, in the log and in igproxy_operations_total.
const (
	outcomeDone   = "done"
	outcomeFailed = "failed"
	outcomeMerged = "merged" // a purge that takes effect later, together with other purges
	outcomeDenied = "denied"
)

// operate returns a handler that runs an operation and sends its response as JSON. A caller that
// may not run operations gets a text that says why not, and what to do next.
func (h *Handler) operate(name string, run func(*http.Request) (status int, response any)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		by, refused := h.current.Load().access.check(r)
		if refused != nil {
			h.audit(name, outcomeDenied, by)
			if refused.status == http.StatusUnauthorized {
				w.Header().Set("WWW-Authenticate", `Bearer realm="igproxy"`) // RFC 9110, section 15.5.2
			}
			http.Error(w, refused.text, refused.status)
			return
		}
		status, response := run(r)
		outcome := outcomeFailed
		switch status {
		case http.StatusOK:
			outcome = outcomeDone
		case http.StatusAccepted:
			outcome = outcomeMerged
		}
		h.audit(name, outcome, by)
		writeJSON(w, status, response)
	}
}

// audit counts an operation and logs who asked for it. It logs at most one denied and one merged
// operation a second, because a caller can repeat them at no cost.
func (h *Handler) audit(name, outcome string, by caller) {
	h.proxy.Metrics().Operation(name, outcome)
	line := append([]any{"operation", name, "outcome", outcome}, by.attributes()...)
	if b, bounded := h.lines[outcome]; bounded {
		skipped, ok := b.take(time.Now())
		if !ok {
			return
		}
		if skipped > 0 {
			line = append(line, "not_logged", skipped)
		}
	}
	h.log.Warn("operation", line...)
}

// lineBudget allows one log line a second.
type lineBudget struct {
	mu      sync.Mutex // protects the fields below
	last    time.Time  // when take last allowed a line
	skipped int        // lines since then that take did not allow
}

// take reports whether a line may be written now. If it may, take also returns how many lines were
// skipped since the previous written line.
func (b *lineBudget) take(now time.Time) (skipped int, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if now.Sub(b.last) < time.Second {
		b.skipped++
		return 0, false
	}
	skipped, b.skipped, b.last = b.skipped, 0, now
	return skipped, true
}
