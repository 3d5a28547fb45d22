package proxy

import (
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"
)

// outbound is a pool of connections to Meta, used by the token calls or by the calls that are passed through.
//
// It speaks HTTP/1.1 only. Cold calls are rare, and a pool of plain connections makes the failures of a single connection small: one
// that dies takes one call with it, a server that ends it after any number of requests says so in its last answer, and there are no
// streams to be refused. With HTTP/2 all calls share one connection, and its death or its GOAWAY is an outage.
//
// A call that may be sent twice goes out on a kept connection. Go's transport repeats it on another one when the connection turns out to
// be dead. That repetition is free, because a connection is only kept after it has brought a whole answer, so there are never more of
// them than answers. Any other call (a code, an upload) dials a connection of its own: whether a dead connection lost the request before
// or after Meta acted on it cannot be known, so there must be no doubt that it was alive.
type outbound struct {
	kept     *http.Transport
	single   *http.Transport
	dialer   *net.Dialer   // of both
	patience time.Duration // how long a kept connection may stay silent before the idle ones are closed
	silent   func()        // called for each kept connection that stayed silent for that long; it must not block
}

// silentError is the end of a call that waited on a kept connection and did not receive a single byte. The connection may be dead:
// firewalls and NAT devices lose their state without closing anything. So the error says nothing about Meta.
type silentError struct{ error }

func (e silentError) Unwrap() error { return e.error }

func isSilent(err error) bool {
	var silent silentError
	return errors.As(err, &silent)
}

// mostPatience bounds how long a kept connection may stay silent before the other idle connections are no longer trusted. Calls that begin
// later then dial, so a pool of dead connections is replaced within this time.
const mostPatience = 3 * time.Second

// newOutbound builds a pool; nothing is dialled. HTTPS_PROXY and its siblings are honoured, as operators expect of a sidecar; TLS goes
// through such a proxy end to end.
func newOutbound(o Options, silent func()) *outbound {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	// Dialling and the handshake are bounded by the call alone: a lost packet, be it of DNS, TCP or TLS, must cost its retransmission (1 s for
	// a SYN, 5 s for a DNS query) and not the call. Keep-alive probes notice a dead peer of an idle connection within 30 s.
	dialer := &net.Dialer{Timeout: o.Timeout,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3}}
	kept := &http.Transport{
		Proxy:       http.ProxyFromEnvironment,
		DialContext: dialer.DialContext,
		// Sessions make the handshake of a further connection cheap: no certificate is sent or verified again.
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: o.UpstreamCAs, ClientSessionCache: tls.NewLRUClientSessionCache(0)},
		TLSHandshakeTimeout:    o.Timeout,
		Protocols:              protocols,
		MaxIdleConns:           o.MaxInFlight,
		MaxIdleConnsPerHost:    o.MaxInFlight,
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
	}
	single := kept.Clone()
	single.DisableKeepAlives = true
	return &outbound{kept: kept, single: single, dialer: dialer, patience: min(o.Timeout/2, mostPatience), silent: silent}
}

// RoundTrip implements http.RoundTripper.
func (o *outbound) RoundTrip(r *http.Request) (*http.Response, error) {
	if !maySendTwice(r) {
		return o.single.RoundTrip(r)
	}
	var reused, heard atomic.Bool
	wait := time.AfterFunc(o.patience, func() {
		o.silent()
		o.kept.CloseIdleConnections()
	})
	wait.Stop()
	defer wait.Stop()
	tries := 0 // only this goroutine's
	ctx := httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
		GetConn: func(string) {
			if tries++; tries > 1 { // the connection was dead: the idle ones may be, too
				o.kept.CloseIdleConnections()
			}
		},
		GotConn: func(got httptrace.GotConnInfo) {
			if reused.Store(got.Reused); got.Reused {
				wait.Reset(o.patience)
			}
		},
		GotFirstResponseByte: func() {
			heard.Store(true)
			wait.Stop()
		},
	})
	res, err := o.kept.RoundTrip(r.WithContext(ctx))
	if err != nil && reused.Load() && !heard.Load() && timedOut(ctx, err) {
		err = silentError{err}
	}
	return res, err
}

// maySendTwice reports whether a request has no effect that a second one would repeat, and nothing that cannot be sent again. RFC 9110,
// section 9.2.1, has the safe methods.
func maySendTwice(r *http.Request) bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return r.Body == nil || r.Body == http.NoBody
	}
	return false
}

// CloseIdleConnections closes the kept connections that no call uses now.
func (o *outbound) CloseIdleConnections() { o.kept.CloseIdleConnections() }

// configure changes both transports.
func (o *outbound) configure(change func(*http.Transport)) {
	change(o.kept)
	change(o.single)
}
