package proxy

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/igproxy/igproxy/proxy/graph"
	"github.com/igproxy/igproxy/proxy/passthrough"
)

// subject is what a call is about: a token, a code, or nothing but the app's own credentials.
type subject struct {
	param         param        // the parameter with the token or code
	other         param        // the parameter that apps send instead by mistake
	noun          string       // the name of the token or code in error messages
	missing, kind *graph.Error // the errors if param is missing, and if other was sent by mistake
	// bearer is true if the token may also be in Authorization: Bearer.
	bearer bool
	// once is true for a code, because a code works only once. The call is never repeated, and its
	// redirect_uri must be on the app's list.
	once bool
	// read turns the body of a successful response into the token that the app receives.
	read func(body []byte, now time.Time) (graph.Token, error)
}

var (
	tokenSubject = &subject{param: paramToken, other: paramCode, noun: "access token", bearer: true,
		read: graph.ReadToken,
		missing: requestError(http.StatusBadRequest, 2500, 990009, "An active access token must be used to "+
			"query information about the current user. Send one access_token."),
		kind: badRequest(990014, "This call takes an access_token, not a code. "+
			"Exchange the code first: POST /oauth/access_token.")}
	codeSubject         = newCodeSubject(graph.ReadCode)
	facebookCodeSubject = newCodeSubject(graph.ReadFacebookToken)
	extendSubject       = &subject{param: paramExtend, other: paramToken, noun: "access token",
		read: graph.ReadFacebookToken,
		missing: requestError(http.StatusBadRequest, 2500, 990009,
			"The parameter fb_exchange_token is missing. Send the user's token in it."),
		kind: badRequest(990014, "This call takes the user's token in fb_exchange_token, not in access_token.")}
	appSubject   = &subject{read: graph.ReadFacebookToken}
	debugSubject = &subject{param: paramInput, other: paramCode, noun: "input token", read: graph.ReadObject,
		missing: requestError(http.StatusBadRequest, 2500, 990009,
			"The parameter input_token is missing. Send the token to inspect as input_token."),
		kind: badRequest(990014, "This call takes an input_token, not a code.")}
)

func newCodeSubject(read func([]byte, time.Time) (graph.Token, error)) *subject {
	return &subject{param: paramCode, other: paramToken, noun: "code", once: true, read: read,
		missing: requestError(http.StatusBadRequest, 2500, 990009,
			"The parameter code is missing. Send the code from the redirect."),
		kind: badRequest(990014, "This call takes a code, not an access_token. "+
			"Exchange a token with GET /access_token.")}
}

// param is a parameter that igproxy reads from a token call. igproxy drops all other parameters.
type param int

const (
	paramGrantType param = iota
	paramToken
	paramCode
	paramExtend
	paramInput
	paramRedirect
	paramClientID
	paramCount
)

var paramNames = [paramCount]string{"grant_type", "access_token", "code", "fb_exchange_token", "input_token", "redirect_uri", "client_id"}

// params is what igproxy keeps of a query or a body: how often each parameter was sent, and its
// last value.
type params struct {
	count [paramCount]int
	value [paramCount]string
	array bool // a known parameter was sent as name[] or name[0]
}

func (p *params) add(name, value string) {
	bare, _, array := strings.Cut(name, "[")
	for i, known := range paramNames {
		switch {
		case name == known:
			p.count[i], p.value[i] = p.count[i]+1, value
		case array && bare == known:
			p.array = true
		}
	}
}

// readQuery reads a raw query without building a map. It skips unknown names and empty pairs; the
// example in Meta's documentation contains an empty pair.
func readQuery(raw string) (p params, refused *graph.Error) {
	if strings.Contains(raw, "#") { // a request target has no fragment: RFC 9112, section 3.2
		return p, errQuery
	}
	for raw != "" {
		var pair string
		pair, raw, _ = strings.Cut(raw, "&")
		name, value, _ := strings.Cut(pair, "=")
		name, errName := url.QueryUnescape(name)
		value, errValue := url.QueryUnescape(value)
		if errName != nil || errValue != nil {
			return p, errQuery
		}
		p.add(name, value)
	}
	return p, nil
}

// grants returns the rows that fit the grant_type of the request. A row with an implied grant_type
// also fits a request without grant_type, if the row's own parameter was sent. A row without a
// grant_type fits every request.
func (p *params) grants(rows []*grant) (fit []*grant, refused *graph.Error) {
	switch {
	case p.array:
		return nil, errQuery
	case p.count[paramClientID] > 1:
		return nil, errTwice("client_id")
	}
	for _, g := range rows {
		switch n := p.count[paramGrantType]; {
		case g.grantType == "", n == 1 && p.value[paramGrantType] == g.grantType, n == 0 && g.implied && p.count[g.param] > 0:
			fit = append(fit, g)
		}
	}
	if len(fit) == 0 {
		return nil, errGrantType(rows)
	}
	return fit, nil
}

// pick returns the token or the code of a call. If the subject allows a bearer token and there is
// no access_token parameter, pick takes the token from Authorization: Bearer (RFC 6750, section
// 2.1). The same token may be sent in both places, as requests-oauthlib does. An Authorization with
// another scheme does not count as a token. Such a header is common, because OAuth libraries first
// try Basic with the client secret.
func (p *params) pick(s *subject, authorization []string) (Secret, *graph.Error) {
	if s == appSubject {
		return Secret{}, nil
	}
	n, text, malformed := p.count[s.param], p.value[s.param], false
	if !s.bearer {
		authorization = nil
	}
	another := func(field string) bool {
		token, ok := bearer(field)
		return ok && token != text
	}
	switch {
	case n > 1, n == 0 && len(authorization) > 1, n == 1 && slices.ContainsFunc(authorization, another):
		return Secret{}, errTwice(s.noun)
	case p.count[s.other] > 0 && (n == 0 || s.once):
		return Secret{}, s.kind
	case n == 0 && len(authorization) == 1:
		text, _ = bearer(authorization[0])
		malformed = text != "" && text != passthrough.BearerToken(authorization)
	}
	if s.once { // the redirect ends with #_, which is not part of the code
		text = strings.TrimSuffix(text, "#_")
	}
	switch {
	case text == "":
		return Secret{}, s.missing
	case len(text) > graph.MaxToken:
		return Secret{}, badRequest(990012, "The "+s.noun+" is longer than 4096 bytes. Send it as Meta issued it.")
	case malformed || !graph.IsPrintable(text):
		return Secret{}, badRequest(990011, "The "+s.noun+" contains a space or another invalid character. "+
			"Percent-encode the "+s.noun+": a raw + in a query arrives as a space.")
	}
	return NewSecret(text), nil
}

// bearer returns the token in the value of an Authorization header. It reports false if the scheme
// is not Bearer.
func bearer(authorization string) (token string, ok bool) {
	scheme, credentials, _ := strings.Cut(authorization, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", false
	}
	return strings.TrimSpace(credentials), true
}
