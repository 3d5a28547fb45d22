package cache

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// The commands of a purge are plain GET, SET and DEL, which a sidecar may run anyway. They go past the gate: a person waits for them, or
// nobody does, and neither is a reason to leave Redis alone.

// journal is nil where there is none.
func (t *redisTier) journal(ctx context.Context, k Key) (sealed []byte, err error) {
	err = t.aside(ctx, func(ctx context.Context, c redis.UniversalClient) error {
		value, _, _ := t.keys(k)
		sealed, err = get(ctx, c, value)
		return err
	})
	return sealed, err
}

func (t *redisTier) writeJournal(ctx context.Context, k Key, sealed []byte) error {
	return t.aside(ctx, func(ctx context.Context, c redis.UniversalClient) error {
		value, _, _ := t.keys(k)
		return c.Set(ctx, value, sealed, journalTTL).Err()
	})
}

// remove deletes values and failure markers. A lease stays: somebody is asking.
func (t *redisTier) remove(ctx context.Context, keys []Key) error {
	return t.aside(ctx, func(ctx context.Context, c redis.UniversalClient) error {
		for _, k := range keys {
			value, _, marker := t.keys(k)
			if err := c.Del(ctx, value, marker).Err(); err != nil { // one slot
				return err
			}
		}
		return nil
	})
}

// aside runs one of them within the budget of a store, and again if it failed on a dead connection. Its error has a kind and a next
// step, and no text of the library's.
func (t *redisTier) aside(ctx context.Context, ask func(context.Context, redis.UniversalClient) error) error {
	for again := false; ; again = true {
		client := t.client.Load()
		err := within(ctx, t.options.StoreTimeout, func(ctx context.Context) error { return ask(ctx, client) })
		if err == nil {
			return nil
		}
		kind := kindOf(err)
		t.observer.RedisError("purge", kind)
		if replaced := t.distrust(client, kind); !replaced || again {
			return fmt.Errorf("redis: %s: %s", kind, advice(kind))
		}
	}
}

func within(ctx context.Context, budget time.Duration, ask func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, budget)
	defer cancel()
	return ask(ctx)
}
