package cache

import (
	"context"
	"crypto/rand"
	"errors"
	mathrand "math/rand/v2"
	"time"
)

// shared is the tier that all processes see. redisTier is the one that ships; the tests have a model of it. It trades in sealed bytes
// and is not trusted with more.
type shared interface {
	claim(ctx context.Context, k Key, owner string, unusable []byte) (reply, error)
	publish(k Key, owner string, sealed []byte, ttl time.Duration, over []byte) (winner []byte, err error)
	renew(k Key, owner string) (held bool, err error)
	release(k Key, owner string, failure []byte, ttl time.Duration) error
	// wake gives a channel that has something whenever it may be worth asking again, until cancel: at first as soon as what happens
	// from then on will be heard. Nothing is sure to come, and a nil channel is no fault.
	wake(k Key) (hint <-chan struct{}, cancel func())
}

// reply is what a claim brought: one of the four, or none of them where processes do not wait for each other.
type reply struct {
	value, failure   []byte // sealed
	leader, follower bool
}

// Outcome is how a claim came out; a fixed set, for labels.
type Outcome string

// The outcomes.
const (
	Hit      Outcome = "hit"      // somebody remembered Entry before
	Followed Outcome = "followed" // another process was asking; Entry is the answer it brought
	Failed   Outcome = "failed"   // another process was asking; Entry is the failure it met
	Leader   Outcome = "leader"   // the caller asks, and others wait for it
	Alone    Outcome = "alone"    // the caller asks for itself: no Redis, a fault of it, or waited long enough
)

// A follower polls after at least shortestPoll and a random time more, whose bound grows up to longestPoll: many followers then do not
// ask in step. Once it has had a hint it is likely to have the next one, too, and polls after longestPoll to nearly twice that,
// which is how late it is if that one gets lost. It heeds mostHints: more than a few are noise.
//
// BenchmarkFollow is why there are hints, and what they cost.
const (
	shortestPoll = 20 * time.Millisecond
	longestPoll  = 100 * time.Millisecond
	mostHints    = 8
)

// Claim is one process's turn at a token that its memory does not know. With Leader and Alone the caller asks, and ends the claim with
// one of Remember, Fail and Release. A lease is an efficiency lock: losing it costs an exchange, never a right answer.
type Claim struct {
	Outcome Outcome
	Entry   Entry // with Hit, Followed and Failed
	Tier    Tier  // with Hit

	cache *Cache
	key   Key
	owner string
	lease *lease // nil: none is held
	over  []byte // the stored value that was seen: should the caller ask all the same, it was of no use and may be replaced
	seen  bool   // Redis has said something
	late  bool   // others may have asked meanwhile
	ended bool
}

// Claim looks into memory again, then into Redis in one round trip: for the entry, for a failure that others met just now, or for the
// lease on the token. Where another process has that, it waits for the answer, for at most Wait and as long as ctx lasts. Any fault of
// Redis is Alone.
func (c *Cache) Claim(ctx context.Context, k Key) *Claim {
	cl := &Claim{Outcome: Alone, cache: c, key: k, owner: newOwner()}
	if e, ok := c.memory.get(k); ok {
		cl.Outcome, cl.Entry, cl.Tier = Hit, e, TierMemory
		return cl
	}
	if c.shared == nil || k.over() {
		return cl
	}
	cl.take(ctx)
	if cl.Outcome == Hit || cl.Outcome == Followed {
		c.memory.put(k, cl.Entry)
	}
	c.observer.Claim(cl.Outcome)
	return cl
}

// newOwner names one claim. It is random, so that a lease is never taken for another's.
func newOwner() string { return rand.Text() }

// take asks until the token is somebody's: once if it is known or free, again and again while another process is asking.
func (cl *Claim) take(ctx context.Context) {
	giveUp := time.Now().Add(cl.cache.wait)
	waited, faults, hints := false, 0, 0
	var hint <-chan struct{}
	for shortest, spread := shortestPoll, shortestPoll; ; spread = min(2*spread, longestPoll-shortestPoll) {
		asked := time.Now()
		r, err := cl.ask(ctx)
		switch {
		case err != nil:
			if faults++; !waited || faults > 1 { // a follower forgives one: it knows that the answer is on its way
				cl.late = waited
				return
			}
		case r.follower:
			if !waited {
				var cancel func()
				hint, cancel = cl.cache.shared.wake(cl.key)
				defer cancel()
			}
			waited, faults = true, 0
		default:
			cl.settle(r, waited, asked)
			return
		}
		hinted, ok := pause(ctx, min(shortest+mathrand.N(spread), time.Until(giveUp)), hint)
		if !ok {
			cl.late = true
			return
		}
		if hinted {
			shortest, spread = longestPoll, longestPoll
			if hints++; hints == mostHints {
				hint = nil
			}
		}
	}
}

// ask is one question to Redis, or two if it has a value that is of no use: then another claim is made over that one.
func (cl *Claim) ask(ctx context.Context) (reply, error) {
	for {
		r, err := cl.cache.shared.claim(ctx, cl.key, cl.owner, cl.over)
		if err != nil {
			cl.saw("error")
			return r, err
		}
		if r.value == nil {
			cl.saw("miss")
			return cl.hear(r), nil
		}
		cl.Entry, err = open(cl.key, sealedValue, r.value, time.Now())
		if err == nil {
			cl.saw("hit")
			return r, nil
		}
		cl.saw(useless(err))
		if again := cl.over != nil; again {
			return reply{}, err
		}
		cl.over = r.value
	}
}

