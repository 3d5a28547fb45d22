package admin

import (
	"encoding/json"
	"net/http"
	"time"
)

const (
	maxStreams  = 8                // open at once
	streamPause = time.Second      // between two events
	streamGrace = 10 * time.Second // for writing one
)

// serveEvents answers /status/events with server-sent events: the whole status first, then every
// second one with only the last whole bucket and the live one. The configuration is sent again
// after a reload. The stream ends with its reader, or with Close.
func (h *Handler) serveEvents(w http.ResponseWriter, r *http.Request) {
	select {
	case h.streams <- struct{}{}:
		defer func() { <-h.streams }()
	default:
		w.Header().Set("Retry-After", "10")
		http.Error(w, "enough streams are open; /status has the same", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	if r.Method == http.MethodHead { // which has no end to wait for
		return
	}
	control := http.NewResponseController(w)
	send := func(s Status) bool {
		_ = control.SetWriteDeadline(time.Now().Add(streamGrace))
		text, err := json.Marshal(s)
		if err != nil {
			return false
		}
		_, err = w.Write(append(append([]byte("data: "), text...), "\n\n"...))
		return err == nil && control.Flush() == nil
	}
	tick := time.NewTicker(streamPause)
	defer tick.Stop()
	known := h.current.Load()
	for s := h.status(known.about); send(s); known, s = h.update(known) {
		select {
		case <-tick.C:
		case <-h.closed:
			return
		case <-r.Context().Done():
			return
		}
	}
}

// update returns the status without what its reader has already.
func (h *Handler) update(known *reloadable) (current *reloadable, s Status) {
	current = h.current.Load()
	s = h.status(current.about)
	s.Buckets = s.Buckets[max(0, len(s.Buckets)-1):]
	if current == known {
		s.Configuration = nil
	}
	return current, s
}
