package proxy

import (
	"context"
	"log/slog"
	"time"

	"github.com/igproxy/igproxy/proxy/graph"
	"github.com/igproxy/igproxy/proxy/loglimit"
)

// lineKind is the kind of a log line about a request. Each kind has its own limit of lines per
// second, so a flood of one kind does not hide the others.
type lineKind struct {
	outcome string
	status  int
}

// requestLines limits the log lines about requests.
type requestLines struct {
	*loglimit.Limits[lineKind]
	hits *loglimit.Limit // the limit for hits; looked up only once, to keep hits cheap
}

// newRequestLines limits each kind of line to perSecond lines a second. Zero means no limit.
func newRequestLines(perSecond int) requestLines {
	l := loglimit.New[lineKind](perSecond)
	return requestLines{l, l.Of(lineKind{outcome: "hit"})}
}

// log writes a line about the request, unless the limit for its kind has been reached. A line
// never contains a value that the client sent.
func (x *requestState) log(lines requestLines, log *slog.Logger, took time.Duration) {
	if !log.Enabled(context.Background(), x.level()) {
		return
	}
	limit := lines.hits
	if !x.hit() {
		limit = lines.Of(lineKind{x.outcome(), x.status})
	}
	if skipped, ok := limit.Next(time.Now()); ok {
		x.write(log, took, skipped)
	}
}

func (x *requestState) level() slog.Level {
	if x.status >= 500 {
		return slog.LevelWarn
	}
	return slog.LevelInfo
}

// write writes the line. For a hit in the lane, x is a requestState in which laneHandler.Sent has
// set only the fields that write needs. If write needs a further field, Sent must set it too.
func (x *requestState) write(log *slog.Logger, took time.Duration, skipped int64) {
	attrs := append(make([]slog.Attr, 0, 12),
		slog.String("outcome", x.outcome()),
		slog.String("source", x.source()),
		slog.Int("status", x.status),
		slog.Float64("duration_ms", float64(took.Microseconds())/1000),
		slog.String("request_id", x.id.String()),
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
		attrs = append(attrs, slog.Int64(loglimit.Attribute, skipped))
	}
	log.LogAttrs(context.Background(), x.level(), "request", attrs...)
}

// hit reports whether the app got a token that was found in memory or in Redis. Remembered refusals
// do not count.
func (x *requestState) hit() bool {
	return x.outcome() == "token" && (x.source() == string(sourceMemory) || x.source() == string(sourceRedis))
}

// advicePaused tells the operator what the pause of an app means and how to end it.
const advicePaused = "Meta limits the app, so igproxy pauses its token calls; known tokens are still served; " +
	"if Meta lifts the limit before the pause ends, end the pause with igproxy resume"

// advice tells the operator what to do about a refusal, by its class. A class is listed only if its
// error messages are misleading or do not say what to do.
var advice = map[graph.Class]string{
	graph.ClassSignature: "Meta did not send this webhook or signed request, or the app changed the bytes before " +
		"passing them on, or Meta signed them with the secret of another app; in the last case, add that secret with webhook_secret_file",
	graph.ClassStanding: "code 100: the app has no access to this account (the account is not an accepted " +
		"tester, the app is not live, or app ID and secret do not match); see Meta's dashboard",
	graph.ClassSecret: "compare the app's ID and client secret with those in Meta's dashboard: " +
		"Instagram and Threads have their own, and those under App settings > Basic are for Facebook Login",
}
