package proxy

import (
	"net/http"
	"strings"

	"github.com/igproxy/igproxy/proxy/graph"
)

// destination is where a request goes: to rows of the table, or past it.
type destination struct {
	named   *app     // by the path /apps/NAME/
	unknown bool     // that NAME is nobody's
	path    string   // behind that, as it came
	rows    []*grant // none: it is none of the table's calls
}

// route finds the rows of a path.
func (e *engine) route(r *http.Request) destination {
	t := destination{path: r.URL.EscapedPath()}
	if rest, ok := strings.CutPrefix(t.path, "/apps/"); ok {
		name, rest, _ := strings.Cut(rest, "/")
		if t.named = e.appNamed(name); t.named == nil {
			t.unknown = true
			return t
		}
		t.path = "/" + rest
	}
	t.rows = at(e.grants, unversioned(strings.TrimSuffix(t.path, "/")))
	return t
}

// decode reads a request strictly and turns it into a call, or says in Instagram's style what is wrong. It keeps a few parameters and
// the bearer token; everything else, an inbound client_secret above all, is dropped here: not compared (that would be an oracle for
// the secret), not forwarded. A refused call has its row where that is known, for the shape of the error.
func (e *engine) decode(r *http.Request, t destination) (call, *graph.Error) {
	c := call{grant: t.rows[0]}
	p, refused := e.params(r, c.grant)
	if refused != nil {
		return c, refused
	}
	fit, refused := p.grants(t.rows, e.grants)
	if refused != nil {
		return c, refused
	}
	if c.app, c.grant, refused = e.choose(r, t, fit, &p); refused != nil {
		return call{grant: t.rows[0]}, refused
	}
	if c.token, refused = p.pick(c.grant.subject, r.Header["Authorization"]); refused != nil {
		return c, refused
	}
	subject := c.token.Reveal()
	if c.grant.form {
		if c.redirect, refused = c.app.redirect(&p); refused != nil {
			return c, refused
		}
		subject += "\x00" + c.redirect // no code and no URI has a zero byte
	}
	c.key = c.app.keys[c.grant.name].Derive(subject)
	return c, nil
}

// params reads a request's parameters where the row has them, and nowhere else.
func (e *engine) params(r *http.Request, g *grant) (p params, refused *graph.Error) {
	if r.Method != g.method {
		return p, errMethod(r.Method, g.method)
	}
	p, refused = readQuery(r.URL.RawQuery)
	switch {
	case refused != nil:
		return p, refused
	case !g.form && announcesBody(r):
		return p, errBody
	case g.form && p.any():
		return p, errBothPlaces
	case g.form:
		p, refused = readForm(r)
		// RFC 6749, section 2.3.1: where OAuth libraries put it by default. Else it is the user of a base URL.
		if id, _, ok := r.BasicAuth(); ok && p.count[paramClientID] == 0 && e.hasID(id) {
			p.add(paramNames[paramClientID], id)
		}
		return p, refused
	}
	return p, nil
}

// unversioned cuts Meta's version prefix, /v23.0, off a path.
func unversioned(path string) string {
	rest, ok := strings.CutPrefix(path, "/v")
	if !ok {
		return path
	}
	version, rest, ok := strings.Cut(rest, "/")
	major, minor, dotted := strings.Cut(version, ".")
	if !ok || !dotted || !shortNumber(major) || !shortNumber(minor) {
		return path
	}
	return "/" + rest
}

func shortNumber(s string) bool {
	return len(s) >= 1 && len(s) <= 3 && strings.Trim(s, "0123456789") == ""
}
