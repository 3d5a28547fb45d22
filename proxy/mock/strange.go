package mock

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// appHeaders must not appear in calls that igproxy makes itself, because they repeat what an app
// sent, or say where the app's request came from.
var appHeaders = []string{"Authorization", "Cookie", "Forwarded", "Origin", "Referer", "X-Forwarded-For", "X-Forwarded-Host",
	"X-Forwarded-Proto"}

// hopOnly lists headers that must not appear in calls to an open endpoint, such as a read: headers
// that concern only one connection, and headers that proxies add.
var hopOnly = []string{"Forwarded", "Keep-Alive", "Proxy-Authorization", "Proxy-Connection", "Te", "Upgrade", "Via", "X-Forwarded-For",
	"X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip"}

// oddities collects what is strange about a request.
type oddities []string

func (o *oddities) add(when bool, name string) {
	if when {
		*o = append(*o, name)
	}
}

// strangeness lists the parts of a request that igproxy must not send, and the parts that are
// missing. The list never contains values.
func (x *call) strangeness() []string {
	var o oddities
	o.add(x.r.Method != x.endpoint.methods[0] && !(x.endpoint.open && slices.Contains(x.endpoint.methods, x.r.Method)), "method")
	o.add(x.endpoint == otherEndpoint, "unknown path")
	o.add(x.badQuery, "malformed query")
	switch {
	case x.endpoint.open:
		o.open(x)
	case x.endpoint.form:
		o.others(x.query, nil, " in the query")
		o.exactly(x.form, x.endpoint.must)
		o.others(x.form, x.endpoint.must, "")
		o.add(x.badForm, "malformed body")
		o.add(!formType(x.r.Header.Get("Content-Type")), "content type")
		o.headers(x.r.Header, appHeaders)
	default:
		o.exactly(x.query, x.endpoint.must)
		o.add(len(x.query[x.endpoint.may]) > 1, "repeated "+x.endpoint.may)
		o.others(x.query, append([]string{x.endpoint.may}, x.endpoint.must...), "")
		o.headers(x.r.Header, appHeaders)
		o.add(x.r.ContentLength != 0, "body") // -1 means an unknown length
	}
	return o
}

// open checks a call to an open endpoint, which accepts any parameters. The call must not contain a
// client secret, a header in hopOnly, or an Authorization header that is not a bearer token.
func (o *oddities) open(x *call) {
	o.add(x.query.Has("client_secret") || x.form.Has("client_secret"), "parameter client_secret")
	kind, _, _ := strings.Cut(x.r.Header.Get("Authorization"), " ")
	o.add(kind != "" && !strings.EqualFold(kind, "Bearer"), "header Authorization")
	o.headers(x.r.Header, hopOnly)
}

// exactly adds each of the names that does not occur exactly once.
func (o *oddities) exactly(q url.Values, names []string) {
	for _, name := range names {
		o.add(len(q[name]) == 0, "no "+name)
		o.add(len(q[name]) > 1, "repeated "+name)
	}
}

func (o *oddities) others(q url.Values, known []string, where string) {
	var others []string
	for name := range q {
		if !slices.Contains(known, name) {
			others = append(others, "parameter "+printable(name)+where)
		}
	}
	slices.Sort(others)
	*o = append(*o, others...)
}

func (o *oddities) headers(h http.Header, names []string) {
	for _, name := range names {
		o.add(len(h[name]) > 0, "header "+name)
	}
}

func formType(contentType string) bool {
	kind, _, _ := strings.Cut(contentType, ";")
	return kind == "application/x-www-form-urlencoded" || kind == "multipart/form-data"
}

// printable returns name if it looks like the name of a parameter, and a placeholder if it does
// not. The name may be a token, which must not be printed.
func printable(name string) string {
	if name == "" || len(name) > 30 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz_") != "" {
		return "of an odd name"
	}
	return name
}
