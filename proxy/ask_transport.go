package proxy

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"time"
)

// outbound is a pool of connections to Meta, for token calls or for passed-through calls.
//
// It speaks only HTTP/1.1. Each call in flight has its own connection, so a connection that dies
// fails only one call. With HTTP/2 all calls would share one connection, and its death or a GOAWAY
// would be an outage. For token calls, the extra connections cost little, because few of these
// calls need Meta.
//
// A call that may be sent twice uses a kept connection. If that connection turns out to be dead,
// Go's transport repeats the call on another one. Such repetitions need no retry budget, because a
// connection is kept only after it has delivered a whole response. So there are never more
// repetitions than responses. Any other call, such as an upload or the code of a login, dials its
// own connection: if a kept connection turned out to be dead, igproxy could not know whether Meta
// had acted on the call.
//
// All kept connections are replaced together, at intervals of Options.MaxConnectionAge. Otherwise a
// busy connection would never be closed, and igproxy would not notice that the address of Meta's
// host has changed in DNS.
type outbound struct {
	mu    sync.Mutex      // protects kept and since
	kept  *http.Transport // for requests that may be sent twice
	since time.Time       // when kept was created

	maxAge   time.Duration   // the age at which kept is replaced; zero: never
	single   *http.Transport // for other requests; it keeps no connection
	dialer   *net.Dialer     // used by kept and single
	patience time.Duration   // how long a kept connection may stay silent before all idle ones are closed
	silent   func()          // called when a kept connection has been silent for that long; it must not block
}

// mostPatience is the highest value of outbound.patience. After the idle connections have been
// closed, calls dial new ones, so a pool of dead connections is replaced within this time.
const mostPatience = 3 * time.Second

// newOutbound returns a pool without connections. Unless IgnoreProxy is set, the pool uses
// HTTPS_PROXY and the related variables. TLS passes through a forward proxy end to end.
func newOutbound(o Options, silent func()) *outbound {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	// Dialing and the handshake may take up the whole timeout of the call. So a lost DNS, TCP or
	// TLS packet only causes a retransmission (after 1 s for a SYN, 5 s for a DNS query), and the
	// call does not fail. Keep-alive probes detect the dead peer of an idle connection within 30 s.
	dialer := &net.Dialer{Timeout: o.Timeout,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3}}
	kept := &http.Transport{
		Proxy:       http.ProxyFromEnvironment,
		DialContext: dialer.DialContext,
		// Resumed sessions make later handshakes cheap: no certificate is sent or verified again.
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: o.UpstreamCAs,
			ClientSessionCache: tls.NewLRUClientSessionCache(0)},
		TLSHandshakeTimeout:    o.Timeout,
		Protocols:              protocols,
		MaxIdleConns:           o.MaxInFlight,
		MaxIdleConnsPerHost:    o.MaxInFlight,
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
	}
	kept.OnProxyConnectResponse = refusedByProxy
	if o.IgnoreProxy {
		kept.Proxy = nil
	}
	single := kept.Clone()
	single.DisableKeepAlives = true
	return &outbound{kept: kept, since: time.Now(), maxAge: o.MaxConnectionAge, single: single, dialer: dialer,
		patience: min(o.Timeout/2, mostPatience), silent: silent}
}

// transport returns the transport of the kept connections. It replaces a transport that has reached
// maxAge, so no connection gets new calls after that time. The idle connections of the old
// transport are closed at once, and the others when their calls end.
func (o *outbound) transport() *http.Transport {
	o.mu.Lock()
	defer o.mu.Unlock()
	if now := time.Now(); o.maxAge > 0 && now.Sub(o.since) >= o.maxAge {
		old := o.kept
		o.kept, o.since = old.Clone(), now // the clone shares the TLS sessions
		old.CloseIdleConnections()
	}
	return o.kept
}

// RoundTrip implements http.RoundTripper. If the request is sent through a forward proxy, and no
// connection could be opened, the error is a *proxiedError.
func (o *outbound) RoundTrip(r *http.Request) (*http.Response, error) {
	return o.send(r, maySendTwice(r))
}

// send does what RoundTrip does. The parameter twice is true if the request may be sent twice.
func (o *outbound) send(r *http.Request, twice bool) (*http.Response, error) {
	via := o.via(r)
	if via == "" {
		return o.roundTrip(r, twice)
	}
	var connected atomic.Bool
	ctx := httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected.Store(true) }})
	res, err := o.roundTrip(r.WithContext(ctx), twice)
	if err != nil && !connected.Load() {
		err = &proxiedError{via, err}
	}
	return res, err
}

// roundTrip sends a request. If the parameter twice is false, it dials a connection for this
// request alone. It returns errSilent if a kept connection stayed silent until the call timed out.
// Such a connection may be dead, because firewalls and NAT devices can lose their state without
// closing the connection. So errSilent says nothing about Meta.
func (o *outbound) roundTrip(r *http.Request, twice bool) (*http.Response, error) {
	if !twice {
		return o.single.RoundTrip(r)
	}
	var reused, received atomic.Bool
	wait := time.AfterFunc(o.patience, func() {
		o.silent()
		o.CloseIdleConnections()
	})
	wait.Stop()
	defer wait.Stop()
	tries := 0 // used only by this goroutine
	ctx := httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
		GetConn: func(string) {
			if tries++; tries > 1 { // the previous connection was dead, so the idle ones may be dead, too
				o.CloseIdleConnections()
			}
		},
		GotConn: func(got httptrace.GotConnInfo) {
			if reused.Store(got.Reused); got.Reused {
				wait.Reset(o.patience)
			}
		},
		GotFirstResponseByte: func() {
			received.Store(true)
			wait.Stop()
		},
	})
	res, err := o.transport().RoundTrip(r.WithContext(ctx))
	if err != nil && reused.Load() && !received.Load() && timedOut(ctx, err) {
		err = errSilent()
	}
	return res, err
}

// maySendTwice reports whether a request has no body and one of the safe methods GET, HEAD and
// OPTIONS (RFC 9110, section 9.2.1).
func maySendTwice(r *http.Request) bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return r.Body == nil || r.Body == http.NoBody
	}
	return false
}

// CloseIdleConnections closes the kept connections that no call is using.
func (o *outbound) CloseIdleConnections() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.kept.CloseIdleConnections()
}
