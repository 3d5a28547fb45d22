package graph

import (
	"slices"
	"strings"
)

// MaxLayers is how often over a letter is looked for as encoded: Instagram may put an encoded URL into JSON inside a text.
const MaxLayers = 3

// Replace replaces a word in all its spellings.
func Replace(text, word, mark string) string {
	var b strings.Builder
	kept := 0
	for {
		from, to := find(text, kept, word)
		if from < 0 {
			break
		}
		b.WriteString(text[kept:from])
		b.WriteString(mark)
		kept = to
	}
	if kept == 0 {
		return text
	}
	b.WriteString(text[kept:])
	return b.String()
}

// Contains reports whether a word is in a text in any spelling.
func Contains(text, word string) bool {
	from, _ := find(text, 0, word)
	return from >= 0
}

// find is where the first spelling of a word begins and ends in text, from at on; -1 when there is none.
func find(text string, at int, word string) (from, to int) {
	for ; at < len(text); at++ {
		if !begins(text[at], word[0]) {
			continue
		}
		places := []int{at}
		for i := 0; i < len(word) && len(places) > 0; i++ {
			places = follow(text, places, word[i:i+1], MaxLayers)
		}
		if len(places) > 0 {
			return at, slices.Max(places)
		}
	}
	return -1, -1
}

// begins reports whether a spelling of c can begin with this byte.
func begins(b, c byte) bool { return b == c || b == '%' || b == '\\' || b == '+' && c == ' ' }

// follow is where one of the letters can end that begins at one of the places.
func follow(text string, places []int, letters string, layers int) (next []int) {
	for _, at := range places {
		for i := range len(letters) {
			for _, end := range ends(text, at, letters[i], layers) {
				if !slices.Contains(next, end) {
					next = append(next, end)
				}
			}
		}
	}
	return next
}

// ends is where the spellings of c end that begin at a place: the letter itself, %41 in either case, \u0041, or \/, where each of these
// characters may itself be spelled so, layer by layer.
func ends(text string, at int, c byte, layers int) (found []int) {
	if at >= len(text) || !begins(text[at], c) {
		return nil
	}
	if text[at] == c || text[at] == '+' {
		found = append(found, at+1)
	}
	if layers == 0 || text[at] != '%' && text[at] != '\\' {
		return found
	}
	high, low := hexDigit(c>>4), hexDigit(c&15)
	ways := [][]string{{"%", high, low}}
	if c < 0x80 {
		ways = append(ways, []string{`\`, "u", "0", "0", high, low})
	}
	if c == '"' || c == '\\' || c == '/' {
		ways = append(ways, []string{`\`, string(rune(c))})
	}
	if c == ' ' {
		ways = append(ways, []string{"+"})
	}
	for _, way := range ways {
		places := []int{at}
		for _, letters := range way {
			places = follow(text, places, letters, layers-1)
		}
		found = append(found, places...)
	}
	return found
}

// hexDigit in both cases.
func hexDigit(n byte) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return string([]rune{rune('a' + n - 10), rune('A' + n - 10)})
}
