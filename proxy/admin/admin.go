// Package admin serves the operator of a Proxy: health, metrics, the status page and its JSON, and
// the operations reload, purge, resume and quit.
//
//	GET /healthz   whether the process answers
//	GET /readyz    whether the process should get traffic, as JSON
//	GET /metrics   the metrics, in Prometheus' text format
//	GET /          the status page, which a script refreshes; it also works without the script
//	GET /status    what the status page shows, as JSON
//	POST /purge    forgets remembered answers; for the operator only
//	POST /resume   ends the pauses that rate limits caused; for the operator only
//	POST /reload   reads the configuration again; for the operator only
//	POST /quit     ends the process; for the operator on this machine only, and off by default
package admin

import (
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/igproxy/igproxy/proxy"
)

// Options configure New.
type Options struct {
	// Proxy is the Proxy to administer. Required.
	Proxy *proxy.Proxy
	// Hosts are the names, without a port, that the Host header may have in addition to localhost
	// and loopback addresses.
	Hosts []string
	// AnyHost allows every Host name except those of Meta's hosts. Set it for every listener that
	// is not on loopback: the probes of an orchestrator send the pod's address as Host, and that
	// address is not known in advance.
	AnyHost bool
	// About describes the process on the status page.
	About About
	// Operations are the operations of the process, by name: "reload" handles POST /reload. Each
	// function reports whether it succeeded and returns the response, which is sent as JSON.
	// docs/metrics.md lists the names.
	Operations map[string]func() (ok bool, response any)
	// Quit handles POST /quit. It starts the shutdown of the process, and must return at once. Nil:
	// the operation is off.
	Quit func()
	// UIDs are the UIDs, in decimal, of users that may run operations over a Unix socket. Root and
	// igproxy's own user always may. Set the user of a connection with WithPeer.
	UIDs []string
	// Intercept returns the state of the interception, without its counts. Nil: interception is
	// off.
	Intercept func() Interception
	// Tokens returns the SHA-256 digests of the tokens that allow operations on every listener: the
	// current token and, during a rotation, the previous one. Nil: no token is configured.
	Tokens func() [][sha256.Size]byte
	// Logger receives the lines about operations, purges and resumed apps. Nil: nothing is logged.
	Logger *slog.Logger
}

// Handler serves the operator. Do not serve it on the listener of the Proxy. It is safe for
// concurrent use.
type Handler struct {
	proxy     *proxy.Proxy
	log       *slog.Logger
	lines     map[string]*lineBudget // by outcome; the log lines of other outcomes have no limit
	merged    *merger
	history   *history
	intercept func() Interception // nil: off
	routes    http.Handler
	current   atomic.Pointer[reloadable]
	closed    chan struct{} // closed by Close, to end the sampling
	close     func()
	sampling  sync.WaitGroup
}

// reloadable is the part of a Handler that Reload replaces.
type reloadable struct {
	checked http.Handler // the routes behind proxy.CheckHosts
	about   About
	access  access
	quit    func() // nil: off
}

// New builds a Handler and starts to sample the metrics for the history on the status page. The
// sampling continues until Close.
func New(o Options) (*Handler, error) {
	if o.Proxy == nil {
		return nil, errors.New("admin: Proxy is nil: build one with proxy.New")
	}
	first := readSample(o.Proxy.Metrics())
	h := &Handler{proxy: o.Proxy, log: cmp.Or(o.Logger, slog.New(slog.DiscardHandler)), history: &history{started: first.at, samples: []sample{first}},
		intercept: o.Intercept, closed: make(chan struct{})}
	h.lines = map[string]*lineBudget{outcomeDenied: {}, outcomeMerged: {}}
	h.merged = &merger{purge: h.purgeLater, windows: map[string]*window{}}
	h.close = sync.OnceFunc(func() {
		h.merged.close()
		close(h.closed)
	})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	mux.HandleFunc("GET /readyz", h.serveReadiness)
	mux.Handle("GET /metrics", o.Proxy.Metrics().Handler())
	mux.HandleFunc("GET /{$}", h.servePage)
	mux.HandleFunc("GET /status", h.serveStatus)
	mux.Handle("POST /purge", h.operate("purge", h.purge))
	mux.Handle("POST /resume", h.operate("resume", h.resume))
	mux.Handle("POST /quit", h.serveQuit())
	for name, run := range o.Operations {
		mux.Handle("POST /"+name, h.operate(name, func(*http.Request) (int, any) {
			ok, response := run()
			if !ok {
				return http.StatusUnprocessableEntity, response
			}
			return http.StatusOK, response
		}))
	}
	h.routes = mux
	h.Reload(o)
	h.sampling.Go(h.sample)
	return h, nil
}

// Reload applies Hosts, AnyHost, About, Quit, UIDs and Tokens of o. It ignores the other options.
func (h *Handler) Reload(o Options) {
	h.current.Store(&reloadable{checked: proxy.CheckHosts(o.Hosts, o.AnyHost, h.routes), about: o.About,
		access: access{uids: o.UIDs, tokens: o.Tokens}, quit: o.Quit})
}

func (h *Handler) sample() {
	tick := time.NewTicker(bucketTime)
	defer tick.Stop()
	for {
		select {
		case <-h.closed:
			return
		case <-tick.C:
			h.history.beginBucket(readSample(h.proxy.Metrics()))
		}
	}
}

// Close performs the merged purges that have not taken effect yet, each within purgeTimeout, and
// ends the sampling. A purge that is requested later takes effect at once. Call Close before
// closing the Proxy and its cache. Further calls of Close do nothing.
func (h *Handler) Close() {
	h.close()
	h.sampling.Wait()
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	h.current.Load().checked.ServeHTTP(w, r)
}

func (h *Handler) serveReadiness(w http.ResponseWriter, _ *http.Request) {
	readiness, status := h.proxy.Readiness(), http.StatusOK
	if !readiness.Ready {
		status = http.StatusServiceUnavailable
	}
	writeJSON(w, status, readiness)
}

func writeJSON(w http.ResponseWriter, status int, response any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(response)
}
