package graph

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"
)

// maxLife is the longest life of a token believed, far above Meta's 60 days.
const maxLife = 10 * 365 * 24 * time.Hour

// Token is a long-lived token as Instagram gave it, kept ready to write: only the digits of expires_in are filled in at the end,
// because they say the time really left. Its text is unprintable, as a Secret's is.
type Token struct {
	text    *splitJSON
	Expires time.Time // the end of the token itself
}

// splitJSON is the answer's JSON before and behind the digits of expires_in; whole, if it has none.
type splitJSON struct {
	head, tail []byte
	whole      bool
}

// NewToken builds a token from the parts that Parts returned.
func NewToken(head, tail []byte, whole bool, expires time.Time) Token {
	return Token{text: &splitJSON{head, tail, whole}, Expires: expires}
}

// Parts returns the JSON before and after the digits of expires_in. It is whole if it has none: then there is only head.
func (t Token) Parts() (head, tail []byte, whole bool) { return t.text.head, t.text.tail, t.text.whole }

// Format prints no text, whatever the verb.
func (t Token) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[token]") }

// Append appends the reply for an app that asks now.
func (t Token) Append(to []byte, now time.Time) []byte {
	to = append(to, t.text.head...)
	if t.text.whole {
		return to
	}
	to = strconv.AppendInt(to, int64(t.Expires.Sub(now)/time.Second), 10)
	return append(to, t.text.tail...)
}

// The ways in which a 200 can be malformed. The texts are fixed, so they can be logged.
var (
	errNoTokenIn   = errors.New("no usable access_token")
	errBadExpires  = errors.New("no usable expires_in")
	errBadType     = errors.New("token_type is not a string")
	errErrorMember = errors.New("an error under a status of success")
)

// ReadToken reads Instagram's success strictly: one JSON object, no member twice, a non-empty
// access_token, a whole and sane number of seconds. Unknown members are kept byte for byte and
// follow the three known ones, but for lookalikes of known names, which objectMembers drops.
func ReadToken(body []byte, now time.Time) (Token, error) {
	members, err := objectMembers(body)
	if err != nil {
		return Token{}, err
	}
	var token, kind string
	var seconds int64
	var extra []byte
	kind = "bearer"
	for _, m := range members {
		switch m.name {
		case "access_token":
			if json.Unmarshal(m.value, &token) != nil || token == "" || len(token) > MaxToken || !IsPrintable(token) {
				return Token{}, errNoTokenIn
			}
		case "token_type":
			if m.value[0] != '"' || json.Unmarshal(m.value, &kind) != nil {
				return Token{}, errBadType
			}
		case "expires_in":
			seconds, err = strconv.ParseInt(string(m.value), 10, 64)
			if err != nil || seconds <= 0 || seconds > int64(maxLife/time.Second) {
				return Token{}, errBadExpires
			}
		case "error":
			return Token{}, errErrorMember
		default:
			extra = append(append(append(append(extra, ','), quoted(m.name)...), ':'), m.value...)
		}
	}
	switch {
	case token == "":
		return Token{}, errNoTokenIn
	case seconds == 0:
		return Token{}, errBadExpires
	}
	head := fmt.Appendf(nil, `{"access_token":%s,"token_type":%s,"expires_in":`, quoted(token), quoted(kind))
	return Token{text: &splitJSON{head: head, tail: append(extra, '}')}, Expires: now.Add(time.Duration(seconds) * time.Second)}, nil
}

// MaxToken is the longest token or code accepted, in bytes after decoding. Real ones have about 180 characters.
const MaxToken = 4 << 10

// IsPrintable reports whether s is visible ASCII throughout, as every token of Meta's is.
func IsPrintable(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
