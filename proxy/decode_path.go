package proxy

import (
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/igproxy/igproxy/proxy/graph"
)

// destination is where the path of a request leads: to a token call, to one of igproxy's own calls,
// or to any other call.
type destination struct {
	app        *app     // named by the prefix /apps/NAME or by an app token (see takesAppToken); or nil
	unknownApp bool     // the prefix has a NAME that no app has
	path       string   // the path without the prefix, escaped as it was sent
	service    Service  // the service whose host name is the request's Host; empty for any other Host
	rows       []*grant // the grants with this path for the service of app or Host, if known; empty: not a token call
	own        bool     // the path is below ownPrefix
}

// route returns the destination of a request.
func (e *engine) route(r *http.Request) destination {
	t := destination{path: r.URL.EscapedPath(), service: serviceOf(r.Host)}
	if rest, ok := strings.CutPrefix(t.path, "/apps/"); ok {
		name, rest, _ := strings.Cut(rest, "/")
		if t.app = appNamed(e.apps, name); t.app == nil {
			t.unknownApp = true
			return t
		}
		t.path = "/" + rest
	}
	t.own = t.path+"/" == ownPrefix || strings.HasPrefix(t.path, ownPrefix)
	t.rows = slices.DeleteFunc(rowsAt(e.grants, unversioned(strings.TrimSuffix(t.path, "/"))),
		func(g *grant) bool {
			return t.app != nil && g.service != t.app.Service || t.app == nil && t.service != "" && g.service != t.service
		})
	if len(t.rows) > 0 && t.rows[0].appToken && !e.takesAppToken(r, &t) {
		t.rows = nil
	}
	return t
}

// appTokenWord stands for the app's own token in a call of /debug_token.
const appTokenWord = "APP"

// takesAppToken reports whether igproxy adds the app's own token to a call of /debug_token. It does
// so for a GET request without a bearer token for Meta, in these cases:
//   - there is no access_token;
//   - the access_token is appTokenWord;
//   - the access_token is an app token, which is the ID of an app and any text instead of the
//     secret. takesAppToken then stores this app in t. If the path names an app, the ID must be
//     the ID of that app.
//
// A call with any other token is passed through.
func (e *engine) takesAppToken(r *http.Request, t *destination) bool {
	p, malformed := readQuery(r.URL.RawQuery)
	if malformed != nil || r.Method != http.MethodGet {
		return false
	}
	authorization := slices.DeleteFunc(slices.Clone(r.Header["Authorization"]), func(field string) bool {
		token, ok := bearer(field)
		return !ok || e.trust.owns(token)
	})
	switch token := p.value[paramToken]; {
	case len(authorization) > 0 || p.count[paramToken] > 1:
		return false
	case token == "" || token == appTokenWord:
		return true
	default:
		for _, a := range e.apps {
			if (t.app == nil || t.app == a) && a.ID != "" && rowOf(t.rows, a) != nil && strings.HasPrefix(token, a.appToken("")) {
				t.app = a
				return true
			}
		}
		return false
	}
}

// fixedPath returns the path of a token call or of one of igproxy's own calls, as it is written in
// the table of grants or in ownCalls. It returns "" for any other call.
func (t destination) fixedPath() string {
	if c, ok := t.ownCall(); ok {
		return ownPrefix + c.name
	}
	if len(t.rows) == 0 {
		return ""
	}
	return t.rows[0].path
}

var version = regexp.MustCompile(`^/v\d{1,3}\.\d{1,3}/`)

// unversioned cuts Meta's version prefix, such as /v23.0, off a path.
func unversioned(path string) string {
	if prefix := version.FindString(path); prefix != "" {
		return path[len(prefix)-len("/"):]
	}
	return path
}

// errPath is the error for a path that is neither the path of a token call nor passed through.
var errPath = requestError(http.StatusNotFound, 2500, 990002, "Unknown path components. igproxy does not pass "+
	"this path through. Check the path after the base URL, such as /access_token, and NAME in /apps/NAME/.")

// mayPass reports whether a call that is neither a token call nor igproxy's own is passed through.
func (e *engine) mayPass(t destination) bool {
	return e.bypass != nil && !t.unknownApp && reachable(t.path)
}

// reachable reports whether a path may be passed through. Servers differ in how they treat escapes,
// dot segments, double slashes, letter case and version prefixes. So reachable refuses a path that
// any server could take for an exchange, a refresh, or a call below ownPrefix. Otherwise an app
// that sends its own client secret in an exchange could bypass igproxy unnoticed.
func reachable(escaped string) bool {
	path := strings.ToLower(escaped)
	for range graph.MaxLayers {
		plain, err := url.PathUnescape(path)
		if err != nil {
			return false
		}
		if plain == path {
			break
		}
		path = strings.ToLower(plain)
	}
	for _, segment := range strings.FieldsFunc(path, func(c rune) bool { return c == '/' || c == '\\' }) {
		name, _, _ := strings.Cut(segment, ";")
		switch strings.TrimFunc(name, func(c rune) bool { return c <= ' ' || c == '.' || c == 0x7f }) {
		case "access_token", "refresh_access_token", ownSegment:
			return false
		}
	}
	return !strings.ContainsAny(path, "%\x00")
}
