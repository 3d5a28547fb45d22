// Package intercept is an HTTP proxy for clients that cannot change their base URL. When a client
// connects to one of the hosts of Meta's token calls, igproxy itself answers on that connection.
// Connections to other hosts are refused or passed on unread.
package intercept

import (
	"bufio"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/igproxy/igproxy/proxy"
)

// Options configure New.
type Options struct {
	// Hosts returns the names of the hosts to which connections are intercepted. It is called for
	// each CONNECT, because a reload may change the names.
	Hosts func() []string
	// Addr is the address of the listener of CONNECT requests. The listener that Handler.Listener
	// returns reports the same address.
	Addr net.Addr
	// Bearers returns the SHA-256 of each token that a client may send as the password in
	// Proxy-Authorization. If the list is empty, no token is required. Bearers is called for
	// each CONNECT.
	Bearers func() [][sha256.Size]byte
	// Tunnels configures the connections to hosts that are not intercepted. If
	// Tunnels.MaxTunnels is zero, such connections are refused.
	Tunnels TunnelOptions
	// Release is called with a connection that must no longer count towards the limit of the
	// listener of CONNECT requests. Either it has become a tunnel, or the listener that
	// Handler.Listener returns is about to accept it.
	Release func(net.Conn)
	// Count counts a request by its host and its result. The host is one of Hosts, or "other".
	Count func(host, result string)
	// Logger receives a line for each request that is refused or fails, unless the token is missing
	// or wrong.
	Logger *slog.Logger
}

// The results of a request. They are the values of a metric label.
const (
	Intercepted  = "intercepted"
	Tunnelled    = "tunnelled"
	Refused      = "refused"      // the request is not a valid CONNECT, or its host or port is not allowed
	Unauthorized = "unauthorized" // the token is missing or wrong
	Busy         = "busy"         // there are too many tunnels, or igproxy is stopping
	Failed       = "failed"       // the host of a tunnel could not be reached
	// HandshakeFailed means that the TLS handshake on an intercepted connection failed. The server
	// of the intercepted connections counts it, in addition to Intercepted.
	HandshakeFailed = "handshake_failed"
)

// Results are all results of a request.
var Results = []string{Intercepted, Tunnelled, Refused, Unauthorized, Busy, Failed, HandshakeFailed}

// Handler answers CONNECT requests, and refuses all others. Serve it with HTTP/1 only.
type Handler struct {
	options Options
	queue   *queue
	tunnels *tunnels
}

// New returns a Handler.
func New(o Options) *Handler {
	return &Handler{options: o, queue: newQueue(o.Addr, o.Release), tunnels: newTunnels(o.Tunnels)}
}

// Listener returns the listener that accepts the intercepted connections. The first byte read from
// such a connection is the first byte that the client sent after the CONNECT.
func (h *Handler) Listener() net.Listener { return h.queue }

// challenge is the value of Proxy-Authenticate, which a 407 must have (RFC 9110, section 15.5.8).
const challenge = `Basic realm="igproxy", charset="UTF-8"`

// ServeHTTP implements http.Handler. Its errors are plain text and not Meta's JSON, because clients
// expect the response to a CONNECT from a proxy, not from Meta. Most clients show only the status.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if announcesBody(r) {
		w.Header().Set("Connection", "close") // otherwise net/http waits for the body before it sends the response
	}
	if r.Method != http.MethodConnect {
		text := "This listener of igproxy accepts only CONNECT. Use its address as HTTPS_PROXY, and not as HTTP_PROXY or as a base URL."
		if strings.HasPrefix(r.RequestURI, "https://") {
			text = "This client sends its calls to https URLs without CONNECT, so its proxy could read them. axios before version 1.16.1 does so. If this is axios, update it."
		}
		w.Header().Set("Allow", http.MethodConnect)
		h.refuse(w, normalHost(r.URL.Hostname()), "other", http.StatusMethodNotAllowed, Refused, text)
		return
	}
	name, port, ok := target(r)
	label := "other"
	if ok && port == "443" && slices.Contains(h.options.Hosts(), name) {
		label = name
	}
	if !h.authorized(r) {
		w.Header().Set("Proxy-Authenticate", challenge)
		h.refuse(w, name, label, http.StatusProxyAuthRequired, Unauthorized, "igproxy requires its own token here. "+
			"Send the token from auth.bearer_file as the password of the proxy's URL: http://igproxy:TOKEN@host:port.")
		return
	}
	switch {
	case !ok:
		h.refuse(w, name, label, http.StatusBadRequest, Refused, "The target of this CONNECT is not host:port.")
	case announcesBody(r): // the body would look like the first bytes that the client sends to the host
		h.refuse(w, name, label, http.StatusBadRequest, Refused, "A CONNECT must not have a body.")
	case label != "other":
		h.intercept(w, label)
	case h.options.Tunnels.MaxTunnels == 0:
		h.refuse(w, name, label, http.StatusForbidden, Refused, "igproxy intercepts only calls to port 443 of "+strings.Join(h.options.Hosts(), ", ")+
			". List other hosts in NO_PROXY, or set intercept.others: tunnel in igproxy's configuration.")
	case port != "443":
		h.refuse(w, name, label, http.StatusForbidden, Refused, "igproxy opens tunnels to port 443 only. List this host in NO_PROXY.")
	default:
		h.tunnel(w, r, name)
	}
}

