package main

import (
	"bytes"
	"io"
	stdlog "log"
	"log/slog"
	"os"

	"golang.org/x/term"
)

// newServeLog builds the logger of a process that answers requests, whose level can be changed, and the queue behind it, which its owner
// closes.
func newServeLog(w io.Writer, level, format string) (*slog.Logger, *slog.LevelVar, *lines) {
	l := newLines(w)
	changing := new(slog.LevelVar)
	changing.Set(levelOf(level))
	log := loggerAt(l, changing, format)
	l.tell = func(dropped int) {
		log.Warn("log lines were dropped: standard error did not take them in time", "lines", dropped)
	}
	return log, changing, l
}

// newLogger builds the one logger: JSON, or text for a person at a terminal.
func newLogger(w io.Writer, level, format string) *slog.Logger {
	return loggerAt(w, levelOf(level), format)
}

func levelOf(text string) slog.Level {
	var l slog.Level
	if l.UnmarshalText([]byte(text)) != nil {
		return slog.LevelInfo // loadConfig has refused unknown levels already
	}
	return l
}

func loggerAt(w io.Writer, level slog.Leveler, format string) *slog.Logger {
	o := &slog.HandlerOptions{Level: level}
	if format == "text" || format == "auto" && isTerminal(w) {
		return slog.New(slog.NewTextHandler(w, o))
	}
	return slog.New(slog.NewJSONHandler(w, o))
}

func isTerminal(w io.Writer) bool {
	if l, ok := w.(*lines); ok {
		w = l.to
	}
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// unquoted is a log for net/http, which speaks through package log. It quotes what came on a connection that speaks out of turn: an answer
// that nobody asked for, with its token, or a greeting that is none. So a message ends here at its first quotation mark. And a connection
// that ends before its TLS handshake, as a watchdog's and a load balancer's do, is not worth a line.
func unquoted(log *slog.Logger, level slog.Level) *stdlog.Logger {
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
