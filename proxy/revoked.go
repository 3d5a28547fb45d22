package proxy

import (
	"net/http"

	"github.com/igproxy/igproxy/cache"
	"github.com/igproxy/igproxy/proxy/graph"
	"github.com/igproxy/igproxy/proxy/passthrough"
)

// A user can revoke a long-lived token by removing the app or changing the password. igproxy learns
// of it when Meta refuses a call that igproxy passes through with code 190. igproxy then forgets
// the answer that contains the token, so that the next exchange asks Meta again. See cache/index.go
// and cache/revoke.go.

// indexScope is the scope of the keys under which the cache indexes answers by the token in them.
// No grant has this name.
const indexScope = "igproxy/index"

// codeInvalidToken is Meta's code for a token that is not valid: it was revoked, has expired, or
// never was a token.
const codeInvalidToken = 190

// isIndexed reports whether the answers to a grant are in the index. Answers that are not
// remembered are not, nor is the answer to a code: Meta accepts a code only once, so forgetting the
// answer would not help.
func (g *grant) isIndexed() bool { return !g.once && g.ttl > 0 }

// indexKey returns the key under which the index has a grant's answer that contains the token.
func (a *app) indexKey(g *grant, token string) cache.Key {
	return a.index.Derive(g.name + "\x00" + token)
}

// passedCall is what igproxy has to know about a call that it passes through, in order to forget
// its token if Meta refuses it.
type passedCall struct {
	engine  *engine
	app     *app
	request *http.Request
	shared  *carried
	token   Secret // set by prove
}

// prove returns the appsecret_proof of the call's token, and keeps the token for refused.
func (c *passedCall) prove(token string) string {
	c.token = NewSecret(token)
	return c.app.proof(token)
}

// refused reads Meta's refusal of the call. If the refusal has code 190, it makes the cache forget
// the answer that contains the call's token.
func (c *passedCall) refused(status int, body []byte) {
	unscrubbed := func(text string) string { return text } // the text of the refusal is not kept
	refusal, ok := graph.ReadError(status, body, unscrubbed)
	if !ok || refusal.Code != codeInvalidToken {
		return
	}
	token := c.token
	if token.IsZero() {
		token = c.engine.tokenOf(c.request)
	}
	if token.IsZero() || len(token.Reveal()) > graph.MaxToken {
		return
	}
	var index []cache.Key
	for _, g := range c.engine.grants {
		if g.service == c.app.Service && g.isIndexed() {
			index = append(index, c.app.indexKey(g, token.Reveal()))
		}
	}
	app, shared := c.app, c.shared // Revoke may outlast the call, and must not keep the request alive
	shared.cache.Revoke(app.purges, index, func(result cache.Revocation) {
		if result == cache.Dropped {
			shared.log.Info("revoked token forgotten", "app", app.Label)
		}
		shared.metrics.revoked(app.Label, result)
	})
}

// tokenOf returns the user's token in a call that is passed through: the access_token in the query
// or, if there is none, the bearer token. It returns the zero Secret if there is no token, or more
// than one.
func (e *engine) tokenOf(r *http.Request) Secret {
	p, malformed := readQuery(r.URL.RawQuery)
	token := p.value[paramToken]
	switch {
	case malformed != nil || p.count[paramToken] > 1:
		return Secret{}
	case p.count[paramToken] == 0:
		if token = passthrough.BearerToken(r.Header["Authorization"]); e.trust.owns(token) {
			return Secret{}
		}
	}
	return NewSecret(token)
}
