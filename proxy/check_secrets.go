package proxy

import (
	"context"
	"runtime/debug"
	"sync"
	"time"
)

// proofTick is the interval at which ProveSecrets looks for a secret to test.
const proofTick = time.Second

// ProveSecrets tests client secrets until ctx ends, so that their states do not depend on requests.
// A test is a call with an invalid token: Meta checks the secret before the token. The call goes
// through the guard step like any other, and its answer is not remembered. ProveSecrets tests the
// secrets of an app in two cases:
//
//   - While Meta refuses all of them, it tests them repeatedly. The time between tests grows from
//     firstProof to lastProof.
//   - With Options.CheckSecrets, it tests them after New, and after a Reload that changes them. It
//     repeats the test at the same intervals until Meta answers.
func (p *Proxy) ProveSecrets(ctx context.Context) {
	tick := time.NewTicker(proofTick)
	defer tick.Stop()
	for {
		p.proveDue(ctx)
		p.tested.Store(true)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// proveDue tests the secrets whose test is due, and waits for the answers.
func (p *Proxy) proveDue(ctx context.Context) {
	e := p.current.Load()
	var calls sync.WaitGroup
	for _, a := range e.apps {
		now := time.Now()
		if a.paused(now) == nil && a.state.secrets.dueProof(e.checkSecrets, now) {
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
	g, token := proofRow(e.grants, a), NewSecret(probeToken)
	_, _ = e.guard.Exchange(ctx, call{grant: g, app: a, token: token, key: a.key(g, token, "")})
}
