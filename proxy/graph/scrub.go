package graph

import (
	"regexp"
	"strconv"
	"strings"
)

// MaxLayers is the number of encodings that are looked through. Meta may put an encoded URL into
// JSON inside a text.
const MaxLayers = 3

// Replace replaces a word in a text with mark. If the word is left in another spelling, Replace
// returns mark instead of the text.
func Replace(text, word, mark string) string {
	if text = strings.ReplaceAll(text, word, mark); Contains(text, word) {
		return mark
	}
	return text
}

// swallowed is the number of letters of a word that stray escapes in front of it, such as a single
// %, may take with them: at most four in each layer.
const swallowed = 4 * MaxLayers

// Contains reports whether a text contains a word in any spelling: as it is, percent-encoded, with
// JSON's escapes, or in a mixture of these, up to MaxLayers deep. It takes linear time. A part of a
// word of 24 letters or more is enough, so that a stray escape hides nothing. Only a word that has
// % or \ itself may be missed in a mixture of different depths.
func Contains(text, word string) bool {
	text, word = spaces(text), spaces(word)
	plain := word // a word may itself look encoded
	for range MaxLayers {
		plain = decode(plain)
	}
	if len(plain) >= 2*swallowed {
		plain = plain[swallowed:]
	}
	for range MaxLayers {
		if strings.Contains(text, word) || strings.Contains(text, plain) {
			return true
		}
		text = decode(text)
	}
	return strings.Contains(text, word) || strings.Contains(text, plain)
}

var encoded = regexp.MustCompile(`%[0-9A-Fa-f]{2}|\\u[0-9A-Fa-f]{4}|(?s:\\.)`)

// decode undoes one layer of percent-encoding and of JSON's escapes.
func decode(text string) string {
	if !strings.ContainsAny(text, `%\`) { // most texts: the expression is slow
		return text
	}
	return spaces(encoded.ReplaceAllStringFunc(text, func(s string) string {
		switch {
		case s[0] == '%':
			n, _ := strconv.ParseUint(s[1:], 16, 8)
			return string([]byte{byte(n)})
		case len(s) == len(`\u0041`):
			n, _ := strconv.ParseUint(s[2:], 16, 16)
			return string(rune(n))
		}
		return s[1:]
	}))
}

// spaces makes + a space, as in a query.
func spaces(text string) string { return strings.ReplaceAll(text, "+", " ") }
