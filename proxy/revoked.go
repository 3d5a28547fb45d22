package proxy

import (
	"context"
	"net/http"
	"time"

	"github.com/igproxy/igproxy/cache"
	"github.com/igproxy/igproxy/proxy/graph"
	"github.com/igproxy/igproxy/proxy/keep"
)

// A user can revoke a long-lived token by removing the app or changing the password. igproxy learns
// of this when Meta refuses a passed-through call with code 190. igproxy then forgets the answer
// that contains the token, so that the next exchange asks Meta again. See cache/index.go and
// cache/revoke.go.

// indexScope is the cache.KeysOptions.Scope of the keys of the index, which finds an answer by the
// token that the answer contains. No other keys have this scope.
const indexScope = "igproxy/index"

// codeInvalidToken is Meta's code for an invalid token. Meta also uses it for some calls with a
// valid token, see successorRefused.
const codeInvalidToken = 190

// isIndexed reports whether the answers to a grant are put into the index. Answers that are not
// remembered need no index. The answer to a code is not in the index either: Meta accepts a code
// only once, so forgetting the answer would not help.
func (g *grant) isIndexed() bool { return !g.once && g.ttl > 0 }

// indexKey returns the key under which the index has a grant's answer that contains the token.
func (a *app) indexKey(g *grant, token string) cache.Key {
	return a.index.Derive(g.name + "\x00" + token)
}

// passedCall is a passed-through call. Its methods keep the call's token alive or, if Meta refuses
// the token, make the cache forget the answer that contains it.
type passedCall struct {
	engine *engine
	app    *app
	ctx    context.Context // of the request
	shared *carried
	kept   *keep.Kept // the call's token and its record; nil if tokens are not kept alive or the call has no token

	successorDoubted bool // Meta has refused the successor, and the end of the token itself is unknown
}

// answered notes what Meta's response says about rate limits. If Meta has accepted the call,
// answered also notes that the call's token was used, and drops a successor that is in doubt.
func (c *passedCall) answered(status int, header http.Header) {
	c.shared.metrics.limits.note(c.app.Label, header)
	if c.kept == nil || status >= http.StatusBadRequest {
		return
	}
	if c.successorDoubted {
		c.shared.keeper.Drop(*c.kept)
	}
	c.shared.keeper.Used(*c.kept)
}

// refused reads Meta's refusal of the call. If Meta refuses the token as invalid, refused makes the
// cache forget the answer that contains the token. If tokens are kept alive, it also tells the
// Keeper that the app's token is invalid, or drops the successor if that was sent.
func (c *passedCall) refused(token string, status int, body []byte) {
	if token == "" || len(token) > graph.MaxToken || !isInvalidToken(status, body) {
		return
	}
	switch {
	case c.kept == nil:
	case token == c.kept.Reveal():
		c.shared.keeper.Invalid(c.kept.Token)
	case c.kept.IsKnownValid(time.Now()): // else the refusal may be a mistake, see successorRefused
		c.shared.keeper.Drop(*c.kept)
	}
	c.revoke(token)
}

// isInvalidToken reports whether a refusal has code 190.
func isInvalidToken(status int, body []byte) bool {
	unscrubbed := func(text string) string { return text } // the text of the refusal is not kept
	refusal, ok := graph.ReadError(status, body, unscrubbed)
	return ok && refusal.Code == codeInvalidToken
}

// revoke makes the cache forget the answer that contains a token.
func (c *passedCall) revoke(token string) {
	var index []cache.Key
	for _, g := range c.engine.grants {
		if g.service == c.app.Service && g.isIndexed() {
			index = append(index, c.app.indexKey(g, token))
		}
	}
	app, shared := c.app, c.shared // Revoke may outlast the call, and must not keep the request in memory
	shared.cache.Revoke(app.purges, index, func(result cache.Revocation) {
		if result == cache.Dropped {
			shared.log.Info("revoked token forgotten", "app", app.Label)
		}
		shared.metrics.revoked(app.Label, result)
	})
}
