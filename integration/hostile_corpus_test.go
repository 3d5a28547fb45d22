package integration

// The corpus of hostile requests is in testdata/hostile/*.txt, with one file per family and one
// line per entry.
//
//	# a comment, which explains the expected answer
//	frame: GET {entry} HTTP/1.1\r\nHost: {host}\r\n\r\n
//	name of the entry | answers; remarks | text for {entry} in the frame
//	    a line that starts with spaces is appended, without them, to the line before
//
// A frame applies to all entries up to the next frame. In frames and entries, \r \n \t \\ and \xNN
// are escapes. {a*5000} repeats the letter a, and {ok*3} repeats the value of {ok}. The
// placeholders are:
//
//	{host}, {port}   igproxy's address, and its port
//	{warm}           a token in igproxy's cache
//	{exchange}       the path and the query of an exchange, without the token
//	{ok}             the path and the query of an exchange of the warm token
//	{second}         a complete good request
//
// oauth.txt describes the placeholders for Facebook's calls.
//
// Answers are joined by " + ". The connection must return exactly these answers. Each is one of:
//
//	200          a token
//	100 plain    the go-ahead for a body
//	400 990007   igproxy's own error, in Meta's form and with this error_subcode
//	400 plain    net/http's own answer to invalid HTTP
//	200 x10      the same answer ten times
//	... head     one of the above as the answer to a HEAD, which has no body
//	none         no answer at all
//	goaway       no HTTP/1.1 answer, but the GOAWAY frame with which the server refuses HTTP/2
//
// The remarks are:
//
//	close    the server closes the connection after the last answer
//	eof      the client closes its sending half after the entry, and waits for answers
//	pieces   the client sends a few bytes at a time
//	asks 2   two calls reach Instagram

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// canary is in every entry. No log line and no answer may contain it.
const canary = "canary"

const (
	leastHostile = 300     // the corpus must have at least this many entries
	mostRepeated = 2 << 20 // the limit for the length of text, times count, in {text*count}
)

type hostileEntry struct {
	name               string // family/name
	wire               string // with escapes and placeholders
	answers            []hostileAnswer
	close, eof, pieces bool // the remarks
	goaway             bool // the server refuses HTTP/2 with a GOAWAY frame
	asks               int  // how many calls reach Instagram
}

type hostileAnswer struct {
	status, subcode int // if subcode is 0 and plain is false, the answer is a token
	plain, head     bool
}

// readHostile reads the whole corpus. It fails the test if there are too few entries, or if two of
// them send the same request.
func readHostile(t *testing.T) (all []hostileEntry) {
	t.Helper()
	files, err := filepath.Glob("testdata/hostile/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		family := strings.TrimSuffix(filepath.Base(file), ".txt")
		entries, err := parseHostile(family, string(text))
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		all = append(all, entries...)
	}
	wires := map[string]string{}
	for _, e := range all {
		if first, ok := wires[e.wire]; ok {
			t.Errorf("%s sends the same as %s", e.name, first)
		}
		wires[e.wire] = e.name
	}
	if len(all) < leastHostile {
		t.Errorf("%d entries, want at least %d", len(all), leastHostile)
	}
	if t.Failed() {
		t.FailNow()
	}
	return all
}

func parseHostile(family, text string) (entries []hostileEntry, err error) {
	frame, names := "", map[string]bool{}
	for n, line := range joinLines(text) {
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if f, ok := strings.CutPrefix(line, "frame: "); ok {
			if frame = f; strings.Count(frame, "{entry}") != 1 {
				return nil, fmt.Errorf("line %d: a frame must have exactly one {entry}", n+1)
			}
			continue
		}
		e, err := parseEntry(line, frame)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n+1, err)
		}
		if names[e.name] {
			return nil, fmt.Errorf("line %d: there is already an entry %q", n+1, e.name)
		}
		names[e.name] = true
		e.name = family + "/" + e.name
		entries = append(entries, e)
	}
	return entries, nil
}

// joinLines appends each line that starts with a space or a tab to the line that it continues. The
// appended line becomes empty but is not removed, so that line numbers stay correct.
func joinLines(text string) []string {
	lines := strings.Split(text, "\n")
	last := 0
	for i, line := range lines {
		if rest := strings.TrimLeft(line, " \t"); rest != line && i > 0 {
			lines[last] += rest
			lines[i] = ""
		} else {
			last = i
		}
	}
	return lines
}

