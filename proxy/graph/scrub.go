package graph

import (
	"strings"
	"unicode/utf8"
)

// MaxLayers is the number of nested encodings that Contains undoes. For example, Meta may put a
// percent-encoded URL into JSON, and this JSON into a string of other JSON.
const MaxLayers = 3

// Replace replaces a word in a text with mark. If the text still contains the word in another
// spelling, Replace returns mark instead of the text.
func Replace(text, word, mark string) string {
	if text = strings.ReplaceAll(text, word, mark); Contains(text, word) {
		return mark
	}
	return text
}

// swallowed is the largest number of letters at the start of a word that Contains may fail to see.
// If a stray escape such as % or \u stands in front of the word, decode takes these letters for the
// digits of the escape: up to four in each layer.
const swallowed = 4 * MaxLayers

// Contains reports whether a text contains a word in any spelling: as it is, percent-encoded, with
// JSON's escapes, or in a mixture of these, up to MaxLayers deep. It takes linear time. If the
// decoded word has 24 bytes or more, Contains looks for it without its first 12 bytes, so that a
// stray escape in front of the word cannot hide it. Contains can miss two kinds of words: a shorter
// word after a stray escape, and a word that itself has a % or \, if its letters are encoded to
// different depths.
func Contains(text, word string) bool {
	text, word = spaces(text), spaces(word)
	plain := word // the word decoded, because it may itself look encoded
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

// decode undoes one layer of percent-encoding and of JSON's escapes, in linear time.
func decode(text string) string {
	if !strings.ContainsAny(text, `%\`) {
		return text
	}
	b := make([]byte, 0, len(text))
	for text != "" {
		n, size := rune(0), 0
		if text[0] == '%' {
			n, size = hexDigits(text, len("%"), 2)
		} else if strings.HasPrefix(text, `\u`) {
			n, size = hexDigits(text, len(`\u`), 4)
		}
		switch {
		case size == 0 && text[0] == '\\' && len(text) > 1: // any other escape: only the \ is removed
			b, text = append(b, text[1]), text[2:]
		case size == 0:
			b, text = append(b, text[0]), text[1:]
		case text[0] == '%':
			b, text = append(b, byte(n)), text[size:]
		default:
			b, text = utf8.AppendRune(b, n), text[size:]
		}
	}
	return spaces(string(b))
}

// hexDigits reads the n hexadecimal digits at the start of text[at:]. It returns their value and
// the index in text after the last digit, or 0 and 0 if there are fewer than n.
func hexDigits(text string, at, n int) (value rune, end int) {
	if len(text) < at+n {
		return 0, 0
	}
	for _, c := range text[at : at+n] {
		switch {
		case '0' <= c && c <= '9':
			value = value<<4 + c - '0'
		case 'a' <= c && c <= 'f':
			value = value<<4 + c - 'a' + 10
		case 'A' <= c && c <= 'F':
			value = value<<4 + c - 'A' + 10
		default:
			return 0, 0
		}
	}
	return value, at + n
}

// spaces turns each + into a space, as in a query.
func spaces(text string) string { return strings.ReplaceAll(text, "+", " ") }
