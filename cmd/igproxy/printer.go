package main

import (
	"fmt"
	"io"
	"regexp"
	"time"

	"github.com/igproxy/igproxy/cmd/igproxy/internal/logging"
)

// printer prints for a person: coloured at a terminal (unless NO_COLOR is set,
// https://no-color.org), plain when piped.
type printer struct {
	out    io.Writer
	colour bool
}

func newPrinter(env environment) *printer {
	return &printer{out: env.stdout, colour: colourful(logging.IsTerminal(env.stdout), env)}
}

func colourful(terminal bool, env environment) bool {
	return terminal && env.get("NO_COLOR") == "" && env.get("TERM") != "dumb"
}

// The few styles used, as ANSI SGR codes.
const (
	bold   = "1"
	dim    = "2"
	red    = "31"
	green  = "32"
	yellow = "33"
	cyan   = "36"
)

func (s *printer) paint(style, text string) string {
	if !s.colour {
		return text
	}
	return "\x1b[" + style + "m" + text + "\x1b[0m"
}

func (s *printer) title(text, below string) {
	fmt.Fprintf(s.out, "\n%s\n", s.paint(bold, text))
	if below != "" {
		fmt.Fprintln(s.out, s.paint(dim, below))
	}
}

func (s *printer) scene(number int, name string) {
	fmt.Fprintf(s.out, "\n%s %s\n", s.paint(cyan, fmt.Sprintf("%d.", number)), s.paint(bold, name))
}

func (s *printer) say(format string, args ...any) {
	if format == "" {
		fmt.Fprintln(s.out)
		return
	}
	fmt.Fprintf(s.out, "   "+format+"\n", args...)
}

func (s *printer) request(token string) {
	s.say("%s GET /access_token?grant_type=ig_exchange_token&access_token=%s", s.paint(dim, ">"), shorten(token))
}

func (s *printer) reply(r reply) {
	style := green
	if r.status >= 400 {
		style = red
	}
	retry := ""
	if r.retryAfter != "" {
		retry = "  Retry-After: " + r.retryAfter
	}
	cached := ""
	if r.cacheStatus != "" {
		cached = "  Cache-Status: " + r.cacheStatus
	}
	s.say("%s %s in %s%s%s", s.paint(dim, "<"), s.paint(style, fmt.Sprint(r.status)), round(r.took), cached, retry)
	s.say("%s %s", s.paint(dim, "<"), shorten(r.body))
}

func (s *printer) pass(text string) { s.say("%s %s", s.paint(green, "✓"), text) }
func (s *printer) fail(text string) { s.say("%s %s", s.paint(red, "✗ not as told:"), text) }

// longToken is a token in an answer: real enough to be long, and of no use to a reader.
var longToken = regexp.MustCompile(`[A-Za-z0-9_-]{60,}`)

func shorten(body string) string {
	return longToken.ReplaceAllStringFunc(body, func(w string) string { return w[:12] + "..." + w[len(w)-4:] })
}

// round keeps three significant figures or so.
func round(d time.Duration) time.Duration {
	switch {
	case d > 100*time.Millisecond:
		return d.Round(time.Millisecond)
	case d > time.Millisecond:
		return d.Round(10 * time.Microsecond)
	}
	return d.Round(time.Microsecond)
}
