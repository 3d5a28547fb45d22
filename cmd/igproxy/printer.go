package main

import (
	"fmt"
	"io"
	"regexp"
	"time"

	"github.com/igproxy/igproxy/cmd/igproxy/internal/logging"
)

// printer prints for a person: in colour at a terminal, unless NO_COLOR is set
// (https://no-color.org), and plain otherwise.
type printer struct {
	out    io.Writer
	colour bool
}

func newPrinter(env environment) *printer {
	return &printer{out: env.stdout, colour: wantsColour(logging.IsTerminal(env.stdout), env)}
}

func wantsColour(terminal bool, env environment) bool {
	return terminal && env.get("NO_COLOR") == "" && env.get("TERM") != "dumb"
}

// Styles, as ANSI SGR codes.
const (
	bold   = "1"
	dim    = "2"
	red    = "31"
	green  = "32"
	yellow = "33"
	cyan   = "36"
)

func (p *printer) paint(style, text string) string {
	if !p.colour {
		return text
	}
	return "\x1b[" + style + "m" + text + "\x1b[0m"
}

func (p *printer) title(text, below string) {
	fmt.Fprintf(p.out, "\n%s\n%s", p.paint(bold, text), p.paint(dim, below))
}

func (p *printer) scene(number int, name string) {
	fmt.Fprintf(p.out, "\n%s %s\n", p.paint(cyan, fmt.Sprintf("%d.", number)), p.paint(bold, name))
}

func (p *printer) say(format string, args ...any) { fmt.Fprintf(p.out, "   "+format+"\n", args...) }

func (p *printer) reply(r reply) {
	style := green
	if r.status >= 400 {
		style = red
	}
	headers := ""
	if r.cacheStatus != "" {
		headers += "  Cache-Status: " + r.cacheStatus
	}
	if r.retryAfter != "" {
		headers += "  Retry-After: " + r.retryAfter
	}
	p.say("%s %s in %s%s", p.paint(dim, "<"), p.paint(style, fmt.Sprint(r.status)), r.took.Round(10*time.Microsecond), headers)
	p.say("%s %s", p.paint(dim, "<"), shorten(r.body))
}

func (p *printer) pass(text string) { p.say("%s %s", p.paint(green, "✓"), text) }
func (p *printer) fail(text string) { p.say("%s %s", p.paint(red, "✗"), text) }

// longToken matches a token of realistic length, which only fills the screen.
var longToken = regexp.MustCompile(`[A-Za-z0-9_-]{60,}`)

func shorten(text string) string {
	return longToken.ReplaceAllStringFunc(text, func(t string) string { return t[:12] + "..." + t[len(t)-4:] })
}
