package proxy

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/igproxy/igproxy/proxy/graph"
	"github.com/igproxy/igproxy/proxy/passthrough"
)

// requestError returns the error for a refused request. The subcode tells apps and dashboards which
// of igproxy's own errors it is. docs/errors.md lists all subcodes, which never change. Type and
// code are those that Meta uses for similar errors. A message ends with what to do next, and
// never repeats what was sent.
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

// The errors that are the same for every request. They are shared and never modified.
var (
	errProxyRequest = badRequest(990003,
		"igproxy is not a forward proxy. Use it as the base URL of the app's calls.")
	errHost = requestError(http.StatusMisdirectedRequest, 100, 990004, "This Host name is not served here. "+
		"Use localhost or a loopback address, or add the name to allowed_hosts.")
	errOtherHost = requestError(http.StatusMisdirectedRequest, 100, 990004, "The Host of this request is not the host "+
		"that the connection was made to. Open a separate connection for each host.")
	errLoop = badRequest(graph.SubcodeLoop, "This request came from igproxy itself. "+
		"Let igproxy reach Meta directly: remove its own address from HTTPS_PROXY and from its hosts file.")
	errBrowser = requestError(http.StatusForbidden, 100, 990005, "Requests from web pages are refused, "+
		"because a token exchange belongs on a server. Call igproxy from your server.")
	errBody = badRequest(990006,
		"This GET request has a body that is larger than 4 KiB, incomplete or malformed, or it waits for 100 Continue. "+
			"Send the parameters in the query, without a body.")
	errQuery = badRequest(990007, "The parameters are malformed. They contain a % without two hex digits after it, "+
		"a #, a name with brackets, such as code[], or, in JSON, a value that is neither a string nor a number. "+
		"Percent-encode the parameters, and send each value once, without brackets.")
	errMethod = badRequest(990001, "This call does not support the method of the request. Send GET or POST.")
	errForm   = badRequest(990015, "The body of this call is not a form or a JSON object of at most 64 KiB. "+
		"Send the parameters in the query, or in a body of the type application/x-www-form-urlencoded, "+
		"multipart/form-data or application/json.")
	errTwoPlaces = badRequest(990015, "Parameters were sent in the query and in the body. Send all of them in one place.")
	errRedirect  = badRequest(990017, "A code needs exactly one redirect_uri, which igproxy must allow. "+
		"Send the redirect_uri that the code was issued for, and add it to redirect_uris in igproxy's configuration.")
	errNoRedirect = badRequest(990017, "The code came without a redirect_uri. Send the redirect_uri that the code "+
		"was issued for. If the code was issued without a redirect_uri, as in embedded signup, "+
		"add the word none to redirect_uris in igproxy's configuration.")
	errNoID     = badRequest(990019, "This call needs the app's ID. Add app_id to the app in igproxy's configuration.")
	errTooLarge = requestError(http.StatusRequestEntityTooLarge, 100, 990018,
		"The body is larger than igproxy passes through. Send less, or raise passthrough.max_body_bytes.")
	errSlowRequest = requestError(http.StatusRequestTimeout, 100, 990028, "The body of the request arrives too "+
		"slowly. Send at least 1 KiB a second.")
	errOwnPath = requestError(http.StatusNotFound, 2500, 990002, "Unknown path components. Below /_igproxy/ there "+
		"are only POST /_igproxy/webhook and POST /_igproxy/signed_request. Correct the path.")
	errPostOnly       = badRequest(990001, "This call does not support the method of the request. Send POST.")
	errWhoseSignature = badRequest(990016, "This sidecar serves several apps. Call /apps/NAME/_igproxy/... with a name "+
		"from igproxy's configuration, or use a Host name of the app.")
	errUnsignedWebhook = badRequest(990029, "The signature is missing, malformed or repeated. Pass on the header "+
		"X-Hub-Signature-256 of the webhook unchanged, or X-Hub-Signature if Meta sent only that.")
	errWebhookTooLarge = requestError(http.StatusRequestEntityTooLarge, 100, 990018,
		"The body is larger than 3 MiB. Meta sends no webhook of that size, so refuse it.")
	errSlowBody = requestError(http.StatusRequestTimeout, 100, 990028,
		"The body of the request did not arrive within server.read_timeout. Send it faster.")
	errCutBody    = badRequest(990030, "The body of the request is incomplete or malformed. Send all of it.")
	errSignedForm = badRequest(990015, "This call takes a form of at most 64 KiB with one field signed_request. Send it "+
		"in the body, as application/x-www-form-urlencoded or multipart/form-data.")
	errOwnToken = requestError(http.StatusBadRequest, 2500, 990009, "The token is igproxy's own, which Meta does not know. "+
		"Send the user's token, and igproxy's own in X-Igproxy-Token.")
	// errUntrusted has code 100. Code 190 would fit status 401 better, but to apps it means that a
	// user's token no longer works.
	errUntrusted = requestError(http.StatusUnauthorized, 100, 990013, "igproxy requires its own token here. "+
		"Send the token from auth.bearer_file as X-Igproxy-Token, or as the password of the base URL: "+
		"http://igproxy:TOKEN@host.")
)

