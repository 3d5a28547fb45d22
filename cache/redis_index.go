package cache

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"
)

// indexing is a pipeline that stores an entry, and in the index the value that leads to the entry.
// In a Redis cluster, the library sends each command of a pipeline to the node that owns the
// command's key.
type indexing struct {
	redis.Pipeliner
	tier  *redisTier
	index sealedIndex
	ttl   time.Duration
}

func (t *redisTier) indexing(c *client, index sealedIndex, ttl time.Duration) indexing {
	return indexing{c.Pipeline(), t, index, ttl}
}

// exec adds a command that stores the value in the index, and sends the pipeline. The argument
// store is the command that stores the entry. It is in the pipeline already, and the caller handles
// its error. If only the command for the index fails, exec counts the fault.
func (p indexing) exec(ctx context.Context, store redis.Cmder) {
	if p.index.sealed == nil {
		exec(ctx, p)
		return
	}
	set := p.Set(ctx, p.tier.indexKey(p.index.key), p.index.sealed, p.ttl)
	exec(ctx, p)
	if err := set.Err(); err != nil && store.Err() == nil {
		kind := kindOf(err)
		_ = p.tier.report("publish", kind, p.tier.options.advice(kind, err))
	}
}

// indexedBy returns the entries that are in the index under these keys. A value that cannot be
// decrypted with its key counts as missing, so a manipulated Redis cannot make indexedBy return
// another entry.
func (t *redisTier) indexedBy(ctx context.Context, index []Key) (found []indexed, err error) {
	err = t.do(ctx, "revoke", t.options.StoreTimeout, func(ctx context.Context, c *client) error {
		pipe := c.Pipeline()
		var gets []*redis.StringCmd
		for _, k := range index {
			gets = append(gets, pipe.Get(ctx, t.indexKey(k)))
		}
		exec(ctx, pipe)
		found = nil
		for i, got := range gets {
			sealed, err := got.Bytes()
			switch {
			case errors.Is(err, redis.Nil):
				continue
			case err != nil:
				return err
			}
			e, err := open(index[i], sealedIndexValue, sealed, time.Now())
			if err != nil {
				continue
			}
			if one, err := readIndexValue(e); err == nil {
				one.key = index[i]
				found = append(found, one)
			}
		}
		return nil
	})
	return found, err
}

// removeIndexed deletes entries, and in the index the values that lead to them.
func (t *redisTier) removeIndexed(ctx context.Context, entries []indexed) error {
	return t.do(ctx, "revoke", t.options.StoreTimeout, func(ctx context.Context, c *client) error {
		pipe := c.Pipeline()
		for _, e := range entries {
			value, _, failure := t.keys(Key{id: e.id})
			pipe.Del(ctx, value, failure)
			pipe.Del(ctx, t.indexKey(e.key)) // a separate DEL, because in a cluster this key may be on another node
		}
		_, err := pipe.Exec(ctx)
		return err
	})
}
