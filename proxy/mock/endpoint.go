package mock

import (
	"net/http"
	"slices"
	"strings"
)

// endpoint is one kind of call that Meta serves: what it accepts and how it responds. Unless open
// is set, the fields must and may contain all parameters that igproxy is allowed to send.
type endpoint struct {
	name      string   // in the counters, after the family's prefix
	methods   []string // the accepted methods; igproxy must use the first, except at an open endpoint
	token     string   // the parameter by which the call is counted: a token, a code or the app's ID
	must      []string // parameters that igproxy must send exactly once
	may       string   // a parameter that igproxy may send once
	login     bool     // its path is /oauth/access_token
	form      bool     // igproxy must send the parameters in a form; if false, in the query
	strict    bool     // parameters are accepted only in a form
	oldErrors bool     // errors have the shape of errors from api.instagram.com
	open      bool     // accepts any parameters, and a bearer token
	bodied    bool     // the stand-in reads the body of a call

	refusal func(*call) *graphError                              // checks the request, even if the call has a fault
	verdict func(*call) *graphError                              // checks the token, if the call has no fault
	issue   func(*call) (token, expires string)                  // issues the token to return, if any
	body    func(x *call, token, expires, members string) string // the body of a success; for members, see success
	succeed func(*call)                                          // sends the body
}

var (
	exchangeEndpoint = &endpoint{name: "exchange", methods: []string{http.MethodGet}, token: "access_token",
		must:    []string{"grant_type", "client_secret", "access_token"},
		refusal: (*call).refuseExchange, verdict: (*call).judgeShort,
		issue: (*call).issueLong, body: (*call).tokenBody, succeed: (*call).sendSuccess}
	refreshEndpoint = &endpoint{name: "refresh", methods: []string{http.MethodGet}, token: "access_token",
		must:    []string{"grant_type", "access_token"},
		refusal: (*call).refuseRefresh, verdict: (*call).judgeLong,
		issue: (*call).issueLong, body: (*call).tokenBody, succeed: (*call).sendSuccess}
	readEndpoint = &endpoint{name: "read", methods: []string{http.MethodGet}, token: "access_token", open: true,
		refusal: (*call).refuseNode, verdict: (*call).judgeAny,
		issue: issueNothing, body: (*call).nodeBody, succeed: (*call).sendSuccess}
	writeEndpoint = &endpoint{name: "write", methods: []string{http.MethodPost, http.MethodDelete}, token: "access_token", open: true, bodied: true,
		refusal: (*call).refuseNode, verdict: (*call).judgeAny,
		issue: issueNothing, body: (*call).writtenBody, succeed: (*call).sendSuccess}
	debugEndpoint = &endpoint{name: "debug_token", methods: []string{http.MethodGet}, token: "input_token", open: true,
		refusal: (*call).refuseDebug, verdict: accept,
		issue: issueNothing, body: (*call).debugBody, succeed: (*call).sendSuccess}
	streamEndpoint = &endpoint{name: "read", methods: []string{http.MethodGet}, token: "access_token", open: true,
		refusal: (*call).refuseStream, verdict: accept,
		issue: issueNothing, body: (*call).writtenBody, succeed: (*call).stream}
	// otherEndpoint stands for every unknown path. strangeness checks its requests by the rules of
	// the exchange.
	otherEndpoint = &endpoint{name: "other", methods: []string{http.MethodGet}, token: "access_token", must: exchangeEndpoint.must,
		refusal: (*call).refusePath, verdict: accept,
		issue: issueNothing, body: (*call).writtenBody, succeed: (*call).sendSuccess}
)

func accept(*call) *graphError { return nil }

func issueNothing(*call) (string, string) { return "", "" }

// find sets the version, the node, the edge and the endpoint from the path and the method.
func (x *call) find() {
	var path string
	x.version, path = splitVersion(x.r.URL.Path)
	x.endpoint = x.endpointAt(path)
	if !x.instagram.host.serves(x.endpoint) {
		x.endpoint = otherEndpoint
	}
}

func (x *call) endpointAt(path string) *endpoint {
	h := x.instagram.host
	switch {
	case path == "/access_token" && h.may(instagramFamily, threadsFamily):
		return exchangeEndpoint
	case path == "/refresh_access_token" && h.may(instagramFamily, threadsFamily):
		return refreshEndpoint
	case path == "/debug_token" && h.may(threadsFamily, facebookFamily):
		return debugEndpoint
	case path == "/oauth/access_token":
		return loginEndpoint
	case path == streamPath:
		return streamEndpoint
	}
	known := false
	if x.node, x.edge, known = splitNode(path); !known || slices.Contains(facebookEdges, x.edge) && !h.may(facebookFamily) {
		return otherEndpoint
	}
	if x.r.Method == http.MethodPost || x.r.Method == http.MethodDelete {
		return writeEndpoint
	}
	return readEndpoint
}

// splitVersion separates a leading version from the path. If there is no version, it returns the
// default version.
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

// edges lists the edges, such as media in /me/media, that nodes of Instagram or Threads have. At
// Meta, some edges are read-only or write-only. The stand-in allows reads and writes of every edge.
var edges = strings.Fields("children comments content_publishing_limit conversations insights live_media media media_publish mentions " +
	"messages replies stories subscribed_apps tags threads threads_insights threads_publish threads_publishing_limit")

// facebookEdges lists edges that only Facebook has.
var facebookEdges = strings.Fields("accounts businesses feed permissions picture posts")

func (x *call) refusePath() *graphError {
	e := x.unknownPath()
	return &e
}
