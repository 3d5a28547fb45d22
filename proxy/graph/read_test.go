package graph_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/igproxy/igproxy/proxy/graph"
)

// shape is an error as one of Meta's hosts writes it, and what igproxy makes of it.
type shape struct {
	status     int
	body       string
	class      graph.Class
	graph      string // what is inside the envelope that an app gets
	flat       string // what is inside the flat error that an app gets from a code exchange
	unreadable bool   // the body has no error that igproxy can read
}

var shapes = map[string]shape{
	"the envelope": {400, `{"error":{"message":"m","type":"OAuthException","code":190,"error_subcode":463,"is_transient":false,"error_user_title":"t","error_user_msg":"u","fbtrace_id":"A1"}}`,
		graph.ClassToken, `"message":"m","type":"OAuthException","code":190,"error_subcode":463,"is_transient":false,"error_user_title":"t","error_user_msg":"u","fbtrace_id":"A1"`,
		`"error_type":"OAuthException","code":400,"error_message":"m","error_subcode":463,"is_transient":false`, false},
	"numbers and booleans as strings": {400, `{"error":{"message":"m","type":"OAuthException","code":"190","error_subcode":"463","is_transient":"false"}}`,
		graph.ClassToken, `"message":"m","type":"OAuthException","code":190,"error_subcode":463,"is_transient":false`,
		`"error_type":"OAuthException","code":400,"error_message":"m","error_subcode":463,"is_transient":false`, false},
	"booleans as numbers": {400, `{"error":{"message":"m","type":"OAuthException","code":999,"is_transient":1}}`,
		graph.ClassTransient, `"message":"m","type":"OAuthException","code":999,"is_transient":true`,
		`"error_type":"OAuthException","code":400,"error_message":"m","is_transient":true`, false},
	"no code": {403, `{"error":{"message":"Invalid OAuth access token.","type":"OAuthException"}}`,
		graph.ClassRefused, `"message":"Invalid OAuth access token.","type":"OAuthException","code":100,"error_subcode":990025`,
		`"error_type":"OAuthException","code":403,"error_message":"Invalid OAuth access token.","error_subcode":990025`, false},
	"a code that is not a whole number": {400, `{"error":{"message":"m","type":"t","code":1.5}}`, graph.ClassRefused,
		`"message":"m","type":"t","code":100,"error_subcode":990025`, `"error_type":"t","code":400,"error_message":"m","error_subcode":990025`, false},
	"no code, and transient": {400, `{"error":{"message":"m","is_transient":true}}`,
		graph.ClassTransient, `"message":"m","type":"OAuthException","code":2,"is_transient":true`,
		`"error_type":"OAuthException","code":400,"error_message":"m","is_transient":true`, false},
	"no code, and a rate limit": {429, `{"error":{"message":"m"}}`,
		graph.ClassAppLimit, `"message":"m","type":"OAuthException","code":4`, `"error_type":"OAuthException","code":429,"error_message":"m"`, false},
	"no code, and a refused client secret": {400, `{"error":{"message":"Error validating client secret.","type":"OAuthException"}}`,
		graph.ClassSecret, `"message":"Error validating client secret.","type":"OAuthException","code":100,"error_subcode":990025`,
		`"error_type":"OAuthException","code":400,"error_message":"Error validating client secret.","error_subcode":990025`, false},
	"no message": {400, `{"error":{"type":"OAuthException","code":190}}`,
		graph.ClassToken, `"message":"Meta answered this call with status 400, but without a message.","type":"OAuthException","code":190`,
		`"error_type":"OAuthException","code":400,"error_message":"Meta answered this call with status 400, but without a message."`, false},
	"no type": {400, `{"error":{"message":"m","code":190}}`, graph.ClassToken, `"message":"m","type":"OAuthException","code":190`,
		`"error_type":"OAuthException","code":400,"error_message":"m"`, false},
	"a type alone": {400, `{"error":{"type":"IGApiException"}}`,
		graph.ClassRefused, `"message":"Meta answered this call with status 400, but without a message.","type":"IGApiException","code":100,"error_subcode":990025`,
		`"error_type":"OAuthException","code":400,"error_message":"Meta answered this call with status 400, but without a message.","error_subcode":990025`, false},
	"members of other types": {400, `{"error":{"message":["m"],"type":{},"code":190,"error_subcode":[],"is_transient":"maybe","fbtrace_id":7,"error_data":{"x":[1]}}}`,
		graph.ClassToken, `"message":"Meta answered this call with status 400, but without a message.","type":"OAuthException","code":190`,
		`"error_type":"OAuthException","code":400,"error_message":"Meta answered this call with status 400, but without a message."`, false},
	"the code exchange": {400, `{"error_type":"OAuthException","code":400,"error_message":"This authorization code has been used"}`,
		graph.ClassRefused, `"message":"This authorization code has been used","type":"OAuthException","code":100,"error_subcode":990025`,
		`"error_type":"OAuthException","code":400,"error_message":"This authorization code has been used"`, false},
	"the code exchange, in another order": {403, `{"code":403,"error_type":"OAuthForbiddenException","error_message":"m"}`, graph.ClassRefused,
		`"message":"m","type":"OAuthForbiddenException","code":100,"error_subcode":990025`,
		`"error_type":"OAuthForbiddenException","code":403,"error_message":"m"`, false},
	"the code exchange, a rate limit": {429, `{"error_type":"OAuthRateLimitException","code":429,"error_message":"m"}`, graph.ClassAppLimit,
		`"message":"m","type":"OAuthRateLimitException","code":4`, `"error_type":"OAuthRateLimitException","code":429,"error_message":"m"`, false},
	"the code exchange, with one of Meta's codes": {400, `{"error_type":"OAuthException","code":190,"error_message":"m"}`, graph.ClassToken,
		`"message":"m","type":"OAuthException","code":190`, `"error_type":"OAuthException","code":190,"error_message":"m"`, false},
	"the code exchange, without a code": {400, `{"error_type":"OAuthException","error_message":"m"}`, graph.ClassRefused,
		`"message":"m","type":"OAuthException","code":100,"error_subcode":990025`, `"error_type":"OAuthException","code":400,"error_message":"m"`, false},
	"Threads": {400, `{"error_message":"Invalid Request: The user has not accepted the invite to test the app","error_code":1349245}`,
		graph.ClassRefused, `"message":"Invalid Request: The user has not accepted the invite to test the app","type":"OAuthException","code":1349245`,
		`"error_type":"OAuthException","code":1349245,"error_message":"Invalid Request: The user has not accepted the invite to test the app"`, false},
	"Threads, without a code": {400, `{"error_message":"m"}`, graph.ClassRefused, `"message":"m","type":"OAuthException","code":100,"error_subcode":990025`,
		`"error_type":"OAuthException","code":400,"error_message":"m","error_subcode":990025`, false},
	"RFC 6749": {400, `{"error":"invalid_grant","error_description":"m"}`, graph.ClassRefused,
		`"message":"m","type":"invalid_grant","code":100,"error_subcode":990025`, `"error_type":"invalid_grant","code":400,"error_message":"m","error_subcode":990025`, false},
	"a redirect's parameters": {400, `{"error":"access_denied","error_code":200,"error_description":"Permissions error","error_reason":"user_denied"}`, graph.ClassRefused,
		`"message":"Permissions error","type":"access_denied","code":200`, `"error_type":"access_denied","code":200,"error_message":"Permissions error"`, false},
	"a text": {404, `{"error":"Not found"}`, graph.ClassRefused, `"message":"Not found","type":"OAuthException","code":100,"error_subcode":990025`,
		`"error_type":"OAuthException","code":404,"error_message":"Not found","error_subcode":990025`, false},
	"error is true": {400, `{"error":true,"message":"m","code":190}`, graph.ClassToken, `"message":"m","type":"OAuthException","code":190`,
		`"error_type":"OAuthException","code":190,"error_message":"m"`, false},
	"error is 1": {400, `{"error":1,"message":"m"}`, graph.ClassRefused, `"message":"m","type":"OAuthException","code":100,"error_subcode":990025`,
		`"error_type":"OAuthException","code":400,"error_message":"m","error_subcode":990025`, false},
	"the REST API": {400, `{"error_code":100,"error_msg":"Invalid parameter","request_args":[{"key":"method","value":"x"}]}`, graph.ClassStanding,
		`"message":"Invalid parameter","type":"OAuthException","code":100`, `"error_type":"OAuthException","code":100,"error_message":"Invalid parameter"`, false},
	"message and code": {400, `{"message":"m","code":190}`, graph.ClassToken, `"message":"m","type":"OAuthException","code":190`,
		`"error_type":"OAuthException","code":190,"error_message":"m"`, false},
	"Instagram's app": {400, `{"message":"Please wait a few minutes before you try again.","status":"fail","error_type":"rate_limit_error"}`, graph.ClassRefused,
		`"message":"Please wait a few minutes before you try again.","type":"rate_limit_error","code":100,"error_subcode":990025`,
		`"error_type":"rate_limit_error","code":400,"error_message":"Please wait a few minutes before you try again.","error_subcode":990025`, false},
	"a rate limit in the REST API's shape": {400, `{"error_code":"4","error_msg":"m"}`, graph.ClassAppLimit, `"message":"m","type":"OAuthException","code":4`,
		`"error_type":"OAuthException","code":4,"error_message":"m"`, false},
	"an outage in the REST API's shape": {400, `{"error_code":2,"error_msg":"m"}`, graph.ClassTransient, `"message":"m","type":"OAuthException","code":2`,
		`"error_type":"OAuthException","code":2,"error_message":"m"`, false},
	"a member twice": {400, `{"error":{"message":"m","type":"t","code":10,"code":190}}`, graph.ClassToken, `"message":"m","type":"t","code":190`,
		`"error_type":"t","code":400,"error_message":"m"`, false},
	"an error from another igproxy": {403, string(graph.Unreadable(403).Encode()), graph.ClassRefused,
		`"message":"Meta answered this call with status 403, but without an error that igproxy can read.","type":"OAuthException","code":100,"error_subcode":990025,"is_transient":false`,
		`"error_type":"OAuthException","code":403,"error_message":"Meta answered this call with status 403, but without an error that igproxy can read.","error_subcode":990025,"is_transient":false`, false},

	// Letter case is part of a name.
	"a second error in another letter case": {400, `{"error":{"message":"m","type":"t","code":10},"ERROR":{"message":"n","type":"u","code":190},"Error":7}`, graph.ClassRefused,
		`"message":"m","type":"t","code":10`, `"error_type":"t","code":400,"error_message":"m"`, false},
	"members in another letter case": {400, `{"error":{"message":"m","type":"t","code":10,"Code":190,"MESSAGE":"n","Type":"u","IS_TRANSIENT":true}}`, graph.ClassRefused,
		`"message":"m","type":"t","code":10`, `"error_type":"t","code":400,"error_message":"m"`, false},
	"an error in another letter case only": {400, `{"Error":{"message":"m","type":"t","code":190}}`, "", "", "", true},

	// A 5xx is read only as an envelope with a code, or in the shape of the code exchange.
	"5xx in the envelope": {500, `{"error":{"message":"m","type":"IGApiException","code":2500}}`, graph.ClassRefused, `"message":"m","type":"IGApiException","code":2500`,
		`"error_type":"OAuthException","code":500,"error_message":"m"`, false},
	"5xx of the code exchange": {503, `{"error_type":"OAuthException","code":503,"error_message":"m"}`, graph.ClassTransient, `"message":"m","type":"OAuthException","code":2`,
		`"error_type":"OAuthException","code":503,"error_message":"m"`, false},
	"5xx without a code":        {500, `{"error":{"message":"m","type":"t"}}`, "", "", "", true},
	"5xx of Threads":            {500, `{"error_message":"m","error_code":190}`, "", "", "", true},
	"5xx with message and code": {500, `{"message":"m","code":100}`, "", "", "", true},

	// These bodies have no error that igproxy can read.
	"an HTML page":     {403, "<!DOCTYPE html><title>Error</title>", "", "", "", true},
	"an empty body":    {400, "", "", "", "", true},
	"not JSON":         {400, "Bad Request", "", "", "", true},
	"half an object":   {400, `{"error":{"message":"m","code":190}`, "", "", "", true},
	"two objects":      {400, `{"error":{"code":190}}{"error":{"code":190}}`, "", "", "", true},
	"null":             {400, "null", "", "", "", true},
	"a number":         {400, "190", "", "", "", true},
	"an empty array":   {400, "[]", "", "", "", true},
	"an empty object":  {400, "{}", "", "", "", true},
	"error is null":    {400, `{"error":null}`, "", "", "", true},
	"error is empty":   {400, `{"error":{}}`, "", "", "", true},
	"code is null":     {400, `{"error":{"code":null}}`, "", "", "", true},
	"status alone":     {400, `{"status":"fail"}`, "", "", "", true},
	"deep, unclosed":   {400, `{"error":` + strings.Repeat("[", 20000), "", "", "", true},
	"too deep":         {400, strings.Repeat("[", 20000) + strings.Repeat("]", 20000), "", "", "", true},
	"too many members": {400, `{"error":{"message":"m","code":190}` + smallMembers(graph.MaxMembers) + `}`, "", "", "", true},
}

