package cache

import (
	"sync"
	"sync/atomic"
	"time"
)

// lease makes other processes wait for a claim. It is renewed after every third of its time while
// the caller asks, so a slow exchange keeps it and a killed process loses it soon.
type lease struct {
	until atomic.Int64 // its end if it is not renewed, in Unix nanoseconds
	gone  atomic.Bool  // another process has it
	end   func()
	ended chan struct{} // closed when the renewals have ended
}

// noLease is the lease of a claim without followers.
var noLease = func() *lease {
	l := &lease{end: func() {}, ended: make(chan struct{})}
	l.until.Store(1<<63 - 1)
	close(l.ended)
	return l
}()

// hold renews a lease that was taken at a time, until it is stopped, lost, or the cache is closed.
func (c *Cache) hold(k Key, owner string, taken time.Time) *lease {
	ending := make(chan struct{})
	l := &lease{end: sync.OnceFunc(func() { close(ending) }), ended: make(chan struct{})}
	l.until.Store(taken.Add(c.lease).UnixNano())
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		close(l.ended)
		return l
	}
	c.pending.Go(func() {
		defer close(l.ended)
		contain(c.log, "renew", func() { c.renewals(l, k, owner, ending) })
	})
	return l
}

// renewals returns when the lease is stopped or lost, or the cache is closed.
func (c *Cache) renewals(l *lease, k Key, owner string, ending <-chan struct{}) {
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
		asked := time.Now()
		switch held, err := c.shared.renew(k, owner); {
		case err != nil: // tried again at the next tick, when the lease may still last
		case !held:
			l.gone.Store(true)
			return
		default:
			l.until.Store(asked.Add(c.lease).UnixNano())
		}
	}
}

// lost reports whether another process may have asked in the meantime.
func (l *lease) lost() bool {
	return l.gone.Load() || time.Now().UnixNano() >= l.until.Load()
}

// stop ends the renewals and waits for one in flight, at most for its budget.
func (l *lease) stop() {
	l.end()
	<-l.ended
}
