package proxy

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"time"

	"github.com/igproxy/igproxy/proxy/graph"
)

// A record is what the cache remembers of an answer: a token or a definite refusal, as bytes, because the cache knows neither.
//
//	'c' | end of the token, Unix milliseconds, 8 bytes | the whole answer, which has no expires_in
//	't' | end of the token, Unix milliseconds, 8 bytes | length of head, 4 bytes | head | tail
//	'r' | JSON of the refusal
const (
	codeKind    = 'c'
	tokenKind   = 't'
	refusalKind = 'r'
	codeHeader  = 1 + 8
	tokenHeader = codeHeader + 4
)

var errRecord = errors.New("a remembered value is not a record")

// refusal is the JSON form of a graph.Error that is remembered, or told to other sidecars. Its texts were scrubbed when they were read.
type refusal struct {
	Status    int         `json:"status"`
	Message   string      `json:"message"`
	Type      string      `json:"type"`
	Code      int         `json:"code"`
	Subcode   int         `json:"subcode,omitempty"`
	UserTitle string      `json:"user_title,omitempty"`
	UserMsg   string      `json:"user_msg,omitempty"`
	Transient *bool       `json:"transient,omitempty"`
	TraceID   string      `json:"trace_id,omitempty"`
	RetryAt   time.Time   `json:"retry_at,omitzero"`
	Class     graph.Class `json:"class"`
	Cause     string      `json:"cause,omitempty"`
	Flat      bool        `json:"flat,omitempty"`
}

// encodeRecord turns an answer's definite part into bytes.
func encodeRecord(a answer) []byte {
	if e := a.refusal; e != nil {
		text, err := json.Marshal(refusal{e.Status, e.Message, e.Type, e.Code, e.Subcode, e.UserTitle, e.UserMsg, e.Transient, e.TraceID, e.RetryAt, e.Class, e.Cause, e.Flat})
		if err != nil { // a year beyond 9999 in RetryAt, which the cap on pauses rules out
			return nil
		}
		return append([]byte{refusalKind}, text...)
	}
	head, tail, whole := a.token.Parts()
	expires := uint64(a.token.Expires.UnixMilli())
	if whole {
		return append(binary.BigEndian.AppendUint64([]byte{codeKind}, expires), head...)
	}
	b := make([]byte, 0, tokenHeader+len(head)+len(tail))
	b = append(b, tokenKind)
	b = binary.BigEndian.AppendUint64(b, expires)
	b = binary.BigEndian.AppendUint32(b, uint32(len(head)))
	b = append(b, head...)
	return append(b, tail...)
}

// decodeRecord is the inverse. It refuses a token that is past its end, so that none is ever served.
func decodeRecord(b []byte, now time.Time) (answer, error) {
	if len(b) == 0 {
		return answer{}, errRecord
	}
	switch b[0] {
	case codeKind:
		return decodeCodeRecord(b, now)
	case tokenKind:
		return decodeTokenRecord(b, now)
	case refusalKind:
		return decodeRefusalRecord(b[1:])
	}
	return answer{}, errRecord
}

func decodeCodeRecord(b []byte, now time.Time) (answer, error) {
	if len(b) < codeHeader {
		return answer{}, errRecord
	}
	expires := time.UnixMilli(int64(binary.BigEndian.Uint64(b[1:])))
	if !now.Before(expires) {
		return answer{}, errRecord
	}
	return answer{token: graph.NewToken(b[codeHeader:], nil, true, expires)}, nil
}

func decodeTokenRecord(b []byte, now time.Time) (answer, error) {
	t, err := readTokenRecord(b, now)
	if err != nil {
		return answer{}, err
	}
	return answer{token: graph.NewToken(t.head, t.tail, false, t.expires)}, nil
}

// tokenRecord is a record with a token in it.
type tokenRecord struct {
	head, tail []byte
	expires    time.Time
}

// readTokenRecord reads a token's record where it lies; anything else is errRecord.
func readTokenRecord(b []byte, now time.Time) (t tokenRecord, err error) {
	if len(b) < tokenHeader || b[0] != tokenKind {
		return t, errRecord
	}
	t.expires = time.UnixMilli(int64(binary.BigEndian.Uint64(b[1:])))
	head, text := binary.BigEndian.Uint32(b[9:]), b[tokenHeader:]
	if uint64(head) > uint64(len(text)) || t.expires.Sub(now) < time.Second {
		return t, errRecord
	}
	t.head, t.tail = text[:head:head], text[head:]
	return t, nil
}

func decodeRefusalRecord(b []byte) (answer, error) {
	var r refusal
	if json.Unmarshal(b, &r) != nil || r.Status < 300 || r.Status > 599 {
		return answer{}, errRecord
	}
	e := &graph.Error{Status: r.Status, Message: r.Message, Type: r.Type, Code: r.Code, Subcode: r.Subcode,
		UserTitle: r.UserTitle, UserMsg: r.UserMsg, Transient: r.Transient, TraceID: r.TraceID, RetryAt: r.RetryAt,
		Class: r.Class, Cause: r.Cause, Flat: r.Flat}
	if !e.Class.IsDefinite() && !e.Class.IsFailure() { // none of those that are ever remembered or told
		return answer{}, errRecord
	}
	return answer{refusal: e}, nil
}
