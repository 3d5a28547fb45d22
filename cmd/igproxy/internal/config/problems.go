package config

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/xrash/smetrics"
)

// Problem is one thing wrong with the configuration, told so that the next step is clear. It never
// holds the value of a secret key, nor of a key we do not know: that may be a misspelt secret.
type Problem struct {
	// Where it is: "igproxy.yaml:7", "environment" or "default".
	Where string
	// Key as in the table, "upstream.timeout". An unknown key or variable is named as it was
	// written; empty: the whole file.
	Key string
	// What is wrong.
	What string
	// Fix is the next step.
	Fix string
	// Warning: it works like this, but should not stay so.
	Warning bool
}

// The values of Where that are no file.
const (
	inEnvironment = "environment"
	byDefault     = "default"
)

// String is one line: place, key, what is wrong, what to do.
func (p Problem) String() string {
	var parts []string
	if p.Where != "" && p.Where != byDefault {
		parts = append(parts, p.Where)
	}
	switch {
	case p.Where == inEnvironment && p.Key != "":
		parts = append(parts, envName(p.Key)) // what the operator has to look for there
	case p.Key != "":
		parts = append(parts, p.Key)
	}
	line := strings.Join(append(parts, p.What), ": ")
	if p.Fix != "" {
		line += "; " + p.Fix
	}
	return line
}

// place is where a key was set.
type place struct {
	source source
	file   string
	line   int // 0: the file as a whole
}

// source is one of the places a value can come from, in the order in which they are told.
type source int

const (
	fromFile source = iota
	fromEnvironment
	fromDefaults
)

func (p place) String() string {
	switch {
	case p.source == fromEnvironment:
		return inEnvironment
	case p.source == fromDefaults:
		return byDefault
	case p.line == 0:
		return p.file
	}
	return p.file + ":" + strconv.Itoa(p.line)
}

// fault is what is wrong with a value and what to do, before a place is known.
type fault struct{ what, fix string }

// seeExample is the next step when nothing better is known.
const seeExample = "see config.example.yaml for the keys there are"

// maxProblems is more than anybody reads at once; a file with more is likely not ours.
const maxProblems = 200

// finding is a Problem that can still be sorted.
type finding struct {
	place place
	Problem
}

// sortFindings returns the problems in the order of their places, the file first.
func sortFindings(findings []finding) []Problem {
	slices.SortStableFunc(findings, func(a, b finding) int {
		return cmp.Or(cmp.Compare(a.place.source, b.place.source), cmp.Compare(a.place.line, b.place.line), cmp.Compare(a.Key, b.Key))
	})
	var problems []Problem
	for i, f := range findings {
		if i == maxProblems {
			rest := findings[i:]
			return append(problems, Problem{What: fmt.Sprintf("and %d more problems", len(rest)), Fix: "is this igproxy's configuration?",
				Warning: !slices.ContainsFunc(rest, func(f finding) bool { return !f.Warning })})
		}
		problems = append(problems, f.Problem)
	}
	return problems
}

// maxQuoted bounds a value that is repeated, in bytes.
const maxQuoted = 60

// quote repeats a wrong value, escaped and bounded. It stops at a blank, where a quotation mark
// that was not closed has swallowed the lines below, a secret perhaps among them; and it repeats
// nothing that looks like a URL with credentials or parameters, or like a secret on the wrong line.
func quote(value string) string {
	if strings.ContainsAny(value, "@?") || mayBeSecret(value) {
		return "this value"
	}
	shown := value
	if i := strings.IndexFunc(shown, isSpace); i >= 0 {
		shown = shown[:i]
	}
	if len(shown) > maxQuoted {
		shown = shown[:maxQuoted]
	}
	if len(shown) < len(value) {
		shown = strings.ToValidUTF8(shown, "") + "..."
	}
	return strconv.Quote(shown)
}

// isControl reports a character that has no place in a value: it would end a line, or move a
// terminal's cursor.
func isControl(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 || r == 0x2028 || r == 0x2029 }

func isSpace(r rune) bool { return r == ' ' || r == 0xa0 || isControl(r) }

// mayBeSecret reports whether there is a run of letters and digits in a value as long as secrets
// have and addresses, durations and names don't: 20 or more, one of each among them.
func mayBeSecret(value string) bool {
	run, letters, digits := 0, 0, 0
	for _, r := range value {
		switch {
		case r >= '0' && r <= '9':
			digits++
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z':
			letters++
		default:
			run, letters, digits = -1, 0, 0
		}
		if run++; run >= 20 && letters > 0 && digits > 0 {
			return true
		}
	}
	return false
}

// printable is a path as the operator wrote it, escaped where it would disturb the line; and not at
// all if it may be a secret in the place of a path.
func printable(path string) string {
	if mayBeSecret(path) && shownPath(path) == hiddenPath {
		return hiddenPath
	}
	if quoted := strconv.Quote(path); quoted != `"`+path+`"` {
		return quoted
	}
	return path
}

// keyLike is what a key may look like to be repeated. Anything else may be a value that slipped
// into a key's place.
var keyLike = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_.-]*$`)

// maxDigits is more than a misspelt key has, and fewer than a secret.
const maxDigits = 4

// shownKey returns an unknown key as it may be shown; empty: not at all.
func shownKey(key string) string {
	figures := 0
	for _, r := range key {
		if r >= '0' && r <= '9' {
			figures++
		}
	}
	if figures > maxDigits || len(key) > 48 || !keyLike.MatchString(key) {
		return ""
	}
	return key
}

// nearest returns the known name most like this one, or "" when none is.
func nearest(name string, known []string) string {
	if shownKey(name) == "" {
		return ""
	}
	best, least := "", 2+len(name)/5
	for _, k := range known {
		if d := distance(name, k); d < least {
			best, least = k, d
		}
	}
	return best
}

// distance is the number of edits between two names, less where one is the other in the wrong
// section or without its ending.
func distance(name, known string) int {
	n, k := normalized(name), normalized(known)
	switch {
	case n == k:
		return 0
	case lastPart(name) == lastPart(known), strings.HasPrefix(k, n+"_"):
		return 1
	case strings.HasSuffix(k, "_"+n):
		return 2
	}
	return smetrics.WagnerFischer(n, k, 1, 1, 1)
}

// normalized makes max-in-flight, Max.In.Flight and MAX_IN_FLIGHT the same.
func normalized(name string) string {
	return strings.NewReplacer("-", "_", ".", "_").Replace(strings.ToLower(name))
}

func lastPart(key string) string { return key[strings.LastIndex(key, ".")+1:] }
