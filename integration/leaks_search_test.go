package integration

// A leak is any twelve consecutive characters of a secret, or the beginning of its SHA-256, in one
// of the forms in which programs write text. To test the search, secrets are planted in each of
// these forms.

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// window is the number of consecutive characters of a secret that count as a leak.
const window = 12

// hidden is a text that must not appear anywhere.
type hidden struct {
	name string // for messages
	text string
	from int // length of the prefix that is not secret, such as IGAA or the name of a fault
}

// forms returns the forms of a text that would reveal it.
func forms(text string) map[string]string {
	all := spellings(text)
	for form, needle := range digests(text) {
		all[form] = needle
	}
	return all
}

// spellings returns the readable forms of a text. The key names the form.
func spellings(text string) map[string]string {
	each := func(format, between string) string {
		parts := make([]string, len(text))
		for i := range parts {
			parts[i] = written[format][text[i]]
		}
		return strings.Join(parts, between)
	}
	reversed := []byte(text)
	slices.Reverse(reversed)
	quoted, _ := json.Marshal(text) // a string always encodes
	all := map[string]string{
		"raw":            text,
		"reversed":       string(reversed),
		"url":            url.QueryEscape(text),
		"url, lower":     lowerEscapes(url.QueryEscape(text)),
		"url, path":      url.PathEscape(text),
		"url, all":       each("%%%02X", ""),
		"url, all low":   each("%%%02x", ""),
		"json":           strings.Trim(string(quoted), `"`),
		"json, all":      each(`\u00%02x`, ""),
		"JSON, all":      each(`\u00%02X`, ""),
		"hex":            each("%02x", ""),
		"HEX":            each("%02X", ""),
		"hex, spaced":    each("%02x", " "),
		"escaped":        each(`\x%02x`, ""),
		"bytes":          each("%d", " "),    // fmt's %v
		"bytes, json":    each("%d", ","),    // an array
		"bytes, dump":    each("0x%x", ", "), // %#v, and a byte array in a goroutine dump
		"word":           word(text, "%#x"),  // an argument in a goroutine dump
		"word, reversed": word(reverse(text), "%#x"),
	}
	for shift := range 3 {
		std := inBase64(base64.StdEncoding, shift, text)
		all[fmt.Sprintf("base64, %d", shift)] = std
		all[fmt.Sprintf("base64url, %d", shift)] = inBase64(base64.URLEncoding, shift, text)
	}
	return all
}

// written has the text of each byte in each format that spellings uses. It is computed once,
// because a search needs these texts millions of times.
var written = func() map[string]*[256]string {
	all := map[string]*[256]string{}
	for _, format := range []string{"%%%02X", "%%%02x", `\u00%02x`, `\u00%02X`, "%02x", "%02X", `\x%02x`, "%d", "0x%x"} {
		all[format] = &[256]string{}
		for b := range 256 {
			all[format][b] = fmt.Sprintf(format, b)
		}
	}
	return all
}()

// inBase64 returns the characters that a text produces in the base64 of longer data, whatever the
// rest of the data is. The parameter shift is the offset of the text in the data, modulo 3.
func inBase64(e *base64.Encoding, shift int, text string) string {
	coded := e.EncodeToString([]byte(strings.Repeat("\x00", shift) + text))
	return coded[(shift*8+5)/6 : (shift+len(text))*8/6]
}

func lowerEscapes(text string) string {
	b := []byte(text)
	for i := 0; i+2 < len(b); i++ {
		if b[i] == '%' {
			copy(b[i+1:i+3], strings.ToLower(string(b[i+1:i+3])))
		}
	}
	return string(b)
}

// word returns the first eight bytes as one number.
func word(text, format string) string {
	var n uint64
	for i := range 8 {
		n = n<<8 | uint64(text[i])
	}
	return fmt.Sprintf(format, n)
}

// reverse returns the first eight bytes in reverse order.
func reverse(text string) string {
	b := []byte(text[:8])
	slices.Reverse(b)
	return string(b)
}

// digests returns forms of the SHA-256 of a text. A digest does not contain the text, but it shows
// whether two texts are the same. If there are few candidates for the text, it even reveals the
// text. digests returns only the beginning of each form, and this already counts as a leak.
func digests(text string) map[string]string {
	sum := sha256.Sum256([]byte(text))
	raw := string(sum[:])
	all := map[string]string{"sha256, raw": raw[:window]}
	for form, spelling := range spellings(raw) {
		switch form {
		case "hex", "HEX", "base64, 0", "base64url, 0":
			all["sha256, "+form] = spelling[:window]
		case "bytes, dump", "bytes", "word", "word, reversed", "escaped":
			all["sha256, "+form] = spelling[:min(len(spelling), 4*window)]
		}
	}
	return all
}