func asItIs(s string) string { return s }

func TestAnErrorIsReadInAnyShapeThatMetaHasUsed(t *testing.T) {
	for name, s := range shapes {
		e, ok := graph.ReadError(s.status, []byte(s.body), asItIs)
		if s.unreadable {
			if ok != graph.IsRefusal(s.status) || e.Cause != graph.StatusCause(s.status) {
				t.Errorf("%s: got ok %v, want %v; got the cause %q, want %q", name, ok, graph.IsRefusal(s.status), e.Cause, graph.StatusCause(s.status))
			}
			continue
		}
		if !ok {
			t.Errorf("%s: ReadError reports false for %s, want true", name, s.body)
			continue
		}
		if got := string(e.InShape(false).Encode()); got != `{"error":{`+s.graph+`}}` {
			t.Errorf("%s, in the envelope: got %s, want {\"error\":{%s}}", name, got, s.graph)
		}
		if got := string(e.InShape(true).Encode()); got != "{"+s.flat+"}" {
			t.Errorf("%s, in the flat shape: got %s, want {%s}", name, got, s.flat)
		}
		if e.Class != s.class {
			t.Errorf("%s: got class %s, want %s", name, e.Class, s.class)
		}
	}
}

// ReadError stops at an object with too many members, and skips values that it does not need. So a
// body that is a hundred times as long needs only a few more allocations, for buffers that grow by
// doubling.
func TestUnreadMembersCostNoAllocations(t *testing.T) {
	read := func(n int) float64 {
		var worst float64
		for _, body := range []string{
			`{"error":{"message":"m"` + smallMembers(n) + `}}`,
			`{"errors":[` + strings.Repeat("0,", n) + `0]}`,
			`{"error":` + strings.Repeat(`{"error":`, 2000) + strings.Repeat("}", 2000) + `,"x":"` + strings.Repeat("x", n) + `"}`,
		} {
			worst = max(worst, testing.AllocsPerRun(1, func() { graph.ReadError(400, []byte(body), asItIs) }))
		}
		return worst
	}
	if few, many := read(1000), read(100_000); many > few+100 {
		t.Errorf("%v allocations for a body, and %v for a body a hundred times as long; want at most 100 more", few, many)
	}
}

