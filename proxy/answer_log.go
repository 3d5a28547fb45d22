package proxy

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/igproxy/igproxy/proxy/graph"
)

// hitLines bounds the log lines about hits, per second, because a line costs as much as a hit. The
// next line says how many hits had none.
type hitLines struct {
	most    int64
	second  atomic.Int64
	lines   atomic.Int64 // in that second
	skipped atomic.Int64 // hits without a line since the last line
}

// next reports whether a hit may have a line, and how many hits before it had none.
func (h *hitLines) next(now time.Time) (skipped int64, ok bool) {
	second, old := now.Unix(), h.second.Load()
	// A hit may be a little late and still belong to the previous second. A clock may be set back.
	if (second > old || second < old-60) && h.second.CompareAndSwap(old, second) {
		h.lines.Store(0)
	}
	if h.lines.Add(1) > h.most {
		h.skipped.Add(1)
		return 0, false
	}
	return h.skipped.Swap(0), true
}

// log writes the line of a request, if it may have one. A line has names and numbers, and never a
// value that was sent.
func (x *reply) log(hits *hitLines, log *slog.Logger, took time.Duration) {
	if !log.Enabled(context.Background(), x.level()) {
		return
	}
	skipped, ok := int64(0), true
	if x.hit() {
		skipped, ok = hits.next(time.Now())
	}
	if ok {
		x.write(log, took, skipped)
	}
}

func (x *reply) level() slog.Level {
	if x.status >= 500 {
		return slog.LevelWarn
	}
	return slog.LevelInfo
}

// write reads only fields that laneAnswerer.Sent sets too: the lane fills its reply by hand.
func (x *reply) write(log *slog.Logger, took time.Duration, skipped int64) {
	attrs := append(make([]slog.Attr, 0, 12),
		slog.String("outcome", x.outcome()),
		slog.String("source", x.source()),
		slog.Int("status", x.status),
		slog.Float64("duration_ms", float64(took.Microseconds())/1000),
		slog.String("request_id", x.id),
		slog.String("app", x.app),
		slog.String("grant", x.grant))
	if e := x.refusal(); e != nil && !x.gone {
		attrs = append(attrs,
			slog.Int("code", e.Code), slog.Int("subcode", e.Subcode), slog.String("class", string(e.Class)))
		if e.Cause != "" {
			attrs = append(attrs, slog.String("cause", e.Cause))
		}
		if e.Repeated {
			attrs = append(attrs, slog.Bool("repeated", true))
		}
		if text := advice[e.Class]; text != "" {
			attrs = append(attrs, slog.String("advice", text))
		}
	}
	if skipped > 0 {
		attrs = append(attrs, slog.Int64("hits_not_logged", skipped))
	}
	log.LogAttrs(context.Background(), x.level(), "request", attrs...)
}

// hit reports whether the token was found in memory or Redis.
func (x *reply) hit() bool {
	return x.outcome() == "token" && (x.source() == string(sourceMemory) || x.source() == string(sourceRedis))
}

// advice tells the operator what to do about refusals whose message misleads.
var advice = map[graph.Class]string{
	graph.ClassStanding: "code 100: the app has no access to this account (the account is not an accepted " +
		"tester, the app is not live, or app ID and secret do not match); see Meta's dashboard",
	graph.ClassSecret: "compare the client secret with the one in Meta's dashboard: " +
		"use the Instagram app secret or the Threads app secret, not the Facebook app's secret",
}
