package cache

import "time"

// Remember ends the claim and stores an entry: in memory at once, and in Redis in the background.
// If another process has stored an entry first, that entry wins, unless the function better returns
// true for it. If better is nil, the stored entry always wins. Remember stores nothing if the claim
// has ended already, if e has expired, or if the token was purged after the key was derived.
//
// Remember usually returns e at once. If other processes may have asked upstream in the meantime,
// Remember waits for Redis, at most for RedisOptions.Timeout, and returns the winner and whether e
// lost. If Redis does not answer in that time, Remember returns e.
func (cl *Claim) Remember(e Entry, better func(stored Entry) bool) (winner Entry, lost bool) {
	if cl.ended || !time.Now().Before(e.Expires) || cl.key.purged() {
		cl.Release()
		return e, false
	}
	cl.cache.keep(cl.key, e, cl.index.tag())
	if cl.cache.shared == nil {
		cl.ended = true
		return e, false
	}
	if len(e.Value) > maxStored {
		cl.cache.observer.Store(TierRedis, "oversize")
		cl.Release() // each process asks upstream itself
		return e, false
	}
	cl.ended = true
	late := cl.late || cl.lease.lost()
	won := make(chan Entry, 1)
	if !cl.cache.later(func() {
		defer close(won)
		if stored, lost := cl.publish(e, better); lost {
			won <- stored
		}
	}) {
		cl.lease.end()
		cl.cache.observer.Store(TierRedis, "dropped")
		cl.cache.observer.RedisError("publish", kindBacklog)
		return e, false
	}
	if !late {
		return e, false
	}
	select {
	case winner, lost = <-won:
	case <-time.After(cl.cache.patience):
	}
	if !lost {
		winner = e
	}
	return winner, lost
}

// publish stores e in Redis, unless an entry that is stored there wins. The winner then replaces e
// in memory.
func (cl *Claim) publish(e Entry, better func(Entry) bool) (winner Entry, lost bool) {
	cl.lease.stop()
	sealed, err := seal(cl.key, sealedValue, e)
	index := cl.sealIndex(e.Expires)
	for range 3 { // each round replaces the value that the previous round found, which is unusable or worse than e
		ttl := time.Until(e.Expires).Truncate(time.Millisecond)
		if err != nil || ttl <= 0 {
			break
		}
		var winner []byte
		if winner, err = cl.cache.shared.publish(cl.key, cl.owner, sealed, ttl, cl.over, index); err != nil {
			break
		}
		if winner == nil {
			cl.cache.observer.Store(TierRedis, "stored")
			return e, false
		}
		if stored, err := open(cl.key, sealedValue, winner, time.Now()); err == nil && (better == nil || !better(stored)) {
			cl.cache.observer.Store(TierRedis, "lost")
			cl.cache.memory.put(cl.key, stored, 0)
			return stored, true
		}
		cl.over = winner
	}
	cl.cache.observer.Store(TierRedis, "error")
	return e, false
}

// sealIndex returns what publish writes into the index in Redis for the entry. If sealing fails,
// the entry is left out of the index.
func (cl *Claim) sealIndex(expires time.Time) sealedIndex {
	if cl.index.secret == nil {
		return sealedIndex{}
	}
	sealed, err := seal(cl.index, sealedIndexValue, Entry{Value: cl.key.indexValue(), Expires: expires})
	if err != nil {
		return sealedIndex{}
	}
	return sealedIndex{cl.index, sealed}
}

// Fail ends the claim with a failure. If the claim has the lease, its followers and all later
// claims get the failure, until it expires or an entry is stored.
func (cl *Claim) Fail(failure Entry) { cl.end(&failure) }

// Release ends the claim without a result, so that the next claim can take the lease. After
// Remember or Fail it does nothing.
func (cl *Claim) Release() { cl.end(nil) }

func (cl *Claim) end(failure *Entry) {
	if cl.ended || cl.lease == noLease {
		return
	}
	cl.ended = true
	if !cl.cache.later(func() {
		cl.lease.stop()
		var sealed []byte
		var ttl time.Duration
		if failure != nil {
			if ttl = time.Until(failure.Expires).Truncate(time.Millisecond); ttl > 0 {
				sealed, _ = seal(cl.key, sealedFailure, *failure) // on an error, the lease ends without a marker
			}
		}
		_ = cl.cache.shared.release(cl.key, cl.owner, sealed, ttl) // faults are counted; the lease expires by itself
	}) {
		cl.lease.end()
	}
}