func TestEncodedErrorsCanBeRead(t *testing.T) {
	for name, s := range shapes {
		e, ok := graph.ReadError(s.status, []byte(s.body), asItIs)
		if !ok {
			continue
		}
		for _, flat := range []bool{false, true} {
			text := e.InShape(flat).Encode()
			back, ok := graph.ReadError(s.status, text, asItIs)
			if !ok || string(back.InShape(flat).Encode()) != string(text) || !json.Valid(text) {
				t.Errorf("%s: %s reads as %v, want the same error", name, text, back)
			}
		}
	}
}

// FuzzGraphError checks that no body causes a panic, that the encoded error is valid JSON without a
// readable secret or token, and that reading it gives the same error. It also checks that a 4xx
// counts as a failure of Meta only with code 1 or 2 or a true is_transient, and that an error has
// ClassStanding only if Meta's code is 100.
func FuzzGraphError(f *testing.F) {
	for name, text := range spelled(testSecret) {
		f.Add(`{"error":{"message":"`+name, text, `","type":"OAuthException","code":190,"is_transient":false}}`, 400)
		f.Add(`{"error_code":10,"error_message":"`+name, text, `"}`, 400)
	}
	for _, s := range shapes {
		if len(s.body) < 1000 {
			f.Add(s.body, "", "", s.status)
		}
	}
	f.Add(`{"error":{"message":"m","type":"`, testSecret[:16], testSecret[16:]+`","code":4}}`, 403)
	f.Add(`{"error":{"code":100,"message":"%25`, "%2530", `","error_user_title":"t","error_user_msg":"u","fbtrace_id":"x"}}`, 500)
	f.Add(`[{"error":`, "\xff", `null}]`, 200)
	const token = "IGAAshort-lived_token"
	scrub := scrubber(testSecret, token)
	f.Fuzz(func(t *testing.T, head, middle, tail string, status int) {
		e, ok := graph.ReadError(status, []byte(head+middle+tail), scrub)
		if !ok {
			return
		}
		for _, flat := range []bool{false, true} {
			out := e.InShape(flat).Encode()
			if !json.Valid(out) {
				t.Fatalf("the encoded error is not JSON: %s", out)
			}
			back, ok := graph.ReadError(status, out, asItIs)
			if !ok || !bytes.Equal(back.InShape(flat).Encode(), out) {
				t.Fatalf("%s reads as %v, want the same error", out, back)
			}
		}
		for _, text := range []string{e.Message, e.Type, e.UserTitle, e.UserMsg, e.TraceID} {
			if readable(text, testSecret) || readable(text, token) {
				t.Fatalf("the secret or the token is readable in %q", text)
			}
			if len(text) > graph.MaxText {
				t.Fatalf("got a text of %d bytes, want at most %d", len(text), graph.MaxText)
			}
		}
		said := e.Code == 1 || e.Code == 2 || e.Transient != nil && *e.Transient
		if status >= 400 && status < 500 && e.Class.IsFailure() && !said {
			t.Fatalf("status %d has class %s, want this class only with code 1 or 2 or a true is_transient: %s", status, e.Class, e.Encode())
		}
		if status >= 400 && status < 500 && !e.Class.IsFailure() && !e.Class.IsDefinite() {
			t.Fatalf("status %d has class %s, want a refusal or a failure of Meta: %s", status, e.Class, e.Encode())
		}
		if e.Class == graph.ClassStanding && e.MetaCode() != 100 {
			t.Fatalf("Meta's code %d has class %s, want this class only for code 100: %s", e.MetaCode(), e.Class, e.Encode())
		}
		_ = e.Error()
	})
}
