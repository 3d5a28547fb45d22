package proxy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

const (
	oddSecret = `Zq+/9=%41\"secret<&>key`
	oddToken  = `IGAA+tok/en%2B=1|2\"{}`
)

// spelled are the ways in which a text can repeat a word.
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
		"raw":                   word,
		"query":                 url.QueryEscape(word),
		"path":                  url.PathEscape(word),
		"lower-case percent":    everyByte("%%%02x"),
		"upper-case percent":    everyByte("%%%02X"),
		"percent twice":         url.QueryEscape(url.QueryEscape(word)),
		"JSON":                  inJSON,
		"JSON's code points":    everyByte(`\u%04x`),
		"JSON's, upper case":    everyByte(`\u%04X`),
		"JSON's slashes":        strings.ReplaceAll(inJSON, "/", `\/`),
		"percent, then JSON":    strings.ReplaceAll(url.QueryEscape(word), "%", `\u0025`),
		"the first byte only":   fmt.Sprintf("%%%02x", word[0]) + word[1:],
		"JSON inside of a JSON": strings.ReplaceAll(everyByte(`\u%04x`), `\`, `\\`),
	}
}

// appWith is a call of an app with this secret.
func appWith(t testing.TB, secret, token string) call {
	t.Helper()
	c := callFor(t, token)
	c.app = &app{label: "default", secrets: []Secret{NewSecret(secret)}, keys: c.app.keys, state: &appState{}}
	return c
}

// readable reports whether somebody finds the word who reads the text as it is, as a URL or as JSON.
func readable(text, word string) bool {
	unescaped, _ := url.PathUnescape(text)
	var parsed string
	_ = json.Unmarshal([]byte(`"`+text+`"`), &parsed)
	return strings.Contains(text, word) || strings.Contains(unescaped, word) || strings.Contains(parsed, word)
}

func TestNoSpellingOfSecretOrTokenGetsThrough(t *testing.T) {
	for _, pair := range [][2]string{{testSecret, "IGAAshort-lived_token"}, {oddSecret, oddToken}, {"a secret of words", "IGAAshort"}} {
		c := appWith(t, pair[0], pair[1])
		scrub := c.scrubber()
		for name, text := range spelled(pair[0]) {
			if got := scrub("before " + text + " and " + text + "."); got != "before [client secret] and [client secret]." {
				t.Errorf("client secret, %s: got %q", name, got)
			}
			if !spells(`{"x":"`+text+`"}`, pair[0]) {
				t.Errorf("client secret, %s: not seen in a body", name)
			}
		}
		for name, text := range spelled(pair[1]) {
			if got := scrub("before " + text + " and " + text + "."); got != "before [access token] and [access token]." {
				t.Errorf("token, %s: got %q", name, got)
			}
		}
	}
}

// The app chooses its token: one that ends as the secret begins must not take the secret's start away and leave the rest readable.
func TestATokenThatOverlapsTheSecretHidesNothingOfIt(t *testing.T) {
	c := appWith(t, testSecret, "client_secret="+testSecret[:4])
	got := c.scrubber()("The URL was /access_token?client_secret=" + testSecret + "&x=1")
	if want := "The URL was /access_token?client_secret=[client secret]&x=1"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestScrubbingLeavesOtherTextsAlone(t *testing.T) {
	scrub := appWith(t, testSecret, "IGAAshort").scrubber()
	for _, text := range []string{"", "%", "100% of it", `a\`, `\u00`, `\u00e9 %zz %4`, "Session has expired on Sunday", testSecret[:31], "IGAAshor t"} {
		if got := scrub(text); got != text {
			t.Errorf("%q became %q", text, got)
		}
	}
	if got := appWith(t, testSecret, "the").scrubber()("the token"); got != "the token" {
		t.Errorf("a token too short to be one tore the sentence up: %q", got)
	}
}

// A header that repeats either of the two, in whatever spelling, is not handed on.
func TestUsageHeadersThatReflectAreDropped(t *testing.T) {
	c := appWith(t, oddSecret, oddToken)
	for _, word := range []string{oddSecret, oddToken} {
		for name, text := range spelled(word) {
			if !json.Valid([]byte(`"` + text + `"`)) {
				continue // and so it is dropped for that
			}
			h := http.Header{"X-App-Usage": {`{"call_count":"` + text + `"}`}, "X-Business-Use-Case-Usage": {`{"` + text + `":[]}`}}
			if got := readUsage(h, c.scrubber()); got != (usage{}) {
				t.Errorf("%s: handed on: %v", name, got)
			}
		}
	}
}

// Whatever Instagram writes into an error, in whatever spelling and shape: no panic, valid JSON comes out, nobody can read secret or
// token in it, our own reader reads the same in it, and a 4xx is a failure or the app's standing only where it says so.
func FuzzGraphError(f *testing.F) {
	for name, text := range spelled(testSecret) {
		f.Add(`{"error":{"message":"`+name, text, `","type":"OAuthException","code":190,"is_transient":false}}`, 400)
		f.Add(`{"error_code":10,"error_message":"`+name, text, `"}`, 400)
	}
	for _, s := range shapes {
		if len(s.body) < 1000 {
			f.Add(s.body, "", "", s.status)
		}
	}
	f.Add(`{"error":{"message":"m","type":"`, testSecret[:16], testSecret[16:]+`","code":4}}`, 403)
	f.Add(`{"error":{"code":100,"message":"%25`, "%2530", `","error_user_title":"t","error_user_msg":"u","fbtrace_id":"x"}}`, 500)
	f.Add(`[{"error":`, "\xff", `null}]`, 200)
	const token = "IGAAshort-lived_token"
	scrub := appWith(f, testSecret, token).scrubber()
	f.Fuzz(func(t *testing.T, head, middle, tail string, status int) {
		e, ok := decodeGraphError(status, []byte(head+middle+tail), scrub)
		if !ok {
			return
		}
		for _, flat := range []bool{false, true} {
			out := e.as(flat).encode()
			if !json.Valid(out) {
				t.Fatalf("not JSON: %s", out)
			}
			back, ok := decodeGraphError(status, out, asItIs)
			if !ok || !bytes.Equal(back.as(flat).encode(), out) {
				t.Fatalf("%s reads as %v", out, back)
			}
		}
		for _, text := range []string{e.Message, e.Type, e.UserTitle, e.UserMsg, e.TraceID} {
			if readable(text, testSecret) || readable(text, token) {
				t.Fatalf("readable in %q", text)
			}
			if len(text) > maxText {
				t.Fatalf("%d bytes of text, want at most %d", len(text), maxText)
			}
		}
		said := e.Code == 1 || e.Code == 2 || e.Transient != nil && *e.Transient
		if status >= 400 && status < 500 && (e.class.ill() && !said || !e.class.ill() && !e.class.definite()) {
			t.Fatalf("%d is %s: %s", status, e.class, e.encode())
		}
		if e.class == classStanding && e.metaCode() != 100 {
			t.Fatalf("code %d is %s: %s", e.Code, e.class, e.encode())
		}
		_ = e.Error()
	})
}
