package proxy

import (
	"context"
	"runtime/debug"
	"sync"
	"time"
)

// checkTick is the interval at which CheckSecrets looks for a secret to test.
const checkTick = time.Second

// CheckSecrets tests client secrets until ctx ends, so that their states do not depend on requests
// from apps. A test is a call with an invalid token: Meta checks the secret before the token. The
// call goes through the guard step like any other, and its answer is not remembered. CheckSecrets
// tests the secrets of an app in two cases:
//
//   - While Meta refuses all of them, it tests them repeatedly. The time between tests grows from
//     firstCheck to lastCheck.
//   - With Options.CheckSecretsAtStart, it tests them after New, and after a Reload that changes
//     them. It repeats the test at the same intervals until an answer shows whether Meta accepts
//     them.
func (p *Proxy) CheckSecrets(ctx context.Context) {
	tick := time.NewTicker(checkTick)
	defer tick.Stop()
	for {
		p.checkDue(ctx)
		p.checked.Store(true)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// checkDue tests the secrets whose test is due, and waits for the answers.
func (p *Proxy) checkDue(ctx context.Context) {
	e := p.current.Load()
	var calls sync.WaitGroup
	for _, a := range e.apps {
		now := time.Now()
		if a.paused(now) == nil && a.state.secrets.scheduleCheck(e.checkSecrets, now) {
			calls.Go(func() { p.prove(ctx, e, a) })
		}
	}
	calls.Wait()
}

// prove tests the secrets of one app. The guard step records what the answer says about them.
func (p *Proxy) prove(ctx context.Context, e *engine, a *app) {
	ctx, cancel := context.WithTimeout(ctx, e.budget)
	defer cancel()
	defer func() {
		if v := recover(); v != nil {
			p.carried.log.Error("panic in a test of a client secret", "panic", panicKind(v), "stack", string(debug.Stack()))
		}
	}()
	g, token := checkRow(e.grants, a), NewSecret(checkToken)
	_, _ = e.guard.Exchange(ctx, call{grant: g, app: a, token: token, key: a.key(g, token, "")})
}