var entryName = regexp.MustCompile(`^[a-z0-9][a-z0-9 .,'/:_-]*$`)

func parseEntry(line, frame string) (e hostileEntry, err error) {
	parts := strings.SplitN(line, "|", 3)
	if len(parts) != 3 {
		return e, errors.New("the line does not have the form name | answers | entry")
	}
	name, want, data := strings.TrimSpace(parts[0]), strings.TrimSpace(parts[1]), strings.TrimSpace(parts[2])
	switch {
	case !entryName.MatchString(name):
		return e, fmt.Errorf("invalid name %q", name)
	case frame == "":
		return e, errors.New("an entry before the first frame")
	case data == "":
		return e, errors.New("an empty entry")
	}
	e.name, e.wire = name, strings.Replace(frame, "{entry}", data, 1)
	answers, remarks, _ := strings.Cut(want, ";")
	if e.goaway = answers == "goaway"; e.goaway {
		answers = "none"
	}
	if e.answers, err = parseAnswers(answers); err != nil {
		return e, err
	}
	for _, remark := range strings.Fields(strings.ReplaceAll(remarks, "asks ", "asks=")) {
		if err := e.remark(strings.Trim(remark, ",")); err != nil {
			return e, err
		}
	}
	sent, err := expand(e.wire, placeholders("127.0.0.1:1"))
	if err != nil {
		return e, err
	}
	if !strings.Contains(strings.ToLower(sent), canary) {
		return e, errors.New("no canary in the entry")
	}
	return e, nil
}

func (e *hostileEntry) remark(word string) (err error) {
	count, asks := strings.CutPrefix(word, "asks=")
	switch {
	case word == "close":
		e.close = true
	case word == "eof":
		e.eof = true
	case word == "pieces":
		e.pieces = true
	case asks:
		e.asks, err = strconv.Atoi(count)
	default:
		err = fmt.Errorf("unknown remark %q", word)
	}
	return err
}

var answerForm = regexp.MustCompile(`^([1-5][0-9][0-9])( plain| 9900[0-9][0-9])?( head)?( x[0-9]+)?$`)

func parseAnswers(text string) (list []hostileAnswer, err error) {
	if text == "none" {
		return nil, nil
	}
	for _, part := range strings.Split(text, " + ") {
		m := answerForm.FindStringSubmatch(part)
		if m == nil {
			return nil, fmt.Errorf("unknown answer %q", part)
		}
		a := hostileAnswer{plain: m[2] == " plain", head: m[3] != ""}
		a.status, _ = strconv.Atoi(m[1])
		if !a.plain && m[2] != "" {
			a.subcode, _ = strconv.Atoi(m[2][1:])
		}
		times := 1
		if m[4] != "" {
			times, _ = strconv.Atoi(m[4][2:])
		}
		switch {
		case a.status >= 500 && a.status != 501 && a.status != 505:
			return nil, fmt.Errorf("no entry may expect status %d", a.status)
		case a.subcode == 0 && !a.plain && a.status != 200, a.subcode != 0 && a.status < 400:
			return nil, fmt.Errorf("the answer %q must be a token, an error with a subcode, or plain", part)
		}
		for range times {
			list = append(list, a)
		}
	}
	return list, nil
}

// placeholders returns the values of the placeholders for a connection to host.
func placeholders(host string) map[string]string {
	const warm, exchange = "IGAA-canary-warm", "/access_token?grant_type=ig_exchange_token"
	const extended, grant = "EAA-canary-warm", "fb_exchange_token"
	ok, form := exchange+"&access_token="+warm, "grant_type="+grant+"&fb_exchange_token="+extended
	_, port, _ := strings.Cut(host, ":")
	second := ok
	if strings.HasPrefix(host, facebookHost) {
		second = "/oauth/access_token?" + form
	}
	part := "--b\r\nContent-Disposition: form-data; name=%q\r\n\r\n%s\r\n"
	return map[string]string{"host": host, "port": port, "warm": warm, "exchange": exchange, "ok": ok,
		"second": "GET " + second + " HTTP/1.1\r\nHost: " + host + "\r\n\r\n",
		"extend": "/v23.0/oauth/access_token?grant_type=" + grant + "&fb_exchange_token=", "form": form,
		"json":   fmt.Sprintf(`{"grant_type":%q,"fb_exchange_token":%q`, grant, extended),
		"parts":  fmt.Sprintf(part, "grant_type", grant) + fmt.Sprintf(part, "fb_exchange_token", extended),
		"posted": fmt.Sprintf("POST /oauth/access_token HTTP/1.1\r\nHost: %s\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s", host, len(form), form)}
}

