package config

import (
	"cmp"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/xrash/smetrics"
)

// Problem is one thing that is wrong with the configuration, and what to do about it. It never
// contains the value of a key that holds a secret, nor the value of an unknown key, which may be a
// misspelling of such a key.
type Problem struct {
	Where   string // "igproxy.yaml:7", "igproxy.yaml" (the whole file), "environment" or "default"
	Key     string // such as upstream.timeout, or an unknown key as it is spelt; empty: no key, or a hidden one
	What    string // what is wrong
	Fix     string // the next step
	Warning bool   // igproxy can run with the problem
	order   int    // of the place, for sorting
}

// String returns the problem in one line: place, key, what is wrong, what to do.
func (p Problem) String() string {
	where, key, line := p.Where, p.Key, p.What
	switch {
	case where == byDefault.where:
		where = ""
	case where == inEnvironment.where && key != "":
		key = envName(key)
	}
	if p.Fix != "" {
		line += "; " + p.Fix
	}
	return strings.Join(slices.DeleteFunc([]string{where, key, line}, func(part string) bool { return part == "" }), ": ")
}

// place is where a key is set. Places are sorted by order: the lines of the file, the environment,
// the defaults.
type place struct {
	where string
	order int
}

var (
	inEnvironment = place{"environment", math.MaxInt - 1}
	byDefault     = place{"default", math.MaxInt}
)

// line returns the place of a line of the file; 0 means the whole file.
func (l *loader) line(n int) place {
	if n == 0 {
		return place{where: l.file}
	}
	return place{l.file + ":" + strconv.Itoa(n), n}
}

// fault is what is wrong with a value and what to do about it, without a place.
type fault struct{ what, fix string }

// seeExample is the next step when there is no better one.
const seeExample = "see config.example.yaml for all keys"

// sorted returns the problems in the order of their places.
func (l *loader) sorted() []Problem {
	slices.SortStableFunc(l.problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.order, b.order), cmp.Compare(a.Key, b.Key))
	})
	return l.problems
}

// maxQuoted is how many bytes of a value a message repeats at most.
const maxQuoted = 60
const hiddenValue = "this value" // shown instead of a value that may be a secret

// quote returns a refused value as a message shows it, escaped and shortened. It cuts the value at
// its first space: if a quotation mark is missing, the value includes the lines below it, which may
// contain a secret. It hides a value that looks like a URL with credentials or parameters, or like
// a secret in the wrong place.
func quote(value string) string {
	if strings.ContainsAny(value, "@?") || mayBeSecret(value) {
		return hiddenValue
	}
	shown := strings.ToValidUTF8(value[:min(len(value), maxQuoted)], "")
	if i := strings.IndexFunc(shown, isSpace); i >= 0 {
		shown = shown[:i]
	}
	if len(shown) < len(value) {
		shown += "..."
	}
	return strconv.Quote(shown)
}

// isControl reports whether a character would end a line or move a terminal's cursor.
func isControl(r rune) bool { return unicode.IsControl(r) || r == 0x2028 || r == 0x2029 }

func isSpace(r rune) bool { return unicode.IsSpace(r) || isControl(r) }

var longRun = regexp.MustCompile(`[A-Za-z0-9]{20,}`)

// mayBeSecret reports whether a value contains a run of 20 or more letters and digits, with at
// least one of each. Most secrets have such a run; addresses, durations and names do not.
func mayBeSecret(value string) bool {
	return slices.ContainsFunc(longRun.FindAllString(value, -1), func(run string) bool {
		return strings.ContainsFunc(run, unicode.IsDigit) && strings.ContainsFunc(run, unicode.IsLetter)
	})
}

// keyForm matches the unknown keys that messages repeat. Any other text may be a value, perhaps a
// secret, that was written where a key belongs. A text with more than four digits does not match,
// because it may be a secret.
var keyForm = regexp.MustCompile(`^[A-Za-z][A-Za-z_.-]*([0-9][A-Za-z_.-]*){0,4}$`)

func looksLikeKey(name string) bool { return len(name) <= 48 && keyForm.MatchString(name) }

// nearest returns the known name that is most similar to name, or "" if none is similar.
func nearest(name string, known []string) string {
	best := slices.MinFunc(known, func(a, b string) int { return cmp.Compare(distance(name, a), distance(name, b)) })
	if distance(name, best) >= 2+len(name)/5 {
		return ""
	}
	return best
}

// distance returns the number of edits between two names. It counts a wrong section, a missing
// section or a missing ending as one edit.
func distance(name, known string) int {
	n, k := normalized(name), normalized(known)
	switch {
	case n == k:
		return 0
	case lastPart(name) == lastPart(known), strings.HasPrefix(k, n+"_"), strings.HasSuffix(k, "_"+n):
		return 1
	}
	return smetrics.WagnerFischer(n, k, 1, 1, 1)
}

// normalized makes max-in-flight, Max.In.Flight and MAX_IN_FLIGHT equal.
func normalized(name string) string {
	return strings.NewReplacer("-", "_", ".", "_").Replace(strings.ToLower(name))
}

func lastPart(key string) string { return key[strings.LastIndex(key, ".")+1:] }
