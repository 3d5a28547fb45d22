package proxy

import (
	"encoding/binary"
	"encoding/json"
	"time"

	"github.com/igproxy/igproxy/proxy/graph"
)

// An answer in the cache is encoded as follows. Head and tail are the JSON before and after the
// digits of expires_in; see graph.Token.Parts.
//
//	't' | expiry of the token, Unix milliseconds, 8 bytes | length of head, 4 bytes | head | tail
//	'r' | JSON of the refusal
const (
	tokenKind   = 't'
	refusalKind = 'r'
	tokenHeader = 1 + 8 + 4
)

// refusal is the JSON form of a remembered graph.Error. The fields after Error hold what the JSON
// of Error leaves out. The texts in Error contain no secrets or tokens, because igproxy removed
// them when it read Meta's response.
type refusal struct {
	Error   *graph.Error `json:"error"`
	Status  int          `json:"status"`
	RetryAt time.Time    `json:"retry_at,omitzero"`
	Class   graph.Class  `json:"class"`
	Cause   string       `json:"cause,omitempty"`
	Flat    bool         `json:"flat,omitempty"`
}

// encodeAnswer encodes the token or the refusal of an answer.
func encodeAnswer(a answer) []byte {
	if e := shortened(a.refusal); e != nil {
		// Marshal fails only for a RetryAt beyond the year 9999. The result then cannot be decoded,
		// which counts as a miss.
		text, _ := json.Marshal(refusal{e, e.Status, e.RetryAt, e.Class, e.Cause, e.Flat})
		return append([]byte{refusalKind}, text...)
	}
	head, tail := a.token.Parts()
	b := append(make([]byte, 0, tokenHeader+len(head)+len(tail)), tokenKind)
	b = binary.BigEndian.AppendUint64(b, uint64(a.token.Expires.UnixMilli()))
	b = binary.BigEndian.AppendUint32(b, uint32(len(head)))
	b = append(b, head...)
	return append(b, tail...)
}

// maxTexts is the total length, in bytes, up to which all texts of a refusal are remembered. The
// texts of Meta's errors usually have 100 to 400 bytes together.
const maxTexts = 2 << 10

// shortened returns a refusal unchanged if all its texts together are no longer than maxTexts.
// Otherwise it returns a copy whose only texts are the message and the type OAuthException.
func shortened(e *graph.Error) *graph.Error {
	if e == nil || len(e.Message)+len(e.Type)+len(e.UserTitle)+len(e.UserMsg)+len(e.TraceID) <= maxTexts {
		return e
	}
	short := *e
	short.Type, short.UserTitle, short.UserMsg, short.TraceID = "OAuthException", "", "", ""
	return &short
}

// decodeAnswer returns the answer that encodeAnswer encoded. It reports false if b cannot be
// decoded. It also reports false if the token is valid for less than a second, so that no expired
// token is ever served.
func decodeAnswer(b []byte, now time.Time) (answer, bool) {
	if len(b) > 0 && b[0] == refusalKind {
		return decodeRefusal(b[1:])
	}
	t, ok := readEncodedToken(b, now)
	return answer{token: graph.NewToken(t.head, t.tail, t.expires)}, ok
}

// encodedToken has the parts of an encoded token, or of the encoded response to a code exchange.
type encodedToken struct {
	head, tail []byte // as graph.Token.Parts returns them
	expires    time.Time
}

// readEncodedToken returns the parts of an encoded token, without copying them. It reports false
// if b does not begin with tokenKind, is malformed, or has a token that is valid for less than a
// second.
func readEncodedToken(b []byte, now time.Time) (t encodedToken, ok bool) {
	if len(b) < tokenHeader || b[0] != tokenKind {
		return t, false
	}
	t.expires = time.UnixMilli(int64(binary.BigEndian.Uint64(b[1:])))
	head, text := binary.BigEndian.Uint32(b[9:]), b[tokenHeader:]
	if uint64(head) > uint64(len(text)) || t.expires.Sub(now) < time.Second {
		return t, false
	}
	t.head, t.tail = text[:head:head], text[head:]
	return t, true
}

func decodeRefusal(b []byte) (answer, bool) {
	var r refusal
	if json.Unmarshal(b, &r) != nil || r.Error == nil || r.Status < 300 || r.Status > 599 ||
		!r.Class.IsDefinite() && !r.Class.IsFailure() { // no other class is remembered or shared
		return answer{}, false
	}
	e := r.Error
	e.Status, e.RetryAt, e.Class, e.Cause, e.Flat = r.Status, r.RetryAt, r.Class, r.Cause, r.Flat
	return answer{refusal: e}, true
}
