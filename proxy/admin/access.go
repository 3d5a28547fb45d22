package admin

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/igproxy/igproxy/proxy"
)

// peerKey is the context key of WithPeer.
type peerKey struct{}

// WithPeer returns a context for the requests on a connection to a Unix socket. The context carries
// the UID of the client, as the kernel reports it. Without a UID, operations need the token.
func WithPeer(ctx context.Context, uid uint32) context.Context {
	return context.WithValue(ctx, peerKey{}, uid)
}

// access decides which callers may run operations. A caller with a valid token may run them on
// every listener. Over a Unix socket, root, igproxy's own user and the users in uids may run them
// without a token. Headers such as X-Forwarded-For are ignored.
type access struct {
	uids   []string                   // in decimal
	tokens func() [][sha256.Size]byte // digests; nil: no token is configured
}

// caller describes the sender of a request.
type caller struct {
	uid       uint32
	hasUID    bool // false: uid is not set, and only the address is known
	address   string
	withToken bool // a valid token, not the UID, allows the operation
}

// attributes returns the log attributes that identify the caller.
func (c caller) attributes() []any {
	who := []any{"address", c.address}
	if c.hasUID {
		who = []any{"uid", c.uid}
	}
	if c.withToken {
		who = append(who, "credential", "token")
	}
	return who
}

// denial is the response to a caller that may not run operations.
type denial struct {
	status int
	text   string // what is wrong, and the next step
}

// check returns the sender of a request, and a denial if the sender may not run operations.
func (a access) check(r *http.Request) (c caller, refused *denial) {
	c.address = r.RemoteAddr
	c.uid, c.hasUID = r.Context().Value(peerKey{}).(uint32)
	credentials := r.Header["Authorization"]
	switch {
	case c.hasUID && a.allows(c.uid):
	case a.tokens != nil && len(credentials) > 0:
		if c.withToken = a.isToken(credentials); !c.withToken {
			return c, &denial{http.StatusUnauthorized, "the token is wrong, or is not in exactly one Bearer header: send the token in admin.token_file as Authorization: Bearer TOKEN"}
		}
	case c.hasUID:
		return c, &denial{http.StatusForbidden, fmt.Sprintf("UID %d may not run operations: use root or igproxy's own user, or add %[1]d to admin.uids", c.uid)}
	case a.tokens != nil:
		return c, &denial{http.StatusUnauthorized, "operations need a token: send the token in admin.token_file as Authorization: Bearer TOKEN"}
	default:
		return c, &denial{http.StatusForbidden, "operations are off on this listener: set admin.socket (on Linux) or admin.token_file; to reload the configuration without an operation, send SIGHUP"}
	}
	return c, nil
}

// allows reports whether the processes of a user may run operations.
func (a access) allows(uid uint32) bool {
	return uid == 0 || int(uid) == os.Getuid() || slices.Contains(a.uids, strconv.FormatUint(uint64(uid), 10))
}

// isToken reports whether credentials, the Authorization headers of a request, are exactly one
// header with a configured token.
func (a access) isToken(credentials []string) bool {
	scheme, token, _ := strings.Cut(credentials[0], " ")
	return proxy.MatchDigest(token, a.tokens()) >= 0 && strings.EqualFold(scheme, "Bearer") && len(credentials) == 1
}
