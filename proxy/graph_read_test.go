package proxy

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/igproxy/igproxy/breaker"
)

// shape is an error as one of Meta's hosts has written it, and what an app gets of it: the inside of the envelope, and the flat error
// where it asked for a code's exchange.
type shape struct {
	status     int
	body       string
	class      class
	graph      string
	flat       string
	unreadable bool // decodeGraphError reports that there is no error
}

var shapes = map[string]shape{
	"the envelope": {400, `{"error":{"message":"m","type":"OAuthException","code":190,"error_subcode":463,"is_transient":false,"error_user_title":"t","error_user_msg":"u","fbtrace_id":"A1"}}`,
		classToken, `"message":"m","type":"OAuthException","code":190,"error_subcode":463,"is_transient":false,"error_user_title":"t","error_user_msg":"u","fbtrace_id":"A1"`,
		`"error_type":"OAuthException","code":400,"error_message":"m","error_subcode":463,"is_transient":false`, false},
	"numbers and booleans as strings": {400, `{"error":{"message":"m","type":"OAuthException","code":"190","error_subcode":"463","is_transient":"false"}}`,
		classToken, `"message":"m","type":"OAuthException","code":190,"error_subcode":463,"is_transient":false`,
		`"error_type":"OAuthException","code":400,"error_message":"m","error_subcode":463,"is_transient":false`, false},
	"booleans as numbers": {400, `{"error":{"message":"m","type":"OAuthException","code":999,"is_transient":1}}`,
		classTransient, `"message":"m","type":"OAuthException","code":999,"is_transient":true`,
		`"error_type":"OAuthException","code":400,"error_message":"m","is_transient":true`, false},
	"no code": {403, `{"error":{"message":"Invalid OAuth access token.","type":"OAuthException"}}`,
		classRefused, `"message":"Invalid OAuth access token.","type":"OAuthException","code":100,"error_subcode":990025`,
		`"error_type":"OAuthException","code":403,"error_message":"Invalid OAuth access token.","error_subcode":990025`, false},
	"a code that is no whole number": {400, `{"error":{"message":"m","type":"t","code":1.5}}`, classRefused,
		`"message":"m","type":"t","code":100,"error_subcode":990025`, `"error_type":"t","code":400,"error_message":"m","error_subcode":990025`, false},
	"no code, and transient": {400, `{"error":{"message":"m","is_transient":true}}`,
		classTransient, `"message":"m","type":"OAuthException","code":2,"is_transient":true`,
		`"error_type":"OAuthException","code":400,"error_message":"m","is_transient":true`, false},
	"no code, and a rate limit": {429, `{"error":{"message":"m"}}`,
		classAppLimit, `"message":"m","type":"OAuthException","code":4`, `"error_type":"OAuthException","code":429,"error_message":"m"`, false},
	"no code, and the client secret": {400, `{"error":{"message":"Error validating client secret.","type":"OAuthException"}}`,
		classSecret, `"message":"Error validating client secret.","type":"OAuthException","code":100,"error_subcode":990025`,
		`"error_type":"OAuthException","code":400,"error_message":"Error validating client secret.","error_subcode":990025`, false},
	"no message": {400, `{"error":{"type":"OAuthException","code":190}}`,
		classToken, `"message":"Instagram refused this call (status 400) without a message.","type":"OAuthException","code":190`,
		`"error_type":"OAuthException","code":400,"error_message":"Instagram refused this call (status 400) without a message."`, false},
	"no type": {400, `{"error":{"message":"m","code":190}}`, classToken, `"message":"m","type":"OAuthException","code":190`,
		`"error_type":"OAuthException","code":400,"error_message":"m"`, false},
	"a type alone": {400, `{"error":{"type":"IGApiException"}}`,
		classRefused, `"message":"Instagram refused this call (status 400) without a message.","type":"IGApiException","code":100,"error_subcode":990025`,
		`"error_type":"OAuthException","code":400,"error_message":"Instagram refused this call (status 400) without a message.","error_subcode":990025`, false},
	"members of other types": {400, `{"error":{"message":["m"],"type":{},"code":190,"error_subcode":[],"is_transient":"maybe","fbtrace_id":7,"error_data":{"x":[1]}}}`,
		classToken, `"message":"Instagram refused this call (status 400) without a message.","type":"OAuthException","code":190`,
		`"error_type":"OAuthException","code":400,"error_message":"Instagram refused this call (status 400) without a message."`, false},
	"an envelope in an envelope": {400, `{"error":{"error":{"message":"m","type":"t","code":10}}}`, classRefused,
		`"message":"m","type":"t","code":10`, `"error_type":"t","code":400,"error_message":"m"`, false},
	"an array around it": {400, `[{"error":{"message":"m","type":"t","code":10}}]`, classRefused,
		`"message":"m","type":"t","code":10`, `"error_type":"t","code":400,"error_message":"m"`, false},
	"the code exchange": {400, `{"error_type":"OAuthException","code":400,"error_message":"This authorization code has been used"}`,
		classRefused, `"message":"This authorization code has been used","type":"OAuthException","code":100,"error_subcode":990025`,
		`"error_type":"OAuthException","code":400,"error_message":"This authorization code has been used"`, false},
	"the code exchange, in another order": {403, `{"code":403,"error_type":"OAuthForbiddenException","error_message":"m"}`, classRefused,
		`"message":"m","type":"OAuthForbiddenException","code":100,"error_subcode":990025`,
		`"error_type":"OAuthForbiddenException","code":403,"error_message":"m"`, false},
	"the code exchange, a rate limit": {429, `{"error_type":"OAuthRateLimitException","code":429,"error_message":"m"}`, classAppLimit,
		`"message":"m","type":"OAuthRateLimitException","code":4`, `"error_type":"OAuthRateLimitException","code":429,"error_message":"m"`, false},
	"the code exchange, with a code of Meta's": {400, `{"error_type":"OAuthException","code":190,"error_message":"m"}`, classToken,
		`"message":"m","type":"OAuthException","code":190`, `"error_type":"OAuthException","code":190,"error_message":"m"`, false},
	"the code exchange, without a code": {400, `{"error_type":"OAuthException","error_message":"m"}`, classRefused,
		`"message":"m","type":"OAuthException","code":100,"error_subcode":990025`, `"error_type":"OAuthException","code":400,"error_message":"m"`, false},
	"Threads": {400, `{"error_message":"Invalid Request: The user has not accepted the invite to test the app","error_code":1349245}`,
		classRefused, `"message":"Invalid Request: The user has not accepted the invite to test the app","type":"OAuthException","code":1349245`,
		`"error_type":"OAuthException","code":1349245,"error_message":"Invalid Request: The user has not accepted the invite to test the app"`, false},
	"Threads, without a code": {400, `{"error_message":"m"}`, classRefused, `"message":"m","type":"OAuthException","code":100,"error_subcode":990025`,
		`"error_type":"OAuthException","code":400,"error_message":"m","error_subcode":990025`, false},
	"RFC 6749": {400, `{"error":"invalid_grant","error_description":"m"}`, classRefused,
		`"message":"m","type":"invalid_grant","code":100,"error_subcode":990025`, `"error_type":"invalid_grant","code":400,"error_message":"m","error_subcode":990025`, false},
	"a redirect's parameters": {400, `{"error":"access_denied","error_code":200,"error_description":"Permissions error","error_reason":"user_denied"}`, classRefused,
		`"message":"Permissions error","type":"access_denied","code":200`, `"error_type":"access_denied","code":200,"error_message":"Permissions error"`, false},
	"a text": {404, `{"error":"Not found"}`, classRefused, `"message":"Not found","type":"OAuthException","code":100,"error_subcode":990025`,
		`"error_type":"OAuthException","code":404,"error_message":"Not found","error_subcode":990025`, false},
	"error is true": {400, `{"error":true,"message":"m","code":190}`, classToken, `"message":"m","type":"OAuthException","code":190`,
		`"error_type":"OAuthException","code":190,"error_message":"m"`, false},
	"error is 1": {400, `{"error":1,"message":"m"}`, classRefused, `"message":"m","type":"OAuthException","code":100,"error_subcode":990025`,
		`"error_type":"OAuthException","code":400,"error_message":"m","error_subcode":990025`, false},
	"Instagram before 2018": {400, `{"meta":{"error_type":"OAuthAccessTokenException","code":400,"error_message":"The access_token provided is invalid."}}`,
		classRefused, `"message":"The access_token provided is invalid.","type":"OAuthAccessTokenException","code":100,"error_subcode":990025`,
		`"error_type":"OAuthAccessTokenException","code":400,"error_message":"The access_token provided is invalid.","error_subcode":990025`, false},
	"the REST API": {400, `{"error_code":100,"error_msg":"Invalid parameter","request_args":[{"key":"method","value":"x"}]}`, classStanding,
		`"message":"Invalid parameter","type":"OAuthException","code":100`, `"error_type":"OAuthException","code":100,"error_message":"Invalid parameter"`, false},
	"message and code": {400, `{"message":"m","code":190}`, classToken, `"message":"m","type":"OAuthException","code":190`,
		`"error_type":"OAuthException","code":190,"error_message":"m"`, false},
	"Instagram's app": {400, `{"message":"Please wait a few minutes before you try again.","status":"fail","error_type":"rate_limit_error"}`, classRefused,
		`"message":"Please wait a few minutes before you try again.","type":"rate_limit_error","code":100,"error_subcode":990025`,
		`"error_type":"rate_limit_error","code":400,"error_message":"Please wait a few minutes before you try again.","error_subcode":990025`, false},
	"GraphQL": {400, `{"data":null,"errors":[{"message":"execution error","severity":"CRITICAL","code":1675002,"summary":"Incorrect Query","fbtrace_id":"A1"}],"status":"ok"}`,
		classRefused, `"message":"execution error","type":"OAuthException","code":1675002,"fbtrace_id":"A1"`,
		`"error_type":"OAuthException","code":400,"error_message":"execution error"`, false},
	"GraphQL's texts": {400, `{"errors":["m","n"]}`, classRefused, `"message":"m","type":"OAuthException","code":100,"error_subcode":990025`,
		`"error_type":"OAuthException","code":400,"error_message":"m","error_subcode":990025`, false},
	"uploads": {400, `{"debug_info":{"retriable":true,"type":"ProcessingFailedError","message":"Request processing failed"}}`, classRefused,
		`"message":"Request processing failed","type":"ProcessingFailedError","code":100,"error_subcode":990025`,
		`"error_type":"ProcessingFailedError","code":400,"error_message":"Request processing failed","error_subcode":990025`, false},
	"web pages' own calls": {400, `for (;;);{"__ar":1,"error":1357004,"errorSummary":"Sorry, something went wrong","errorDescription":"m"}`, classRefused,
		`"message":"m","type":"OAuthException","code":1357004`, `"error_type":"OAuthException","code":1357004,"error_message":"m"`, false},
	"a rate limit in the REST API's shape": {400, `{"error_code":"4","error_msg":"m"}`, classAppLimit, `"message":"m","type":"OAuthException","code":4`,
		`"error_type":"OAuthException","code":4,"error_message":"m"`, false},
	"an outage in the REST API's shape": {400, `{"error_code":2,"error_msg":"m"}`, classTransient, `"message":"m","type":"OAuthException","code":2`,
		`"error_type":"OAuthException","code":2,"error_message":"m"`, false},
	"members twice": {400, `{"error":{"message":"m","type":"t","code":10,"code":190}}`, classToken, `"message":"m","type":"t","code":190`,
		`"error_type":"t","code":400,"error_message":"m"`, false},
	"another igproxy's": {403, string(errUnreadable(403).encode()), classRefused,
		`"message":"Instagram refused this call (status 403) without an error that igproxy can read.","type":"OAuthException","code":100,"error_subcode":990025,"is_transient":false`,
		`"error_type":"OAuthException","code":403,"error_message":"Instagram refused this call (status 403) without an error that igproxy can read.","error_subcode":990025,"is_transient":false`, false},

	// Letter case is part of a name.
	"another error beside it": {400, `{"error":{"message":"m","type":"t","code":10},"ERROR":{"message":"n","type":"u","code":190},"Error":7}`, classRefused,
		`"message":"m","type":"t","code":10`, `"error_type":"t","code":400,"error_message":"m"`, false},
	"other members beside them": {400, `{"error":{"message":"m","type":"t","code":10,"Code":190,"MESSAGE":"n","Type":"u","IS_TRANSIENT":true}}`, classRefused,
		`"message":"m","type":"t","code":10`, `"error_type":"t","code":400,"error_message":"m"`, false},
	"other names only": {400, `{"Error":{"message":"m","type":"t","code":190}}`, "", "", "", true},

	// A 5xx is read where it always was.
	"5xx in the envelope": {500, `{"error":{"message":"m","type":"IGApiException","code":2500}}`, classRefused, `"message":"m","type":"IGApiException","code":2500`,
		`"error_type":"OAuthException","code":500,"error_message":"m"`, false},
	"5xx of the code exchange": {503, `{"error_type":"OAuthException","code":503,"error_message":"m"}`, classTransient, `"message":"m","type":"OAuthException","code":2`,
		`"error_type":"OAuthException","code":503,"error_message":"m"`, false},
	"5xx without a code":        {500, `{"error":{"message":"m","type":"t"}}`, "", "", "", true},
	"5xx of Threads":            {500, `{"error_message":"m","error_code":190}`, "", "", "", true},
	"5xx in an array":           {500, `[{"error":{"message":"m","type":"t","code":190}}]`, "", "", "", true},
	"5xx in an inner envelope":  {500, `{"error":{"error":{"message":"m","type":"t","code":190}}}`, "", "", "", true},
	"5xx with message and code": {500, `{"message":"m","code":100}`, "", "", "", true},

	// Nothing to be read.
	"a page":            {403, "<!DOCTYPE html><title>Error</title>", "", "", "", true},
	"nothing":           {400, "", "", "", "", true},
	"no JSON":           {400, "Bad Request", "", "", "", true},
	"half of it":        {400, `{"error":{"message":"m","code":190}`, "", "", "", true},
	"two of them":       {400, `{"error":{"code":190}}{"error":{"code":190}}`, "", "", "", true},
	"null":              {400, "null", "", "", "", true},
	"a number":          {400, "190", "", "", "", true},
	"an empty array":    {400, "[]", "", "", "", true},
	"an empty object":   {400, "{}", "", "", "", true},
	"error is null":     {400, `{"error":null}`, "", "", "", true},
	"error is empty":    {400, `{"error":{}}`, "", "", "", true},
	"code is null":      {400, `{"error":{"code":null}}`, "", "", "", true},
	"status alone":      {400, `{"status":"fail"}`, "", "", "", true},
	"three envelopes":   {400, `{"error":{"error":{"error":{"message":"m","code":190}}}}`, "", "", "", true},
	"deep":              {400, `{"error":` + strings.Repeat("[", 20000), "", "", "", true},
	"deeper than JSON":  {400, strings.Repeat("[", 20000) + strings.Repeat("]", 20000), "", "", "", true},
	"too many members":  {400, `{"error":{"message":"m","code":190}` + smallMembers(maxMembers) + `}`, "", "", "", true},
	"an odd page there": {400, `for (;;);<html>`, "", "", "", true},
}

