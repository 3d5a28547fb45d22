package graph

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// maxText bounds each text of an error, in bytes.
const maxText = 2 << 10

// ReadError reads an error of Meta in any shape that its token endpoints and their gateways use:
//
//	{"error":{"message":"...","type":"...","code":190,"error_subcode":463}}  the Graph envelope
//	{"error_type":"OAuthException","code":400,"error_message":"..."}         the code exchange
//	{"error_message":"...","error_code":1349245}                             Threads
//	{"error":"invalid_grant","error_description":"..."}, {"error":"..."}     RFC 6749, section 5.2
//	{"error_code":100,"error_msg":"..."}, {"message":"...","code":1}         older interfaces
//
// Numbers and booleans may be strings, and any member may be missing. Names are exact, letter case
// included. If a name appears more than once, the last member counts. An object of more than
// maxMembers members is not read. Texts are scrubbed and bounded, and a missing code is filled in.
// Reading takes linear time.
//
// It reports false if there is no error to read. A 5xx is read only in the first two shapes: any
// other shape there comes from a failing host and says nothing about the call.
func ReadError(status int, body []byte, scrub func(string) string) (*Error, bool) {
	s := readSaid(body)
	if s.none() || status >= 500 && !s.usual {
		return nil, false
	}
	text := func(s string) string {
		if s = scrub(s); len(s) > maxText {
			s = strings.ToValidUTF8(s[:maxText], "")
		}
		return s
	}
	e := &Error{Status: status, Message: text(s.message), Type: text(s.kind), Code: s.code, Subcode: s.subcode, Transient: s.transient,
		UserTitle: text(s.userTitle), UserMsg: text(s.userMsg), TraceID: text(s.traceID), Flat: s.flat}
	e.Class = classify(e)
	if e.metaCode() == 0 {
		e.fillCode(s.usual)
	}
	if e.Message == "" {
		e.Message = statusMessage(status, "without a message")
	}
	if e.Type == "" {
		e.Type = "OAuthException"
	}
	return e, true
}

// fillCode sets a missing code. In the flat shape it is the status, as in the code exchange's own
// errors; in the envelope it follows from the class. SubcodeUnreadable marks it as filled in, except in
// a usual error of the code exchange, which never has one of Meta's codes.
func (e *Error) fillCode(usual bool) {
	switch {
	case e.Flat && e.Code == 0:
		e.Code = e.Status
	case e.Flat:
	case e.Class == ClassAppLimit:
		e.Code = 4
	case e.Class == ClassTransient:
		e.Code = 2
	default:
		e.Code = 100
	}
	if e.Subcode == 0 && !(e.Flat && usual) && e.Class != ClassAppLimit && e.Class != ClassTransient {
		e.Subcode = SubcodeUnreadable
	}
}

// metaCode returns Meta's code of the error, or 0. In the flat shape a code that is an HTTP status
// only repeats the status, and the code of a 5xx is ignored.
func (e *Error) metaCode() int {
	if e.Flat && (e.Status >= 500 || e.Code >= 400 && http.StatusText(e.Code) != "") {
		return 0
	}
	return e.Code
}

// said is what was read of an error. A zero value means that it was not there.
type said struct {
	message, kind, userTitle, userMsg, traceID string
	code, subcode                              int
	transient                                  *bool
	flat                                       bool // at the top, as in the code exchange
	usual                                      bool // the envelope with a code, or the code exchange's shape with type and message
}

func (s said) none() bool { return s.message == "" && s.kind == "" && s.code == 0 }

// readSaid looks for an error in the envelope, then at the top.
func readSaid(body []byte) said {
	top := fieldsOf(body)
	if s := fieldsOf(top["error"]).said(); !s.none() {
		s.usual = s.code != 0
		return s
	}
	s := top.said()
	s.flat = true
	s.usual = top.text("error_type") != "" && top.text("error_message") != ""
	return s
}

// fields are the members of an object. The last of those with one name counts.
type fields map[string]json.RawMessage

// fieldsOf returns the members of a JSON object, and nil for any other value.
func fieldsOf(value json.RawMessage) fields {
	members, err := splitObject(value)
	if err != nil {
		return nil
	}
	f := make(fields, len(members))
	for _, m := range members {
		f[m.name] = m.value
	}
	return f
}

// said reads an object whose own members are an error's.
func (f fields) said() said {
	s := said{
		message:   f.text("message", "error_message", "error_msg", "error_description"),
		kind:      f.text("type", "error_type"),
		userTitle: f.text("error_user_title"),
		userMsg:   f.text("error_user_msg"),
		traceID:   f.text("fbtrace_id"),
		code:      f.number("error_code", "code"),
		subcode:   f.number("error_subcode"),
		transient: f.truth("is_transient"),
	}
	word := f.text("error")
	switch {
	case s.message == "":
		s.message = word
	case s.kind == "": // RFC 6749 names the kind there and describes it elsewhere
		s.kind = word
	}
	return s
}

// text returns the first of these members that is a string and not empty.
func (f fields) text(names ...string) (s string) {
	for _, name := range names {
		if json.Unmarshal(f[name], &s) == nil && s != "" {
			return s
		}
	}
	return ""
}

// number returns the first of these members that is a whole number, or a string of one, and not zero.
// It returns 0 if there is none.
func (f fields) number(names ...string) int {
	for _, name := range names {
		if n, err := strconv.Atoi(strings.Trim(string(f[name]), `" `)); err == nil && n != 0 {
			return n
		}
	}
	return 0
}

// truth returns a boolean, which may also be 0, 1 or a string. It returns nil for anything else.
func (f fields) truth(name string) *bool {
	switch strings.Trim(string(f[name]), `" `) {
	case "true", "1":
		return new(true)
	case "false", "0":
		return new(false)
	}
	return nil
}

// SubcodeUnreadable is igproxy's own error_subcode for a refusal whose code cannot be read.
const SubcodeUnreadable = 990025

// Unreadable returns a refusal of which only the status is known. It has code 100, as Meta's own
// refusals of a request do.
func Unreadable(status int) *Error {
	return &Error{Status: status, Code: 100, Subcode: SubcodeUnreadable, Type: "OAuthException",
		Message:   statusMessage(status, "without an error that igproxy can read"),
		Transient: new(false), Class: ClassRefused, Cause: StatusCause(status)}
}

func statusMessage(status int, how string) string {
	return fmt.Sprintf("Instagram refused this call (status %d) %s.", status, how)
}

// StatusCause returns the cause of a failure that is a reply without a readable error.
func StatusCause(status int) string {
	if http.StatusText(status) == "" {
		return "an unknown status without a Graph error"
	}
	return "status " + http.StatusText(status) + " without a Graph error"
}
