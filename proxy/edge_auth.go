package proxy

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"

	"github.com/igproxy/igproxy/proxy/graph"
)

// trust asks each request for the sidecar's own token, where the operator has chosen one. It comes in one of two forms:
//
//	X-Igproxy-Token: TOKEN                       for an app that can set a header
//	Authorization: Basic base64(anybody:TOKEN)   for one that has nothing but a base URL: http://igproxy:TOKEN@host
//
// Most HTTP clients turn the user of a base URL into Basic by themselves, so that a drop-in app still changes its base URL and nothing
// else; the name in front of the colon is not looked at. An app whose Authorization is taken, because it sends Instagram's token there,
// can set headers.
//
// Authorization: Bearer is never the sidecar's: where the query has no access_token it is Instagram's, and one field with two meanings
// would hand the sidecar's token to Instagram on the day the operator stops asking for it. Nor is Proxy-Authorization, which proxies and
// clients eat on the way.
type trust struct {
	// digest is the SHA-256 of the token of now. Digests are compared, so that neither its length nor how much of it was right can be
	// measured, and so that the text is not kept in memory.
	digest func() [sha256.Size]byte
}

// trustHeader carries the sidecar's own token. Where it is there, it alone counts.
const trustHeader = "X-Igproxy-Token"

// challenge is what a 401 must carry (RFC 9110, section 15.5.2). Some clients send what their base URL holds only when they are asked.
const challenge = `Basic realm="igproxy", charset="UTF-8"`

// check returns what is wrong with the request, or nil. Missing, wrong and twice are the same refusal.
func (t trust) check(r *http.Request) *graph.Error {
	if t.digest == nil {
		return nil
	}
	shown, ok := shownToken(r)
	got, want := sha256.Sum256([]byte(shown)), t.digest()
	if subtle.ConstantTimeCompare(got[:], want[:]) != 1 || !ok {
		return errStranger
	}
	return nil
}

// shownToken is the token that the request shows for the sidecar.
func shownToken(r *http.Request) (token string, ok bool) {
	if own := r.Header[trustHeader]; len(own) > 0 {
		return own[0], len(own) == 1
	}
	_, token, ok = r.BasicAuth()
	return token, ok && len(r.Header["Authorization"]) == 1
}
