package proxy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/igproxy/igproxy/proxy/graph"
)

// via returns the host and port, without credentials, of the forward proxy through which a request
// is sent. It returns "" if the request is sent directly.
func (o *outbound) via(r *http.Request) string {
	if o.single.Proxy == nil {
		return ""
	}
	proxy, err := o.single.Proxy(r)
	if err != nil || proxy == nil {
		return ""
	}
	return proxy.Host
}

// proxiedError is the error of a request for which no connection through the forward proxy could be
// opened.
type proxiedError struct {
	via string // the proxy's host and port
	err error
}

func (e *proxiedError) Error() string { return "through the proxy " + e.via + ": " + e.err.Error() }
func (e *proxiedError) Unwrap() error { return e.err }

// connectError is a forward proxy's refusal of CONNECT. It does not keep the reason that the proxy
// gave, because text from outside must not reach the log.
type connectError struct{ status int }

func (e *connectError) Error() string { return fmt.Sprintf("the proxy answered %d", e.status) }

// refusedByProxy returns an error if a forward proxy refuses CONNECT.
func refusedByProxy(_ context.Context, _ *url.URL, _ *http.Request, res *http.Response) error {
	if res.StatusCode == http.StatusOK {
		return nil
	}
	return &connectError{res.StatusCode}
}

// nameProxy adds the host and port of the forward proxy to the cause of f, and returns f. The
// parameter err is the error that led to f. If err is not a *proxiedError, or if igproxy itself is
// the cause (ClassHeld), f stays unchanged.
func (f *failure) nameProxy(err error) *failure {
	var proxied *proxiedError
	var refusal *connectError
	switch {
	case !errors.As(err, &proxied) || f.err.Class == graph.ClassHeld:
		return f
	case errors.As(err, &refusal):
		f.err.Cause = fmt.Sprintf("the proxy %s answered %d", proxied.via, refusal.status)
	default:
		f.err.Cause += ", through the proxy " + proxied.via
	}
	return f
}
