package proxy

import (
	"io"
	"net/http"
	"strings"
)

// healthPath is the path of the health check on the listener for apps. Meta has no such path.
const healthPath = "/healthz"

// serveHealth answers a load balancer's health check, and reports whether r is one. igproxy answers
// it itself: while a stop is in progress it is 503, so that the balancer uses another sidecar, and
// otherwise it is 200. A balancer sends no token, and a Host name that igproxy may not serve, so
// neither is checked, and the answer says no more than an open port does. Health checks are neither
// logged nor counted as requests.
func (p *Proxy) serveHealth(w http.ResponseWriter, r *http.Request) bool {
	if path, _, _ := strings.Cut(r.RequestURI, "?"); path != healthPath || r.Method != http.MethodGet && r.Method != http.MethodHead {
		return false
	}
	h, status, text := w.Header(), http.StatusOK, "ok\n"
	if p.draining.Load() {
		status, text = http.StatusServiceUnavailable, "draining\n"
	}
	if last(r) {
		h.Set("Connection", "close")
	}
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text)
	return true
}
