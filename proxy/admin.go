package proxy

import (
	"encoding/json"
	"io"
	"net/http"
)

// Admin serves the operator: /healthz (the process lives), /readyz (send it traffic), /metrics, and /status with the page that shows it. It
// belongs on a listener of its own. hosts and anyHost are as in Options, for that listener. Besides these it takes the operations, from this
// machine only.
func (p *Proxy) Admin(hosts []string, anyHost bool, operations ...Operation) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "ok\n")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		readiness, status := p.Readiness(), http.StatusOK
		if !readiness.Ready {
			status = http.StatusServiceUnavailable
		}
		writeJSON(w, status, readiness)
	})
	mux.Handle("GET /metrics", p.carried.metrics.Handler())
	for _, o := range append([]Operation{p.purgeOperation()}, operations...) {
		mux.Handle("POST /"+o.Name, o)
	}
	mux.HandleFunc("GET /{$}", newPage().serve)
	mux.HandleFunc("GET /status", p.board.serve)
	mux.HandleFunc("GET /status/events", p.board.stream)
	checked := CheckHosts(hosts, anyHost, mux)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		checked.ServeHTTP(w, r)
	})
}

func writeJSON(w http.ResponseWriter, status int, reply any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(reply)
}
