package cache

import (
	"sync"
	"sync/atomic"
	"time"
)

// lease makes other processes wait for a claim. While the caller asks upstream, the lease is
// renewed at intervals of a third of its duration. The lease therefore lasts through a slow
// exchange, and ends soon after the process is killed.
type lease struct {
	until atomic.Int64  // when the lease ends if it is not renewed, in Unix nanoseconds
	gone  atomic.Bool   // the lease was lost to another process, or scripts are denied
	end   func()        // tells the renewals to end
	ended chan struct{} // closed when the renewals have ended
}

// noLease is the lease of a claim that no other process waits for.
var noLease = func() *lease {
	l := &lease{end: func() {}, ended: make(chan struct{})}
	l.until.Store(1<<63 - 1)
	close(l.ended)
	return l
}()

// hold starts to renew a lease that was taken at the given time. The renewals end when the lease is
// stopped or lost, or the cache is closed.
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

// renewals renews the lease. It returns when the lease is stopped or lost, or the cache is closed.
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
		case err != nil: // the next tick tries again; the lease may last until then
		case !held:
			l.gone.Store(true)
			return
		default:
			l.until.Store(asked.Add(c.lease).UnixNano())
		}
	}
}

// lost reports whether the lease may have ended, for example because it was not renewed in time. In
// that case another process may have taken it, and may have asked upstream.
func (l *lease) lost() bool {
	return l.gone.Load() || time.Now().UnixNano() >= l.until.Load()
}

// stop ends the renewals. It waits for a renewal in flight, at most for the budget of that renewal.
func (l *lease) stop() {
	l.end()
	<-l.ended
}
