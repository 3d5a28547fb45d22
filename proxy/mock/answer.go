package mock

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

const (
	jsonType       = "application/json; charset=UTF-8"
	htmlType       = `text/html; charset="utf-8"`
	defaultVersion = "v23.0" // for a path without a version
)

// graphError is the object inside Instagram's error envelope. Its fields are in Meta's order:
// is_transient, if present, precedes the code.
type graphError struct {
	Message   string `json:"message"`
	Type      string `json:"type"`
	Transient *bool  `json:"is_transient,omitempty"`
	Code      int    `json:"code"`
	Subcode   int    `json:"error_subcode,omitempty"`
	UserTitle string `json:"error_user_title,omitempty"`
	UserMsg   string `json:"error_user_msg,omitempty"`
	TraceID   string `json:"fbtrace_id"`

	status int
	header map[string]string // sent with the error, instead of the usual headers of the same names
}

// Refusals of wrong requests. They are sent even if no fault is set.
var (
	wrongSecret = graphError{status: 400, Message: "Error validating client secret.", Type: "OAuthException", Code: 100}
	noToken     = graphError{status: 400, Message: "An active access token must be used to query information about the current user.",
		Type: "OAuthException", Code: 2500}
)

func wrongGrant(want string) *graphError {
	return &graphError{status: 400, Message: "(#100) Param grant_type must be one of {" + want + "}", Type: "OAuthException", Code: 100}
}

func unsupported(method string) graphError {
	return graphError{status: 400, Message: "Unsupported request - method type: " + strings.ToLower(method), Type: "IGApiException", Code: 100}
}

func (x *call) unsupportedMethod() graphError {
	method := strings.ToLower(x.r.Method)
	if x.family == facebookFamily {
		return graphError{status: 400, Message: "Unsupported " + method + " request.", Type: "GraphMethodException", Code: 100}
	}
	return unsupported(method)
}

func (x *call) unknownPath() graphError {
	e := graphError{status: 500, Message: "Unknown path components: " + x.r.URL.Path, Type: "IGApiException", Code: 2500}
	if x.family == facebookFamily {
		e.status, e.Type = 400, "OAuthException"
	}
	return e
}

// wrongSecret returns the refusal for a wrong client secret.
func (x *call) wrongSecret() graphError {
	if x.family == facebookFamily {
		return wrongKey
	}
	return wrongSecret
}

// refuse sends e as the response.
func (x *call) refuse(e graphError) {
	e = x.worded(e)
	h := x.w.Header()
	for name, value := range e.header {
		h.Set(name, value)
	}
	if e.status == http.StatusBadRequest && !x.endpoint.oldErrors {
		h.Set("WWW-Authenticate", fmt.Sprintf(`OAuth "Facebook Platform" "%s" "%s"`, x.kind(e.Code), e.Message))
	}
	x.respond(e.status, jsonType, x.envelope(e))
}

// envelope returns the body of an error response in the endpoint's format.
func (x *call) envelope(e graphError) string {
	e = x.worded(e)
	if x.endpoint.oldErrors {
		return codeEnvelope(e)
	}
	e.TraceID = "A" + traceID(22)
	return encoded(map[string]graphError{"error": e})
}

// kind returns the error name that WWW-Authenticate contains for an error code.
func (x *call) kind(code int) string {
	switch {
	case code == 190 || code == 452:
		return "invalid_token"
	case code == 100 && x.endpoint == facebookCodeEndpoint:
		return "invalid_code"
	}
	return "invalid_request"
}

// succeed sends the endpoint's success response.
func (x *call) succeed() { x.endpoint.succeed(x) }

func (x *call) sendSuccess() { x.respond(http.StatusOK, jsonType, x.success("")) }

// success returns the body of a success response. members is either empty or a comma followed by
// further JSON members, which are appended to the object.
func (x *call) success(members string) string {
	token, expires := x.endpoint.issue(x)
	return x.endpoint.body(x, token, expires, members)
}

// respond sends a complete response. If the status is not 200, an authorization code that this call
// consumed becomes valid again.
func (x *call) respond(status int, contentType, body string) {
	if x.usedCode && status != http.StatusOK {
		x.instagram.issued.giveBack(x.short)
	}
	h := x.w.Header()
	h.Set("Content-Length", strconv.Itoa(len(body)))
	x.head(status, contentType)
	_, _ = x.w.Write([]byte(body)) // the client may have disconnected
}

// head sends the status line and the headers. It adds Meta's usual headers, unless they are
// set already.
func (x *call) head(status int, contentType string) {
	h := x.w.Header()
	version := "Instagram-Api-Version"
	if x.family == facebookFamily {
		version = "Facebook-Api-Version"
	}
	for name, value := range map[string]string{
		"Content-Type":    contentType,
		version:           x.version,
		"X-App-Usage":     `{"call_volume":0,"cpu_time":0}`,
		"X-Fb-Request-Id": "A" + traceID(22),
		"X-Fb-Rev":        "1029384756",
		"X-Fb-Trace-Id":   traceID(11),
	} {
		if h.Get(name) == "" {
			h.Set(name, value)
		}
	}
	if x.r.ContentLength != 0 && !x.endpoint.bodied {
		h.Set("Connection", "close") // the request body is not read
	}
	x.status = status
	x.w.WriteHeader(status)
}

// encoded returns v as JSON the way Instagram writes it: without HTML escapes and without a
// trailing newline.
func encoded(v any) string {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v) // cannot fail: this package encodes only types that have a JSON form
	return strings.TrimSuffix(b.String(), "\n")
}
