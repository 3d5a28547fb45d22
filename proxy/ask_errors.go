package proxy

import (
	"context"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"

	"github.com/igproxy/igproxy/proxy/graph"
)

// failure is the result of a try that got no definite answer from Meta.
type failure struct {
	err        *graph.Error
	repeatable bool // a retry may succeed
}

// noAnswer returns the failure of a call that ended before the header of a response was read, for
// example because dialing failed.
func noAnswer(ctx context.Context, err error) *failure {
	return classifyFailure(ctx, err).nameProxy(err)
}

// classifyFailure returns the failure for a transport error. Its cause does not name the forward
// proxy.
func classifyFailure(ctx context.Context, err error) *failure {
	var silent *graph.Error
	switch {
	case errors.As(err, &silent):
		return &failure{err: silent}
	case timedOut(ctx, err):
		return &failure{err: errTimeout()}
	}
	switch kind := failureKind(err); kind {
	case "malformed":
		return &failure{err: errBadAnswer(kind)}
	case outOfResources:
		return &failure{err: errBusy(outOfResources, "igproxy has run out of file descriptors or memory.")}
	case "resolve", "refused", "reset", "closed": // these may be temporary; an invalid certificate stays invalid
		return &failure{err: errUnreachable(kind), repeatable: true}
	default:
		return &failure{err: errUnreachable(kind)}
	}
}

// cutShort returns the failure of a call that ended in the middle of a response. The call is not
// repeated, because Meta may have done the exchange.
func cutShort(ctx context.Context, err error) *failure {
	if timedOut(ctx, err) {
		return &failure{err: errTimeout()}
	}
	return &failure{err: errBadAnswer("cut short: " + failureKind(err))}
}

func timedOut(ctx context.Context, err error) bool {
	var timeout net.Error
	return ctx.Err() != nil || errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout()
}

// outOfResources is the kind of failure that happens when this process or machine has run out of
// file descriptors or memory. It says nothing about Meta and must not open the breaker.
const outOfResources = "out of descriptors or memory"

// failureKind returns the kind of a transport error, which is one of a fixed set of texts. It never
// returns the error's own text, because that can contain what the other side sent.
func failureKind(err error) string {
	var dns *net.DNSError
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	has := func(text string) bool { return strings.Contains(err.Error(), text) }
	switch {
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE),
		errors.Is(err, syscall.ENOBUFS), errors.Is(err, syscall.ENOMEM),
		errors.As(err, &dns) && strings.Contains(dns.Err, syscall.EMFILE.Error()): // a DNSError keeps only the text
		return outOfResources
	case errors.As(err, &dns):
		return "resolve"
	case errors.As(err, &unknown):
		return "tls: unknown authority"
	case errors.As(err, &name):
		return "tls: wrong name"
	case errors.As(err, &invalid):
		return "tls: invalid certificate"
	case has("tls: "): // an alert, or a failed handshake
		return "tls"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "reset"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), has("server closed"):
		return "closed"
	case has("transport connection broken"), has("response headers exceeded"):
		return "malformed"
	}
	return "other"
}
