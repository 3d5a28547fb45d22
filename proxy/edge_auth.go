package proxy

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"

	"github.com/igproxy/igproxy/proxy/graph"
)

// trust checks that each request carries igproxy's own token, if the operator has configured one.
// It has two forms:
//
//	X-Igproxy-Token: TOKEN
//	Authorization: Basic base64(NAME:TOKEN)
//
// The second is what most HTTP clients send for a base URL such as http://igproxy:TOKEN@host, so
// that an app still changes only its base URL; NAME is ignored. Authorization: Bearer is not a
// third form, because there it is Instagram's token if the query has none: once the operator no
// longer requires igproxy's token, it would be sent to Instagram. Proxies remove
// Proxy-Authorization.
type trust struct {
	// digest returns the SHA-256 of the current token. Comparing digests does not reveal the length
	// of the token or how much of a guess was right. Nil: no token is required.
	digest func() [sha256.Size]byte
}

// trustHeader carries igproxy's own token. A request that has it is judged by it alone.
const trustHeader = "X-Igproxy-Token"

// challenge is required in a 401 (RFC 9110, section 15.5.2). Some clients send the user of their
// base URL only after a challenge.
const challenge = `Basic realm="igproxy", charset="UTF-8"`

// check returns the error for a request, or nil. A missing, a wrong and a repeated token are the
// same error.
func (t trust) check(r *http.Request) *graph.Error {
	if t.digest == nil {
		return nil
	}
	_, token, ok := r.BasicAuth()
	ok = ok && len(r.Header["Authorization"]) == 1
	if own := r.Header[trustHeader]; len(own) > 0 {
		token, ok = own[0], len(own) == 1
	}
	if !t.owns(token) || !ok {
		return errUntrusted
	}
	return nil
}

// owns reports whether a token is igproxy's own, which Meta must never get. It is false if no token
// is required.
func (t trust) owns(token string) bool {
	if t.digest == nil {
		return false
	}
	got, want := sha256.Sum256([]byte(token)), t.digest()
	return subtle.ConstantTimeCompare(got[:], want[:]) == 1
}