func asItIs(s string) string { return s }

func TestAnErrorIsReadInAnyShapeThatMetaHasUsed(t *testing.T) {
	for name, s := range shapes {
		e, ok := decodeGraphError(s.status, []byte(s.body), asItIs)
		if ok == s.unreadable {
			t.Errorf("%s: read %v (%v)", name, ok, e)
			continue
		}
		if !ok {
			continue
		}
		if got := string(e.as(false).encode()); got != `{"error":{`+s.graph+`}}` {
			t.Errorf("%s: an exchange gets\n     %s\nwant {\"error\":{%s}}", name, got, s.graph)
		}
		if got := string(e.as(true).encode()); got != "{"+s.flat+"}" {
			t.Errorf("%s: a code gets\n     %s\nwant {%s}", name, got, s.flat)
		}
		if e.class != s.class {
			t.Errorf("%s: class %s, want %s", name, e.class, s.class)
		}
	}
}

// Through the whole step: whatever the body says, a 4xx is an answer with its status and no failure, but for those that say or mean "later".
func TestA4xxIsAnAnswerWhateverItsBodySays(t *testing.T) {
	for _, form := range []bool{false, true} {
		w := newWorld(t)
		n := 0
		ask := func(status int, body string) (code int, text string) {
			n++
			if form {
				w.login.say(status, body)
				r := w.post("/oauth/access_token", codeForm(fmt.Sprint("code", n)))
				return r.Code, r.Body.String()
			}
			w.graph.say(status, body)
			r := w.get(target(fmt.Sprint("IGAA", n)))
			return r.Code, r.Body.String()
		}
		for name, s := range shapes {
			if s.status >= 500 || s.class == classTransient || s.class == classAppLimit || s.class == classSecret {
				continue // they hold the app, or are failures
			}
			got, text := ask(s.status, s.body)
			want := map[bool]string{false: `{"error":{` + s.graph + `}}`, true: "{" + s.flat + "}"}[form]
			if s.unreadable {
				want = string(errUnreadable(s.status).as(form).encode())
			}
			if got != s.status || text != want {
				t.Errorf("%s, codes %v: got %d %s\nwant %d %s", name, form, got, text, s.status, want)
			}
		}
		for _, status := range []int{400, 401, 402, 404, 405, 406, 407, 409, 410, 415, 420, 422, 426, 431, 451, 499} {
			if got, text := ask(status, "<html>"); got != status || !strings.Contains(text, `"error_subcode":990025,"is_transient":false`) {
				t.Errorf("%d as a page, codes %v: got %d %s", status, form, got, text)
			}
		}
		which := map[bool]string{false: upstreamGraph, true: upstreamLogin}[form]
		if state := w.p.carried.circuits.worst(which); state != breaker.Closed { // it opens at five failures
			t.Errorf("the breaker is %s, codes %v", state, form)
		}
		for _, status := range []int{408, 425, 429} {
			if got, text := ask(status, "<html>"); got != 502 || !strings.Contains(text, `"error_subcode":990024,"is_transient":true`) {
				t.Errorf("%d as a page, codes %v: got %d %s", status, form, got, text)
			}
		}
	}
}