// saw counts what the first question brought; polls are no lookups.
func (cl *Claim) saw(result string) {
	if !cl.seen {
		cl.seen = true
		cl.cache.observer.Lookup(TierRedis, result)
	}
}

// hear opens the failure in a reply, if there is one. One that has just passed means to ask again; one that does not open says nothing.
func (cl *Claim) hear(r reply) reply {
	if r.failure == nil {
		return r
	}
	var err error
	cl.Entry, err = open(cl.key, sealedFailure, r.failure, time.Now())
	switch {
	case errors.Is(err, errPast):
		return reply{follower: true}
	case err != nil:
		return reply{}
	}
	return r
}

// useless is what a value is that was there and can't be given.
func useless(err error) string {
	if errors.Is(err, errPast) {
		return "miss"
	}
	return "unsealed"
}

// settle ends the taking with a reply that is no "wait".
func (cl *Claim) settle(r reply, waited bool, asked time.Time) {
	switch {
	case r.value != nil && waited:
		cl.Outcome, cl.over = Followed, r.value
	case r.value != nil:
		cl.Outcome, cl.Tier, cl.over = Hit, TierRedis, r.value
	case r.failure != nil:
		cl.Outcome = Failed
	case r.leader:
		cl.Outcome = Leader
		cl.lease = cl.cache.hold(cl.key, cl.owner, asked)
	}
}

// Late reports whether the claim waited for another process and then gave up: that one may be asking still, or have asked.
func (cl *Claim) Late() bool { return cl.late }

// pause waits, at most for a hint, and is not ok when the time is over or the caller's has come.
func pause(ctx context.Context, d time.Duration, hint <-chan struct{}) (hinted, ok bool) {
	if d <= 0 {
		return false, false
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return false, true
	case <-hint:
		return true, true
	case <-ctx.Done():
		return false, false
	}
}

// Remember ends the claim with an entry: into memory at once, into Redis off the caller's path. The first entry stored wins, unless
// better says that e is better than the stored one (nil: it never is). Where others may have asked meanwhile, it waits for Redis's word, within the budget
// of a question, and returns the winner and that e lost to it; else it returns e.
func (cl *Claim) Remember(e Entry, better func(stored Entry) bool) (winner Entry, lost bool) {
	if cl.ended || !cl.cache.keep(cl.key, e) {
		cl.Release()
		return e, false
	}
	cl.ended = true
	if cl.cache.shared == nil {
		return e, false
	}
	late := cl.late || cl.lease.lost()
	won := make(chan Entry, 1)
	if !cl.cache.later(func() {
		if stored, lost := cl.publish(e, better); lost {
			won <- stored
		}
		close(won)
	}) {
		cl.lease.stop()
		cl.cache.observer.Store(TierRedis, "dropped")
		cl.cache.observer.RedisError("publish", kindBacklog)
		return e, false
	}
	if !late {
		return e, false
	}
	patience := time.NewTimer(cl.cache.patience)
	defer patience.Stop()
	select {
	case winner, lost = <-won:
	case <-patience.C:
	}
	if !lost {
		winner = e
	}
	return winner, lost
}

// publish stores e unless another one is there first, which then goes into memory in its place.
func (cl *Claim) publish(e Entry, better func(Entry) bool) (winner Entry, lost bool) {
	cl.lease.stop().wait()
	sealed, err := seal(cl.key, sealedValue, e)
	for range 3 { // each round replaces the one value that the last one showed to be of no use
		ttl := time.Until(e.Expires).Truncate(time.Millisecond)
		if err != nil || ttl <= 0 {
			break
		}
		var winner []byte
		if winner, err = cl.cache.shared.publish(cl.key, cl.owner, sealed, ttl, cl.over); err != nil {
			break
		}
		if winner == nil {
			cl.cache.observer.Store(TierRedis, "stored")
			return e, false
		}
		if stored, err := open(cl.key, sealedValue, winner, time.Now()); err == nil && (better == nil || !better(stored)) {
			cl.cache.observer.Store(TierRedis, "lost")
			cl.cache.memory.put(cl.key, stored)
			return stored, true
		}
		cl.over = winner
	}
	cl.cache.observer.Store(TierRedis, "error")
	return e, false
}

// Fail ends the claim with a failure, which those who wait get, and whoever asks until it expires.
func (cl *Claim) Fail(failure Entry) { cl.end(&failure) }

// Release ends the claim without a word: the next one who asks may have the lease. After Remember and Fail it does nothing.
func (cl *Claim) Release() { cl.end(nil) }

func (cl *Claim) end(failure *Entry) {
	if cl.ended || cl.lease == nil {
		return
	}
	cl.ended = true
	if !cl.cache.later(func() {
		cl.lease.stop().wait()
		var sealed []byte
		var ttl time.Duration
		if failure != nil {
			if ttl = time.Until(failure.Expires).Truncate(time.Millisecond); ttl > 0 {
				sealed, _ = seal(cl.key, sealedFailure, *failure) // an error leaves no marker, and the lease just ends
			}
		}
		_ = cl.cache.shared.release(cl.key, cl.owner, sealed, ttl) // counted by the tier; the lease ends by itself
	}) {
		cl.lease.stop()
	}
}
