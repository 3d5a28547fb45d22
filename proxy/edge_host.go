package proxy

import (
	"net"
	"net/http"
	"strconv"
	"strings"

	"github.com/igproxy/igproxy/proxy/graph"
)

// gate refuses requests that no server-side app sends: to a Host name that is not ours (a web page that rebinds its DNS name to
// loopback), or from a web page. http.CrossOriginProtection does not do for this: it never checks a GET.
type gate struct {
	any   bool
	hosts map[string]bool
}

func newGate(hosts []string, anyHost bool) gate {
	g := gate{any: anyHost, hosts: map[string]bool{"localhost": true}}
	for _, h := range hosts {
		g.hosts[strings.TrimSuffix(strings.ToLower(strings.Trim(h, "[]")), ".")] = true
	}
	return g
}

// CheckHosts returns a handler that has next serve a request, unless its Host name is not one of
// hosts or a web page sent it; those are refused in plain text, as the Proxy refuses them. It is for
// another listener of the same process. hosts and anyHost are as in Options, for that listener.
func CheckHosts(hosts []string, anyHost bool, next http.Handler) http.Handler {
	g := newGate(hosts, anyHost)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if last(r) {
			w.Header().Set("Connection", "close")
		}
		if refused := g.check(r); refused != nil {
			http.Error(w, refused.Message, refused.Status)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// check returns what is wrong with the request, or nil.
func (g gate) check(r *http.Request) *graph.Error {
	switch {
	case r.Method == http.MethodConnect, !strings.HasPrefix(r.RequestURI, "/") && !g.absolute(r):
		return errProxyRequest
	case !g.any && !g.serves(r.Host):
		return errHost
	case fromWebPage(r.Header):
		return errBrowser
	}
	return nil
}

// absolute reports whether a target in absolute form is ours: RFC 9112, section 3.2.2, wants it served, and net/http has put its authority
// in the place of Host. What may be anybody's, where any Host name goes, is a forward-proxy request.
func (g gate) absolute(r *http.Request) bool {
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	return r.URL.Scheme == scheme && r.URL.User == nil && g.serves(r.URL.Host)
}

// serves reports whether an authority is ours, written as RFC 3986 has it: a name or an IPv4 address, or an IPv6 address in brackets.
// The port may be any, because containers publish ours under another, but it must be one.
func (g gate) serves(authority string) bool {
	name, ok := hostName(authority)
	if !ok || g.hosts[name] {
		return ok
	}
	ip := net.ParseIP(name)
	return ip != nil && ip.IsLoopback()
}

// hostName is an authority's name, in small letters and without port, brackets and the root's dot; not ok where it is written wrongly.
func hostName(authority string) (name string, ok bool) {
	name, port, _ := strings.Cut(authority, ":")
	if rest, bracketed := strings.CutPrefix(authority, "["); bracketed {
		if name, port, ok = strings.Cut(rest, "]"); !ok || !strings.Contains(name, ":") || port != "" && port[0] != ':' {
			return "", false
		}
		port = strings.TrimPrefix(port, ":")
	}
	if _, err := strconv.ParseUint(port, 10, 16); port != "" && err != nil {
		return "", false
	}
	return strings.TrimSuffix(strings.ToLower(name), "."), true // a dot at the end is the same name, from the root
}

// fromWebPage looks at Origin and Sec-Fetch-Site (W3C Fetch Metadata). Node's own fetch sends sec-fetch-mode: cors and neither of these.
func fromWebPage(h http.Header) bool {
	if len(h["Origin"]) > 0 {
		return true
	}
	for _, site := range h["Sec-Fetch-Site"] {
		if site != "none" && site != "same-origin" {
			return true
		}
	}
	return false
}

// announcesBody reports whether something follows the header that is no request. Nobody here reads bodies.
func announcesBody(r *http.Request) bool { return r.ContentLength != 0 || len(r.TransferEncoding) > 0 }

// last reports whether the connection must end with the answer, because what follows may be no request though net/http would read it as
// one, or because net/http would hold the answer until it came:
//   - a body, of which we read nothing;
//   - what a client sends into the tunnel it hoped for;
//   - a body that only the client knows of: net/http drops Transfer-Encoding of an HTTP/1.0 request unseen, where RFC 9112, section 6.1,
//     says that the framing is faulty.
func last(r *http.Request) bool {
	return announcesBody(r) || r.Method == http.MethodConnect || !r.ProtoAtLeast(1, 1)
}