func announcesBody(r *http.Request) bool { return r.ContentLength != 0 || len(r.TransferEncoding) > 0 }

// hostName matches names in DNS, in lower case.
var hostName = regexp.MustCompile(`^[a-z0-9_]([a-z0-9._-]{0,251}[a-z0-9_])?$`)

// target returns the host of a CONNECT, as normalHost returns it, and the port, unchecked. If the
// target is not the name or address of a host with a port, ok is false, and host is the constant
// invalid. target reads the request line, because for some malformed targets net/http sets r.Host
// to a part of the target, or to the header Host.
func target(r *http.Request) (host, port string, ok bool) {
	host, port, err := net.SplitHostPort(r.RequestURI)
	host = normalHost(host)
	return host, port, err == nil && host != invalid
}

// invalid is logged instead of a target that is not a host, because such a target could be a
// secret.
const invalid = "invalid"

// normalHost returns a host's name or address in lower case, without a dot at the end. For any
// other text, it returns the constant invalid.
func normalHost(host string) string {
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	if ip, err := netip.ParseAddr(host); err == nil && ip.Zone() == "" || hostName.MatchString(host) {
		return host
	}
	return invalid
}

// authorized reports whether a request has one of the accepted tokens, or needs no token.
func (h *Handler) authorized(r *http.Request) bool {
	accepted := h.options.Bearers()
	if len(accepted) == 0 {
		return true
	}
	fields := r.Header["Proxy-Authorization"]
	if len(fields) != 1 {
		return false
	}
	scheme, credentials, _ := strings.Cut(fields[0], " ")
	plain, err := base64.StdEncoding.DecodeString(strings.TrimSpace(credentials))
	_, token, _ := strings.Cut(string(plain), ":")
	if err != nil || !strings.EqualFold(scheme, "Basic") {
		return false
	}
	return proxy.MatchDigest(token, accepted) >= 0
}

// mayBeSecret matches names that may contain a secret: a client secret has 32 characters, and
// tokens have more. The log shows "hidden" instead of such a name.
var mayBeSecret = regexp.MustCompile(`[a-z0-9_-]{32}`)

// refuse answers a request with an error. target is the name of the host in the log, and label is
// its name in the metric.
func (h *Handler) refuse(w http.ResponseWriter, target, label string, status int, result, text string) {
	h.options.Count(label, result)
	if mayBeSecret.MatchString(target) {
		target = "hidden"
	}
	if result != Unauthorized { // many clients send the password only after a 407
		h.options.Logger.Warn("connect refused", "target", target, "status", status, "result", result)
	}
	http.Error(w, text, status)
}

// intercept hands the connection to Listener.
func (h *Handler) intercept(w http.ResponseWriter, host string) {
	c, ok := h.hijack(w)
	if !ok {
		return
	}
	h.options.Count(host, Intercepted)
	if !h.queue.put(c) {
		_ = c.Close()
	}
}

// establishTimeout bounds the write of the response to a CONNECT.
const establishTimeout = 10 * time.Second

// hijack takes a connection over and answers the CONNECT with 200. It reports false if one of
// these steps fails.
func (h *Handler) hijack(w http.ResponseWriter) (*hijacked, bool) {
	c, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, false
	}
	_ = c.SetDeadline(time.Now().Add(establishTimeout)) // if this fails, the write fails too
	if _, err := c.Write([]byte("HTTP/1.1 200 Connection established\r\n\r\n")); err != nil {
		_ = c.Close()
		return nil, false
	}
	_ = c.SetDeadline(time.Time{})
	return &hijacked{c, buffered.Reader}, true
}

// hijacked is a connection whose client may have sent its first bytes together with CONNECT.
type hijacked struct {
	net.Conn
	buffered *bufio.Reader
}

// Read implements net.Conn.
func (c *hijacked) Read(p []byte) (int, error) {
	if n := c.buffered.Buffered(); n > 0 {
		return c.buffered.Read(p[:min(n, len(p))])
	}
	return c.Conn.Read(p)
}

// NetConn returns the connection that was taken over.
func (c *hijacked) NetConn() net.Conn { return c.Conn }

// SyscallConn returns the socket. A drain uses it to check whether a request has arrived.
func (c *hijacked) SyscallConn() (syscall.RawConn, error) {
	under := c.Conn
	if secure, ok := under.(*tls.Conn); ok {
		under = secure.NetConn()
	}
	if socket, ok := under.(syscall.Conn); ok {
		return socket.SyscallConn()
	}
	return nil, errors.ErrUnsupported
}

// CloseWrite closes the sending half or, if that is not supported, the whole connection.
func (c *hijacked) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.Conn.Close()
}
