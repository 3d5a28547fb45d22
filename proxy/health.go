package proxy

import (
	"io"
	"net/http"
	"strings"
)

// healthPath is the path of the health check on the listener for apps. Meta has no such path.
const healthPath = "/healthz"

// serveHealth reports whether r is a load balancer's health check. If so, it answers r without
// asking Meta. The status is 200 or, while the sidecar drains, 503, so that the balancer uses
// another sidecar. The Host and igproxy's own token are not checked: a balancer does not send the
// token, and its Host name may be one that igproxy does not serve. The response reveals only that
// the sidecar runs, and whether it drains. Health checks are not logged, and are not counted as
// requests.
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
