package proxy

import (
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/igproxy/igproxy/breaker"
)

// Status is what /readyz tells, and what `igproxy healthcheck` reads.
type Status struct {
	Ready        bool          `json:"ready"`
	Draining     bool          `json:"draining"`
	ClientSecret string        `json:"client_secret"` // "ok", or "refused" and, of several apps, which
	Breaker      breaker.State `json:"breaker"`       // the worst of all upstreams' breakers
	Redis        string        `json:"redis"`         // ok, degraded, off
	RedisFault   string        `json:"redis_fault,omitempty"`
	Flights      int64         `json:"flights"`
	Entries      int           `json:"entries"`
}

// Status of now. An open breaker or a dead Redis leave it ready: known tokens are still served. A refused
// secret does not, when it is that of every app.
func (p *Proxy) Status() Status {
	health := p.carried.cache.Health()
	s := Status{
		Draining:     p.draining.Load(),
		ClientSecret: "ok",
		Breaker:      p.carried.circuits.worst(""),
		Redis:        health.State,
		RedisFault:   health.Kind,
		Flights:      p.carried.flights.running.Load(),
		Entries:      p.carried.cache.Len(),
	}
	apps, refused := p.current.Load().apps, p.refusedApps()
	switch {
	case len(refused) > 0 && len(apps) == 1:
		s.ClientSecret = "refused"
	case len(refused) > 0:
		s.ClientSecret = "refused: " + strings.Join(refused, ", ")
	}
	s.Ready = !s.Draining && len(refused) < len(apps)
	return s
}

// refusedApps are the apps whose client secret is refused. While one app is well the sidecar is of use.
func (p *Proxy) refusedApps() (labels []string) {
	now := time.Now()
	for _, a := range p.current.Load().apps {
		if a.state.secrets.areRefused(now) {
			labels = append(labels, a.label)
		}
	}
	return labels
}

// Admin serves the operator: /healthz (the process lives), /readyz (send it traffic), /metrics, and /status with the page that shows it. It
// belongs on a listener of its own. hosts and anyHost are as in Options, for that listener. Besides these it takes the operations, from this
// machine only.
func (p *Proxy) Admin(hosts []string, anyHost bool, operations ...Operation) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		writeText(w, http.StatusOK, "ok\n")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		s := p.Status()
		code := http.StatusOK
		if !s.Ready {
			code = http.StatusServiceUnavailable
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(s)
	})
	mux.Handle("GET /metrics", p.carried.metrics.Handler())
	for _, o := range append([]Operation{p.purgeOperation()}, operations...) {
		mux.Handle("POST /"+o.Name, o)
	}
	mux.HandleFunc("GET /{$}", newPage().serve)
	mux.HandleFunc("GET /status", p.board.serve)
	mux.HandleFunc("GET /status/events", p.board.stream)
	g := newGate(hosts, anyHost)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		if last(r) {
			w.Header().Set("Connection", "close")
		}
		if refused := g.check(r); refused != nil {
			writeText(w, refused.Status, refused.Message+"\n")
			return
		}
		mux.ServeHTTP(w, r)
	})
}

func writeText(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text))
}
