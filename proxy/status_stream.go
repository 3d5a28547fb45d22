package proxy

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

// serve answers /status.
func (b *board) serve(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(b.picture(time.Now()))
}

// stream answers /status/events, as server-sent events: the whole picture first, then every second what has changed (of the configuration, after a reload), with the last whole
// bucket and the live one. It ends with its reader, or with Watch.
func (b *board) stream(w http.ResponseWriter, r *http.Request) {
	select {
	case b.streams <- struct{}{}:
		defer func() { <-b.streams }()
	default:
		w.Header().Set("Retry-After", "10")
		writeText(w, http.StatusServiceUnavailable, "enough streams are open; /status has the same\n")
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
	known := b.about.Load()
	for p := b.picture(time.Now()); send(p); known, p = b.news(known, time.Now()) {
		select {
		case <-tick.C:
		case <-b.ended:
			return
		case <-r.Context().Done():
			return
		}
	}
}

// news is the picture without what its reader has already: the configuration is among it again after a reload.
func (b *board) news(known *About, now time.Time) (*About, Picture) {
	about, p := b.about.Load(), b.picture(now)
	if p.Buckets = p.Buckets[max(0, len(p.Buckets)-1):]; about == known {
		p.Configuration = nil
	}
	return about, p
}
