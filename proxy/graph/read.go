package graph

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// maxText bounds each text of an error, in bytes.
const maxText = 2 << 10

// ReadError reads an error from Meta in any shape that its token endpoints and their gateways use:
//
//	{"error":{"message":"...","type":"...","code":190,"error_subcode":463}}  the Graph envelope
//	{"error_type":"OAuthException","code":400,"error_message":"..."}         the code exchange
//	{"error_message":"...","error_code":1349245}                             Threads
//	{"error":"invalid_grant","error_description":"..."}, {"error":"..."}     RFC 6749, section 5.2
//	{"error_code":100,"error_msg":"..."}, {"message":"...","code":1}         older interfaces
//
// Numbers and booleans may be written as strings, and any member may be missing. Names are
// case-sensitive. If a name appears more than once, the last member counts. An object of more than
// maxMembers members is not read. scrub removes secrets from each text of the error. Then the text
// is cut to maxText bytes. A missing code is filled in. Reading takes linear time.
//
// If the status is that of a refusal (see IsRefusal) and the body has no readable error, ReadError
// returns an error with SubcodeUnreadable. For any other status without a readable error, it
// reports false. The body of a 5xx is read only if it is an envelope with a code, or has the shape
// of the code exchange. Any other body of a 5xx comes from a failing host and says nothing about
// the call.
func ReadError(status int, body []byte, scrub func(string) string) (*Error, bool) {
	e, usual := readBody(body)
	if e == nil || status >= 500 && !usual {
		return unreadable(status), IsRefusal(status)
	}
	for _, text := range []*string{&e.Message, &e.Type, &e.UserTitle, &e.UserMsg, &e.TraceID} {
		// Scrub before cutting, because scrub would not find a secret that was cut.
		if *text = scrub(*text); len(*text) > maxText {
			*text = strings.ToValidUTF8((*text)[:maxText], "")
		}
	}
	e.Status = status
	e.Class = classify(e)
	if e.metaCode() == 0 {
		e.fillCode(usual)
	}
	if e.Message == "" {
		e.Message = statusMessage(status, "a message")
	}
	e.Type = cmp.Or(e.Type, "OAuthException")
	return e, true
}

// fillCode sets a missing code. In the flat shape the code becomes the status, as in errors that
// the code exchange sends. In the envelope the code follows from the class. SubcodeUnreadable marks
// an error to which Meta gave no code. Three kinds of such errors are not marked: rate limits,
// transient errors, and errors in the shape of the code exchange, in which the code only repeats
// the status anyway. The parameter usual comes from readBody.
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

// metaCode returns the code that Meta gave the error, or 0. In the flat shape it returns 0 for a
// code that is an HTTP error status, because such a code only repeats the status. It also returns 0
// for any flat error with status 5xx.
func (e *Error) metaCode() int {
	if e.Flat && (e.Status >= 500 || e.Code >= 400 && http.StatusText(e.Code) != "") {
		return 0
	}
	return e.Code
}

// readBody returns the error in the envelope. Without an envelope it returns the error whose
// members are at the top, or nil. An error is usual if it is an envelope with a code, or has the
// shape of the code exchange.
func readBody(body []byte) (e *Error, usual bool) {
	top := fieldsOf(body)
	if e = fieldsOf(top["error"]).error(); e != nil {
		return e, e.Code != 0
	}
	if e = top.error(); e != nil {
		e.Flat = true
	}
	return e, top.text("error_type") != "" && top.text("error_message") != ""
}

// fields are the members of an object. If a name appears more than once, the last member counts.
type fields map[string]json.RawMessage

// fieldsOf returns the members of a JSON object, or nil if splitObject returns an error.
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

// error reads an object that has the members of an error. It returns nil if the object has no
// message, no type and no code.
func (f fields) error() *Error {
	e := &Error{
		Message:   f.text("message", "error_message", "error_msg", "error_description"),
		Type:      f.text("type", "error_type"),
		UserTitle: f.text("error_user_title"),
		UserMsg:   f.text("error_user_msg"),
		TraceID:   f.text("fbtrace_id"),
		Code:      f.number("error_code", "code"),
		Subcode:   f.number("error_subcode"),
		Transient: f.truth("is_transient"),
	}
	word := f.text("error")
	switch {
	case e.Message == "":
		e.Message = word
	case e.Type == "": // RFC 6749 puts the kind into error, and the text into error_description
		e.Type = word
	}
	if e.Message == "" && e.Type == "" && e.Code == 0 {
		return nil
	}
	return e
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

// number returns the first of these members that is a whole number other than 0, or a string with
// such a number. If there is no such member, it returns 0.
func (f fields) number(names ...string) int {
	for _, name := range names {
		if n, err := strconv.Atoi(strings.Trim(string(f[name]), `" `)); err == nil && n != 0 {
			return n
		}
	}
	return 0
}

// truth returns the value of a boolean member, which may also be written as 0, 1 or a string. It
// returns nil for anything else.
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

// SubcodeLoop is igproxy's own error_subcode for a call that igproxy made and that came back to it.
const SubcodeLoop = 990040

// unreadable returns the error for a response of which igproxy can read only the status. Its code
// is 100, which Meta uses when it refuses a request.
func unreadable(status int) *Error {
	return &Error{Status: status, Code: 100, Subcode: SubcodeUnreadable, Type: "OAuthException",
		Message:   statusMessage(status, "an error that igproxy can read"),
		Transient: new(false), Class: ClassRefused, Cause: StatusCause(status)}
}

func statusMessage(status int, missing string) string {
	return fmt.Sprintf("Meta answered this call with status %d, but without %s.", status, missing)
}

// StatusCause returns the cause to log for a response with this status and without a readable
// error.
func StatusCause(status int) string {
	return fmt.Sprintf("Meta's status was %d, without a Graph error", status)
}
