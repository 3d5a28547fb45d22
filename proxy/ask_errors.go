package proxy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
)

// noAnswer says how a call ended before an answer's first byte.
func noAnswer(ctx context.Context, err error) *failure {
	switch {
	case isSilent(err):
		return &failure{err: errSilent()}
	case timedOut(ctx, err):
		return &failure{err: errTimeout()}
	}
	switch kind := failureKind(err); kind {
	case "malformed":
		return &failure{err: errBadAnswer(kind)}
	case outOfResources:
		return &failure{err: errResources()}
	default:
		return &failure{err: errUnreachable(kind), repeatable: repeatable[kind]}
	}
}

// cutShort says how a call ended in the middle of an answer. It is not repeated: Instagram may have done the exchange.
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

// repeatable kinds are those of a moment; a certificate will be as bad a second later.
var repeatable = map[string]bool{"resolve": true, "refused": true, "reset": true, "closed": true}

// outOfResources is our own machine's fault and says nothing about Instagram: the breaker must not open for it.
const outOfResources = "out of descriptors or memory"

// failureKind names a transport error from a fixed set. Its text is never used: it can hold what the other side sent.
func failureKind(err error) string {
	var dns *net.DNSError
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	var verification *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var remote *net.OpError
	switch {
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE), errors.Is(err, syscall.ENOBUFS), errors.Is(err, syscall.ENOMEM),
		errors.As(err, &dns) && strings.Contains(dns.Err, syscall.EMFILE.Error()): // the resolver keeps nothing but the text
		return outOfResources
	case errors.As(err, &dns):
		return "resolve"
	case errors.As(err, &unknown):
		return "tls: unknown authority"
	case errors.As(err, &name):
		return "tls: wrong name"
	case errors.As(err, &invalid):
		return "tls: invalid certificate"
	case errors.As(err, &verification), errors.As(err, &record), errors.As(err, &remote) && remote.Op == "remote error",
		strings.Contains(err.Error(), "tls: "): // an alert of the other side, or a handshake that cannot be
		return "tls"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), strings.Contains(err.Error(), "stream error"):
		return "reset"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), strings.Contains(err.Error(), "server closed"),
		strings.Contains(err.Error(), "GOAWAY"):
		return "closed"
	case strings.Contains(err.Error(), "transport connection broken"), // around HTTP/1's malformed heads
		strings.Contains(err.Error(), "response headers exceeded"), strings.Contains(err.Error(), "response header list larger"),
		strings.Contains(err.Error(), "connection error: "): // HTTP/2 out of its own rules, too large a head among it
		return "malformed"
	}
	return "other"
}
