package main

import (
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// manRequests are the requests of man(7) that the page may have.
var manRequests = []string{".TH", ".SH", ".SS", ".TP", ".PP", ".B", ".I", ".BR", ".nf", ".fi", ".nh", ".ad"}

// unescaped is the page as somebody reads it, roughly.
func unescaped(page string) string {
	return strings.NewReplacer(`\&`, "", `\-`, "-", `\(aq`, "'", `\(dq`, `"`, `\(ti`, "~", `\(ha`, "^", `\(ga`, "`", `\fI`, "", `\fR`, "", `\e`, `\`).Replace(page)
}

func TestTheManualHasItsSectionsInOrder(t *testing.T) {
	code, page, stderr := command(t, nil, "man")
	if code != exitOK || stderr != "" || !strings.HasPrefix(page, ".TH IGPROXY 1 ") {
		t.Fatalf("exit code %d, %s\n%.200s", code, stderr, page)
	}
	var sections []string
	for _, found := range regexp.MustCompile(`(?m)^\.SH (.*)$`).FindAllStringSubmatch(page, -1) {
		sections = append(sections, found[1])
	}
	want := []string{"NAME", "SYNOPSIS", "DESCRIPTION", "COMMANDS", "CONFIGURATION", "ENVIRONMENT", "EXIT STATUS", "FILES", "SIGNALS", "SEE ALSO"}
	if !slices.Equal(sections, want) {
		t.Errorf("sections %q, want %q", sections, want)
	}
	if !strings.Contains(unescaped(page), "\n.SH NAME\nigproxy - the sidecar") {
		t.Error("NAME is not one that apropos finds")
	}
	for line := range strings.Lines(page) {
		request, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		if strings.HasPrefix(line, "'") || strings.HasPrefix(line, ".") && !slices.Contains(manRequests, request) {
			t.Errorf("a line that roff takes for a request: %q", line)
		}
	}
}

func TestTheManualHasEveryCommandOptionAndKey(t *testing.T) {
	_, page, _ := command(t, nil, "man")
	page = unescaped(page)
	for _, c := range newApp(environment{}).Commands {
		_, rest, found := strings.Cut(page, "\n.SS \"igproxy "+c.Name)
		text, _, _ := strings.Cut(rest, "\n.S")
		if !found || strings.Contains(text, "--help") {
			t.Errorf("%s is missing, or tells of --help", c.Name)
		}
		for _, f := range c.Flags {
			for _, name := range f.Names() {
				if name != "help" && name != "h" && !strings.Contains(text, dashed(name)) {
					t.Errorf("%s: no %s in\n%s", c.Name, dashed(name), text)
				}
			}
		}
		for word := range strings.FieldsSeq(c.Description) {
			if !strings.Contains(text, word) {
				t.Errorf("%s: %q of its description is missing", c.Name, word)
			}
		}
	}
	for _, s := range settings() {
		if !strings.Contains(page, "\n.B "+s.key+"\n") && !strings.Contains(page, "\n.B "+s.key+": ") {
			t.Errorf("no %s", s.key)
		}
	}
}

// Whoever has one of these programs has it look at the page.
func TestTheManualIsRightForThoseWhoSetIt(t *testing.T) {
	_, page, _ := command(t, nil, "man")
	for _, args := range [][]string{{"groff", "-man", "-ww", "-Tutf8", "-z"}, {"mandoc", "-Tlint", "-Wwarning"}} {
		path, err := exec.LookPath(args[0])
		if err != nil {
			continue // the structure is looked at above
		}
		c := exec.Command(path, args[1:]...)
		c.Stdin = strings.NewReader(page)
		out, err := c.CombinedOutput()
		says := strings.TrimSpace(string(out))
		if strings.Contains(says, "missing date") && strings.Count(says, "\n") == 0 { // a build without the commit's day
			continue
		}
		if err != nil || says != "" {
			t.Errorf("%v: %v\n%s", args, err, says)
		}
	}
}

func TestRoffReadsNoTextAsARequest(t *testing.T) {
	for text, want := range map[string]string{
		`a\b`: `a\eb`, "--online": `\-\-online`, `it's "so"`: `it\(aqs "so"`, "~a^`": `\(tia\(ha\(ga`,
	} {
		if got := roff(text); got != want {
			t.Errorf("%s: got %s, want %s", text, got, want)
		}
	}
	p := &page{}
	p.text(".5 is a fraction. " + strings.Repeat("word ", 12) + "word. .hidden is a file")
	p.prose("columns:\n  .a  b\n'c  d")
	for line := range strings.Lines(p.b.String()) {
		if strings.HasPrefix(line, ".") && line != ".nf\n" && line != ".fi\n" || strings.HasPrefix(line, "'") {
			t.Errorf("a request: %q", line)
		}
	}
}
