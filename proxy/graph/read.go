package graph

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// maxText bounds each text taken from Instagram's errors, in bytes.
const maxText = 2 << 10

// ReadError reads an error of Meta in any shape that its hosts have used:
//
//	{"error":{"message":"...","type":"...","code":190,"error_subcode":463}}     the Graph envelope
//	{"error":{"error":{...}}}                                                   nested once more
//	{"error_type":"OAuthException","code":400,"error_message":"..."}            the code exchange
//	{"meta":{"error_type":"...","code":400,"error_message":"..."}}              Instagram before 2018
//	{"error_message":"...","error_code":1349245}                                Threads
//	{"error":"invalid_grant","error_description":"..."}, {"error":"..."}        RFC 6749, section 5.2
//	{"error_code":100,"error_msg":"..."}                                        the REST API
//	{"message":"...","status":"fail","error_type":"..."}, {"message":"...","code":1}
//	{"errors":[{"message":"...","code":1675002,"summary":"..."}]}               GraphQL
//	{"debug_info":{"retriable":false,"type":"...","message":"..."}}             uploads
//	for (;;);{"error":1357004,"errorSummary":"...","errorDescription":"..."}    web pages' own calls
//
// Each may be the first element of an array; numbers and booleans may be strings; any member may be
// missing. Names are exact, letter case included. The last of members with one name counts. It takes
// linear time and looks no deeper than these shapes go; an object of more than maxMembers members is
// not read. Texts are scrubbed and bounded, and a code that was not said is filled in.
//
// It reports false where there is no error to be read. A 5xx is read in the first and the third shape
// alone: another shape there is a sign of a host in trouble, and not an answer about the call.
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

// fillCode sets a code that Instagram did not give. In the flat shape it is the status, which the code
// exchange repeats there; in the envelope it follows from the class. SubcodeUnreadable marks it as ours,
// except in a usual error of the code exchange, which never has one of Meta's codes.
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

// metaCode returns the code in the sense of Meta's error handling guide, or 0. In the flat shape a code
// that is an HTTP status only repeats the status, and of a 5xx no code is believed.
func (e *Error) metaCode() int {
	if e.Flat && (e.Status >= 500 || e.Code >= 400 && http.StatusText(e.Code) != "") {
		return 0
	}
	return e.Code
}

// said is what can be read of an error. A zero value means that it was not there.
type said struct {
	message, kind, userTitle, userMsg, traceID string
	code, subcode                              int
	transient                                  *bool
	flat                                       bool // at the top or in meta, as the code exchange writes it
	usual                                      bool // the envelope with a code, or the code exchange's shape with type and message
}

func (s said) none() bool { return s.message == "" && s.kind == "" && s.code == 0 }

// readSaid looks for an error in each of the places where Meta's hosts put one.
func readSaid(body []byte) said {
	top := fieldsOf(body)
	plain := top != nil
	if !plain {
		body = bytes.TrimPrefix(body, []byte("for (;;);")) // it keeps other sites' scripts from reading an answer
		if !json.Valid(body) {
			return said{}
		}
		top = fieldsOf(firstOf(body))
	}
	inside := fieldsOf(top["error"])
	for i, f := range []fields{inside, fieldsOf(inside["error"]), fieldsOf(firstOf(top["errors"])), fieldsOf(top["debug_info"])} {
		if s := f.said(); !s.none() {
			s.usual = plain && i == 0 && s.code != 0
			return s
		}
	}
	for _, f := range []fields{top, fieldsOf(top["meta"])} {
		if s := f.said(); !s.none() {
			s.flat = true
			s.usual = plain && top.text("error_type") != "" && top.text("error_message") != ""
			return s
		}
	}
	return said{message: textOf(firstOf(top["errors"]))}
}

// fields are the members of an object; of those with one name, the last.
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

// firstOf returns the first element of an array, and any other value as it is.
func firstOf(value json.RawMessage) json.RawMessage {
	dec := json.NewDecoder(bytes.NewReader(value))
	if t, err := dec.Token(); err != nil || t != json.Delim('[') || !dec.More() {
		return value
	}
	var first json.RawMessage
	_ = dec.Decode(&first) // of valid JSON
	return first
}

// said reads an object whose own members are an error's.
func (f fields) said() said {
	s := said{
		message:   f.text("message", "error_message", "error_msg", "error_description", "errorDescription", "errorSummary"),
		kind:      f.text("type", "error_type"),
		userTitle: f.text("error_user_title"),
		userMsg:   f.text("error_user_msg"),
		traceID:   f.text("fbtrace_id"),
		code:      f.number("error_code", "code"),
		subcode:   f.number("error_subcode"),
		transient: f.truth("is_transient"),
	}
	word := f.text("error")
	if n := f.number("error"); s.code == 0 && word == "" && n != 1 { // 1 is how some say true
		s.code = n
	}
	switch {
	case s.message == "":
		s.message = word
	case s.kind == "": // RFC 6749 names the kind there and describes it elsewhere
		s.kind = word
	}
	return s
}

// text returns the first of these members that is a string with something in it.
func (f fields) text(names ...string) string {
	for _, name := range names {
		if s := textOf(f[name]); s != "" {
			return s
		}
	}
	return ""
}

func textOf(value json.RawMessage) (s string) {
	if len(value) > 0 && value[0] == '"' {
		_ = json.Unmarshal(value, &s) // of valid JSON
	}
	return s
}

// number returns the first of these members that is a whole number other than zero, or a string of
// one; 0 when there is none.
func (f fields) number(names ...string) int {
	for _, name := range names {
		if n, err := strconv.Atoi(strings.Trim(string(f[name]), `" `)); err == nil && n != 0 {
			return n
		}
	}
	return 0
}

// truth returns a boolean, which may also be 0, 1 or a string; nil for anything else.
func (f fields) truth(name string) *bool {
	var is bool
	switch strings.Trim(string(f[name]), `" `) {
	case "true", "1":
		is = true
	case "false", "0":
	default:
		return nil
	}
	return &is
}

// SubcodeUnreadable is igproxy's own error_subcode for a refusal of which no code can be read.
const SubcodeUnreadable = 990025

// Unreadable is a refusal of which the status is all that is known. It has code 100, as Meta's own refusals of a request do.
func Unreadable(status int) *Error {
	no := false
	return &Error{Status: status, Code: 100, Subcode: SubcodeUnreadable, Type: "OAuthException",
		Message: statusMessage(status, "without an error that igproxy can read"), Transient: &no, Class: ClassRefused, Cause: StatusCause(status)}
}

func statusMessage(status int, how string) string {
	return fmt.Sprintf("Instagram refused this call (status %d) %s.", status, how)
}

// StatusCause names an answer without an error that igproxy can read.
func StatusCause(status int) string {
	if http.StatusText(status) == "" {
		return "a status that HTTP does not know, without a Graph error"
	}
	return "status " + http.StatusText(status) + " without a Graph error"
}
