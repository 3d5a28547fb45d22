package cache

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"syscall"

	"github.com/redis/go-redis/v9"
)

// The kinds of faults. The set is fixed, because the kinds are label values of a metric. The text
// of an error is never shown, because it can hold stored bytes.
const (
	kindRefused     = "refused"
	kindTimeout     = "timeout"
	kindPool        = "pool"
	kindBroken      = "broken"
	kindResolve     = "resolve"
	kindTLS         = "tls"
	kindLoading     = "loading"
	kindReadOnly    = "readonly"
	kindOOM         = "oom"
	kindAuth        = "auth"
	kindPermission  = "permission"
	kindNoScript    = "noscript" // scripts are denied, in any wording
	kindDesync      = "desync"   // errDesync, or a panic in the library
	kindOversize    = "oversize"
	kindNoReplicas  = "noreplicas"
	kindBusy        = "busy"
	kindMaxClients  = "maxclients"
	kindClusterDown = "clusterdown"
	kindTryAgain    = "tryagain"
	kindMoved       = "moved"
	kindWrongType   = "wrongtype"
	kindMisconf     = "misconf"
	kindOpen        = "open"     // the breaker refused the operation
	kindBacklog     = "backlog"  // the store of an answer was dropped
	kindNoMaster    = "nomaster" // the sentinels do not know the master
	kindOther       = "other"
)

// replies are the prefixes of Redis's error replies, each with its kind.
var replies = []struct{ prefix, kind string }{
	{"LOADING", kindLoading}, {"READONLY", kindReadOnly}, {"OOM", kindOOM}, {"BUSY", kindBusy},
	{"NOAUTH", kindAuth}, {"WRONGPASS", kindAuth}, {"ERR AUTH", kindAuth}, {"ERR invalid password", kindAuth},
	{"DENIED", kindAuth}, // protected mode
	{"NOPERM", kindPermission}, {"ERR The user executing the script can't", kindPermission},
	{"NOREPLICAS", kindNoReplicas}, {"ERR max number of clients", kindMaxClients},
	{"CLUSTERDOWN", kindClusterDown}, {"MASTERDOWN", kindReadOnly},
	{"TRYAGAIN", kindTryAgain}, {"MOVED", kindMoved}, {"ASK", kindMoved},
	{"WRONGTYPE", kindWrongType}, {"MISCONF", kindMisconf},
}

// denials are parts of what servers and managed services reply to EVAL and EVALSHA if these
// commands are unknown, renamed, or not allowed.
var denials = []string{
	"unknown command", "no permissions to run", "not allowed", "not permitted", "not supported", "unsupported",
	"not available", "unavailable", "disabled", "forbidden", "denied", "prohibited",
}

var errNoScript = errors.New("redis: scripts are denied")

// scriptError returns errNoScript for a reply that denies scripts, and any other error unchanged.
func scriptError(err error) error {
	var reply redis.Error
	if kind := kindOf(err); kind != kindOther && kind != kindPermission || !errors.As(err, &reply) {
		return err
	}
	text := strings.ToLower(reply.Error())
	if slices.ContainsFunc(denials, func(denial string) bool { return strings.Contains(text, denial) }) {
		return errNoScript
	}
	return err
}

// permissionOfKeys reports whether an error of kindPermission is about keys, and not about a
// command.
func permissionOfKeys(err error) bool { return strings.Contains(err.Error(), "key") }

// kindOf returns the kind of an error, and "" for nil.
func kindOf(err error) string {
	if err == nil {
		return ""
	}
	var reply redis.Error
	if errors.As(err, &reply) {
		for _, r := range replies {
			if strings.HasPrefix(reply.Error(), r.prefix) {
				return r.kind
			}
		}
	}
	var dns *net.DNSError
	var verification *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var op *net.OpError
	var unknown x509.UnknownAuthorityError
	var timeout net.Error
	switch {
	case errors.Is(err, errDesync):
		return kindDesync
	case errors.Is(err, errNoMaster):
		return kindNoMaster
	case errors.Is(err, errOversize):
		return kindOversize
	case errors.Is(err, errNoScript):
		return kindNoScript
	case errors.Is(err, redis.ErrPoolTimeout), errors.Is(err, redis.ErrPoolExhausted):
		return kindPool
	case errors.As(err, &dns):
		return kindResolve
	case errors.As(err, &verification), errors.As(err, &record), errors.As(err, &unknown),
		// An OpError with one of these Ops is a TLS alert. tls.AlertError is only for QUIC.
		errors.As(err, &op) && (op.Op == "remote error" || op.Op == "local error"):
		return kindTLS
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOENT): // ENOENT: there is no such Unix socket
		return kindRefused
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return kindTimeout
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE),
		errors.Is(err, net.ErrClosed), errors.Is(err, redis.ErrClosed):
		return kindBroken
	}
	return kindOther
}

// needsOperator reports whether a fault of this kind lasts until an operator fixes its cause.
func needsOperator(kind string) bool {
	return kind == kindAuth || kind == kindTLS || kind == kindPermission || kind == kindNoMaster
}

// harmless reports whether Redis can still be used after a fault of this kind: Redis replied at
// once and permits other commands, or the fault concerns one key.
func harmless(kind string) bool {
	switch kind {
	case kindPermission, kindReadOnly, kindOOM, kindMisconf, kindNoReplicas, kindMoved, kindTryAgain, kindWrongType:
		return true
	}
	return false
}
