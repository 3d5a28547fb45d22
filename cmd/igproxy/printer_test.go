package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestColourNeedsATerminalThatWantsIt(t *testing.T) {
	for _, c := range []struct {
		terminal bool
		environ  []string
		want     bool
	}{
		{true, nil, true}, {true, []string{"TERM=xterm", "NO_COLOR="}, true},
		{true, []string{"NO_COLOR=1"}, false}, {true, []string{"TERM=dumb"}, false}, {false, []string{"TERM=xterm"}, false},
	} {
		if got := wantsColour(c.terminal, environment{environ: c.environ}); got != c.want {
			t.Errorf("terminal %v, %q: got %v, want %v", c.terminal, c.environ, got, c.want)
		}
	}
}

func TestTheTextIsTheSameWithAndWithoutColour(t *testing.T) {
	printed := func(colour bool) string {
		var b bytes.Buffer
		p := &printer{out: &b, colour: colour}
		p.title("title", "below")
		p.scene(1, "scene")
		p.reply(reply{status: 503, cacheStatus: "igproxy", retryAfter: "2", body: `{"access_token":"` + strings.Repeat("x", 70) + `"}`, took: 1234567})
		p.pass("right")
		p.fail("wrong")
		return b.String()
	}
	plain, coloured := printed(false), printed(true)
	if strings.Contains(plain, "\x1b") || !strings.Contains(coloured, "\x1b[31m503\x1b[0m") {
		t.Errorf("plain %q\ncoloured %q", plain, coloured)
	}
	for _, style := range []string{bold, dim, red, green, yellow, cyan, "0"} {
		coloured = strings.ReplaceAll(coloured, "\x1b["+style+"m", "")
	}
	if coloured != plain {
		t.Errorf("got\n%s\nwant\n%s", coloured, plain)
	}
	for _, want := range []string{"1. scene", "503 in 1.23ms", "Retry-After: 2", `"xxxxxxxxxxxx...xxxx"`, "✓ right", "✗ wrong"} {
		if !strings.Contains(plain, want) {
			t.Errorf("does not contain %q:\n%s", want, plain)
		}
	}
}
