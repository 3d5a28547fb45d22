package admin

import (
	"encoding/json"
	"net/http"
	"time"
)

const (
	maxStreams  = 8                // of /status/events at once
	streamPause = time.Second      // between two events
	streamGrace = 10 * time.Second // what a reader may take for one
)

func (h *Handler) serveStatus(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, h.picture(h.current.Load().about, time.Now()))
}

// serveEvents answers /status/events with server-sent events: the whole picture first, then every second what has changed, with the last
// whole bucket and the live one. The configuration is repeated after a reload. The stream ends with its reader, or with Close.
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
	send := func(p Picture) bool {
		_ = control.SetWriteDeadline(time.Now().Add(streamGrace))
		text, err := json.Marshal(p)
		if err != nil {
			return false
		}
		_, err = w.Write(append(append([]byte("data: "), text...), "\n\n"...))
		return err == nil && control.Flush() == nil
	}
	tick := time.NewTicker(streamPause)
	defer tick.Stop()
	known := h.current.Load()
	for p := h.picture(known.about, time.Now()); send(p); known, p = h.update(known, time.Now()) {
		select {
		case <-tick.C:
		case <-h.closed:
			return
		case <-r.Context().Done():
			return
		}
	}
}

// update returns the picture without what its reader has already.
func (h *Handler) update(known *reloadable, now time.Time) (*reloadable, Picture) {
	current := h.current.Load()
	p := h.picture(current.about, now)
	p.Buckets = p.Buckets[max(0, len(p.Buckets)-1):]
	if current == known {
		p.Configuration = nil
	}
	return current, p
}
