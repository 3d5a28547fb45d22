// Package graph reads and writes what Meta's API sends: errors and what they mean, tokens, and rate
// limits. It also finds secrets in texts. It works only on bytes and headers: it makes no calls and
// does not depend on igproxy's other packages. Its readers take linear time and bounded memory, and
// never panic.
package graph

import (
	"fmt"
	"time"
)

// Error is an error from Meta, or one of igproxy's own. Unless Flat is set, an app gets it in the
// envelope of Meta's Graph API:
//
//	{"error":{"message":"...","type":"OAuthException","code":190,"fbtrace_id":"..."}}
//
// Source: https://developers.facebook.com/docs/graph-api/guides/error-handling.
type Error struct {
	Message   string `json:"message"` // for people; the client secret and the token are removed
	Type      string `json:"type"`    // do not compare it: Meta varies it
	Code      int    `json:"code"`
	Subcode   int    `json:"error_subcode,omitempty"` // 0 if absent
	Transient *bool  `json:"is_transient,omitempty"`  // nil if unknown
	UserTitle string `json:"error_user_title,omitempty"`
	UserMsg   string `json:"error_user_msg,omitempty"`
	TraceID   string `json:"fbtrace_id,omitempty"`

	// Status is the HTTP status, never 2xx.
	Status int `json:"-"`
	// RetryAt is the earliest time to ask again; zero: unknown. It is sent as Retry-After, in
	// seconds from now.
	RetryAt time.Time `json:"-"`
	// Class is what the error means for igproxy.
	Class Class `json:"-"`
	// Flat says that the error has the shape of the code exchange.
	Flat bool `json:"-"`
	// Repeated says that Meta was not asked: the error is that of an earlier call with the token,
	// by this sidecar or another one.
	Repeated bool `json:"-"`
	// Cause is the kind of a failure, for the log only. It never contains text from a request or a
	// response.
	Cause string `json:"-"`
}

// Error returns the codes and the cause, but not the message, which may contain anything.
func (e *Error) Error() string {
	s := fmt.Sprintf("graph error %d/%d (status %d, %s)", e.Code, e.Subcode, e.Status, e.Class)
	if e.Cause != "" {
		s += ": " + e.Cause
	}
	return s
}

// flatBody is an error of the code exchange. Instagram sends three members:
//
//	{"error_type":"OAuthException","code":400,"error_message":"..."}
//
// igproxy adds the others, if they are known.
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
	return encode(map[string]*Error{"error": e})
}
