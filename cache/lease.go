package cache

import (
	"sync"
	"sync/atomic"
	"time"
)

// lease is the right of one claim to be waited for. It is renewed at every third of its time while the caller asks, so that a slow
// exchange keeps it and a killed process loses it soon. A nil lease is none.
type lease struct {
	until atomic.Int64 // when it ends unless renewed, Unix nanoseconds
	gone  atomic.Bool  // somebody else has it
	end   func()
	ended chan struct{}
}

// hold keeps a lease that was asked for at a time and given, until it is stopped or the cache is closed.
func (c *Cache) hold(k Key, owner string, asked time.Time) *lease {
	ending := make(chan struct{})
	l := &lease{end: sync.OnceFunc(func() { close(ending) }), ended: make(chan struct{})}
	l.until.Store(asked.Add(c.lease).UnixNano())
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		close(l.ended)
		return l
	}
	c.pending.Go(func() { // ends with stop, with Close, or when the lease is lost
		defer close(l.ended)
		tick := time.NewTicker(c.lease / 3)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
			case <-ending:
				return
			case <-c.closing:
				return
			}
			if !l.renew(c.shared, k, owner, c.lease) {
				return
			}
		}
	})
	return l
}

// renew reports whether it is worth going on.
func (l *lease) renew(s shared, k Key, owner string, length time.Duration) bool {
	asked := time.Now()
	held, err := s.renew(k, owner)
	switch {
	case err != nil: // once more at the next tick: it may last until then
		return true
	case !held:
		l.gone.Store(true)
		return false
	}
	l.until.Store(asked.Add(length).UnixNano())
	return true
}

// lost reports whether others may have asked meanwhile.
func (l *lease) lost() bool {
	return l != nil && (l.gone.Load() || time.Now().UnixNano() >= l.until.Load())
}

// stop ends the renewing.
func (l *lease) stop() *lease {
	if l != nil {
		l.end()
	}
	return l
}

// wait until nothing renews any more, at most for the budget of one renewal.
func (l *lease) wait() {
	if l != nil {
		<-l.ended
	}
}
