package cache

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"
)

// readTimeout is how long a read of the purges may take, if RedisOptions.Timeout is not longer.
const readTimeout = 250 * time.Millisecond

// readMarks returns Redis's time in Unix milliseconds and, for each app, the newest members of the
// sorted set, at most maxRead of them, in one round trip. It also tries a failed Redis; see probe.
// If Redis refuses one of the commands, for example because a key is not a sorted set, a PING shows
// whether Redis works. If Redis works, readMarks still returns an error: purges are not shared, but
// everything else works.
func (t *redisTier) readMarks(ctx context.Context, all []*Purges) (now int64, sets [][]string, err error) {
	kind := ""
	err = t.probe(ctx, "purge", max(t.options.Timeout, readTimeout), func(ctx context.Context, c *client) error {
		pipe := c.Pipeline()
		clock := pipe.Time(ctx)
		var reads []*redis.StringSliceCmd
		for _, p := range all {
			reads = append(reads, pipe.ZRange(ctx, t.marksKey(p), -maxRead, -1))
		}
		_, err := pipe.Exec(ctx)
		if kind = kindOf(err); harmless(kind) || kind == kindOther {
			return c.Ping(ctx).Err()
		}
		if err != nil {
			return err
		}
		now = clock.Val().UnixMilli()
		sets = nil
		for _, read := range reads {
			sets = append(sets, read.Val())
		}
		return nil
	})
	if err == nil && kind != "" {
		err = t.report("purge", kind, t.options.advice(kind, nil))
	}
	return now, sets, err
}

// writeMarks adds marks to the sorted set of an app and removes stale members.
func (t *redisTier) writeMarks(ctx context.Context, p *Purges, added []mark, stale []string) error {
	if len(added)+len(stale) == 0 {
		return nil
	}
	var members []redis.Z
	for _, m := range added {
		member, err := p.seal(m)
		if err != nil {
			return err
		}
		members = append(members, redis.Z{Score: float64(m.number), Member: member})
	}
	return t.probe(ctx, "purge", t.options.StoreTimeout, func(ctx context.Context, c *client) error {
		pipe := c.Pipeline()
		if len(members) > 0 {
			pipe.ZAdd(ctx, t.marksKey(p), members...)
			pipe.PExpire(ctx, t.marksKey(p), keepMarks)
		}
		if len(stale) > 0 {
			pipe.ZRem(ctx, t.marksKey(p), stale)
		}
		_, err := pipe.Exec(ctx)
		return err
	})
}

// remove deletes values and failure markers. A lease stays, because its owner is still asking
// upstream.
func (t *redisTier) remove(ctx context.Context, keys []Key) error {
	return t.probe(ctx, "purge", t.options.StoreTimeout, func(ctx context.Context, c *client) error {
		pipe := c.Pipeline()
		for _, k := range keys {
			value, _, failure := t.keys(k)
			pipe.Del(ctx, value, failure)
		}
		_, err := pipe.Exec(ctx)
		return err
	})
}
