package proxy

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/igproxy/igproxy/cache"
	"github.com/igproxy/igproxy/proxy/graph"
	"github.com/igproxy/igproxy/proxy/keep"
)

// With Options.Keep, igproxy refreshes long-lived tokens in the background while they are used. If
// a call brings a token that has a successor, igproxy sends the successor instead. Package keep
// decides when to refresh; this file connects it with the steps: learnStep records what Meta
// issues, keepStep answers a refresh with the token's successor, and passedCall replaces the token
// of a passed-through call.
//
// A refresh by igproxy takes the same steps as a refresh by an app, from recall to remember. So the
// step guard applies to it, and simultaneous refreshes of a token are joined, in this process and
// in the fleet.

// keepScope keeps the keys of records apart from the keys of answers: it is the Scope in
// cache.KeysOptions for records, as the name of the grant is for answers. No grant has this name.
const keepScope = "igproxy/keep"

// keepKey returns the key of a token's record.
func (a *app) keepKey(token string) cache.Key { return a.records.Derive(token) }

// newKeeper returns the Keeper of a Proxy.
func newKeeper(o Options, c carried) *keep.Keeper {
	// Refreshes may use half of MaxInFlight. The other half is left for the calls of apps.
	return keep.New(keep.Options{Store: c.cache, MaxInFlight: max(o.MaxInFlight/2, 1),
		Observer: keepCounts{c.metrics}, Logger: c.log})
}

// KeepTokens refreshes the tokens that are used, until ctx ends. Close waits for the refreshes in
// flight. Without Options.Keep, KeepTokens refreshes nothing.
func (p *Proxy) KeepTokens(ctx context.Context) { p.carried.keeper.Run(ctx) }

// keeping connects an engine with the Keeper.
type keeping struct {
	keeper *keep.Keeper
	grants map[Service]*grant // the grants that refresh tokens
	steps  exchanger          // the steps of a refresh, from recall to remember
	budget time.Duration      // the time limit of a refresh
}

// refreshGrants returns the grants that refresh long-lived tokens.
func refreshGrants(table []*grant) map[Service]*grant {
	grants := map[Service]*grant{}
	for _, g := range table {
		if g.refreshes {
			grants[g.service] = g
		}
	}
	return grants
}

// token describes a token to the Keeper.
func (k *keeping) token(a *app, token Secret) keep.Token {
	g := k.grants[a.Service]
	return keep.Token{App: a.Label, Key: a.keepKey(token.Reveal()), Reveal: token.Reveal, MayBeShort: g.takesShort,
		Refresh: func(ctx context.Context, current string) keep.Result {
			return k.refresh(ctx, a, g, NewSecret(current))
		}}
}

// refresh asks Meta to refresh a token.
func (k *keeping) refresh(ctx context.Context, a *app, g *grant, token Secret) keep.Result {
	ctx, cancel := context.WithTimeout(ctx, k.budget)
	defer cancel()
	got, err := k.steps.Exchange(ctx, call{grant: g, app: a, token: token, key: a.key(g, token, "")})
	e := got.refusal
	if err != nil && !errors.As(err, &e) {
		e = errInternal("an error of an unexpected type")
	}
	switch {
	case e == nil && !got.token.Ends(time.Now()): // see learnStep
		return keep.Result{Refused: true, Cause: "a token without an end"}
	case e == nil:
		return keep.Result{Token: got.token.Access(), Expires: got.token.Expires}
	}
	refused := e.Class == graph.ClassToken || e.Class == graph.ClassStanding || e.Class == graph.ClassRefused
	return keep.Result{Refused: err == nil && refused, RetryAt: e.RetryAt, Cause: string(e.Class)}
}

// keepStep answers a refresh with the token's successor, if the token has one that is valid for
// longer than the constant margin. The step comes before recall.
type keepStep struct {
	*keeping
	metrics *Metrics
	next    exchanger
}

func (s *keepStep) Exchange(ctx context.Context, c call) (answer, error) {
	if !c.grant.refreshes {
		return s.next.Exchange(ctx, c)
	}
	kept, now := s.keeper.Find(ctx, s.token(c.app, c.token)), time.Now()
	successor, end, ok := kept.Successor(now)
	if !ok || end.Sub(now) <= margin {
		return s.next.Exchange(ctx, c)
	}
	s.keeper.Used(kept)
	s.metrics.replaced(c.app.Label)
	return answer{token: graph.NewBearer(successor, end), source: sourceKept, left: end.Sub(now)}, nil
}

// learnStep records the end of each token that Meta issues for a user, and the successor of each
// token that Meta refreshes. It comes between claim and guard. A token without an end is not
// recorded: it needs no refresh, and a refresh could replace it with a token that ends.
type learnStep struct {
	*keeping
	next exchanger
}

func (s *learnStep) Exchange(ctx context.Context, c call) (answer, error) {
	a, err := s.next.Exchange(ctx, c)
	if err != nil || a.refusal != nil || a.source != sourceUpstream || c.grant.subject == appSubject || c.grant.subject == debugSubject ||
		!a.token.Ends(time.Now()) {
		return a, err
	}
	issued := a.token.Access()
	if c.grant.refreshes {
		s.keeper.Replaced(s.token(c.app, c.token), issued, a.token.Expires)
	}
	if issued != "" && issued != c.token.Reveal() {
		s.keeper.Issued(c.app.keepKey(issued), a.token.Expires)
	}
	return a, nil
}

// replace returns the successor of the call's token, or the token itself if it has no successor. It
// does not look for a successor of an app token (ID|SECRET), which cannot be refreshed, or of a
// text that is too long for a token.
func (c *passedCall) replace(token string) string {
	if len(token) > graph.MaxToken || strings.Contains(token, "|") {
		return token
	}
	kept := c.shared.keeper.Find(c.ctx, c.engine.keep.token(c.app, NewSecret(token)))
	c.kept = &kept
	if successor, _, ok := kept.Successor(time.Now()); ok {
		c.shared.metrics.replaced(c.app.Label)
		return successor
	}
	return token
}

// successorRefused handles a refusal of a call that was sent with the successor of its token. It
// reports whether the call should be repeated with the token itself: Meta has refused the successor
// as invalid, and the token itself may be valid.
//
// Code 190 alone does not show that the successor is invalid. Meta also uses it for some calls that
// a valid token may not make, and for a token that works again when its user has logged in at
// Facebook (subcode 459). So a successor is dropped only if the token itself is known to be valid:
// it has not ended, or Meta accepts it (see answered).
func (c *passedCall) successorRefused(status int, body []byte) bool {
	now := time.Now()
	if !isInvalidToken(status, body) || c.kept.HasEnded(now) {
		return false
	}
	successor, _, _ := c.kept.Successor(now)
	c.revoke(successor)
	if c.successorDoubted = !c.kept.IsKnownValid(now); !c.successorDoubted {
		c.shared.keeper.Drop(*c.kept)
	}
	return true
}
