package proxy

import (
	"fmt"
	"time"
)

// GraphError is an error in the envelope of Meta's Graph API, which is the only shape an app ever sees, be it Instagram's own or ours:
//
//	{"error":{"message":"...","type":"OAuthException","code":190,"error_subcode":463,"fbtrace_id":"..."}}
//
// Source: https://developers.facebook.com/docs/graph-api/guides/error-handling.
type GraphError struct {
	Status    int    // HTTP status, never 2xx
	Message   string // for people; scrubbed of the client secret and the token
	Type      string // varies, not to be matched on
	Code      int
	Subcode   int // 0: none
	UserTitle string
	UserMsg   string
	Transient *bool // nil: not said
	TraceID   string
	// RetryAt is when it is worth asking again; zero: not said. It becomes Retry-After, in seconds left.
	RetryAt time.Time

	flat  bool // in the shape of OAuth's code exchange
	class class
	// repeated says that Meta was not asked: the token failed a moment ago, and this is that failure.
	repeated bool
	cause    string // for our log only: the kind of a failure, never a text from outside
}

// Error names the codes and the kind, and never the message: Instagram writes what it likes there.
func (e *GraphError) Error() string {
	s := fmt.Sprintf("graph error %d/%d (status %d, %s)", e.Code, e.Subcode, e.Status, e.class)
	if e.cause != "" {
		s += ": " + e.cause
	}
	return s
}

// graphBody is the JSON of the envelope's inside, in the order Instagram writes it.
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

// flatBody is an error of the code exchange, as Instagram writes it; the members behind the first three are ours.
//
//	{"error_type":"OAuthException","code":400,"error_message":"..."}
type flatBody struct {
	Type      string `json:"error_type"`
	Code      int    `json:"code"`
	Message   string `json:"error_message"`
	Subcode   int    `json:"error_subcode,omitempty"`
	Transient *bool  `json:"is_transient,omitempty"`
}

// as is the error in the shape that a call's answers have.
func (e *GraphError) as(flat bool) *GraphError {
	if e == nil || flat == e.flat {
		return e
	}
	c := *e
	c.flat = flat
	switch {
	case flat: // the code exchange repeats the status there
		c.Code = e.Status
		if e.Type == "IGApiException" {
			c.Type = "OAuthException"
		}
	case e.metaCode() == 0:
		c.fillCode(false)
	}
	return &c
}

// encode is the one writer of both shapes.
func (e *GraphError) encode() []byte {
	if e.flat {
		return quotedValue(flatBody{e.Type, e.Code, e.Message, e.Subcode, e.Transient})
	}
	b := graphBody{Message: e.Message, Type: e.Type, Code: &e.Code, Subcode: e.Subcode, Transient: e.Transient,
		UserTitle: e.UserTitle, UserMsg: e.UserMsg, TraceID: e.TraceID}
	return quotedValue(envelope{b})
}
