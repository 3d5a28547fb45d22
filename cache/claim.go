package cache

import (
	"context"
	"crypto/rand"
	"errors"
	mathrand "math/rand/v2"
	"time"
)

// shared is the tier that all processes share. It handles sealed bytes only. redisTier implements
// and documents the methods; tests use a model.
type shared interface {
	read(ctx context.Context, k Key) (sealed []byte, err error)
	claim(ctx context.Context, k Key, owner string, unusable []byte) (reply, error)
	publish(k Key, owner string, sealed []byte, ttl time.Duration, over []byte, index sealedIndex) (winner []byte, err error)
	renew(k Key, owner string) (held bool, err error)
	release(k Key, owner string, failure []byte, ttl time.Duration) error
}

// sealedIndex is the value that publish writes into the index in Redis for an entry. If sealed is
// nil, publish writes no value.
type sealedIndex struct {
	key    Key
	sealed []byte
}

// reply is the reply to a claim. At most one field is set. If no field is set, the caller asks
// upstream without a lease. This happens if Redis has no value and scripts are not used, or if
// Redis has a failure that cannot be decrypted.
type reply struct {
	value, failure []byte // sealed
	leader         bool   // the caller has the lease
	follower       bool   // the caller waits and asks again, usually because another process has the lease
}

// Outcome is the result of a claim. The set of outcomes is fixed, because they are metric labels.
type Outcome string

// The outcomes.
const (
	Hit      Outcome = "hit"      // Entry was stored before
	Followed Outcome = "followed" // another process was asking upstream; Entry is its answer
	Failed   Outcome = "failed"   // another process asked upstream; Entry is its failure
	Leader   Outcome = "leader"   // the caller asks upstream, and other processes wait for it
	Alone    Outcome = "alone"    // the caller asks upstream without a lease, for example because Redis failed
)

// A follower is a claim that waits for the answer of another process, the leader. It waits for
// firstPoll before it asks Redis again. After each poll it doubles the wait, up to lastPoll. Each
// wait is varied at random by up to a half, so that many followers do not poll in step.
const (
	firstPoll = 4 * time.Millisecond
	lastPoll  = 50 * time.Millisecond
)

// Claim is one attempt by a process to get an entry that it does not have in memory. If Outcome is
// Leader or Alone, the caller asks upstream itself, and ends the claim with Remember, Fail or
// Release. A lease only saves exchanges: losing it never makes an answer wrong.
type Claim struct {
	Outcome Outcome
	Entry   Entry // for Hit, Followed and Failed
	Tier    Tier  // for Hit

	cache    *Cache
	key      Key
	index    Key // the entry's key in the index; the zero Key: the entry is not in the index
	owner    string
	lease    *lease
	over     []byte // the value in Redis that the caller's answer may replace
	lookedUp bool   // the lookup in Redis was counted
	late     bool   // see Late
	ended    bool
}

// Claim looks in memory, where the entry may have been stored since the caller's Recall. Then it
// asks Redis, in one round trip, for the entry, for a recent failure of another process, or for the
// lease on the token. If another process has the lease, Claim waits for the answer. If
// RedisOptions.Wait passes or ctx ends first, the outcome is Alone.
//
// The outcome is also Alone if Redis is not configured, if Redis has no entry and scripts are not
// used, if the token was purged after the key was derived, after a fault of Redis, or after a panic
// in the code that asks Redis. But while Claim waits for another process, it gives up only after
// two faults in a row.
func (c *Cache) Claim(ctx context.Context, k Key) *Claim {
	cl := &Claim{Outcome: Alone, cache: c, key: k, owner: newOwner(), lease: noLease}
	if e, ok := c.memory.get(k); ok {
		cl.Outcome, cl.Entry, cl.Tier = Hit, e, TierMemory
		return cl
	}
	if c.shared == nil || k.purged() {
		return cl
	}
	if !contain(c.log, "claim", func() { cl.take(ctx) }) {
		cl.Outcome, cl.Entry, cl.Tier = Alone, Entry{}, ""
	}
	if cl.Outcome == Hit || cl.Outcome == Followed {
		c.memory.put(k, cl.Entry, 0) // no tag: the process that stored the entry has put it into the index in Redis
	}
	c.observer.Claim(cl.Outcome)
	return cl
}

// newOwner returns a random name for a claim, so that no claim mistakes the lease of another claim
// for its own.
func newOwner() string { return rand.Text() }

// take asks Redis, and polls while another process has the lease.
func (cl *Claim) take(ctx context.Context) {
	giveUp := time.Now().Add(cl.cache.wait)
	waited, faults := false, 0
	for poll := firstPoll; ; poll = min(2*poll, lastPoll) {
		asked := time.Now()
		r, err := cl.ask(ctx)
		switch {
		case err != nil:
			// A follower tolerates one fault, because the leader is asking upstream.
			if faults++; !waited || faults > 1 {
				cl.late = waited
				return
			}
		case r.follower:
			waited, faults = true, 0
		default:
			cl.finish(r, waited, asked)
			return
		}
		if !sleep(ctx, min(poll/2+mathrand.N(poll), time.Until(giveUp))) {
			cl.late = true
			return
		}
	}
}

// sleep waits for d. It returns false if d is not positive, or if ctx ends first.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return false
	}
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// ask asks Redis. If the stored value has expired or cannot be decrypted, it asks a second time,
// and tells Redis to ignore that value.
func (cl *Claim) ask(ctx context.Context) (reply, error) {
	for {
		r, err := cl.cache.shared.claim(ctx, cl.key, cl.owner, cl.over)
		if err != nil {
			cl.countLookup("error")
			return r, err
		}
		if r.value == nil {
			cl.countLookup(Missed)
			return cl.openFailure(r), nil
		}
		cl.Entry, err = open(cl.key, sealedValue, r.value, time.Now())
		switch {
		case err == nil:
			cl.countLookup(Found)
			return r, nil
		case errors.Is(err, errExpired):
			cl.countLookup(Missed)
		default:
			cl.countLookup("unsealed")
		}
		if cl.over != nil { // an earlier value was unusable too
			return reply{}, err
		}
		cl.over = r.value
	}
}

// countLookup counts the result of the first lookup only, because polls are not lookups.
func (cl *Claim) countLookup(result string) {
	if !cl.lookedUp {
		cl.lookedUp = true
		cl.cache.observer.Lookup(TierRedis, result)
	}
}

// openFailure decrypts the failure in a reply, if the reply has one. If the failure has just
// expired, the claim asks Redis again. If the failure cannot be decrypted, the caller asks upstream
// without a lease.
func (cl *Claim) openFailure(r reply) reply {
	if r.failure == nil {
		return r
	}
	var err error
	cl.Entry, err = open(cl.key, sealedFailure, r.failure, time.Now())
	switch {
	case errors.Is(err, errExpired):
		return reply{follower: true}
	case err != nil:
		return reply{}
	}
	return r
}

// finish sets the outcome from a reply that ends the wait: r.follower is not set.
func (cl *Claim) finish(r reply, waited bool, asked time.Time) {
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

// Late reports whether the claim waited for another process and gave up. That process may have
// asked upstream, or may still be asking.
func (cl *Claim) Late() bool { return cl.late }
