package graph

import (
	"encoding/json"
	"slices"
	"time"
)

// codeLife is the lifetime of the short-lived token that a code is exchanged for.
const codeLife = time.Hour

// ReadCode reads the successful response to a code exchange, strictly. Meta documents the first of
// these shapes and sends the second:
//
//	{"data":[{"access_token":"...","user_id":"...","permissions":"a,b"}]}
//	{"access_token":"...","user_id":17841400000000001,"permissions":["a","b"]}
//
// Generic OAuth libraries fail on the first, and apps written to the documentation fail on the
// second. So the Token has both: the flat members, and the same members under data. It also has the
// token_type that RFC 6749 section 5.1 requires and Meta omits. Values are kept byte for byte,
// because a number such as a user_id above 2^53 would change if it were decoded as a float.
// Lookalikes of known names (see func lookalike) are dropped, at the top and inside data.
func ReadCode(body []byte, now time.Time) (Token, error) {
	members, err := objectMembers(body)
	if err != nil {
		return Token{}, err
	}
	if len(members) == 1 && members[0].name == "data" {
		one, err := onlyElement(members[0].value)
		if err != nil {
			return Token{}, err
		}
		if members, err = objectMembers(one); err != nil {
			return Token{}, err
		}
	}
	var access string
	var text []byte
	for _, m := range members {
		switch m.name {
		case "access_token":
			if json.Unmarshal(m.value, &access) != nil || access == "" || len(access) > MaxToken || !IsPrintable(access) {
				return Token{}, errNoTokenIn
			}
		case "error", "error_type":
			return Token{}, errErrorMember
		case "data": // beside other members, or inside data
			return Token{}, errNotJSON
		}
		text = appendMember(text, m)
	}
	if access == "" {
		return Token{}, errNoTokenIn
	}
	flat := text[1:]
	answer := append([]byte{'{'}, flat...)
	if !slices.ContainsFunc(members, func(m member) bool { return m.name == "token_type" }) {
		answer = append(answer, `,"token_type":"bearer"`...)
	}
	answer = append(append(append(answer, `,"data":[{`...), flat...), `}]}`...)
	return NewToken(answer, nil, now.Add(codeLife)), nil
}
