package cache

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// redisTier is the second tier, shared by all processes. It is not trusted: what it holds is sealed, and what it answers must open.
type redisTier struct {
	client   atomic.Pointer[client]
	options  RedisOptions
	gate     *gate
	observer Observer
	log      *slog.Logger
	plainTo  atomic.Int64 // until then scripts are taken to be forbidden, and plain commands serve; Unix nanoseconds
	said     sync.Map     // kinds of faults that were complained of
	hints    *hints

	mu        sync.Mutex // protects all below, and retiring's Go against close's Wait
	closed    bool
	lingering int // clients that were replaced and whose operations may end
	retiring  sync.WaitGroup
}

var _ shared = (*redisTier)(nil)

func newRedisTier(o RedisOptions, observer Observer, log *slog.Logger) (*redisTier, error) {
	if o.Timeout <= 0 {
		o.Timeout = 50 * time.Millisecond
	}
	if o.StoreTimeout <= 0 {
		o.StoreTimeout = time.Second
	}
	if o.PoolSize <= 0 {
		o.PoolSize = 32
	}
	if o.IdleTimeout <= 0 {
		o.IdleTimeout = 3 * time.Minute
	}
	if o.Prefix == "" {
		o.Prefix = "igproxy"
	}
	client, err := newClient(o)
	if err != nil {
		return nil, err
	}
	t := &redisTier{options: o, observer: observer, log: log}
	t.client.Store(client)
	t.gate, t.hints = newGate(t.ping, observer, log), newHints(t)
	return t, nil
}

// keys of one entry: value, lease, failure marker. The braces are a hash tag: they sit in one slot of a cluster.
func (t *redisTier) keys(k Key) (value, lease, failure string) {
	stem := t.options.Prefix + ":{" + k.id.String() + "}:"
	return stem + "v", stem + "l", stem + "f"
}

// channel is where followers of an entry are told to ask again. It tells no more than the keys do.
func (t *redisTier) channel(k Key) string { return t.options.Prefix + ":{" + k.id.String() + "}:c" }

func (t *redisTier) wake(k Key) (hint <-chan struct{}, cancel func()) {
	return t.hints.wake(t.channel(k))
}

// claim is one round trip: the value, or the failure marker, or the lease if nobody has it. A value equal to unusable counts as absent.
func (t *redisTier) claim(ctx context.Context, k Key, owner string, unusable []byte) (r reply, err error) {
	err = t.do(ctx, "claim", t.options.Timeout, func(ctx context.Context, c redis.UniversalClient) error {
		switch {
		case t.options.Lease <= 0:
			r, err = t.look(ctx, c, k, unusable)
		case t.plain():
			r, err = t.plainClaim(ctx, c, k, owner, unusable)
		default:
			r, err = t.scriptedClaim(ctx, c, k, owner, unusable)
		}
		return err
	})
	return r, err
}

// publish stores a sealed value unless there is one already, which it returns: the first one stored wins. One that is equal to over is
// replaced. The owner's lease ends.
func (t *redisTier) publish(k Key, owner string, sealed []byte, ttl time.Duration, over []byte) (winner []byte, err error) {
	err = t.do(context.Background(), "publish", t.options.StoreTimeout, func(ctx context.Context, c redis.UniversalClient) error {
		if t.plain() {
			winner, err = t.plainPublish(ctx, c, k, owner, sealed, ttl, over)
		} else {
			winner, err = t.scriptedPublish(ctx, c, k, owner, sealed, ttl, over)
		}
		return err
	})
	return winner, err
}

// renew makes the owner's lease last for its full time again, and takes it anew if it got lost. It reports whether it is the owner's.
func (t *redisTier) renew(k Key, owner string) (held bool, err error) {
	budget := min(t.options.StoreTimeout, t.options.Lease/3)
	err = t.do(context.Background(), "renew", budget, func(ctx context.Context, c redis.UniversalClient) error {
		if t.plain() {
			held, err = t.plainRenew(ctx, c, k, owner)
		} else {
			held, err = t.scriptedRenew(ctx, c, k, owner)
		}
		return err
	})
	return held, err
}

// release ends the owner's lease, and leaves a sealed failure to those who wait for it, if there is one.
func (t *redisTier) release(k Key, owner string, failure []byte, ttl time.Duration) error {
	return t.do(context.Background(), "release", t.options.StoreTimeout, func(ctx context.Context, c redis.UniversalClient) error {
		if t.plain() {
			return t.plainRelease(ctx, c, k, owner, failure, ttl)
		}
		return t.scriptedRelease(ctx, c, k, owner, failure, ttl)
	})
}