var (
	escape = regexp.MustCompile(`\\(x[0-9a-fA-F]{2}|[rnt\\]|)`)
	brace  = regexp.MustCompile(`\{([^{}]*)\}|[{}]`)
)

// expand returns the bytes that a text with placeholders, repetitions and escapes stands for.
func expand(text string, values map[string]string) (string, error) {
	var wrong error
	text = brace.ReplaceAllStringFunc(text, func(found string) string {
		inside := strings.Trim(found, "{}")
		at := strings.LastIndex(inside, "*")
		if value, ok := values[inside]; ok && at < 0 {
			return value
		}
		count, err := strconv.Atoi(inside[at+1:])
		if at < 1 || err != nil || count < 1 || count*at > mostRepeated {
			wrong = fmt.Errorf("invalid notation %q", found)
			return ""
		}
		if value, ok := values[inside[:at]]; ok {
			return strings.Repeat(value, count)
		}
		return strings.Repeat(inside[:at], count)
	})
	text = escape.ReplaceAllStringFunc(text, func(found string) string {
		s, err := strconv.Unquote(`"` + found + `"`)
		if err != nil {
			wrong = fmt.Errorf("invalid escape %q", found)
		}
		return s
	})
	return text, wrong
}

func TestHostileCorpusIsParsedStrictly(t *testing.T) {
	t.Parallel()
	const frame = "frame: GET {entry} HTTP/1.1\\r\\n\\r\\n\n"
	good, err := parseHostile("f", "# why\n"+frame+"a | 200 + 400 990007 head x2; close, asks 2 | /{canary*2}\\x00\n  \\\\{ok}\n")
	if err != nil || len(good) != 1 {
		t.Fatalf("got %v, %v; want one entry", good, err)
	}
	sent, err := expand(good[0].wire, placeholders("h:1"))
	e := good[0]
	if want := "GET /canarycanary\x00\\" + placeholders("h:1")["ok"] + " HTTP/1.1\r\n\r\n"; sent != want || err != nil {
		t.Errorf("expand: got %q, %v; want %q", sent, err, want)
	}
	if last := (hostileAnswer{status: 400, subcode: 990007, head: true}); e.name != "f/a" || len(e.answers) != 3 || e.answers[2] != last || !e.close || e.asks != 2 {
		t.Errorf("got %+v, want the entry f/a with three answers, close and asks 2", e)
	}
	for name, text := range map[string]string{
		"no frame":            "a | 200 | /canary",
		"frame without entry": "frame: GET / HTTP/1.1\n",
		"two parts":           frame + "a | /canary",
		"no name":             frame + "| 200 | /canary",
		"empty":               frame + "a | 200 | ",
		"no answer":           frame + "a | | /canary",
		"unknown answer":      frame + "a | ok | /canary",
		"refusal, no subcode": frame + "a | 400 | /canary",
		"a 500":               frame + "a | 500 plain | /canary",
		"unknown remark":      frame + "a | 200; slowly | /canary",
		"asks without number": frame + "a | 200; asks many | /canary",
		"unknown escape":      frame + "a | 200 | /canary\\q",
		"half an escape":      frame + "a | 200 | /canary\\x0",
		"unknown placeholder": frame + "a | 200 | /canary{okay}",
		"open brace":          frame + "a | 200 | /canary{ok",
		"too many bytes":      frame + "a | 200 | /canary{a*9999999}",
		"no canary":           frame + "a | 200 | /x",
		"the same name":       frame + "a | 200 | /canary\na | 200 | /canary2",
		"token with subcode":  frame + "a | 200 990001 | /canary",
		"negative count":      frame + "a | 200 | /canary{a*-1}",
		"answer with a typo":  frame + "a | 200 +400 plain | /canary",
	} {
		if got, err := parseHostile("f", text); err == nil {
			t.Errorf("%s: accepted as %+v, want an error", name, got)
		}
	}
}
