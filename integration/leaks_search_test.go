package integration

// How a leak is looked for: any twelve characters in a row of a secret, in any form in which programs write things, and the secret's
// SHA-256, of which twelve characters are enough, too. The search proves itself: what is planted is found, form by form.

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

// window is how many characters in a row give a secret away.
const window = 12

// hidden is a text that must get out nowhere.
type hidden struct {
	name string // of the thing, for messages
	text string
	from int // what stands before is no secret: the prefix by which the stand-in knows a fault
}

// forms of a text that would betray it.
func forms(text string) map[string]string {
	all := spellings(text)
	for form, needle := range digests(text) {
		all[form] = needle
	}
	return all
}

// spellings are all ways to write a text so that it can be read again. The key says how.
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
	quoted, _ := json.Marshal(text) // a string: cannot fail
	all := map[string]string{
		"raw":          text,
		"reversed":     string(reversed),
		"url":          url.QueryEscape(text),
		"url, lower":   lowerEscapes(url.QueryEscape(text)),
		"url, path":    url.PathEscape(text),
		"url, all":     each("%%%02X", ""),
		"url, all low": each("%%%02x", ""),
		"json":         strings.Trim(string(quoted), `"`),
		"json, all":    each(`\u00%02x`, ""),
		"JSON, all":    each(`\u00%02X`, ""),
		"hex":          each("%02x", ""),
		"HEX":          each("%02X", ""),
		"hex, spaced":  each("%02x", " "),
		"escaped":      each(`\x%02x`, ""),
		"bytes":        each("%d", " "),    // fmt's %v
		"bytes, json":  each("%d", ","),    // an array
		"bytes, dump":  each("0x%x", ", "), // %#v, and a byte array in a goroutine dump
		"word":         word(text, "%#x"),  // an argument in a goroutine dump
		"word, turned": word(turned(text), "%#x"),
	}
	for shift := range 3 {
		std := inBase64(base64.StdEncoding, shift, text)
		all[fmt.Sprintf("base64, %d", shift)] = std
		all[fmt.Sprintf("base64url, %d", shift)] = inBase64(base64.URLEncoding, shift, text)
	}
	return all
}

// written is each byte by each format of spellings: they are needed millions of times.
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

// inBase64 is what is sure to stand in a base64 in which the text begins at a place that leaves this rest by 3: the letters that depend on
// the text alone.
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

// word is the first eight bytes as one number.
func word(text, format string) string {
	var n uint64
	for i := range 8 {
		n = n<<8 | uint64(text[i])
	}
	return fmt.Sprintf(format, n)
}

func turned(text string) string {
	b := []byte(text[:8])
	slices.Reverse(b)
	return string(b)
}

// digests are a text's SHA-256: it tells nobody the text, but whose it is, and what it is where there is little to guess from. Twelve
// characters of each form are enough to be found.
func digests(text string) map[string]string {
	sum := sha256.Sum256([]byte(text))
	raw := string(sum[:])
	all := map[string]string{"sha256, raw": raw[:window]}
	for form, spelling := range spellings(raw) {
		switch form {
		case "hex", "HEX", "base64, 0", "base64url, 0":
			all["sha256, "+form] = spelling[:window]
		case "bytes, dump", "bytes", "word", "word, turned", "escaped":
			all["sha256, "+form] = spelling[:min(len(spelling), 4*window)]
		}
	}
	return all
}

// search finds what is hidden.
type search struct {
	needles map[[window]byte][]needle // by their first bytes
}

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

// in tells what is found in a text, each thing once.
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

// plant proves that the search would have found: it puts each form of twelve of its characters, and of its SHA-256, into the end
// of a text, which is all of it or the last of very much, and returns those that went unseen.
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

func TestTheSearchForLeaksFindsWhatIsPlanted(t *testing.T) {
	t.Parallel()
	const secret = `IGAA+a/b"c\d~e&f<g>0123456789`
	c := hidden{"the canary", "expired-" + secret, len("expired-")}
	s := newSearch([]hidden{c, {"another", "ZYXWVUTSRQPONMLKJIHGFEDCBA", 0}})
	if unseen := s.plant("nothing to see here", c); len(unseen) > 0 {
		t.Errorf("planted and not found: %v", unseen)
	}
	// As other programs write it, in the middle of something else.
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
		"its end":       "token=..." + secret[len(secret)-window:],
		"a fingerprint": fmt.Sprintf("token=%.12x", sha256.Sum256([]byte(c.text)))[:6+window],
	} {
		if len(s.in(text)) == 0 {
			t.Errorf("%s: not found in %q", name, text)
		}
	}
	for name, text := range map[string]string{"nothing": "", "little": "IGAA", "what is no secret": "expired-", "others": strings.Repeat("0123456789abcdef ", 9),
		"eleven characters": secret[len(secret)-window+1:]} {
		if found := s.in(text); len(found) > 0 {
			t.Errorf("%s: found %v", name, found)
		}
	}
}
