package proxy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/igproxy/igproxy/proxy/graph"
)

// via returns the host and port of the proxy for a request, without credentials, or "" if it is
// sent directly.
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

// proxiedError is an error of a request that got no connection through a proxy.
type proxiedError struct {
	via string // the proxy's host and port
	err error
}

func (e *proxiedError) Error() string { return "through the proxy " + e.via + ": " + e.err.Error() }
func (e *proxiedError) Unwrap() error { return e.err }

// connectError is a proxy's refusal of CONNECT. The reason that the proxy gave is dropped: it is
// text from outside.
type connectError struct{ status int }

func (e *connectError) Error() string { return fmt.Sprintf("the proxy answered %d", e.status) }

// refusedByProxy returns an error if a proxy refuses CONNECT.
func refusedByProxy(_ context.Context, _ *url.URL, _ *http.Request, res *http.Response) error {
	if res.StatusCode == http.StatusOK {
		return nil
	}
	return &connectError{res.StatusCode}
}

// nameProxy adds the proxy to the cause of a failure that err led to, if there was one.
func (f *failure) nameProxy(err error) *failure {
	var proxied *proxiedError
	var refusal *connectError
	switch {
	case !errors.As(err, &proxied) || f.err.Class == graph.ClassHeld: // igproxy's own trouble
		return f
	case errors.As(err, &refusal):
		f.err.Cause = fmt.Sprintf("the proxy %s answered %d", proxied.via, refusal.status)
	default:
		f.err.Cause += ", through the proxy " + proxied.via
	}
	return f
}
