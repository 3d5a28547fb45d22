package cache

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	maxFollowed  = 1024             // channels followed at once; who comes beyond them polls
	mostStale    = 64               // channels kept that nobody follows any more, so that leaving them is one command for many
	idleHints    = 30 * time.Second // without a follower, after which the connection is closed
	deniedAnswer = time.Minute      // until Redis is asked again for what it does not permit
)

// hints wake followers as soon as Redis tells that their token's answer is stored or its lease is free, by publish/subscribe. A hint
// only means "ask again now": what is heard is not trusted, and nobody needs to hear anything, because followers poll all the same. A
// message that gets lost, a connection that breaks or a missing permission cost no more than a poll.
//
// All followers of a process share one connection, which the first one opens. In a cluster, too: PUBLISH goes to every node, so an
// ordinary subscription to any of them hears of every slot. Sharded publish/subscribe would spare the nodes that, and need a connection
// to each node.
type hints struct {
	tier    *redisTier
	idle    time.Duration
	stopped context.Context
	stop    context.CancelFunc
	owner   sync.WaitGroup
	changed chan struct{} // of size 1: there are new followers

	mu       sync.Mutex // protects all below
	running  bool       // the owner
	delay    time.Duration
	followed map[string][]chan struct{}
	heard    map[string]subscription // on this connection
}

// subscription to one channel.
type subscription struct {
	asked  time.Time
	active bool // Redis has confirmed it
}

func newHints(t *redisTier) *hints {
	h := &hints{tier: t, idle: idleHints, changed: make(chan struct{}, 1), followed: map[string][]chan struct{}{}}
	h.stopped, h.stop = context.WithCancel(context.Background())
	return h
}

// wake gives a channel that has something whenever it is worth asking again, for the first time when the subscription has become active:
// what happened before that was not heard. It is nil where there will be no hint.
func (h *hints) wake(channel string) (hint <-chan struct{}, cancel func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stopped.Err() != nil || len(h.followed) >= maxFollowed {
		return nil, func() {}
	}
	mine := make(chan struct{}, 1)
	h.followed[channel] = append(h.followed[channel], mine)
	switch {
	case h.heard[channel].active:
		mine <- struct{}{}
	case !h.running:
		h.running = true
		h.owner.Go(h.run)
	default:
		signal(h.changed)
	}
	return mine, func() { h.leave(channel, mine) }
}

// signal never waits: one that was not taken yet will do.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (h *hints) leave(channel string, mine chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var others []chan struct{}
	for _, c := range h.followed[channel] {
		if c != mine {
			others = append(others, c)
		}
	}
	if h.followed[channel] = others; len(others) == 0 {
		delete(h.followed, channel)
	}
}

// run is the owner of the connection: it listens while there are followers, again and again, ever more rarely if that does not work.
func (h *hints) run() {
	for h.wanted() {
		client := h.tier.client.Load()
		err := h.listen(client)
		if err == nil || h.stopped.Err() != nil {
			continue
		}
		kind := kindOf(err)
		switch {
		case errors.Is(err, errGateOpen): // nothing was asked
		case h.tier.client.Load() == client: // otherwise it ended with a client that was replaced
			h.tier.observer.RedisError("subscribe", kind)
		}
		delay := h.backOff()
		if isPermission(kind) {
			h.tier.mute(kind)
			delay = deniedAnswer
		}
		_, _ = pause(h.stopped, delay/2+rand.N(delay), nil)
	}
}

// wanted reports whether to go on. If not, the next follower starts anew.
func (h *hints) wanted() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.running = len(h.followed) > 0 && h.stopped.Err() == nil
	return h.running
}

func (h *hints) backOff() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.delay = min(max(2*h.delay, firstProbe), lastProbe)
	return h.delay
}

// listen is one connection's life. It ends without an error when nobody has followed for a while.
func (h *hints) listen(client redis.UniversalClient) error {
	budget := h.tier.options.StoreTimeout
	sub := client.Subscribe(h.stopped) // to nothing: it dials with the first channel
	gone := make(chan error, 1)
	var reader sync.WaitGroup
	defer func() {
		_ = sub.Close() // which ends the reader
		reader.Wait()
		h.forget()
	}()
	tick := time.NewTicker(budget)
	defer tick.Stop()
	lastUse := time.Now()
	for reading := false; ; {
		if !h.tier.gate.allow() {
			return errGateOpen
		}
		add, drop, followers := h.turn()
		if err := h.ask(sub, add, drop, budget); err != nil {
			return err
		}
		if !reading && len(add) > 0 {
			reading = true
			reader.Go(func() { gone <- h.read(sub) })
		}
		select {
		case <-h.changed:
		case err := <-gone:
			return err
		case <-h.stopped.Done():
			return nil
		case now := <-tick.C:
			if followers {
				lastUse = now
			}
			if now.Sub(lastUse) > h.idle {
				return nil
			}
			if h.overdue(now.Add(-budget)) {
				return context.DeadlineExceeded
			}
		}
	}
}

// turn is what to subscribe to and what to leave.
func (h *hints) turn() (add, drop []string, followers bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.heard == nil {
		h.heard = map[string]subscription{}
	}
	for channel := range h.followed {
		if _, known := h.heard[channel]; !known {
			add = append(add, channel)
			h.heard[channel] = subscription{asked: time.Now()}
		}
	}
	if len(h.heard) >= len(h.followed)+mostStale {
		for channel := range h.heard {
			if h.followed[channel] == nil {
				drop = append(drop, channel)
				delete(h.heard, channel)
			}
		}
	}
	return add, drop, len(h.followed) > 0
}

// ask sends what turn has found; the answers are the reader's. The deadline is for dialling and writing.
func (h *hints) ask(sub *redis.PubSub, add, drop []string, budget time.Duration) error {
	ctx, cancel := context.WithTimeout(h.stopped, budget)
	defer cancel()
	if len(drop) > 0 {
		if err := sub.Unsubscribe(ctx, drop...); err != nil {
			return err
		}
	}
	if len(add) > 0 {
		return sub.Subscribe(ctx, add...)
	}
	return nil
}

// read hands on what is heard until the connection ends. Its context has ended before it begins: a read does not look at that, and the
// library, which else connects anew by itself and without a bound, leaves that to us.
func (h *hints) read(sub *redis.PubSub) (err error) {
	defer func() {
		if recover() != nil { // the library takes the form of a message for granted
			err = errDesync
		}
	}()
	ended, end := context.WithCancel(context.Background())
	end()
	for {
		message, err := sub.Receive(ended)
		if err != nil {
			return err
		}
		switch m := message.(type) {
		case *redis.Subscription:
			if m.Kind == "subscribe" {
				h.hear(m.Channel, true)
			}
		case *redis.Message:
			h.hear(m.Channel, false)
		}
	}
}

// hear wakes the followers of a channel.
func (h *hints) hear(channel string, confirmed bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if s, known := h.heard[channel]; known && confirmed {
		s.active = true
		h.heard[channel], h.delay = s, 0
	}
	for _, c := range h.followed[channel] {
		signal(c)
	}
}

// overdue reports whether something asked before then is not confirmed: the connection hangs.
func (h *hints) overdue(then time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range h.heard {
		if !s.active && s.asked.Before(then) {
			return true
		}
	}
	return false
}

// forget what was heard on a connection that has ended.
func (h *hints) forget() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.heard = nil
}

// close ends the owner, and waits for it.
func (h *hints) close() {
	h.mu.Lock()
	h.stop()
	h.mu.Unlock()
	h.owner.Wait()
}
