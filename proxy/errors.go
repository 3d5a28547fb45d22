package proxy

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/igproxy/igproxy/proxy/graph"
)

// The subcodes of igproxy's own errors. They tell an app or a dashboard which error it is, and
// never change; docs/errors.md lists them. Types and codes are those that Instagram uses for
// similar errors. A message ends with the next step and never repeats what was sent.
const (
	subMethod          = 990001
	subPath            = 990002
	subProxyRequest    = 990003
	subHost            = 990004
	subBrowser         = 990005
	subBody            = 990006
	subQuery           = 990007
	subGrantType       = 990008
	subNoToken         = 990009
	subTwoTokens       = 990010
	subTokenCharacters = 990011
	subLongToken       = 990012
	subUntrusted       = 990013
	subKind            = 990014
	subForm            = 990015
	subApp             = 990016
	subRedirect        = 990017
	subTooLarge        = 990018
	subBreakerOpen     = 990020
	subOverloaded      = 990021
	subTimeout         = 990022
	subUnreachable     = 990023
	subBadAnswer       = 990024
	subInternal        = 990026
)

func requestError(status, code, subcode int, message string) *graph.Error {
	kind := "IGApiException"
	if code == 2500 {
		kind = "OAuthException"
	}
	return &graph.Error{Status: status, Code: code, Subcode: subcode, Type: kind, Message: message,
		Class: graph.ClassRequest}
}

func badRequest(subcode int, message string) *graph.Error {
	return requestError(http.StatusBadRequest, 100, subcode, message)
}

// Refusals of a request, before anything is looked up. They are shared and never modified.
var (
	errPath = requestError(http.StatusNotFound, 2500, subPath, "Unknown path components. "+
		"igproxy does not pass this path through. Check the path after the base URL, as in GET /access_token.")
	errProxyRequest = badRequest(subProxyRequest,
		"igproxy is not a forward proxy. Use it as the base URL of the app's calls.")
	errHost = requestError(http.StatusMisdirectedRequest, 100, subHost, "This Host name is not served here. "+
		"Use localhost or a loopback address, or add the name to allowed_hosts.")
	errBrowser = requestError(http.StatusForbidden, 100, subBrowser, "Requests from web pages are refused, "+
		"because a token exchange belongs on a server. Call igproxy from your server.")
	errBody = badRequest(subBody,
		"This GET request announces a body. Send the parameters in the query, without a body.")
	errQuery = badRequest(subQuery, "The parameters are malformed: they contain a % without two hex digits after it, "+
		"a #, or a known name with brackets. Percent-encode them, and remove the brackets.")
	errForm = badRequest(subForm, "This call takes its parameters as a form of at most 64 KiB, not in the query. "+
		"Send client_id, grant_type, redirect_uri and code in the body, as application/x-www-form-urlencoded "+
		"or multipart/form-data.")
	errWhichApp = badRequest(subApp, "This sidecar serves several apps. "+
		"Send the client_id of one of them, or call /apps/NAME/... with a name from igproxy's configuration.")
	errRedirect = badRequest(subRedirect, "A code needs one redirect_uri that is allowed here. "+
		"Send the one that the code was issued for, and add it to redirect_uris in igproxy's configuration.")
	errTooLarge = requestError(http.StatusRequestEntityTooLarge, 100, subTooLarge,
		"The body is larger than igproxy passes through. Send less, or raise passthrough.max_body_bytes.")
	// errUntrusted has code 100, not the 190 that status 401 suggests: apps take 190 for a user's
	// token that no longer works.
	errUntrusted = requestError(http.StatusUnauthorized, 100, subUntrusted, "igproxy requires its own token here. "+
		"Send the one from auth.bearer_file as X-Igproxy-Token, or as the password of the base URL: "+
		"http://igproxy:TOKEN@host.")
)

func errMethod(allowed string) *graph.Error {
	return badRequest(subMethod, "This call does not support the method of the request. Send "+allowed+".")
}

func errGrantType(problem string, rows []*grant) *graph.Error {
	var types []string
	for _, g := range rows {
		if !slices.Contains(types, g.grantType) {
			types = append(types, g.grantType)
		}
	}
	return badRequest(subGrantType,
		"The parameter grant_type "+problem+". Send grant_type="+strings.Join(types, " or ")+".")
}

func errTwice(s *subject) *graph.Error {
	return badRequest(subTwoTokens, "The "+s.noun+" was sent more than once. Send it once.")
}

func errCharacters(s *subject) *graph.Error {
	return badRequest(subTokenCharacters, "The "+s.noun+" contains a space or another character that it "+
		"cannot have. Percent-encode it: a raw + in a query arrives as a space.")
}

func errTooLong(s *subject) *graph.Error {
	return badRequest(subLongToken, "The "+s.noun+" is longer than 4096 bytes. Send it as Instagram issued it.")
}

// ownTransient returns the error for a failure that may pass: code 2, as in Instagram's own
// outages. A positive retryAfter becomes Retry-After.
func ownTransient(status, subcode int, c graph.Class, cause, message string, retryAfter time.Duration) *graph.Error {
	e := &graph.Error{Status: status, Code: 2, Subcode: subcode, Type: "OAuthException", Message: message,
		Transient: new(true), Class: c, Cause: cause}
	if retryAfter > 0 {
		e.RetryAt = time.Now().Add(retryAfter)
	}
	return e
}

func errBreakerOpen(retryAfter time.Duration) *graph.Error {
	return ownTransient(http.StatusServiceUnavailable, subBreakerOpen, graph.ClassHeld, "breaker open",
		"Calls to Instagram have been failing, so igproxy makes none at the moment. "+
			"Retry after the time in Retry-After.", retryAfter)
}

func errBusy(cause, message string) *graph.Error {
	return ownTransient(http.StatusServiceUnavailable, subOverloaded, graph.ClassHeld, cause,
		message+" Retry after the time in Retry-After.", time.Second)
}

func errOverloaded() *graph.Error {
	return errBusy("too many exchanges at once", "Too many exchanges at once.")
}

func errResources() *graph.Error {
	return errBusy(outOfResources, "igproxy has run out of file descriptors or memory.")
}

func errElsewhereNow() *graph.Error {
	return errBusy("another sidecar is asking", "Another sidecar is exchanging this code.")
}

func errTimeout() *graph.Error {
	return ownTransient(http.StatusGatewayTimeout, subTimeout, graph.ClassTimeout, "timeout",
		"Instagram did not answer in time. Retry later.", 0)
}

func errSilent() *graph.Error {
	e := errTimeout()
	e.Class, e.Cause = graph.ClassSilent, "a kept connection stayed silent"
	return e
}

func errUnreachable(kind string) *graph.Error {
	return ownTransient(http.StatusServiceUnavailable, subUnreachable, graph.ClassUnreached, kind,
		"Instagram could not be reached. Retry after the time in Retry-After.", time.Second)
}

func errBadAnswer(cause string) *graph.Error {
	return ownTransient(http.StatusBadGateway, subBadAnswer, graph.ClassBroken, cause,
		"Instagram's answer could not be understood. Retry later.", 0)
}

func errInternal(cause string) *graph.Error {
	return &graph.Error{Status: http.StatusInternalServerError, Code: 1, Subcode: subInternal, Type: "OAuthException",
		Message: "An unknown error has occurred inside igproxy. Its log has the details under this X-Request-Id.",
		Class:   graph.ClassInternal, Cause: cause}
}