// search finds hidden texts.
type search struct {
	needles map[[window]byte][]needle // by their first twelve bytes
}

// needle is a text that is a leak. The field what names the secret and the form, for
// messages.
type needle struct{ text, what string }

func newSearch(all []hidden) *search {
	s := &search{needles: map[[window]byte][]needle{}}
	for _, c := range all {
		for form, text := range digests(c.text) {
			s.add(text, c.name+" as "+form)
		}
		secret := c.text[c.from:]
		for i := range len(secret) - window + 1 {
			for form, text := range spellings(secret[i : i+window]) {
				s.add(text, c.name+" as "+form)
			}
		}
	}
	return s
}

func (s *search) add(text, what string) {
	key := [window]byte([]byte(text))
	for _, n := range s.needles[key] {
		if n.text == text {
			return
		}
	}
	s.needles[key] = append(s.needles[key], needle{text, what})
}

// in returns the distinct leaks found in a text.
func (s *search) in(text string) (found []string) {
	seen := map[string]bool{}
	for i := 0; i+window <= len(text); i++ {
		for _, n := range s.needles[[window]byte([]byte(text[i:i+window]))] {
			if !seen[n.what] && strings.HasPrefix(text[i:], n.text) {
				seen[n.what] = true
				found = append(found, n.what)
			}
		}
	}
	return found
}

// plant tests the search. It inserts each form of the last twelve characters of c, and of the
// SHA-256 of c, into the last part of text, and returns the forms that the search does not find.
func (s *search) plant(text string, c hidden) (unseen []string) {
	text = text[max(0, len(text)-256):]
	middle := len(text) / 2
	secret := c.text[c.from:]
	all := digests(c.text)
	for form, piece := range spellings(secret[len(secret)-window:]) {
		all[form] = piece
	}
	for form, piece := range all {
		if !slices.ContainsFunc(s.in(text[:middle]+piece+text[middle:]), func(what string) bool { return strings.HasPrefix(what, c.name+" as ") }) {
			unseen = append(unseen, form)
		}
	}
	return unseen
}

func TestLeakSearchFindsPlantedSecrets(t *testing.T) {
	t.Parallel()
	const secret = `IGAA+a/b"c\d~e&f<g>0123456789`
	c := hidden{"the canary", "expired-" + secret, len("expired-")}
	s := newSearch([]hidden{c, {"another", "ZYXWVUTSRQPONMLKJIHGFEDCBA", 0}})
	if unseen := s.plant("nothing to see here", c); len(unseen) > 0 {
		t.Errorf("the search does not find these planted forms: %v", unseen)
	}
	// Texts that contain the secret as other programs write it.
	for name, text := range map[string]string{
		"a URL":         "https://graph.instagram.com/access_token?" + url.Values{"access_token": {c.text}, "x": {"y"}}.Encode(),
		"Go's %q":       fmt.Sprintf("token=%q", c.text),
		"Go's %x":       fmt.Sprintf("token=%x", c.text),
		"Go's %v":       fmt.Sprintf("token=%v", []byte(c.text)),
		"Go's %#v":      fmt.Sprintf("token=%#v", []byte(c.text)),
		"a hex dump":    hex.Dump([]byte(c.text)),
		"Basic":         "Basic " + base64.StdEncoding.EncodeToString([]byte("igproxy:"+c.text)),
		"Basic, longer": "Basic " + base64.StdEncoding.EncodeToString([]byte("igproxy1:"+c.text)),
		"base64 in URL": base64.RawURLEncoding.EncodeToString([]byte("12" + c.text + "3")),
		"a piece":       "token=..." + secret[7:7+window] + "...",
		"the last part": "token=..." + secret[len(secret)-window:],
		"a fingerprint": fmt.Sprintf("token=%.12x", sha256.Sum256([]byte(c.text)))[:6+window],
	} {
		if len(s.in(text)) == 0 {
			t.Errorf("%s: not found in %q", name, text)
		}
	}
	for name, text := range map[string]string{"an empty text": "", "four characters": "IGAA", "the prefix of a fault": "expired-", "other digits": strings.Repeat("0123456789abcdef ", 9),
		"eleven characters": secret[len(secret)-window+1:]} {
		if found := s.in(text); len(found) > 0 {
			t.Errorf("%s: found %v, want nothing", name, found)
		}
	}
}
