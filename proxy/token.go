package proxy

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

// Format prints no text, whatever the verb.
func (t Token) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// append writes the answer for an app that asks now.
func (t Token) append(to []byte, now time.Time) []byte {
	to = append(to, t.text.head...)
	if t.text.whole {
		return to
	}
	to = strconv.AppendInt(to, int64(t.Expires.Sub(now)/time.Second), 10)
	return append(to, t.text.tail...)
}

// The ways in which a 200 can be no token; fixed texts, so that they can be logged.
var (
	errNoTokenIn   = errors.New("no usable access_token")
	errBadExpires  = errors.New("no usable expires_in")
	errBadType     = errors.New("token_type is not a string")
	errErrorMember = errors.New("an error under a status of success")
	errReflected   = errors.New("repeats the client secret")
)

// decodeToken reads Instagram's success strictly: one JSON object, no member twice, a non-empty
// access_token, a whole and sane number of seconds. Unknown members are kept byte for byte and
// follow the three known ones, but for lookalikes of known names, which objectMembers drops.
func decodeToken(body []byte, now time.Time) (Token, error) {
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
			if json.Unmarshal(m.value, &token) != nil || token == "" || len(token) > maxToken || !printable(token) {
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
