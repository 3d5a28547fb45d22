package proxy

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/igproxy/igproxy/proxy/graph"
)

// Our own errors. Each has a stable error_subcode, so that an app or a dashboard can tell them from Instagram's and from each other;
// README lists them. Types and codes are those Instagram uses for the like. A message ends with the next step, and never repeats
// what was sent.
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
	subStranger        = 990013
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
	return &graph.Error{Status: status, Code: code, Subcode: subcode, Type: kind, Message: message, Class: graph.ClassRequest}
}

// Refusals of decode. They are shared values and never modified.
var (
	errPath = requestError(http.StatusNotFound, 2500, subPath,
		"Unknown path components. Nothing is passed through on this path; check it behind the base URL, as in GET /access_token.")
	errProxyRequest = requestError(http.StatusBadRequest, 100, subProxyRequest,
		"igproxy is not a forward proxy. Use it as the base URL of the app's calls.")
	errHost = requestError(http.StatusMisdirectedRequest, 100, subHost,
		"This Host name is not served here. Use localhost or a loopback address, or add the name to allowed_hosts.")
	errBrowser = requestError(http.StatusForbidden, 100, subBrowser,
		"Requests from web pages are refused: a token exchange belongs on the server. Call igproxy from your server, not from a browser.")
	errBody = requestError(http.StatusBadRequest, 100, subBody,
		"This GET announces a body. Send the parameters in the query, and no body.")
	errQuery = requestError(http.StatusBadRequest, 100, subQuery,
		"The query string is not well formed: a % is not followed by two hex digits. Percent-encode the parameters.")
	errFragment = requestError(http.StatusBadRequest, 100, subQuery,
		"The request target has a raw #, which ends a query for some readers and not for others. Percent-encode it as %23, or leave it out.")
	errArray = requestError(http.StatusBadRequest, 100, subQuery,
		"grant_type, access_token and the like must be plain parameters. Remove the brackets from the name.")
	errNoToken = requestError(http.StatusBadRequest, 2500, subNoToken,
		"An active access token must be used to query information about the current user. Send one access_token, the short-lived token.")
	errFormType = requestError(http.StatusBadRequest, 100, subForm,
		"This call takes a form. Send application/x-www-form-urlencoded or multipart/form-data, and say so in Content-Type.")
	errForm = requestError(http.StatusBadRequest, 100, subForm,
		"The form is not well formed, or larger than 64 KiB. Send client_id, grant_type, redirect_uri and code, percent-encoded.")
	errBothPlaces = requestError(http.StatusBadRequest, 100, subForm,
		"This call takes its parameters in the form, and some are in the query. Send them in the body only.")
	errWhichApp = requestError(http.StatusBadRequest, 100, subApp,
		"This sidecar serves several apps. Send the client_id of one of them, or call /apps/NAME/... as its configuration names it.")
	errNoCodes = requestError(http.StatusBadRequest, 100, subRedirect,
		"Codes are not exchanged for this app. Add its redirect_uri to redirect_uris in igproxy's configuration.")
	errOneRedirect = requestError(http.StatusBadRequest, 100, subRedirect,
		"The parameter redirect_uri must be sent once: the one the code was issued for, byte for byte.")
	errRedirect = requestError(http.StatusBadRequest, 100, subRedirect,
		"This redirect_uri is not allowed here. Send the one the code was issued for, and add it to redirect_uris in igproxy's configuration.")
	errTooLarge = requestError(http.StatusRequestEntityTooLarge, 100, subTooLarge,
		"The body is larger than igproxy passes on. Send less, or raise passthrough.max_body_bytes.")
)

func grantTypeError(sentence string, rows []*grant) *graph.Error {
	var types []string
	for _, g := range rows {
		if !slices.Contains(types, g.grantType) {
			types = append(types, g.grantType)
		}
	}
	return requestError(http.StatusBadRequest, 100, subGrantType, sentence+strings.Join(types, " or ")+".")
}

func errElsewhere(g *grant) *graph.Error {
	return requestError(http.StatusBadRequest, 100, subGrantType, "This grant_type belongs to another call: "+g.method+" "+g.path+".")
}

func errNoGrantType(rows []*grant) *graph.Error {
	return grantTypeError("The parameter grant_type is missing. Send grant_type=", rows)
}

func errTwoGrantTypes(rows []*grant) *graph.Error {
	return grantTypeError("The parameter grant_type was sent more than once. Send it once: grant_type=", rows)
}

func errGrantType(rows []*grant) *graph.Error {
	return grantTypeError("Unsupported grant_type. Send grant_type=", rows)
}

// errStranger has code 100 as its neighbours do, and not the 190 that a 401 suggests: apps take 190 for a user's token that has died.
var errStranger = requestError(http.StatusUnauthorized, 100, subStranger,
	"igproxy asks for a token of its own here. Send the one of its auth.bearer_file as X-Igproxy-Token, or as the password of the base URL: http://igproxy:TOKEN@host.")

// errMethod speaks as Instagram does. The method is repeated only when it is one of HTTP's own.
func errMethod(method, allowed string) *graph.Error {
	name := "other"
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions, http.MethodTrace:
		name = strings.ToLower(method)
	}
	return requestError(http.StatusBadRequest, 100, subMethod, "Unsupported request - method type: "+name+". Send "+allowed+".")
}

// ownTransient is the envelope of a failure that may pass: code 2, as Instagram's own outages.
func ownTransient(status, subcode int, c graph.Class, cause, message string, retryAfter time.Duration) *graph.Error {
	yes := true
	e := &graph.Error{Status: status, Code: 2, Subcode: subcode, Type: "OAuthException", Message: message, Transient: &yes, Class: c, Cause: cause}
	if retryAfter > 0 {
		e.RetryAt = time.Now().Add(retryAfter)
	}
	return e
}

func errBreakerOpen(retryAfter time.Duration) *graph.Error {
	return ownTransient(http.StatusServiceUnavailable, subBreakerOpen, graph.ClassHeld, "breaker open",
		"Instagram has been failing, so igproxy is not asking it for the moment. Retry after the time in Retry-After.", retryAfter)
}

func errOverloaded() *graph.Error {
	return ownTransient(http.StatusServiceUnavailable, subOverloaded, graph.ClassHeld, "too many exchanges at once",
		"Too many exchanges at once. Retry after the time in Retry-After.", time.Second)
}

func errResources() *graph.Error {
	return ownTransient(http.StatusServiceUnavailable, subOverloaded, graph.ClassHeld, outOfResources,
		"igproxy has run out of descriptors or memory. Retry after the time in Retry-After.", time.Second)
}

func errElsewhereNow() *graph.Error {
	return ownTransient(http.StatusServiceUnavailable, subOverloaded, graph.ClassHeld, "another sidecar is asking",
		"Another sidecar is exchanging this code just now. Retry after the time in Retry-After, for its answer.", time.Second)
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
