package proxy

import (
	"context"
	"log/slog"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/igproxy/igproxy/cache"
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
	for _, g := range at(e.grants, exchangePath) {
		for _, a := range e.apps {
			if g.grantType != plainGrantType || a.Service != g.service {
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

// answer answers the plain hits that p[:n] begins with, and says how many bytes they were. What is free of p is where it writes an answer.
// An error means that the connection is of no use any more.
func (l *Lane) answer(c *LaneConn, p []byte, n int) (used int, err error) {
	for used < n && err == nil {
		start := time.Now()
		h, length := l.hit(c, p[used:n], start)
		if length == 0 || len(p)-n < longestHeader+len(h.token.head)+len(h.token.tail) {
			break
		}
		used += length
		c.hurry(start)
		_, err = c.Conn.Write(l.reply(p[n:n], &h, start))
		took := time.Since(start)
		h.counters.answered(took)
		h.log(l.proxy.carried.log, start, took)
		c.last = start.Add(took)
	}
	if used == n && c.below != nil {
		c.below.Idle(c.last)
	}
	return used, err
}

// laneHit is one plain hit: what was found, and where it is counted.
type laneHit struct {
	*shortcut
	counters hitCounters
	token    tokenRecord
	left     time.Duration // how long it will still be remembered
	id       [requestIDLength]byte
}

// hit reads one request and finds its answer; of no length: it is for net/http. It is decode, recall and answer for a request that leaves
// nothing to decide.
func (l *Lane) hit(c *LaneConn, b []byte, now time.Time) (h laneHit, length int) {
	e := l.proxy.current.Load()
	if e.shortcut == nil || l.proxy.draining.Load() {
		return h, 0
	}
	r, ok := readPlain(b)
	if !ok || !c.known.is(e, r.host) {
		return h, 0
	}
	entry, ok := l.proxy.carried.cache.Peek(e.shortcut.keys.Glance(r.token))
	if !ok {
		return h, 0
	}
	t, err := readTokenRecord(entry.Value, now)
	if err != nil {
		return h, 0
	}
	h = laneHit{shortcut: e.shortcut, counters: e.shortcut.counters(), token: t, left: entry.Expires.Sub(now)}
	newRequestID(&h.id)
	return h, r.length
}

// longestHeader is more than the header of an answer needs, and the digits of its body.
const longestHeader = 512

// reply is what exchange.answer and net/http make of a hit, in their order.
func (l *Lane) reply(to []byte, h *laneHit, now time.Time) []byte {
	var digits [20]byte
	t := &h.token
	left := strconv.AppendInt(digits[:0], int64(t.expires.Sub(now)/time.Second), 10)
	to = append(to, "HTTP/1.1 200 OK\r\nCache-Control: "+valueNoStore+"\r\nCache-Status: "...)
	to = appendHit(to, h.left)
	to = append(to, "\r\nContent-Length: "...)
	to = strconv.AppendInt(to, int64(len(t.head)+len(left)+len(t.tail)), 10)
	to = append(to, "\r\nContent-Type: "+valueJSON+"\r\nX-Content-Type-Options: "+valueNoSniff+"\r\nX-Request-Id: "...)
	to = append(to, h.id[:]...)
	to = append(to, "\r\nDate: "...)
	to = append(to, l.dateOf(now)...)
	to = append(to, "\r\n\r\n"...)
	to = append(to, t.head...)
	to = append(to, left...)
	return append(to, t.tail...)
}

// date is the Date of one second.
type date struct {
	second int64
	text   []byte
}

func (l *Lane) dateOf(now time.Time) []byte {
	d := l.date.Load()
	if second := now.Unix(); d == nil || d.second != second {
		d = &date{second, now.UTC().AppendFormat(nil, http.TimeFormat)}
		l.date.Store(d)
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

// log writes the one line of a request, as exchange.log does.
func (h *laneHit) log(log *slog.Logger, now time.Time, took time.Duration) {
	if !log.Enabled(context.Background(), slog.LevelInfo) {
		return
	}
	if unsaid, ok := h.lines.next(now); ok {
		x := exchange{id: string(h.id[:]), grant: h.grant, app: h.app, status: http.StatusOK, result: answer{source: sourceMemory}}
		x.write(log, took, unsaid)
	}
}
