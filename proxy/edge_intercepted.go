package proxy

import (
	"net/http"
	"slices"
	"strings"

	"github.com/igproxy/igproxy/proxy/graph"
)

// Intercepted returns the handler for intercepted connections. A client opened such a connection to
// one of MetaHosts, but igproxy answers instead. The connections use TLS. If igproxy requires its
// own token, the CONNECT carried the token, so the handler does not check it. A request must be for
// the host of its connection, which selects the service. Apart from that, a request is handled like
// any other.
func (p *Proxy) Intercepted() http.Handler { return interceptedHandler{p} }

type interceptedHandler struct{ proxy *Proxy }

func (h interceptedHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.proxy.serveHTTP(w, r, entrance{intercepted: true})
}

// MetaHosts returns the names of Meta's hosts that the Proxy serves: those of the services for
// which it has an app.
func (p *Proxy) MetaHosts() []string { return slices.Clone(p.current.Load().gate.meta) }

// admit checks the Host name and, except on intercepted connections, igproxy's own token. It also
// refuses requests from web pages, requests meant for a forward proxy, and igproxy's own calls. It
// returns the error for a refused request, or nil.
func (e *engine) admit(r *http.Request, t destination, from entrance) *graph.Error {
	if from.intercepted {
		return e.gate.checkIntercepted(r)
	}
	gate := e.gate
	gate.any = gate.any && !from.onLoopback
	if refused := gate.check(r); refused != nil {
		return refused
	}
	return e.trust.check(r, t)
}

// checkIntercepted returns the error for a request on an intercepted connection, or nil.
func (g gate) checkIntercepted(r *http.Request) *graph.Error {
	name, _ := hostName(r.Host)
	switch {
	case r.Method == http.MethodConnect || !strings.HasPrefix(r.RequestURI, "/"):
		return errProxyRequest
	case r.TLS == nil || name != normalHost(r.TLS.ServerName) || !g.isMeta(name):
		return errOtherHost
	case strings.HasPrefix(r.UserAgent(), ownAgent):
		return errLoop
	case fromWebPage(r.Header):
		return errBrowser
	}
	return nil
}
