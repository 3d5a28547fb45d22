package proxy

import (
	"context"
	"log/slog"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/igproxy/igproxy/cache"
	"github.com/igproxy/igproxy/proxy/graph"
	"github.com/igproxy/igproxy/proxy/lane"
	"github.com/igproxy/igproxy/proxy/loglimit"
)

// shortcut is what the lane needs from an engine.
type shortcut struct {
	keys     *cache.Keys
	app      string
	grant    string
	lines    *loglimit.Limit // of hits
	counters func() hitCounters
}

// shortcutOf returns the shortcut of an engine. It is nil if a plain request needs a decision that
// only decode can take: which of several apps it belongs to, or whether it carries igproxy's token.
func shortcutOf(e *engine, c carried) (s *shortcut) {
	for _, a := range e.apps {
		g := rowOf(rowsAt(e.grants, lane.Path), a)
		if g.grantType != lane.GrantType {
			continue
		}
		if s != nil || e.trust.digests != nil {
			return nil
		}
		s = &shortcut{keys: a.keys[g.name], app: a.Label, grant: g.name, lines: c.lines.hits,
			counters: sync.OnceValue(func() hitCounters { return c.metrics.hits(a.Label, g.name) })}
	}
	return s
}

// NewLane returns a lane that answers the proxy's hits, for an http.Server with these timeouts.
func (p *Proxy) NewLane(idle, write time.Duration) *lane.Lane {
	return lane.New(lane.Options{IdleTimeout: idle, WriteTimeout: write,
		NewAnswerer: func() lane.Answerer { return &laneAnswerer{proxy: p} }})
}

// laneAnswerer answers the hits on one connection of the lane: decode, recall and answer for a
// request that leaves nothing to decide. It allocates nothing.
type laneAnswerer struct {
	proxy *Proxy

	engine *engine // the engine and the Host that were last checked: a client sends the same Host again
	host   string

	second int64 // the Unix time of date
	date   [len(http.TimeFormat)]byte

	hit *shortcut // of the last answer
	id  [16]byte  // of the last answer
}

// Answer implements lane.Answerer.
func (a *laneAnswerer) Answer(b, host, token []byte, now time.Time) []byte {
	e := a.proxy.current.Load()
	if e.shortcut == nil || a.proxy.draining.Load() || len(token) > graph.MaxToken || !a.serves(e, host) {
		return nil
	}
	entry, ok := a.proxy.carried.cache.Peek(e.shortcut.keys.Glance(token))
	if !ok {
		return nil
	}
	t, ok := readTokenRecord(entry.Value, now)
	if !ok || len(t.tail) == 0 || cap(b) < longestHeader+len(t.head)+len(t.tail) {
		return nil
	}
	a.hit, a.id = e.shortcut, newRequestID()
	return a.encode(b, &t, entry.Expires.Sub(now), now)
}

// Sent implements lane.Answerer. It counts and logs as ServeHTTP does.
func (a *laneAnswerer) Sent(start time.Time, took time.Duration) {
	a.hit.counters().answered(took)
	log := a.proxy.carried.log
	if !log.Enabled(context.Background(), slog.LevelInfo) {
		return
	}
	if skipped, ok := a.hit.lines.Next(start); ok {
		x := reply{id: string(a.id[:]), grant: a.hit.grant, app: a.hit.app, status: http.StatusOK,
			result: answer{source: sourceMemory}}
		x.write(log, took, skipped)
	}
}

// longestHeader is the room for the header of an answer and the digits of its body, in bytes.
const longestHeader = 512

// encode appends what reply.answer and net/http write for a hit that is remembered for left.
// FuzzLane compares them.
func (a *laneAnswerer) encode(to []byte, t *tokenRecord, left time.Duration, now time.Time) []byte {
	var digits [20]byte
	expiresIn := appendExpiresIn(digits[:0], t.expires, now)
	if second := now.Unix(); second != a.second {
		a.second = second
		now.UTC().AppendFormat(a.date[:0], http.TimeFormat)
	}
	to = append(to, "HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nCache-Status: "...)
	to = appendHit(to, left)
	to = append(to, "\r\nContent-Length: "...)
	to = strconv.AppendInt(to, int64(len(t.head)+len(expiresIn)+len(t.tail)), 10)
	to = append(to, "\r\nContent-Type: application/json; charset=UTF-8\r\nX-Content-Type-Options: nosniff"...)
	to = append(to, "\r\nX-Request-Id: "...)
	to = append(to, a.id[:]...)
	to = append(to, "\r\nDate: "...)
	to = append(to, a.date[:]...)
	to = append(to, "\r\n\r\n"...)
	to = append(to, t.head...)
	to = append(to, expiresIn...)
	return append(to, t.tail...)
}

// serves reports whether the engine serves a Host. Unusual characters are left to the gate.
func (a *laneAnswerer) serves(e *engine, host []byte) bool {
	if a.engine == e && a.host == string(host) {
		return true
	}
	for _, c := range host {
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '.' || c == ':') {
			return false
		}
	}
	if !e.gate.any && !e.gate.serves(string(host)) {
		return false
	}
	a.engine, a.host = e, string(host)
	return true
}
