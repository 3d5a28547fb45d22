package mock

import (
	"net/http"
	"strings"
)

// endpoint is one kind of call that Meta serves: a row of what it takes and how it answers.
type endpoint struct {
	name    string   // in the counters, behind the family's prefix
	methods []string // that it takes
	must    []string // parameters, exactly one each; nothing else belongs into the request, unless it is open
	codes   bool     // a code exchange: parameters in a form, errors in a shape of their own
	open    bool     // takes any parameters, and the token as a bearer's too
	bodied  bool     // its body is read

	refusal func(*exchange) *graphError                              // of what is wrong with the request, before any fault
	verdict func(*exchange) *graphError                              // on its token, after any fault
	issue   func(*exchange) (token, expires string)                  // makes what the answer tells; "" where there is nothing to make
	body    func(x *exchange, token, expires, members string) string // of the answer
	succeed func(*exchange)                                          // sends it
}

var (
	exchangeEndpoint = &endpoint{name: "exchange", methods: []string{http.MethodGet},
		must:    []string{"grant_type", "client_secret", "access_token"},
		refusal: (*exchange).refuseExchange, verdict: (*exchange).judgeShort,
		issue: (*exchange).issueLong, body: (*exchange).tokenBody, succeed: (*exchange).sendSuccess}
	refreshEndpoint = &endpoint{name: "refresh", methods: []string{http.MethodGet},
		must:    []string{"grant_type", "access_token"},
		refusal: (*exchange).refuseRefresh, verdict: (*exchange).judgeLong,
		issue: (*exchange).issueLong, body: (*exchange).tokenBody, succeed: (*exchange).sendSuccess}
	codeEndpoint = &endpoint{name: "code", methods: []string{http.MethodPost}, codes: true, bodied: true,
		must:    []string{"client_id", "client_secret", "grant_type", "redirect_uri", "code"},
		refusal: (*exchange).refuseCode, verdict: accept,
		issue: (*exchange).issueShort, body: (*exchange).loginBody, succeed: (*exchange).sendSuccess}
	readEndpoint = &endpoint{name: "read", methods: []string{http.MethodGet}, open: true,
		refusal: (*exchange).refuseNode, verdict: (*exchange).judgeAny,
		issue: issueNothing, body: (*exchange).nodeBody, succeed: (*exchange).sendSuccess}
	writeEndpoint = &endpoint{name: "write", methods: []string{http.MethodPost, http.MethodDelete}, open: true, bodied: true,
		refusal: (*exchange).refuseNode, verdict: (*exchange).judgeAny,
		issue: issueNothing, body: (*exchange).writtenBody, succeed: (*exchange).sendSuccess}
	streamEndpoint = &endpoint{name: "read", methods: []string{http.MethodGet}, open: true,
		refusal: (*exchange).refuseStream, verdict: accept,
		issue: issueNothing, body: (*exchange).writtenBody, succeed: (*exchange).stream}
	// otherEndpoint is every path that is none. What comes there is held to the exchange's rules.
	otherEndpoint = &endpoint{name: "other", methods: []string{http.MethodGet}, must: exchangeEndpoint.must,
		refusal: (*exchange).refusePath, verdict: accept,
		issue: issueNothing, body: (*exchange).writtenBody, succeed: (*exchange).sendSuccess}
)

func accept(*exchange) *graphError { return nil }

func issueNothing(*exchange) (string, string) { return "", "" }

// find reads the path.
func (x *exchange) find() {
	var path string
	x.version, path = splitVersion(x.r.URL.Path)
	x.endpoint = x.endpointAt(path)
	if !x.instagram.host.serves(x.endpoint) {
		x.endpoint = otherEndpoint
	}
}

func (x *exchange) endpointAt(path string) *endpoint {
	switch path {
	case "/access_token":
		return exchangeEndpoint
	case "/refresh_access_token":
		return refreshEndpoint
	case "/oauth/access_token":
		return codeEndpoint
	case streamPath:
		return streamEndpoint
	}
	known := false
	if x.node, x.edge, known = splitNode(path); !known {
		return otherEndpoint
	}
	if x.r.Method == http.MethodPost || x.r.Method == http.MethodDelete {
		return writeEndpoint
	}
	return readEndpoint
}

// splitVersion takes the version off a path, where there is one.
func splitVersion(path string) (version, rest string) {
	after, versioned := strings.CutPrefix(path, "/v")
	if !versioned {
		return defaultVersion, path
	}
	version, rest, _ = strings.Cut(after, "/")
	major, minor, _ := strings.Cut(version, ".")
	if !digits(major) || !digits(minor) {
		return defaultVersion, path
	}
	return "v" + version, "/" + rest
}

func digits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// edges of a node that Instagram or Threads have, for reading, writing or both.
var edges = strings.Fields("children comments content_publishing_limit conversations insights live_media media media_publish mentions " +
	"messages replies stories subscribed_apps tags threads threads_insights threads_publish threads_publishing_limit")

func (x *exchange) refusePath() *graphError {
	e := unknownPath(x.r.URL.Path)
	return &e
}
