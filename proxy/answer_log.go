package proxy

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/igproxy/igproxy/proxy/graph"
)

// hitLines bounds the lines about hits, a second: a flood of hits is no news, and a line costs as much as a hit. What was left
// out is told by the next line, and counted in the metrics like all the rest.
type hitLines struct {
	most   int64 // zero: all
	second atomic.Int64
	lines  atomic.Int64 // in that second
	unsaid atomic.Int64 // since the last line
}

// next reports whether a hit may have its line, and how many before it had none.
func (h *hitLines) next(now time.Time) (unsaid int64, ok bool) {
	if h.most == 0 {
		return 0, true
	}
	second, old := now.Unix(), h.second.Load()
	if (second > old || second < old-60) && h.second.CompareAndSwap(old, second) { // a late one does not begin a second anew; a clock set back does
		h.lines.Store(0)
	}
	if h.lines.Add(1) > h.most {
		h.unsaid.Add(1)
		return 0, false
	}
	return h.unsaid.Swap(0), true
}

// log writes the one line of a request: names and numbers, never a value that came from outside.
func (x *reply) log(hits *hitLines, log *slog.Logger, took time.Duration) {
	if !log.Enabled(context.Background(), x.level()) {
		return
	}
	unsaid, ok := int64(0), true
	if x.hit() {
		unsaid, ok = hits.next(time.Now())
	}
	if ok {
		x.write(log, took, unsaid)
	}
}

func (x *reply) level() slog.Level {
	if x.status >= 500 {
		return slog.LevelWarn
	}
	return slog.LevelInfo
}

func (x *reply) write(log *slog.Logger, took time.Duration, unsaid int64) {
	attrs := make([]slog.Attr, 0, 12)
	attrs = append(attrs, slog.String("outcome", x.outcome()), slog.String("source", x.source()), slog.Int("status", x.status),
		slog.Float64("duration_ms", float64(took.Microseconds())/1000), slog.String("request_id", x.id), slog.String("app", x.app), slog.String("grant", x.grant))
	if e := x.refusal(); e != nil && !x.gone {
		attrs = append(attrs, slog.Int("code", e.Code), slog.Int("subcode", e.Subcode), slog.String("class", string(e.Class)))
		if e.Cause != "" {
			attrs = append(attrs, slog.String("cause", e.Cause))
		}
		if e.Repeated {
			attrs = append(attrs, slog.Bool("repeated", true))
		}
		if advice := advice(e.Class); advice != "" {
			attrs = append(attrs, slog.String("advice", advice))
		}
	}
	if unsaid > 0 {
		attrs = append(attrs, slog.Int64("hits_not_logged", unsaid))
	}
	log.LogAttrs(context.Background(), x.level(), "request", attrs...)
}

// hit reports whether memory or Redis knew the token.
func (x *reply) hit() bool {
	s := x.result.source
	return x.err == nil && !x.gone && x.passed == nil && x.result.refusal == nil && !x.result.joined && (s == sourceMemory || s == sourceRedis)
}

// advice is what an operator should know about a refusal whose message misleads.
func advice(c graph.Class) string {
	switch c {
	case graph.ClassStanding:
		return "code 100: the app has no standing with this account (not an accepted tester, app not live, wrong app id and secret pair); see Meta's dashboard"
	case graph.ClassSecret:
		return "Instagram refuses the client secret; compare it with the Instagram app's in Meta's dashboard"
	}
	return ""
}
