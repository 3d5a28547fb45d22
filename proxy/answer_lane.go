package proxy

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/igproxy/igproxy/cache"
	"github.com/igproxy/igproxy/proxy/graph"
	"github.com/igproxy/igproxy/proxy/lane"
)

// plainCall is what all requests that the lane answers have in common: the whole call except its
// token and its cache key.
type plainCall struct {
	app      *app
	grant    *grant
	keys     *cache.Keys
	counters func() hitCounters // looks up the counters of memory hits on its first call
}

// plainCallOf returns the plain call of an engine. It returns nil if there is no Instagram app, or
// if requests need a decision that only decode can make: which of several Instagram apps they
// belong to, or whether they carry igproxy's own token.
func plainCallOf(e *engine, m *Metrics) (c *plainCall) {
	for _, a := range e.apps {
		g := rowOf(rowsAt(e.grants, lane.Path), a)
		if g == nil || g.grantType != lane.GrantType {
			continue
		}
		if c != nil || e.trust.digests != nil {
			return nil
		}
		c = &plainCall{app: a, grant: g, keys: a.keys[g.name],
			counters: sync.OnceValue(func() hitCounters { return m.hits(a.Label, g.name) })}
	}
	return c
}

// NewLane returns a lane whose requests the proxy answers. It ignores o.NewHandler.
func (p *Proxy) NewLane(o lane.Options) *lane.Lane {
	o.NewHandler = func() lane.Handler { return &laneHandler{proxy: p} }
	return lane.New(o)
}

// NewLaneOnLoopback returns a lane that checks the Host name as OnLoopback does.
func (p *Proxy) NewLaneOnLoopback(o lane.Options) *lane.Lane {
	o.NewHandler = func() lane.Handler { return &laneHandler{proxy: p, onLoopback: true} }
	return lane.New(o)
}

// laneHandler answers the requests on one connection in the lane. If memory has a token and its
// expires_in for a request, the handler sends them directly, and allocates only for a log line. For
// any other request, it runs the steps.
type laneHandler struct {
	proxy      *Proxy
	onLoopback bool

	// engine and host are the arguments of the last call of serves that returned true. A client
	// usually repeats its Host, so most requests need no new check.
	engine *engine
	host   string

	// Serve sets these fields for Sent.
	hit *plainCall    // nil: the steps answered the request
	id  requestID     // the request ID, if the steps did not answer the request
	x   *requestState // the request and its outcome, if the steps answered the request
}

// Serve implements lane.Handler.
func (h *laneHandler) Serve(b, host, token []byte, start time.Time) (answer []byte, last bool) {
	e := h.proxy.current.Load()
	if e.plain == nil || len(token) > graph.MaxToken || !h.serves(e, host) {
		return nil, false
	}
	last = h.proxy.stopping.Load()
	entry, ok := h.proxy.carried.cache.Peek(e.plain.keys.Glance(token))
	if !ok {
		return h.miss(b, e, token, last), last
	}
	t, ok := readEncodedToken(entry.Value, start)
	if !ok || len(t.tail) == 0 {
		return h.miss(b, e, token, last), last
	}
	h.hit, h.id = e.plain, newRequestID()
	r := response{status: http.StatusOK, id: h.id, last: last, cacheStatus: appendHit(make([]byte, 0, 32), entry.Expires.Sub(start)),
		head: t.head, digits: appendExpiresIn(make([]byte, 0, 20), t.expires, start), tail: t.tail}
	return r.appendTo(b, h.proxy.dates.at(start)), last
}

// miss runs the steps after decode and appends the response to b. It does not watch for a client
// that disconnects, for two reasons: the exchange would continue anyway, and a client that has
// closed only its sending half still waits for the answer.
func (h *laneHandler) miss(b []byte, e *engine, token []byte, last bool) []byte {
	h.hit, h.x = nil, &requestState{id: newRequestID(), last: last}
	secret := NewSecret(string(token))
	h.x.walk(e, call{app: e.plain.app, grant: e.plain.grant, token: secret, key: e.plain.app.key(e.plain.grant, secret, "")}, &h.proxy.carried)
	now := time.Now()
	r := h.x.response(now)
	return r.appendTo(b, h.proxy.dates.at(now))
}

// walk runs the steps from recall to remember, and turns a panic into an error.
func (x *requestState) walk(e *engine, c call, shared *carried) {
	defer x.recover(shared.log)
	x.exchange(context.Background(), e, c)
}

// Sent implements lane.Handler. It counts and logs as ServeHTTP does.
func (h *laneHandler) Sent(start time.Time, took time.Duration) {
	p := &h.proxy.carried
	if h.hit == nil {
		p.metrics.answered(h.x, took)
		h.x.log(p.lines, p.log, took)
		h.x = nil
		return
	}
	h.hit.counters().answered(took)
	if !p.log.Enabled(context.Background(), slog.LevelInfo) {
		return
	}
	if skipped, ok := p.lines.hits.Next(start); ok {
		x := requestState{id: h.id, grant: h.hit.grant.name, app: h.hit.app.Label, status: http.StatusOK,
			result: answer{source: sourceMemory}}
		x.write(p.log, took, skipped)
	}
}

// serves reports whether the lane may answer requests for a Host. It reports false if the gate
// (edge_host.go) does not serve the Host, if the Host has unusual characters, or if it is the name
// of one of Meta's hosts, because such a name selects a service. net/http then gets the request,
// and the gate and the method route (decode_path.go) decide about it.
func (h *laneHandler) serves(e *engine, host []byte) bool {
	if h.engine == e && h.host == string(host) {
		return true
	}
	for _, c := range host {
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '.' || c == ':') {
			return false
		}
	}
	if serviceOf(string(host)) != "" || (h.onLoopback || !e.gate.any) && !e.gate.serves(string(host)) {
		return false
	}
	h.engine, h.host = e, string(host)
	return true
}
