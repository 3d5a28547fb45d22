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
)

func wrongGrant(want string) *graphError {
	return &graphError{status: 400, Message: "(#100) Param grant_type must be one of {" + want + "}", Type: "OAuthException", Code: 100}
}

func unsupported(method string) graphError {
	return graphError{status: 400, Message: "Unsupported request - method type: " + strings.ToLower(method), Type: "IGApiException", Code: 100}
}

func unknownPath(path string) graphError {
	return graphError{status: 500, Message: "Unknown path components: " + path, Type: "IGApiException", Code: 2500}
}

// refuse sends an error.
func (x *exchange) refuse(e graphError) {
	h := x.w.Header()
	for name, value := range e.header {
		h.Set(name, value)
	}
	if e.status == http.StatusBadRequest && !x.endpoint.codes {
		h.Set("WWW-Authenticate", fmt.Sprintf(`OAuth "Facebook Platform" "%s" "%s"`, kind(e.Code), e.Message))
	}
	x.reply(e.status, jsonType, x.envelope(e))
}

// envelope is an error's body in the endpoint's shape.
func (x *exchange) envelope(e graphError) string {
	if x.endpoint.codes {
		return codeEnvelope(e)
	}
	e.TraceID = "A" + traceID(22)
	return encoded(map[string]graphError{"error": e})
}

// kind is the middle word of WWW-Authenticate.
func kind(code int) string {
	if code == 190 || code == 452 {
		return "invalid_token"
	}
	return "invalid_request"
}

// succeed sends the true answer.
func (x *exchange) succeed() { x.endpoint.succeed(x) }

func (x *exchange) sendSuccess() { x.reply(http.StatusOK, jsonType, x.success("")) }

// success is the true answer's body. Members, if any, start with a comma and stand behind its own.
func (x *exchange) success(members string) string {
	token, expires := x.endpoint.issue(x)
	return x.endpoint.body(x, token, expires, members)
}

// reply sends a whole answer. One that is no success leaves a code good.
func (x *exchange) reply(status int, contentType, body string) {
	if x.took && status != http.StatusOK {
		x.instagram.ledger.giveBack(x.short)
	}
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
	if x.r.ContentLength != 0 && !x.endpoint.bodied {
		h.Set("Connection", "close") // nobody reads the body
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
