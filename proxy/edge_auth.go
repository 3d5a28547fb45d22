package proxy

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"slices"

	"github.com/igproxy/igproxy/proxy/graph"
)

// trust checks that each request carries igproxy's own token, if the operator has configured one. A
// request carries the token in one of three forms:
//
//	X-Igproxy-Token: TOKEN
//	Authorization: Basic base64(NAME:TOKEN)
//	Authorization: Bearer TOKEN
//
// Most HTTP clients send the second form for a base URL such as http://igproxy:TOKEN@host, so an
// app still changes only its base URL. NAME is ignored.
//
// The third form counts only if the call does not need its Authorization for Meta's token. This is
// so if the query has an access_token, if the call takes its token or code in another parameter, or
// if the path is below ownPrefix. igproxy never passes on the bearer token of such a call, even if
// igproxy does not require its own token. So Meta does not get igproxy's own token when an operator
// turns the check off while apps still send the token.
//
// Proxy-Authorization is not used, because proxies remove it.
type trust struct {
	// digests returns the SHA-256 of the current token and, during a rotation, of the previous one.
	// Nil: no token is required.
	digests func() [][sha256.Size]byte
	// count counts a check by its result.
	count func(bearerResult)
}

// bearerResult is the result of a check. It is a metric label.
type bearerResult string

const (
	bearerCurrent  bearerResult = "current"
	bearerPrevious bearerResult = "previous"
	bearerMissing  bearerResult = "missing"
	bearerWrong    bearerResult = "wrong" // the token is wrong, or was sent twice
)

// trustHeader carries igproxy's own token. If a request has this header, its Authorization is not
// checked.
const trustHeader = "X-Igproxy-Token"

// challenge is the value of WWW-Authenticate, which a 401 must have (RFC 9110, section 15.5.2).
// Some clients send the user name and password of their base URL only after a challenge.
const challenge = `Basic realm="igproxy", charset="UTF-8"`

// check returns the error for a request to a destination, or nil. A missing, a wrong and a repeated
// token lead to the same error.
func (t trust) check(r *http.Request, to destination) *graph.Error {
	if t.digests == nil {
		return nil
	}
	result := t.judge(r, to)
	t.count(result)
	if result == bearerCurrent || result == bearerPrevious {
		return nil
	}
	return errUntrusted
}

// judge finds and checks the token that a request carries as igproxy's own.
func (t trust) judge(r *http.Request, to destination) bearerResult {
	_, token, sent := r.BasicAuth()
	once := len(r.Header["Authorization"]) == 1
	if own := r.Header[trustHeader]; len(own) > 0 {
		token, sent, once = own[0], true, len(own) == 1
	}
	if !sent && once && !mayHoldMetasToken(r, to) {
		token, sent = bearer(r.Header["Authorization"][0])
		sent = sent && t.owns(token) // another token may be Meta's; it must not count as a wrong guess
	}
	result := t.compare(token)
	switch {
	case !sent:
		return bearerMissing
	case !once:
		return bearerWrong
	}
	return result
}

// mayHoldMetasToken reports whether a request to a destination may need its Authorization for
// Meta's token. A call of /debug_token without an access_token may need it, because igproxy passes
// such a call through if the Authorization has a bearer token for Meta.
func mayHoldMetasToken(r *http.Request, to destination) bool {
	if to.own || len(to.rows) > 0 && !slices.ContainsFunc(to.rows, func(g *grant) bool { return g.bearer || g.appToken }) {
		return false
	}
	p, malformed := readQuery(r.URL.RawQuery)
	return malformed != nil || p.count[paramToken] == 0
}

// compare compares a token with the accepted ones.
func (t trust) compare(token string) bearerResult {
	switch MatchDigest(token, t.digests()) {
	case -1:
		return bearerWrong
	case 0:
		return bearerCurrent
	}
	return bearerPrevious
}

// MatchDigest returns the index of the first digest that is the SHA-256 of a token, or -1 if no
// digest matches. It compares every digest, even after a match, so that its duration does not
// depend on which one matched. It compares digests instead of tokens, so that its duration does not
// reveal the length of a token or how much of a guess was right.
func MatchDigest(token string, digests [][sha256.Size]byte) (index int) {
	got := sha256.Sum256([]byte(token))
	index = -1
	for i, want := range digests {
		if subtle.ConstantTimeCompare(got[:], want[:]) == 1 && index < 0 {
			index = i
		}
	}
	return index
}

// owns reports whether a token is igproxy's own, which Meta must never get. It reports false if no
// token is required.
func (t trust) owns(token string) bool {
	return t.digests != nil && t.compare(token) != bearerWrong
}
