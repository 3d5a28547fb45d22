package proxy

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"time"

	"github.com/igproxy/igproxy/proxy/graph"
)

// A record is an answer as the cache remembers it, which knows neither tokens nor refusals.
//
//	't' | end of the token, Unix milliseconds, 8 bytes | length of head, 4 bytes | head | tail
//	'c' | the same for the answer to a code, which is all head: it has no expires_in
//	'r' | JSON of the refusal
const (
	tokenKind   = 't'
	codeKind    = 'c'
	refusalKind = 'r'
	tokenHeader = 1 + 8 + 4
)

var errRecord = errors.New("a remembered value is not a record")

// refusal is the JSON form of a remembered graph.Error: what its own JSON leaves out stands beside it.
// Its texts were scrubbed when they were read.
type refusal struct {
	Error   *graph.Error `json:"error"`
	Status  int          `json:"status"`
	RetryAt time.Time    `json:"retry_at,omitzero"`
	Class   graph.Class  `json:"class"`
	Cause   string       `json:"cause,omitempty"`
	Flat    bool         `json:"flat,omitempty"`
}

// encodeRecord encodes the definite part of an answer.
func encodeRecord(a answer) []byte {
	if e := a.refusal; e != nil {
		text, err := json.Marshal(refusal{e, e.Status, e.RetryAt, e.Class, e.Cause, e.Flat})
		if err != nil { // RetryAt is beyond the year 9999, which the limit of pauses rules out
			return nil
		}
		return append([]byte{refusalKind}, text...)
	}
	head, tail, whole := a.token.Parts()
	b := make([]byte, 1, tokenHeader+len(head)+len(tail))
	b[0] = tokenKind
	if whole {
		b[0] = codeKind
	}
	b = binary.BigEndian.AppendUint64(b, uint64(a.token.Expires.UnixMilli()))
	b = binary.BigEndian.AppendUint32(b, uint32(len(head)))
	b = append(b, head...)
	return append(b, tail...)
}

// decodeRecord is the inverse of encodeRecord. It returns errRecord for a token that has expired, so
// that none is ever served.
func decodeRecord(b []byte, now time.Time) (answer, error) {
	if len(b) > 0 && b[0] == refusalKind {
		return decodeRefusal(b[1:])
	}
	t, err := readTokenRecord(b, now)
	if err != nil {
		return answer{}, err
	}
	return answer{token: graph.NewToken(t.head, t.tail, t.whole, t.expires)}, nil
}

// tokenRecord is a record of a token or of the answer to a code.
type tokenRecord struct {
	head, tail []byte
	whole      bool // of the answer to a code
	expires    time.Time
}

// readTokenRecord reads a record without copying it.
func readTokenRecord(b []byte, now time.Time) (t tokenRecord, err error) {
	if len(b) < tokenHeader || b[0] != tokenKind && b[0] != codeKind {
		return t, errRecord
	}
	t.expires = time.UnixMilli(int64(binary.BigEndian.Uint64(b[1:])))
	head, text := binary.BigEndian.Uint32(b[9:]), b[tokenHeader:]
	if uint64(head) > uint64(len(text)) || t.expires.Sub(now) < time.Second {
		return t, errRecord
	}
	t.head, t.tail, t.whole = text[:head:head], text[head:], b[0] == codeKind
	return t, nil
}

func decodeRefusal(b []byte) (answer, error) {
	var r refusal
	if json.Unmarshal(b, &r) != nil || r.Error == nil || r.Status < 300 || r.Status > 599 ||
		!r.Class.IsDefinite() && !r.Class.IsFailure() { // no other class is remembered or shared
		return answer{}, errRecord
	}
	e := r.Error
	e.Status, e.RetryAt, e.Class, e.Cause, e.Flat = r.Status, r.RetryAt, r.Class, r.Cause, r.Flat
	return answer{refusal: e}, nil
}
