// Package logging has a logger that never blocks a request: lines wait in a bounded queue, and a
// line that does not fit is dropped and counted.
package logging

import (
	"bytes"
	"io"
	stdlog "log"
	"log/slog"
	"os"
	"time"

	"golang.org/x/term"
)

// Log is the logger of a process that answers requests, and the queue between it and standard
// error.
type Log struct {
	Logger *slog.Logger
	level  *slog.LevelVar
	queue  *queue
}

// Start returns a Log that writes to w until Close. Levels are debug, info, warn and error; formats
// are json, text, and auto, which is text at a terminal.
func Start(w io.Writer, level, format string) *Log {
	l := &Log{level: new(slog.LevelVar), queue: newQueue(w)}
	l.SetLevel(level)
	l.Logger = loggerAt(l.queue, l.level, format)
	l.queue.report = func(dropped int) {
		l.Logger.Warn("log lines were dropped: standard error did not take them in time", "lines", dropped)
	}
	return l
}

// SetLevel changes the level.
func (l *Log) SetLevel(level string) { l.level.Set(levelOf(level)) }

// Dropped returns how many lines were lost since the start.
func (l *Log) Dropped() int { return l.queue.droppedSoFar() }

// closeTimeout bounds how long a stop waits for the last lines.
const closeTimeout = time.Second

// Close writes what is queued and reports whether standard error took it within a second.
func (l *Log) Close() bool { return l.queue.close(closeTimeout) }

// New returns a logger without a queue: JSON, or text for a person at a terminal.
func New(w io.Writer, level, format string) *slog.Logger {
	return loggerAt(w, levelOf(level), format)
}

func levelOf(text string) slog.Level {
	var l slog.Level
	if l.UnmarshalText([]byte(text)) != nil {
		return slog.LevelInfo // the configuration refuses unknown levels
	}
	return l
}

func loggerAt(w io.Writer, level slog.Leveler, format string) *slog.Logger {
	o := &slog.HandlerOptions{Level: level}
	if format == "text" || format == "auto" && IsTerminal(w) {
		return slog.New(slog.NewTextHandler(w, o))
	}
	return slog.New(slog.NewJSONHandler(w, o))
}

// IsTerminal reports whether w is a terminal.
func IsTerminal(w io.Writer) bool {
	if l, ok := w.(*queue); ok {
		w = l.to
	}
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// ForNetHTTP returns a log for net/http, which speaks through package log. It quotes what came on a
// connection that speaks out of turn: an answer that nobody asked for, with its token, or a
// greeting that is none. So a message ends here at its first quotation mark. And a connection that
// ends before its TLS handshake, as a watchdog's and a load balancer's do, is not worth a line.
func ForNetHTTP(log *slog.Logger, level slog.Level) *stdlog.Logger {
	to := slog.NewLogLogger(log.With("from", "net/http").Handler(), level)
	return stdlog.New(cutter{to.Writer()}, "", 0)
}

type cutter struct{ to io.Writer }

func (c cutter) Write(line []byte) (int, error) {
	if bytes.HasPrefix(line, []byte("http: TLS handshake error from ")) && bytes.HasSuffix(bytes.TrimSpace(line), []byte(": EOF")) {
		return len(line), nil
	}
	said, _, quotes := bytes.Cut(line, []byte{'"'})
	if quotes {
		said = append(bytes.Clone(said), "..."...)
	}
	if _, err := c.to.Write(said); err != nil {
		return 0, err
	}
	return len(line), nil
}