// errSignature returns the error for a webhook or signed_request that the app must not process.
func errSignature(subcode int, cause, message string) *graph.Error {
	e := requestError(http.StatusForbidden, 100, subcode, message)
	e.Class, e.Cause = graph.ClassSignature, cause
	return e
}

func errWrongWebhook() *graph.Error {
	return errSignature(990031, "signed with another secret", "This body was not signed with any of the app's secrets. "+
		"Do not process it. If it did come from Meta, make sure that the app sends the bytes to igproxy as they arrived, and see webhook_secret_file in igproxy's configuration.")
}

func errWrongRequest(cause string) *graph.Error {
	return errSignature(990032, cause, "This signed_request is malformed, or was not signed with any of the app's secrets. "+
		"Do not process it. If it did come from Meta, make sure that the app sends it to igproxy as it arrived, and see webhook_secret_file in igproxy's configuration.")
}

func errTwice(noun string) *graph.Error {
	return badRequest(990010, "The "+noun+" was sent more than once. Send it once, in one place.")
}

// errWhichApp returns the error for a call that does not say which of several apps makes it.
func errWhichApp(apps []*app) *graph.Error {
	const most = 8
	var paths []string
	for _, a := range apps[:min(len(apps), most)] {
		paths = append(paths, "/apps/"+a.Label+"/")
	}
	if len(apps) > most {
		paths = append(paths, "and so on")
	}
	return badRequest(990016, "This sidecar serves several apps that can make this call. Send the client_id of one of them, "+
		"or put the app's name before the path: "+strings.Join(paths, ", ")+".")
}

func errGrantType(rows []*grant) *graph.Error {
	var types []string
	for _, g := range rows {
		types = append(types, g.grantType)
	}
	slices.Sort(types)
	return badRequest(990008, "The parameter grant_type is missing, repeated, or not supported by this call. "+
		"Send grant_type="+strings.Join(slices.Compact(types), " or ")+".")
}

// ownTransient returns the error for a temporary failure. It has code 2, which Meta sends in its
// own outages. A positive retryAfter becomes Retry-After.
func ownTransient(status, subcode int, c graph.Class, cause, message string, retryAfter time.Duration) *graph.Error {
	e := &graph.Error{Status: status, Code: 2, Subcode: subcode, Type: "OAuthException", Message: message,
		Transient: new(true), Class: c, Cause: cause}
	if retryAfter > 0 {
		e.RetryAt = time.Now().Add(retryAfter)
	}
	return e
}

func errBreakerOpen(retryAfter time.Duration) *graph.Error {
	return ownTransient(http.StatusServiceUnavailable, 990020, graph.ClassHeld, "breaker open",
		"Token calls like this one have been failing, so igproxy makes none of them at the moment. "+
			"Retry after the time in Retry-After.", retryAfter)
}

func errBusy(cause, message string) *graph.Error {
	return ownTransient(http.StatusServiceUnavailable, 990021, graph.ClassHeld, cause,
		message+" Retry after the time in Retry-After.", time.Second)
}

func errOverloaded() *graph.Error {
	return errBusy("too many exchanges at once", "Too many exchanges at once.")
}

func errLargeBodies() *graph.Error {
	return errBusy("too many large bodies at once", "Too many requests with a body of more than 4 KiB at once.")
}

// errSlowReader returns the error for an app that reads a response too slowly. The error is logged
// but not sent, because a part of the response has already been sent.
func errSlowReader() *graph.Error {
	e := *errSlowRequest
	e.Cause = passthrough.ErrSlowReader.Error()
	return &e
}

func errPassedOverload() *graph.Error {
	return ownTransient(http.StatusServiceUnavailable, 990027, graph.ClassHeld, "too many passed-through calls at once",
		"Too many passed-through calls of this app at once. Retry after the time in Retry-After.", time.Second)
}

func errTimeout() *graph.Error {
	return ownTransient(http.StatusGatewayTimeout, 990022, graph.ClassTimeout, "timeout",
		"Meta did not answer in time. Retry later.", 0)
}

func errSilent() *graph.Error {
	e := errTimeout()
	e.Class, e.Cause = graph.ClassSilent, "a kept connection stayed silent"
	return e
}

func errUnreachable(kind string) *graph.Error {
	return ownTransient(http.StatusServiceUnavailable, 990023, graph.ClassUnreached, kind,
		"Meta could not be reached. Retry after the time in Retry-After.", time.Second)
}

func errBadAnswer(cause string) *graph.Error {
	return ownTransient(http.StatusBadGateway, 990024, graph.ClassBroken, cause,
		"Meta's answer could not be understood. Retry later.", 0)
}

func errInternal(cause string) *graph.Error {
	return &graph.Error{Status: http.StatusInternalServerError, Code: 1, Subcode: 990026, Type: "OAuthException",
		Message: "An unknown error has occurred inside igproxy. Look for this X-Request-Id in igproxy's log.",
		Class:   graph.ClassInternal, Cause: cause}
}
