package main

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"
)

func TestTheStageIsPlainUnlessATerminalWantsColour(t *testing.T) {
	for _, c := range []struct {
		terminal bool
		environ  []string
		want     bool
	}{
		{true, nil, true}, {true, []string{"TERM=xterm", "NO_COLOR="}, true},
		{true, []string{"NO_COLOR=1"}, false}, {true, []string{"TERM=dumb"}, false}, {false, []string{"TERM=xterm"}, false},
	} {
		if got := colourful(c.terminal, environment{environ: c.environ}); got != c.want {
			t.Errorf("terminal %v, %q: coloured %v, want %v", c.terminal, c.environ, got, c.want)
		}
	}
	receive, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer receive.Close()
	defer write.Close()
	if newPrinter(environment{stdout: write}).colour || newPrinter(environment{stdout: &bytes.Buffer{}}).colour {
		t.Error("coloured into a pipe")
	}
}

func TestTheStageSaysTheSameWithAndWithoutColour(t *testing.T) {
	said := func(colour bool) string {
		var b bytes.Buffer
		s := &printer{out: &b, colour: colour}
		s.title("title", "below")
		s.scene(1, "scene")
		s.request("IGAA-a")
		s.reply(reply{status: 503, cacheStatus: "igproxy", retryAfter: "2", body: `{"access_token":"` + strings.Repeat("x", 70) + `"}`, took: 1234567})
		s.pass("right")
		s.fail("wrong")
		return b.String()
	}
	plain, coloured := said(false), said(true)
	if strings.Contains(plain, "\x1b") || !strings.Contains(coloured, "\x1b[31m503\x1b[0m") {
		t.Errorf("plain %q\ncoloured %q", plain, coloured)
	}
	for _, style := range []string{bold, dim, red, green, yellow, cyan, "0"} {
		coloured = strings.ReplaceAll(coloured, "\x1b["+style+"m", "")
	}
	if coloured != plain {
		t.Errorf("got\n%s\nwant\n%s", coloured, plain)
	}
	for _, want := range []string{"1. scene", "503 in 1.23ms", "Retry-After: 2", `"xxxxxxxxxxxx...xxxx"`, "✓ right", "✗ not as told: wrong"} {
		if !strings.Contains(plain, want) {
			t.Errorf("does not say %q:\n%s", want, plain)
		}
	}
}

func TestDurationsAreRoundedToWhatMatters(t *testing.T) {
	for d, want := range map[time.Duration]string{201_567_890: "202ms", 1_234_567: "1.23ms", 75_432: "75µs", 0: "0s"} {
		if got := round(d).String(); got != want {
			t.Errorf("%d: got %s, want %s", d, got, want)
		}
	}
}
