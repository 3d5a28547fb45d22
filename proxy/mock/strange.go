package mock

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// Headers that igproxy has no reason to send with a call that it makes itself, because they hand on what an app sent, or where it came
// from.
var handedOn = []string{"Authorization", "Cookie", "Forwarded", "Origin", "Referer", "X-Forwarded-For", "X-Forwarded-Host",
	"X-Forwarded-Proto"}

// Headers that have no place in a call passed through: of one hop only, or made up on the way.
var hopOnly = []string{"Forwarded", "Keep-Alive", "Proxy-Authorization", "Proxy-Connection", "Te", "Upgrade", "Via", "X-Forwarded-For",
	"X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip"}

// oddities collects names of what is strange.
type oddities []string

func (o *oddities) add(when bool, name string) {
	if when {
		*o = append(*o, name)
	}
}

// strangeness names what is in a request that igproxy must not send. Values are never in it.
func (x *exchange) strangeness() []string {
	var o oddities
	o.add(!slices.Contains(x.endpoint.methods, x.r.Method), "method")
	o.add(x.endpoint == otherEndpoint, "path")
	o.add(x.malformed, "malformed query")
	switch {
	case x.endpoint.open:
		o.open(x)
	case x.endpoint.codes:
		o.others(x.query, nil, " in the query")
		o.exactly(x.form, x.endpoint.must)
		o.others(x.form, x.endpoint.must, "")
		o.add(x.badForm, "malformed body")
		o.add(!formType(x.r.Header.Get("Content-Type")), "content type")
		o.headers(x.r.Header, handedOn)
	default:
		o.exactly(x.query, x.endpoint.must)
		o.others(x.query, x.endpoint.must, "")
		o.headers(x.r.Header, handedOn)
		o.add(x.r.ContentLength != 0, "body") // -1: of unknown length
	}
	return o
}

// open is for calls passed through: everything in them is the app's, but there is no secret among it, and nothing of the way.
func (o *oddities) open(x *exchange) {
	o.add(x.query.Has("client_secret") || x.form.Has("client_secret"), "parameter client_secret")
	kind, _, _ := strings.Cut(x.r.Header.Get("Authorization"), " ")
	o.add(kind != "" && !strings.EqualFold(kind, "Bearer"), "header Authorization")
	o.headers(x.r.Header, hopOnly)
}

// exactly one of each.
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

// printable is a parameter's name, if it looks like one: a token in the place of a name is not printed.
func printable(name string) string {
	if name == "" || len(name) > 30 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz_") != "" {
		return "of an odd name"
	}
	return name
}
