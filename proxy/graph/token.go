package graph

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"
)

// maxLife is the longest lifetime that is accepted for a token, far above the 60 days of Meta's
// long-lived tokens.
const maxLife = 10 * 365 * 24 * time.Hour

// Token is a successful response from Meta; most such responses contain a token. It has the JSON
// for the app except for the digits of expires_in: the time left is filled in when the answer is
// sent. Like a proxy.Secret, a Token never prints its text.
type Token struct {
	text    *splitJSON
	Expires time.Time // when the token itself expires, not the cached answer
}

// splitJSON is the response's JSON before and after the digits of expires_in. Without expires_in,
// head is the whole JSON.
type splitJSON struct{ head, tail []byte }

// NewToken returns a Token made of the parts that Parts returns.
func NewToken(head, tail []byte, expires time.Time) Token {
	return Token{text: &splitJSON{head, tail}, Expires: expires}
}

// NewBearer returns a Token with only an access_token, token_type and expires_in.
func NewBearer(access string, expires time.Time) Token {
	return NewToken(fmt.Appendf(nil, headStart+`%s,"token_type":"bearer","expires_in":`, encode(access)), []byte{'}'}, expires)
}

// Ends reports whether the token ever ends. ReadFacebookToken sets the Expires of a token that
// never ends to maxLife from the time of the response. So if at least half of maxLife is left, Ends
// reports false.
func (t Token) Ends(now time.Time) bool { return t.Expires.Sub(now) < maxLife/2 }

// Parts returns the JSON before and after the digits of expires_in. The tail is empty if there is
// no expires_in.
func (t Token) Parts() (head, tail []byte) { return t.text.head, t.text.tail }

// headStart is the beginning of the head of a Token from ReadToken, ReadFacebookToken or NewBearer.
const headStart = `{"access_token":`

// Access returns the access_token of a Token from ReadToken, ReadFacebookToken or NewBearer. For
// other Tokens it may return "".
func (t Token) Access() (access string) {
	if value, ok := bytes.CutPrefix(t.text.head, []byte(headStart)); ok {
		_ = json.NewDecoder(bytes.NewReader(value)).Decode(&access) // reads one value
	}
	return access
}

// Format implements fmt.Formatter. It never prints the response, whatever the verb.
func (t Token) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[token]") }

// The ways in which a 200 can be malformed. The texts are fixed, so they can be logged.
var (
	errNoTokenIn   = errors.New("no usable access_token")
	errBadExpires  = errors.New("no usable expires_in")
	errBadType     = errors.New("token_type is not a string")
	errErrorMember = errors.New("an error with a success status")
)

// ReadToken reads the successful response to an exchange or a refresh strictly. The response must
// be one JSON object without repeated members. Its access_token must be visible ASCII of at most
// MaxToken bytes. Its expires_in must be a whole number of seconds from 1 up to maxLife. Unknown
// members are kept byte for byte, and follow the three known members. Lookalikes of known names are
// dropped.
func ReadToken(body []byte, now time.Time) (Token, error) { return readToken(body, now, true) }

// ReadFacebookToken reads what ReadToken reads, but expires_in may be 0 or absent: app tokens and
// some tokens of pages do not expire. The Token then has no expires_in, and Expires is maxLife from
// now.
func ReadFacebookToken(body []byte, now time.Time) (Token, error) { return readToken(body, now, false) }

// ReadObject reads a response that is any JSON object without repeated members and without the
// member error. The Token is the object itself, and Expires is maxLife from now.
func ReadObject(body []byte, now time.Time) (Token, error) {
	members, err := objectMembers(body)
	switch {
	case err != nil:
		return Token{}, err
	case slices.ContainsFunc(members, func(m member) bool { return m.name == "error" }):
		return Token{}, errErrorMember
	}
	return NewToken(body, nil, now.Add(maxLife)), nil
}

func readToken(body []byte, now time.Time, mustExpire bool) (Token, error) {
	members, err := objectMembers(body)
	if err != nil {
		return Token{}, err
	}
	token, kind := "", "bearer"
	var seconds int64
	var extra []byte
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
			if err != nil || seconds < 0 || seconds == 0 && mustExpire || seconds > int64(maxLife/time.Second) {
				return Token{}, errBadExpires
			}
		case "error":
			return Token{}, errErrorMember
		default:
			extra = appendMember(extra, m)
		}
	}
	switch {
	case token == "":
		return Token{}, errNoTokenIn
	case seconds == 0 && mustExpire:
		return Token{}, errBadExpires
	case seconds == 0:
		head := fmt.Appendf(nil, headStart+`%s,"token_type":%s`, encode(token), encode(kind))
		return NewToken(append(append(head, extra...), '}'), nil, now.Add(maxLife)), nil
	}
	head := fmt.Appendf(nil, headStart+`%s,"token_type":%s,"expires_in":`, encode(token), encode(kind))
	return NewToken(head, append(extra, '}'), now.Add(time.Duration(seconds)*time.Second)), nil
}

// MaxToken is the length of the longest token or code that is accepted, in bytes after decoding.
// Meta's tokens have about 180 characters.
const MaxToken = 4 << 10

// IsPrintable reports whether s consists of visible ASCII characters, as Meta's tokens do.
func IsPrintable(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