// What is not read is passed over as a whole: a body a hundred times as long costs no more objects.
func TestALongErrorIsNotTakenApart(t *testing.T) {
	read := func(n int) float64 {
		var worst float64
		for _, body := range []string{
			`{"error":{"error":{"message":"m"` + smallMembers(n) + `}}}`,
			`{"errors":[` + strings.Repeat("0,", n) + `0]}`,
			`[` + strings.Repeat(`{},`, n) + `{}]`,
			`{"error":` + strings.Repeat(`{"error":`, 2000) + strings.Repeat("}", 2000) + `,"x":"` + strings.Repeat("x", n) + `"}`,
		} {
			worst = max(worst, testing.AllocsPerRun(1, func() { decodeGraphError(400, []byte(body), asItIs) }))
		}
		return worst
	}
	if few, many := read(1000), read(100_000); many > few+100 { // buffers that grow by doubling
		t.Errorf("%v allocations for a hundredfold body, and %v for a small one", many, few)
	}
}

func TestOurOwnReaderReadsWhatWeWrite(t *testing.T) {
	for name, s := range shapes {
		e, ok := decodeGraphError(s.status, []byte(s.body), asItIs)
		if !ok {
			continue
		}
		for _, flat := range []bool{false, true} {
			text := e.as(flat).encode()
			back, ok := decodeGraphError(s.status, text, asItIs)
			if !ok || string(back.as(flat).encode()) != string(text) || !json.Valid(text) {
				t.Errorf("%s: %s reads as %v", name, text, back)
			}
		}
	}
}
