package cache

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"
)

// The same operations in plain commands, for a Redis that forbids scripts. They are not atomic: a lease may end under somebody else's
// hand, which costs at most an exchange. What keeps an entry right is its seal, here as there.

// look reads the value alone: coalescing is off.
func (t *redisTier) look(ctx context.Context, c redis.UniversalClient, k Key, unusable []byte) (reply, error) {
	key, _, _ := t.keys(k)
	value, err := get(ctx, c, key)
	if bytes.Equal(value, unusable) {
		value = nil
	}
	return reply{value: value}, err
}

// get is nil where there is nothing.
func get(ctx context.Context, c redis.Cmdable, key string) ([]byte, error) {
	value, err := c.Get(ctx, key).Bytes()
	if errors.Is(err, redis.Nil) {
		return nil, nil
	}
	return value, err
}

// setNew sets a key that is not there, and reports whether it was not.
func setNew(ctx context.Context, c redis.Cmdable, key string, value any, ttl time.Duration) (bool, error) {
	err := c.SetArgs(ctx, key, value, redis.SetArgs{Mode: "NX", TTL: ttl}).Err()
	if errors.Is(err, redis.Nil) {
		return false, nil
	}
	return err == nil, err
}

func (t *redisTier) plainClaim(ctx context.Context, c redis.UniversalClient, k Key, owner string, unusable []byte) (reply, error) {
	r, err := t.look(ctx, c, k, unusable)
	if err != nil || r.value != nil {
		return r, err
	}
	_, lease, marker := t.keys(k)
	if r.failure, err = get(ctx, c, marker); err != nil || r.failure != nil {
		return r, err
	}
	if r.leader, err = setNew(ctx, c, lease, owner, t.options.Lease); err != nil {
		return r, err
	}
	if r.leader { // the leader before may have published and left since the look above
		again, err := t.look(ctx, c, k, unusable)
		if err != nil || again.value == nil {
			return r, err
		}
		return again, t.plainRelease(ctx, c, k, owner, nil, 0)
	}
	r.leader, err = t.plainOwns(ctx, c, lease, owner)
	r.follower = !r.leader
	return r, err
}

func (t *redisTier) plainOwns(ctx context.Context, c redis.UniversalClient, lease, owner string) (bool, error) {
	holder, err := get(ctx, c, lease)
	return string(holder) == owner, err
}

func (t *redisTier) plainPublish(ctx context.Context, c redis.UniversalClient, k Key, owner string, sealed []byte, ttl time.Duration, over []byte) ([]byte, error) {
	key, _, _ := t.keys(k)
	stored, err := setNew(ctx, c, key, sealed, ttl)
	if err != nil {
		return nil, err
	}
	var winner []byte
	if !stored {
		if winner, err = get(ctx, c, key); err != nil {
			return nil, err
		}
		if winner == nil || bytes.Equal(winner, over) {
			winner = nil
			if err := c.Set(ctx, key, sealed, ttl).Err(); err != nil {
				return nil, err
			}
		}
	}
	return winner, t.plainRelease(ctx, c, k, owner, nil, 0)
}

func (t *redisTier) plainRenew(ctx context.Context, c redis.UniversalClient, k Key, owner string) (bool, error) {
	_, lease, _ := t.keys(k)
	held, err := setNew(ctx, c, lease, owner, t.options.Lease)
	if err != nil || held {
		return held, err
	}
	if held, err = t.plainOwns(ctx, c, lease, owner); err != nil || !held {
		return held, err
	}
	return true, c.Set(ctx, lease, owner, t.options.Lease).Err()
}

func (t *redisTier) plainRelease(ctx context.Context, c redis.UniversalClient, k Key, owner string, failure []byte, ttl time.Duration) error {
	_, lease, marker := t.keys(k)
	held, err := t.plainOwns(ctx, c, lease, owner)
	if err != nil || !held {
		return err
	}
	if failure != nil {
		if err := c.Set(ctx, marker, failure, ttl).Err(); err != nil {
			return err
		}
	}
	if err := c.Del(ctx, lease).Err(); err != nil {
		return err
	}
	if kind := kindOf(c.Publish(ctx, t.channel(k), "").Err()); isPermission(kind) { // another fault of it is none: followers poll
		t.mute(kind)
	}
	return nil
}