// do runs one operation within its budget, and tells the gate and the observer how it went. The caller's leaving does not end it: a
// plain cancel would not stop a read.
func (t *redisTier) do(ctx context.Context, operation string, budget time.Duration, ask func(context.Context, redis.UniversalClient) error) error {
	if !t.gate.allow() {
		t.observer.RedisError(operation, kindOpen)
		return errGateOpen
	}
	began := time.Now()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), budget)
	defer cancel()
	client := t.client.Load()
	err := ask(ctx, client)
	if kindOf(err) == kindNoScript {
		t.plainTo.Store(time.Now().Add(plainFor).UnixNano())
		if t.firstTime(kindNoScript) {
			t.log.Warn("redis forbids scripts: plain commands serve in their place", "operation", operation, "next_step", advice(kindNoScript))
		}
		err = ask(ctx, client) // as plain commands
	}
	if err == nil {
		t.gate.report("", began)
		return nil
	}
	kind := t.kindOf(ctx, client, err)
	t.observer.RedisError(operation, kind)
	if t.client.Load() == client { // otherwise it says nothing about the connections of its successor
		t.gate.report(kind, began)
	}
	t.distrust(client, kind)
	if misconfigured(kind) {
		t.complain(operation, kind)
	}
	return fmt.Errorf("redis %s: %s", operation, kind) // without the error's own text, which can hold stored bytes
}

// complain says each fault of the configuration loudly, once: it does not pass by itself, and may not open the gate either.
func (t *redisTier) complain(operation, kind string) {
	if t.firstTime(kind) {
		t.log.Error("redis refuses igproxy", "operation", operation, "kind", kind, "next_step", advice(kind))
	}
}

// mute says, once, that a permission for the hint is missing. It is no fault that matters: followers poll.
func (t *redisTier) mute(kind string) {
	if _, again := t.said.LoadOrStore("mute", true); !again {
		t.log.Warn("redis does not permit the hint: followers poll", "kind", kind, "next_step", advice(kind))
	}
}

func (t *redisTier) firstTime(kind string) bool {
	_, again := t.said.LoadOrStore(kind, true)
	return !again
}

// plainFor is how long plain commands serve before a script is tried again: what was forbidden for a moment (access lists that are loaded
// anew, another node after a fail-over) may be allowed by then.
const plainFor = time.Minute

func (t *redisTier) plain() bool { return time.Now().UnixNano() < t.plainTo.Load() }

// kindOf names an error; where Redis does not say which permission is missing, as it does not for one inside a script, it finds out.
func (t *redisTier) kindOf(ctx context.Context, c redis.UniversalClient, err error) string {
	kind := kindOf(err)
	if kind != kindPermission {
		return kind
	}
	key := t.options.Prefix + ":{check}:l"
	for _, try := range []func() error{
		func() error { return c.Get(ctx, key).Err() },
		func() error { return c.Set(ctx, key, "", time.Second).Err() },
		func() error { return c.Del(ctx, key).Err() },
	} {
		if named := kindOf(try()); isPermission(named) {
			return named
		}
	}
	return kind
}

// ping is the probe of an open gate.
func (t *redisTier) ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, t.options.StoreTimeout)
	defer cancel()
	client := t.client.Load()
	err := client.Ping(ctx).Err()
	if err != nil {
		kind := kindOf(err)
		t.observer.RedisError("ping", kind)
		t.distrust(client, kind)
	}
	return err
}

// check proves for a person that Redis answers and allows all that is needed, on a key of no token's.
func (t *redisTier) check(ctx context.Context, k Key) error {
	ctx, cancel := context.WithTimeout(ctx, max(t.options.Timeout, t.options.StoreTimeout))
	defer cancel()
	client, owner := t.client.Load(), newOwner()
	for _, step := range []func() error{
		func() error { return client.Ping(ctx).Err() },
		func() error { _, err := t.scriptedClaim(ctx, client, k, owner, nil); return err },
		func() error { _, err := t.scriptedRenew(ctx, client, k, owner); return err },
		func() error { return t.scriptedRelease(ctx, client, k, owner, []byte{0}, time.Second) },
		func() error {
			_, err := t.scriptedPublish(ctx, client, k, owner, []byte{0}, time.Second, nil)
			return err
		},
		func() error {
			value, _, _ := t.keys(k)
			return client.Del(ctx, value).Err()
		},
	} {
		if err := step(); err != nil {
			kind := t.kindOf(ctx, client, err)
			return fmt.Errorf("%s: %s", kind, advice(kind))
		}
	}
	return nil
}

func (t *redisTier) close() {
	t.hints.close()
	t.gate.close()
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	_ = t.client.Load().Close()
	t.retiring.Wait()
}
