package proxy

import (
	"context"
	"log/slog"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/igproxy/igproxy/cache"
	"github.com/igproxy/igproxy/proxy/graph"
	"github.com/igproxy/igproxy/proxy/lane"
)

// shortcut is what the lane needs of an engine; there is none where a request could be another app's, or must show a token of the sidecar's.
type shortcut struct {
	keys     *cache.Keys
	app      string
	grant    string
	lines    *hitLines
	counters func() hitCounters
}

// shortcutOf is for the app whose exchange needs nothing but the token.
func shortcutOf(e *engine, m *Metrics) *shortcut {
	if e.trust.digest != nil {
		return nil
	}
	var s *shortcut
	for _, g := range at(e.grants, lane.Path) {
		for _, a := range e.apps {
			if g.grantType != lane.GrantType || a.Service != g.service {
				continue
			}
			if s != nil {
				return nil
			}
			s = &shortcut{keys: a.keys[g.name], app: a.label, grant: g.name, lines: e.lines,
				counters: sync.OnceValue(func() hitCounters { return m.hits(a.label, g.name) })}
		}
	}
	return s
}

// NewLane returns the lane of the proxy, for a server with these timeouts.
func (p *Proxy) NewLane(idle, write time.Duration) *lane.Lane {
	today := &clock{}
	return lane.New(lane.Options{IdleTimeout: idle, WriteTimeout: write,
		NewAnswerer: func() lane.Answerer { return &laneAnswerer{proxy: p, clock: today} }})
}

// laneAnswerer answers hits in memory on a connection of the lane: decode, recall and answer for a request that leaves nothing to decide.
type laneAnswerer struct {
	proxy *Proxy
	clock *clock
	known host // the Host that was served last

	hit      *shortcut // what the last answer came by
	counters hitCounters
	id       [requestIDLength]byte // of the last answer
}

// Answer is a lane.Answerer's.
func (a *laneAnswerer) Answer(b, host, token []byte, now time.Time) []byte {
	e := a.proxy.current.Load()
	if e.shortcut == nil || a.proxy.draining.Load() || len(token) > graph.MaxToken || !a.known.is(e, host) {
		return nil
	}
	entry, ok := a.proxy.carried.cache.Peek(e.shortcut.keys.Glance(token))
	if !ok {
		return nil
	}
	t, err := readTokenRecord(entry.Value, now)
	if err != nil || cap(b) < longestHeader+len(t.head)+len(t.tail) {
		return nil
	}
	a.hit, a.counters = e.shortcut, e.shortcut.counters()
	newRequestID(&a.id)
	return a.encode(b, &t, entry.Expires.Sub(now), now)
}

// Sent counts and logs, as ServeHTTP does.
func (a *laneAnswerer) Sent(start time.Time, took time.Duration) {
	a.counters.answered(took)
	log := a.proxy.carried.log
	if !log.Enabled(context.Background(), slog.LevelInfo) {
		return
	}
	if unsaid, ok := a.hit.lines.next(start); ok {
		x := reply{id: string(a.id[:]), grant: a.hit.grant, app: a.hit.app, status: http.StatusOK, result: answer{source: sourceMemory}}
		x.write(log, took, unsaid)
	}
}

// longestHeader is more than the header of an answer needs, and the digits of its body.
const longestHeader = 512

// encode appends what exchange.answer and net/http make of a hit, in their order. It is remembered for left.
func (a *laneAnswerer) encode(to []byte, t *tokenRecord, left time.Duration, now time.Time) []byte {
	var digits [20]byte
	expiresIn := strconv.AppendInt(digits[:0], int64(t.expires.Sub(now)/time.Second), 10)
	to = append(to, "HTTP/1.1 200 OK\r\nCache-Control: "+valueNoStore+"\r\nCache-Status: "...)
	to = appendHit(to, left)
	to = append(to, "\r\nContent-Length: "...)
	to = strconv.AppendInt(to, int64(len(t.head)+len(expiresIn)+len(t.tail)), 10)
	to = append(to, "\r\nContent-Type: "+valueJSON+"\r\nX-Content-Type-Options: "+valueNoSniff+"\r\nX-Request-Id: "...)
	to = append(to, a.id[:]...)
	to = append(to, "\r\nDate: "...)
	to = append(to, a.clock.date(now)...)
	to = append(to, "\r\n\r\n"...)
	to = append(to, t.head...)
	to = append(to, expiresIn...)
	return append(to, t.tail...)
}

// clock keeps the text of the current second's Date.
type clock struct{ current atomic.Pointer[date] }

type date struct {
	second int64
	text   []byte
}

func (c *clock) date(now time.Time) []byte {
	d := c.current.Load()
	if second := now.Unix(); d == nil || d.second != second {
		d = &date{second, now.UTC().AppendFormat(nil, http.TimeFormat)}
		c.current.Store(d)
	}
	return d.text
}

// host is the Host that an engine served last on a connection: a client sends the same each time.
type host struct {
	engine *engine
	name   string
}

func (h *host) is(e *engine, name []byte) bool {
	if h.engine == e && h.name == string(name) {
		return true
	}
	for _, c := range name {
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '.' || c == ':') {
			return false
		}
	}
	if !e.gate.any && !e.gate.serves(string(name)) {
		return false
	}
	h.engine, h.name = e, string(name)
	return true
}
