package graph_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/igproxy/igproxy/proxy/graph"
)

const (
	oddSecret = `Zq+/9=%41\"secret<&>key`
	oddToken  = `IGAA+tok/en%2B=1|2\"{}`
)

// spelled returns the ways in which a text can repeat a word.
func spelled(word string) map[string]string {
	everyByte := func(format string) string {
		var b strings.Builder
		for i := range len(word) {
			fmt.Fprintf(&b, format, word[i])
		}
		return b.String()
	}
	marshalled, _ := json.Marshal(word)
	inJSON := strings.Trim(string(marshalled), `"`)
	return map[string]string{
		"raw":                            word,
		"query":                          url.QueryEscape(word),
		"path":                           url.PathEscape(word),
		"lower-case percent":             everyByte("%%%02x"),
		"upper-case percent":             everyByte("%%%02X"),
		"percent twice":                  url.QueryEscape(url.QueryEscape(word)),
		"JSON":                           inJSON,
		"JSON's code points":             everyByte(`\u%04x`),
		"JSON's code points, upper case": everyByte(`\u%04X`),
		"JSON's slashes":                 strings.ReplaceAll(inJSON, "/", `\/`),
		"percent, then JSON":             strings.ReplaceAll(url.QueryEscape(word), "%", `\u0025`),
		"percent, first byte only":       fmt.Sprintf("%%%02x", word[0]) + word[1:],
		"JSON inside JSON":               strings.ReplaceAll(everyByte(`\u%04x`), `\`, `\\`),
	}
}

// readable reports whether the text contains the word: as it is, percent-encoded, or with JSON's
// escapes.
func readable(text, word string) bool {
	unescaped, _ := url.PathUnescape(text)
	var parsed string
	_ = json.Unmarshal([]byte(`"`+text+`"`), &parsed)
	return strings.Contains(text, word) || strings.Contains(unescaped, word) || strings.Contains(parsed, word)
}

func TestNoSpellingOfSecretOrTokenGetsThrough(t *testing.T) {
	for _, pair := range [][2]string{{testSecret, "IGAAshort-lived_token"}, {oddSecret, oddToken}, {"a secret of words", "IGAAshort"}} {
		scrub := scrubber(pair[0], pair[1])
		for i, mark := range []string{"[client secret]", "[access token]"} {
			for name, text := range spelled(pair[i]) {
				whole := "before " + text + " and " + text + "."
				want := mark // if the word is spelled differently, the mark replaces the whole text
				if strings.Contains(text, pair[i]) {
					want = strings.ReplaceAll(whole, pair[i], mark)
				}
				if got := scrub(whole); got != want {
					t.Errorf("%s, %s: got %q, want %q", mark, name, got, want)
				}
				if body := `{"x":"` + text + `"}`; !graph.Contains(body, pair[i]) {
					t.Errorf("%s, %s: Contains does not find %q in %q", mark, name, pair[i], body)
				}
			}
		}
	}
}

// Each letter of a word may be encoded in its own way, up to graph.MaxLayers deep, and a stray
// escape in front of the word may swallow its first letters.
func TestAMixtureOfSpellingsIsFound(t *testing.T) {
	const letters = "abcdefABCDEF0123456789_-.|XYZ"
	random := rand.New(rand.NewPCG(1, 2))
	encoded := func(text string) string {
		for range random.IntN(graph.MaxLayers + 1) {
			var b strings.Builder
			for i := range len(text) {
				format := []string{"%%%02x", "%%%02X", `\u%04x`}[random.IntN(3)]
				if text[i] != '%' && text[i] != '\\' && random.IntN(4) == 0 {
					format = "%c"
				}
				fmt.Fprintf(&b, format, text[i])
			}
			text = b.String()
		}
		return text
	}
	for range 2000 {
		var word, text strings.Builder
		text.WriteString([]string{"before=", "%", `\`, `\u`, `\\u`, "%25", "%5cu", `\u0025`, "%2525", `\%`}[random.IntN(10)])
		for range 32 {
			i := random.IntN(len(letters))
			word.WriteString(letters[i : i+1])
			text.WriteString(encoded(letters[i : i+1]))
		}
		if !graph.Contains(text.String()+"&after", word.String()) {
			t.Fatalf("%q is not found in %q", word.String(), text.String())
		}
	}
}

// An earlier version tried every way to decode a text. It took minutes for a few hundred
// backslashes.
func TestScrubbingATextOfEscapesTakesLinearTime(t *testing.T) {
	const size = 64 << 10 // the default of upstream.max_response_bytes
	word := strings.Repeat(`\`, 100) + "1"
	for _, unit := range []string{"%", `\`, "u005c", "%5c", "%25", `\u005c`, `\u0025`} {
		text := strings.Repeat(unit, size/len(unit))
		start := time.Now()
		if graph.Contains(text, word) {
			t.Errorf("%s: found a word that is not there", unit)
		}
		if took := time.Since(start); took > 10*time.Second { // allows for a busy machine and the race detector
			t.Errorf("%s: %d bytes took %s, want at most 10s", unit, len(text), took)
		}
	}
}

// The app chooses its token. If a token ends with the first letters of the secret, replacing the
// token must not remove the start of the secret and leave its rest readable.
func TestATokenThatOverlapsTheSecretLeavesNoPartOfTheSecretReadable(t *testing.T) {
	got := scrubber(testSecret, "client_secret="+testSecret[:4])("The URL was /access_token?client_secret=" + testSecret + "&x=1")
	if want := "The URL was /access_token?client_secret=[client secret]&x=1"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestScrubbingLeavesOtherTextsAlone(t *testing.T) {
	scrub := scrubber(testSecret, "IGAAshort")
	for _, text := range []string{"", "%", "100% of it", `a\`, `\u00`, `\u00e9 %zz %4`, "Session has expired on Sunday", testSecret[:31], testSecret[13:], "IGAAshor t"} {
		if got := scrub(text); got != text {
			t.Errorf("%q became %q, want it unchanged", text, got)
		}
	}
}

const testSecret = "0123456789abcdef0123456789abcdef" // made up

// scrubber returns a function that replaces a secret, and then a token, by a mark.
func scrubber(secret, token string) func(string) string {
	return func(text string) string {
		return graph.Replace(graph.Replace(text, secret, "[client secret]"), token, "[access token]")
	}
}

// A header that repeats the secret or the token, in any spelling, is not passed on.
func TestUsageHeadersThatRepeatASecretAreDropped(t *testing.T) {
	for _, word := range []string{oddSecret, oddToken} {
		for name, text := range spelled(word) {
			if !json.Valid([]byte(`"` + text + `"`)) {
				continue // a header that is not JSON is dropped anyway
			}
			h := http.Header{"X-App-Usage": {`{"call_count":"` + text + `"}`}, "X-Business-Use-Case-Usage": {`{"` + text + `":[]}`}}
			if got := graph.ReadUsage(h, scrubber(oddSecret, oddToken)); len(got) > 0 {
				t.Errorf("%s: got the headers %v, want none", name, got)
			}
		}
	}
}
