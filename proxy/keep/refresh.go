package keep

import (
	"cmp"
	"context"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/igproxy/igproxy/cache"
)

const (
	// retryAfter is the time until the next refresh of a token if Meta did not answer, unless
	// Settings.CheckEvery is shorter. It is also how long a refresh is reserved: if a sidecar is
	// killed during a refresh, the other sidecars wait that long.
	retryAfter = 15 * time.Minute

	// sweepEvery is how often tokens that have ended are counted.
	sweepEvery = time.Hour

	// maxSwept is the most tokens that sweep removes each time it locks Keeper.mu.
	maxSwept = 100
)

// Run refreshes the tokens that Used has queued, in the order of their ends, until ctx ends. Every
// hour, Run counts the tokens that ended without a refresh. When Run returns, refreshes may still
// be in flight; see Wait.
func (k *Keeper) Run(ctx context.Context) {
	sweep := time.NewTicker(sweepEvery)
	defer sweep.Stop()
	var pause <-chan time.Time // until the next refresh may begin; nil: the queue was empty
	for {
		wake := k.wake
		if pause != nil {
			wake = nil
		}
		select {
		case <-ctx.Done():
			return
		case <-sweep.C:
			k.sweep(ctx)
			continue
		case <-wake:
		case <-pause:
		}
		pause = nil
		if k.begin(ctx) {
			pause = time.After(time.Minute / time.Duration(max(k.current().PerMinute, 1)))
		}
	}
}

// begin waits until fewer than MaxInFlight refreshes are in flight, and then starts the refresh of
// the first token in the queue. It reports false if the queue is empty or ctx ends.
func (k *Keeper) begin(ctx context.Context) bool {
	select {
	case k.slots <- struct{}{}:
	case <-ctx.Done():
		return false
	}
	k.mu.Lock()
	next, ok := k.queue.take()
	k.mu.Unlock()
	if !ok {
		<-k.slots
		return false
	}
	k.running.Go(func() {
		defer func() { <-k.slots }()
		k.refresh(ctx, next.Token)
	})
	return true
}

// Wait waits for the refreshes in flight. Call it after Run has returned. It returns an error if
// ctx ends first.
func (k *Keeper) Wait(ctx context.Context) error {
	done := make(chan struct{})
	go func() { // ends when the refreshes end; they have a time limit
		defer close(done)
		k.running.Wait()
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%d refreshes still running: %w", len(k.slots), ctx.Err())
	}
}

// refresh refreshes one token, unless another process has begun to refresh it.
func (k *Keeper) refresh(ctx context.Context, t Token) {
	defer func() {
		k.mu.Lock()
		k.queue.done(t.Key.ID())
		k.mu.Unlock()
		if v := recover(); v != nil {
			kind := fmt.Sprintf("%T", v) // the value can hold a token
			k.log.Error("panic in a refresh", "panic", kind, "stack", string(debug.Stack()))
		}
	}()
	settings := k.current()
	before, begun, err := k.reserve(t, settings)
	if err != nil { // another process could refresh the token, too; the Store counts its own faults
		k.count(t.App, Failed)
		return
	}
	if !begun {
		return
	}
	// A stop does not interrupt the refresh, because Meta may have issued the successor already.
	result := t.Refresh(context.WithoutCancel(ctx), before.current(t.Reveal()))
	after, err := k.finish(t, settings, before, result)
	if err != nil { // the result is lost, but the current token still works; the reservation delays the next try
		after, result.Cause = before, "the successor could not be stored"
		after.Outcome, after.Next = Failed, settings.retryAt(time.Now())
	}
	k.report(t, after, result)
}

// reserve records that this process refreshes the token, and returns the previous record. It
// reports false if the token is not due, usually because another process has refreshed it or has
// begun to refresh it. It also reports false if the token may be short-lived and has no record.
func (k *Keeper) reserve(t Token, s Settings) (r record, begun bool, err error) {
	_, begun, err = k.options.Store.Update(t.Key, func(e cache.Entry, found bool) (cache.Entry, bool) {
		now := time.Now()
		r, found = decodeRecord(e, found, now)
		if !r.isDue(now, s.RefreshBefore) || !found && t.MayBeShort {
			return e, false
		}
		reserved := r
		reserved.Tried, reserved.Outcome, reserved.Next = now.UnixMilli(), trying, s.retryAt(now)
		return reserved.entry(now), true
	})
	return r, begun, err
}

// retryAt returns the time, in Unix milliseconds, at which the next refresh may begin if Meta does
// not answer the current one.
func (s Settings) retryAt(now time.Time) int64 {
	return now.Add(min(retryAfter, s.CheckEvery)).UnixMilli()
}

// finish records the result of a refresh, and returns the new record. If the successor has changed
// during the refresh, finish stores nothing. It then returns the stored record, but with the
// outcome Unchanged instead of trying.
func (k *Keeper) finish(t Token, s Settings, before record, result Result) (after record, err error) {
	_, _, err = k.options.Store.Update(t.Key, func(e cache.Entry, found bool) (cache.Entry, bool) {
		now := time.Now()
		r, _ := decodeRecord(e, found, now)
		if r.successor() != before.successor() { // changed by Replaced, Issued or Drop
			if after = r; r.Outcome == trying {
				after.Outcome = Unchanged
			}
			return e, false
		}
		after = r.finished(t.Reveal(), now, s, result)
		if after.Outcome == Unchanged && after.end() > before.end() { // Replaced has recorded the same answer
			after.Outcome = Refreshed
		}
		return after.entry(now), true
	})
	return after, err
}

// report counts and logs a refresh.
func (k *Keeper) report(t Token, r record, result Result) {
	k.count(t.App, r.Outcome)
	var ends any = "unknown"
	if end := r.end(); end > 0 {
		ends = time.UnixMilli(end).UTC()
	}
	next, cause := time.UnixMilli(r.Next).UTC(), cmp.Or(result.Cause, "Meta's answer is not used")
	switch r.Outcome {
	case Refreshed:
		k.mu.Lock()
		k.ending.remove(t.Key.ID())
		k.mu.Unlock()
		k.log.Info("token refreshed", "app", t.App, "ends", ends)
	case Unchanged, Postponed:
		k.log.Info("token not refreshed", "app", t.App, "outcome", r.Outcome, "cause", cause, "ends", ends, "next_try", next)
	default:
		k.log.Warn("token not refreshed", "app", t.App, "outcome", r.Outcome, "cause", cause, "ends", ends, "next_try", next)
	}
}

// count counts a refresh that has ended.
func (k *Keeper) count(app string, o Outcome) {
	k.options.Observer.Refresh(app, o)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.history.add(time.Now(), app, o)
}

// sweep counts the watched tokens that have ended and that no process has refreshed.
func (k *Keeper) sweep(ctx context.Context) {
	now := time.Now()
	counts := map[string]int{} // by app
	for more := true; more && ctx.Err() == nil; {
		k.mu.Lock()
		ended := k.ending.take(now, maxSwept)
		k.mu.Unlock()
		for _, t := range ended {
			e, found := k.options.Store.Load(ctx, t.key, 0)
			if r, found := decodeRecord(e, found, now); !found || r.end() <= now.UnixMilli() {
				counts[t.app]++
				k.options.Observer.Ended(t.app)
			}
		}
		more = len(ended) == maxSwept
	}
	for app, n := range counts {
		k.log.Warn("tokens ended", "app", app, "tokens", n)
	}
}
