// Package logging has a logger that never blocks a request: lines wait in a bounded queue, and a
// line that does not fit is dropped and counted. It also limits how often a line is repeated.
package logging

import (
	"bytes"
	"io"
	stdlog "log"
	"log/slog"
	"os"
	"time"

	"golang.org/x/term"

	"github.com/igproxy/igproxy/proxy/loglimit"
)

// Log is a logger and the queue between it and its writer.
type Log struct {
	Logger *slog.Logger
	level  slog.LevelVar
	limits *loglimit.Limits[string]
	queue  *queue
}

// Start returns a Log that writes to w until Close. Levels are debug, info, warn and error; formats
// are json, text, and auto, which means text if w is a terminal, and json if it is not.
func Start(w io.Writer, level, format string) *Log {
	l := &Log{queue: newQueue(w), limits: loglimit.New[string](0)}
	l.SetLevel(level)
	o := &slog.HandlerOptions{Level: &l.level}
	f, isFile := w.(*os.File)
	if format == "text" || format == "auto" && isFile && IsTerminal(f) {
		l.Logger = slog.New(limited{slog.NewTextHandler(l.queue, o), l.limits})
	} else {
		l.Logger = slog.New(limited{slog.NewJSONHandler(l.queue, o), l.limits})
	}
	l.queue.report = func(lines int) { l.Logger.Warn("log lines dropped", "lines", lines) }
	return l
}

// SetLevel changes the level.
func (l *Log) SetLevel(level string) {
	_ = l.level.UnmarshalText([]byte(level)) // the configuration refuses unknown levels
}

// SetLines bounds how many lines with the same message are logged per second. Zero means no bound,
// as before the first call. The bound does not apply to lines about requests, which package proxy
// bounds.
func (l *Log) SetLines(most int) { l.limits.Set(most) }

// Dropped returns how many lines have been lost since the start.
func (l *Log) Dropped() int { return l.queue.droppedSoFar() }

// closeTimeout bounds how long a stop waits for the last lines.
const closeTimeout = time.Second

// Close writes what is queued, and reports whether the writes ended within a second. Writes that
// ended may have failed, see Dropped.
func (l *Log) Close() bool { return l.queue.close(closeTimeout) }

// ForNetHTTP returns a logger of the type that net/http uses. It writes to log. Each message is cut
// at its first quotation mark, because net/http quotes data that a peer sent without being asked,
// and that data may contain a token. A connection that ends before its TLS handshake is not logged,
// because watchdogs and load balancers open such connections.
func ForNetHTTP(log *slog.Logger, level slog.Level) *stdlog.Logger {
	to := slog.NewLogLogger(log.With("from", "net/http").Handler(), level)
	return stdlog.New(cutter{to.Writer()}, "", 0)
}

type cutter struct{ to io.Writer }

func (c cutter) Write(line []byte) (int, error) {
	if bytes.HasPrefix(line, []byte("http: TLS handshake error from ")) && bytes.HasSuffix(bytes.TrimSpace(line), []byte(": EOF")) {
		return len(line), nil
	}
	text, _, quotes := bytes.Cut(line, []byte{'"'})
	if quotes {
		text = append(bytes.Clone(text), "..."...)
	}
	if _, err := c.to.Write(text); err != nil {
		return 0, err
	}
	return len(line), nil
}

// IsTerminal reports whether a file is a terminal.
func IsTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }
