package cache

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"

	"github.com/redis/go-redis/v9"
)

// The kinds of faults: a fixed set, for labels and logs. An error's text is never shown, because it can hold stored bytes.
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
	kindPermission  = "permission" // followed by _get, _set, _del, _keys, _publish, _subscribe, _unsubscribe or _channels where it is known which
	kindNoScript    = "noscript"
	kindDesync      = "desync"
	kindNoReplicas  = "noreplicas"
	kindBusy        = "busy"
	kindMaxClients  = "maxclients"
	kindClusterDown = "clusterdown"
	kindTryAgain    = "tryagain"
	kindMoved       = "moved"
	kindWrongType   = "wrongtype"
	kindMisconf     = "misconf"
	kindOpen        = "open"
	kindBacklog     = "backlog"
	kindOther       = "other"
)

// replies are the error replies of Redis, by how they begin.
var replies = []struct{ prefix, kind string }{
	{"LOADING", kindLoading}, {"READONLY", kindReadOnly}, {"OOM", kindOOM}, {"NOAUTH", kindAuth}, {"WRONGPASS", kindAuth},
	{"ERR unknown command 'eval", kindNoScript}, {"ERR unknown command 'EVAL", kindNoScript},
	{"ERR unknown command 'subscribe", kindPermission}, {"ERR unknown command 'unsubscribe", kindPermission}, {"ERR unknown command 'publish", kindPermission},
	{"NOPERM", kindPermission}, {"ERR The user executing the script can't", kindPermission}, {"NOREPLICAS", kindNoReplicas}, {"BUSY", kindBusy}, {"ERR max number of clients", kindMaxClients}, {"CLUSTERDOWN", kindClusterDown},
	{"WRONGTYPE", kindWrongType}, {"MISCONF", kindMisconf}, {"MASTERDOWN", kindClusterDown}, {"TRYAGAIN", kindTryAgain}, {"MOVED", kindMoved}, {"ASK", kindMoved},
	{"ERR AUTH", kindAuth}, {"ERR invalid password", kindAuth}, {"DENIED", kindAuth}, // the last is protected mode
}

// kindOf names an error.
func kindOf(err error) string {
	var reply redis.Error
	if errors.As(err, &reply) {
		for _, r := range replies {
			switch {
			case !strings.HasPrefix(reply.Error(), r.prefix):
			case r.kind == kindPermission && strings.Contains(reply.Error(), "'eval"): // or 'evalsha'
				return kindNoScript
			case r.kind == kindPermission:
				return kindPermission + missing(reply.Error())
			default:
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
	case errors.Is(err, redis.ErrPoolTimeout), errors.Is(err, redis.ErrPoolExhausted):
		return kindPool
	case errors.As(err, &dns):
		return kindResolve
	case errors.As(err, &verification), errors.As(err, &record), errors.As(err, &unknown),
		errors.As(err, &op) && (op.Op == "remote error" || op.Op == "local error"): // a TLS alert; its own type is for QUIC only
		return kindTLS
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOENT): // the latter: a Unix socket that is not there
		return kindRefused
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return kindTimeout
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE),
		errors.Is(err, net.ErrClosed), errors.Is(err, redis.ErrClosed):
		return kindBroken
	}
	return kindOther
}

// missing is the permission that a reply names, as the end of a kind.
func missing(reply string) string {
	for word, ending := range map[string]string{"'get'": "_get", "'set'": "_set", "'del'": "_del", "one of the keys": "_keys", "access a key": "_keys",
		"'publish'": "_publish", "'subscribe'": "_subscribe", "'unsubscribe'": "_unsubscribe", "channel": "_channels"} {
		if strings.Contains(reply, word) {
			return ending
		}
	}
	return ""
}

func isPermission(kind string) bool { return strings.HasPrefix(kind, kindPermission) }

// misconfigured kinds don't pass by themselves: an operator has to act.
func misconfigured(kind string) bool {
	return kind == kindAuth || kind == kindTLS || isPermission(kind)
}

// harmless kinds say nothing about whether Redis is worth asking: it answers reads, or the fault is this key's alone.
func harmless(kind string) bool {
	switch kind {
	case kindReadOnly, kindOOM, kindMisconf, kindNoReplicas: // it stores nothing
		return true
	case kindMoved, kindTryAgain, kindWrongType: // this key
		return true
	}
	return false
}

// advice is the next step for a person.
func advice(kind string) string {
	switch kind {
	case kindRefused:
		return "nothing listens there; check redis.url and whether Redis runs"
	case kindTimeout, kindBroken:
		return "it does not answer in time; check the network, whether Redis hangs, and which of redis:// and rediss:// (TLS) it wants"
	case kindPool:
		return "no connection is free; raise redis.pool_size, or see why Redis is slow"
	case kindResolve:
		return "the name does not resolve; check redis.url"
	case kindTLS:
		return "the TLS handshake fails; check redis.ca_file, the host name, and whether Redis wants a client certificate (tls-auth-clients)"
	case kindAuth:
		return "it refuses the user or the password; check redis.username and redis.password_file"
	case kindPermission:
		return "the user lacks a permission; give it ~PREFIX:* +get +set +del +eval +evalsha +ping, and for the hint &PREFIX:* +publish +subscribe +unsubscribe"
	case kindPermission + "_keys":
		return "the user may not touch these keys; give it ~PREFIX:*, with redis.prefix for PREFIX"
	case kindPermission + "_get", kindPermission + "_set", kindPermission + "_del":
		return "the user may not run this command; give it +" + strings.TrimPrefix(kind, kindPermission+"_")
	case kindPermission + "_publish", kindPermission + "_subscribe", kindPermission + "_unsubscribe", kindPermission + "_channels":
		return "give the user &PREFIX:* +publish +subscribe +unsubscribe, with redis.prefix for PREFIX; followers then have their answer sooner"
	case kindNoScript:
		return "the user may not run scripts; give it +eval +evalsha, which makes a claim one round trip again"
	case kindLoading:
		return "it is loading its data; try again"
	case kindReadOnly:
		return "it is a replica, which stores nothing; point redis.url at the master, or set redis.mode to sentinel"
	case kindOOM:
		return "its memory is full; raise maxmemory, or set maxmemory-policy to evict"
	case kindMisconf:
		return "it stores nothing because its last snapshot failed; see its log and its disk, or set stop-writes-on-bgsave-error no"
	case kindWrongType:
		return "a key that begins with redis.prefix is not igproxy's; see who wrote it, or set another redis.prefix"
	case kindBusy:
		return "a script of somebody's holds it up; see SCRIPT KILL"
	case kindMaxClients:
		return "it has no connection left; raise maxclients, or check who holds them (CLIENT LIST)"
	case kindClusterDown:
		return "the cluster is down; see CLUSTER INFO"
	case kindTryAgain, kindMoved:
		return "it is part of a cluster; set redis.mode to cluster, or wait for its slots to settle"
	}
	return "see Redis's own log"
}
