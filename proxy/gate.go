package proxy

import (
	"net"
	"net/http"
	"strings"
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

// check returns what is wrong with the request, or nil.
func (g gate) check(r *http.Request) *GraphError {
	switch {
	case r.Method == http.MethodConnect, r.URL.IsAbs(), !strings.HasPrefix(r.RequestURI, "/"):
		return errProxyRequest
	case !g.any && !g.serves(r.Host):
		return errHost
	case fromWebPage(r.Header):
		return errBrowser
	}
	return nil
}

func (g gate) serves(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	name = strings.TrimSuffix(strings.ToLower(strings.Trim(name, "[]")), ".") // a dot at the end is the same name, from the root
	if g.hosts[name] {
		return true
	}
	ip := net.ParseIP(name)
	return ip != nil && ip.IsLoopback()
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
