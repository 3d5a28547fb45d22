package proxy

import (
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/igproxy/igproxy/proxy/graph"
)

// gate refuses requests that a server-side app never sends: requests for a Host name that is not
// served (a web page can rebind its own DNS name to loopback), requests from a web page, and
// requests meant for a forward proxy. gate also refuses igproxy's own calls, which a hosts file may
// direct back to igproxy. http.CrossOriginProtection cannot be used, because it never checks a GET.
type gate struct {
	any   bool // every Host is served, except Meta's own names that are not in meta
	hosts map[string]bool
	meta  []string // Meta's own names that are served; a target in absolute form with such a name is refused
}

func newGate(hosts []string, anyHost bool) gate {
	g := gate{any: anyHost, hosts: map[string]bool{"localhost": true}}
	for _, h := range hosts {
		g.hosts[normalHost(strings.Trim(h, "[]"))] = true
	}
	return g
}

// alsoServing returns a gate that also serves these names of Meta's hosts. They may resolve to
// igproxy on the machine of an app. A web page cannot rebind them, because Meta owns them.
func (g gate) alsoServing(meta []string) gate {
	g.meta = meta
	return g
}

// CheckHosts returns a handler for another listener of the same process. Like the Proxy, it refuses
// requests for a Host name that is not served, requests from a web page, and requests meant for a
// forward proxy. Its errors are plain text. It passes all other requests to next. hosts and anyHost
// mean the same as Hosts and AnyHost in Options.
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

// check returns the error for a request, or nil.
func (g gate) check(r *http.Request) *graph.Error {
	switch {
	case r.Method == http.MethodConnect, !strings.HasPrefix(r.RequestURI, "/") && !g.absolute(r):
		return errProxyRequest
	case !g.serves(r.Host) && !g.isMeta(r.Host) && (!g.any || serviceOf(r.Host) != ""):
		return errHost
	case strings.HasPrefix(r.UserAgent(), ownAgent) && g.isMeta(r.Host): // a hosts file directs igproxy to itself
		return errLoop
	case fromWebPage(r.Header):
		return errBrowser
	}
	return nil
}

// absolute reports whether a target in absolute form names this server, which must then serve the
// request: RFC 9112, section 3.2.2. Any other target is meant for a forward proxy, even with
// AnyHost.
func (g gate) absolute(r *http.Request) bool {
	return r.URL.Scheme == scheme(r) && r.URL.User == nil && g.serves(r.URL.Host)
}

// serves reports whether a hostport, which is a host with an optional port, has an allowed name or
// a loopback address. Any port is accepted, because a container may publish the listener's port
// under another number.
func (g gate) serves(hostport string) bool {
	name, ok := hostName(hostport)
	if !ok || g.hosts[name] {
		return ok
	}
	ip := net.ParseIP(name)
	return ip != nil && ip.IsLoopback()
}

// isMeta reports whether a hostport has one of Meta's own names that are served.
func (g gate) isMeta(hostport string) bool {
	name, ok := hostName(hostport)
	return ok && slices.Contains(g.meta, name)
}

// hostName returns the name in a hostport, in its normal form. It reports false if the hostport is
// malformed (RFC 3986, section 3.2). It does not use net.SplitHostPort, which would allocate for a
// hostport without a port.
func hostName(hostport string) (name string, ok bool) {
	name, port, _ := strings.Cut(hostport, ":")
	if rest, bracketed := strings.CutPrefix(hostport, "["); bracketed {
		name, port, ok = strings.Cut(rest, "]")
		if ip, err := netip.ParseAddr(name); !ok || err != nil || !ip.Is6() || port != "" && port[0] != ':' {
			return "", false
		}
		port = strings.TrimPrefix(port, ":")
	}
	if _, err := strconv.ParseUint(port, 10, 16); port != "" && err != nil {
		return "", false
	}
	return normalHost(name), true
}

// normalHost returns a name in lower case, without the dot of the DNS root at its end.
func normalHost(name string) string { return strings.TrimSuffix(strings.ToLower(name), ".") }

// fromWebPage reports whether a browser sent the request on behalf of a web page. Browsers then
// send Sec-Fetch-Site (W3C Fetch Metadata), at least to loopback and over HTTPS. They also send
// Origin, but so do some server-side clients, such as SvelteKit, and undici with a global origin.
// So an Origin that a server-side client may have sent counts only if another header shows that a
// browser sent the request.
func fromWebPage(h http.Header) bool {
	foreign := func(site string) bool { return site != "none" && site != "same-origin" }
	if slices.ContainsFunc(h["Sec-Fetch-Site"], foreign) || len(h["Access-Control-Request-Method"]) > 0 {
		return true
	}
	origin := h["Origin"]
	return len(origin) > 0 && (!isServerOrigin(origin) || isBrowser(h))
}

