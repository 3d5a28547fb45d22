// Package graph is Meta's vocabulary on the wire: errors and what they mean, tokens, rate limits,
// and secrets in texts. It only reads and writes bytes and headers; it makes no calls and does not
// depend on igproxy. Its readers take linear time and bounded memory, and never panic.
package graph

import (
	"fmt"
	"time"
)

// Error is an error in the envelope of Meta's Graph API, whether Meta or igproxy wrote it:
//
//	{"error":{"message":"...","type":"OAuthException","code":190,"error_subcode":463,"fbtrace_id":"..."}}
//
// Source: https://developers.facebook.com/docs/graph-api/guides/error-handling.
type Error struct {
	Status    int    // HTTP status, never 2xx
	Message   string // for people; without the client secret and the token
	Type      string // varies, so it must not be compared
	Code      int
	Subcode   int // 0 if absent
	UserTitle string
	UserMsg   string
	Transient *bool // nil if unknown
	TraceID   string
	// RetryAt is when to ask again, or zero. It becomes Retry-After, in seconds left.
	RetryAt time.Time

	// Class is what the error means for igproxy.
	Class Class
	// Flat says that the error has the shape of the code exchange.
	Flat bool
	// Repeated says that Meta was not asked: the token failed a moment ago, and this is that
	// failure.
	Repeated bool
	// Cause is the kind of a failure, for the log only. It is never a text from outside.
	Cause string
}

// Error returns the codes and the cause, but not the message, which may contain anything.
func (e *Error) Error() string {
	s := fmt.Sprintf("graph error %d/%d (status %d, %s)", e.Code, e.Subcode, e.Status, e.Class)
	if e.Cause != "" {
		s += ": " + e.Cause
	}
	return s
}

// graphBody is the JSON inside the envelope, in Meta's order.
type graphBody struct {
	Message   string `json:"message"`
	Type      string `json:"type"`
	Code      *int   `json:"code"`
	Subcode   int    `json:"error_subcode,omitempty"`
	Transient *bool  `json:"is_transient,omitempty"`
	UserTitle string `json:"error_user_title,omitempty"`
	UserMsg   string `json:"error_user_msg,omitempty"`
	TraceID   string `json:"fbtrace_id,omitempty"`
}

type envelope struct {
	Error graphBody `json:"error"`
}

// flatBody is an error of the code exchange. Its first three members are Instagram's, the others
// igproxy's own:
//
//	{"error_type":"OAuthException","code":400,"error_message":"..."}
type flatBody struct {
	Type      string `json:"error_type"`
	Code      int    `json:"code"`
	Message   string `json:"error_message"`
	Subcode   int    `json:"error_subcode,omitempty"`
	Transient *bool  `json:"is_transient,omitempty"`
}

// InShape returns the error in the shape of the code exchange (flat) or in the Graph envelope.
func (e *Error) InShape(flat bool) *Error {
	if e == nil || flat == e.Flat {
		return e
	}
	c := *e
	c.Flat = flat
	switch {
	case flat: // the code exchange repeats the status as the code
		c.Code = e.Status
		if e.Type == "IGApiException" {
			c.Type = "OAuthException"
		}
	case e.metaCode() == 0:
		c.fillCode(false)
	}
	return &c
}

// Encode returns the JSON of the error in its shape.
func (e *Error) Encode() []byte {
	if e.Flat {
		return encode(flatBody{e.Type, e.Code, e.Message, e.Subcode, e.Transient})
	}
	b := graphBody{Message: e.Message, Type: e.Type, Code: &e.Code, Subcode: e.Subcode, Transient: e.Transient,
		UserTitle: e.UserTitle, UserMsg: e.UserMsg, TraceID: e.TraceID}
	return encode(envelope{b})
}
