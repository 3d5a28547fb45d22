package proxytest

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
	defaultVersion = "v23.0" // of an unversioned call
)

// graphError is the inside of Instagram's error envelope, its members in the order seen on the wire: is_transient, where it is there,
// comes before the code.
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
	header map[string]string // besides the usual ones
}

// The refusals that need no fault.
var (
	wrongSecret = graphError{status: 400, Message: "Error validating client secret.", Type: "OAuthException", Code: 100}
	noToken     = graphError{status: 400, Message: "An active access token must be used to query information about the current user.",
		Type: "OAuthException", Code: 2500}
	wrongGrant = graphError{status: 400, Message: "(#100) Param grant_type must be one of {" + grantType + "}",
		Type: "OAuthException", Code: 100}
)

func unsupported(method string) graphError {
	return graphError{status: 400, Message: "Unsupported request - method type: " + strings.ToLower(method), Type: "IGApiException", Code: 100}
}

func unknownPath(path string) graphError {
	return graphError{status: 500, Message: "Unknown path components: " + path, Type: "IGApiException", Code: 2500}
}

// refuse sends an error in the envelope.
func (x *exchange) refuse(e graphError) {
	h := x.w.Header()
	for name, value := range e.header {
		h.Set(name, value)
	}
	if e.status == http.StatusBadRequest {
		h.Set("WWW-Authenticate", fmt.Sprintf(`OAuth "Facebook Platform" "%s" "%s"`, kind(e.Code), e.Message))
	}
	e.TraceID = "A" + traceID(22)
	x.reply(e.status, jsonType, encoded(map[string]graphError{"error": e}))
}

// kind is the middle word of WWW-Authenticate.
func kind(code int) string {
	if code == 190 || code == 452 {
		return "invalid_token"
	}
	return "invalid_request"
}

// succeed sends the true answer.
func (x *exchange) succeed() { x.reply(http.StatusOK, jsonType, x.success("")) }

// success is the true answer's body. Members, if any, start with a comma and stand behind the three.
func (x *exchange) success(members string) string {
	long, seconds := x.book.issue(x.short)
	return x.token(long, strconv.Itoa(seconds), members)
}

// token is an answer's body of any parts, expires_in as written.
func (x *exchange) token(long, expires, members string) string {
	return fmt.Sprintf(`{"access_token":"%s","token_type":"bearer","expires_in":%s%s}`, long, expires, members)
}

// reply sends a whole answer.
func (x *exchange) reply(status int, contentType, body string) {
	h := x.w.Header()
	h.Set("Content-Length", strconv.Itoa(len(body)))
	x.head(status, contentType)
	_, _ = x.w.Write([]byte(body)) // a client that left is no news
}

// head sends an answer's head: Instagram's usual headers, unless they are set already.
func (x *exchange) head(status int, contentType string) {
	h := x.w.Header()
	for name, value := range map[string]string{
		"Content-Type":          contentType,
		"Instagram-Api-Version": x.version,
		"X-App-Usage":           `{"call_volume":0,"cpu_time":0}`,
		"X-Fb-Request-Id":       "A" + traceID(22),
		"X-Fb-Rev":              "1029384756",
		"X-Fb-Trace-Id":         traceID(11),
	} {
		if h.Get(name) == "" {
			h.Set(name, value)
		}
	}
	if x.r.ContentLength != 0 {
		h.Set("Connection", "close") // nobody here reads bodies
	}
	x.status = status
	x.w.WriteHeader(status)
}

// encoded is JSON as Instagram writes it: no HTML escapes, no newline behind it.
func encoded(v any) string {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v) // only types of this package, which cannot fail
	return strings.TrimSuffix(b.String(), "\n")
}