// isServerOrigin reports whether a server-side app could have sent this Origin. Only browsers send
// null and the origins of extensions, files and embedded browsers.
func isServerOrigin(origin []string) bool {
	return len(origin) == 1 && (strings.HasPrefix(origin[0], "http://") || strings.HasPrefix(origin[0], "https://"))
}

// isBrowser reports whether a header has fields that only browsers send. Sec-Fetch-Mode is not such
// a field, because the fetch function of Node.js sends it. A browser without Sec-Fetch-Site is
// recognised by its User-Agent. If a page replaces the User-Agent, the browser first sends a
// preflight request, which is refused.
func isBrowser(h http.Header) bool {
	return len(h["Sec-Fetch-Site"]) > 0 || len(h["Sec-Fetch-Dest"]) > 0 || len(h["Sec-Fetch-User"]) > 0 ||
		slices.ContainsFunc(h["User-Agent"], func(agent string) bool { return strings.HasPrefix(agent, "Mozilla/") })
}

// scheme returns the scheme that a request was sent with.
func scheme(r *http.Request) string {
	if r.TLS != nil {
		return "https"
	}
	return "http"
}

// announcesBody reports whether a body follows the header.
func announcesBody(r *http.Request) bool { return r.ContentLength != 0 || len(r.TransferEncoding) > 0 }

const (
	// maxDropped is the size of the largest body that is dropped from a GET request, in bytes.
	maxDropped = 4 << 10
	// dropTime bounds the wait for a body that is dropped. A small body usually arrives together
	// with the header.
	dropTime = 2 * time.Second
)

// dropBody reads and drops a small body of a GET request. Some clients send a body that means
// nothing: an empty body in chunks, or {}. dropBody returns an error for a large, incomplete or
// malformed body. After an error, the connection must be closed: otherwise net/http could read the
// rest of the body as a request.
func dropBody(w http.ResponseWriter, r *http.Request) *graph.Error {
	if r.ContentLength > maxDropped || r.Header.Get("Expect") != "" { // reading would send 100 Continue
		return errBody
	}
	// Without a deadline an incomplete body would delay the response until ReadTimeout.
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(dropTime)) // the server supports it
	n, err := io.Copy(io.Discard, io.LimitReader(r.Body, maxDropped+1))
	if err != nil || n > maxDropped {
		return errBody // the deadline stays, because net/http reads the rest of the body after the response
	}
	_ = control.SetReadDeadline(time.Time{}) // net/http reads on, to notice when the client disconnects
	return nil
}

// lastAfterDrop reports whether the connection must be closed after the response although the whole
// body was read. This is so for HTTP/1.0 (see last) and for a body in chunks. For a body in chunks,
// RFC 9112, section 6.1, requires the close if the request also has a Content-Length. net/http
// hides the Content-Length, so every body in chunks counts.
func lastAfterDrop(r *http.Request) bool { return len(r.TransferEncoding) > 0 || !r.ProtoAtLeast(1, 1) }

// linger reads and drops the rest of a body after the response, at most maxRead bytes and for at
// most dropTime. It does so only if the connection is closed after the response: the client asked
// for this (r.Close), or the response announces it (last). Without linger, net/http would close the
// connection at once or after half a second. If the client were still sending, the kernel would
// reset the connection, and the client could lose the response. For connections that stay open,
// net/http prevents that.
func linger(w http.ResponseWriter, r *http.Request, last bool) {
	if !r.Close && !last || !announcesBody(r) || r.Header.Get("Expect") != "" { // reading would send 100 Continue
		return
	}
	control := http.NewResponseController(w)
	_ = control.Flush()
	_ = control.SetReadDeadline(time.Now().Add(dropTime)) // the server supports Flush and deadlines
	_, _ = io.CopyN(io.Discard, r.Body, maxRead)
}

// last reports whether the connection must be closed after the response. If the connection stayed
// open, net/http could read the bytes that follow as another request, or wait for them before it
// sends the response. The bytes that follow can be:
//   - a body that igproxy has not read (see lastAfterDrop for a body that it has read);
//   - data for the tunnel that a client expects after CONNECT;
//   - the body of an HTTP/1.0 request with Transfer-Encoding. net/http ignores that header,
//     although RFC 9112, section 6.1, requires such framing to be treated as faulty.
func last(r *http.Request) bool {
	return announcesBody(r) || r.Method == http.MethodConnect || !r.ProtoAtLeast(1, 1)
}
