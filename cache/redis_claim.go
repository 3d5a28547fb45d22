package cache

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"
)

// The scripts. KEYS are the value, the lease and the failure marker, which is the sealed failure of
// the lease's last owner. ARGV[1] is the owner, the random name of a claim. If a connection is out
// of step, its replies belong to other commands. To detect this, every reply repeats the owner. A
// reply is {owner, word} or {owner, word, payload}.
var (
	// ARGV[2]: the duration of the lease in ms. ARGV[3]: an unusable value, which counts as absent;
	// empty: every stored value is usable.
	claimScript = redis.NewScript(`
local v = redis.call('GET', KEYS[1])
if v and v ~= ARGV[3] then return {ARGV[1], 'value', v} end
local f = redis.call('GET', KEYS[3])
if f then return {ARGV[1], 'failure', f} end
if redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2]) then return {ARGV[1], 'leader'} end
if redis.call('GET', KEYS[2]) == ARGV[1] then return {ARGV[1], 'leader'} end
return {ARGV[1], 'follower'}`)

	// ARGV[2]: the sealed value. ARGV[3]: its TTL in ms. ARGV[4]: the stored value that may be
	// replaced; empty: no stored value may be replaced. The failure marker is deleted, because it
	// is out of date.
	publishScript = redis.NewScript(`
if redis.call('GET', KEYS[2]) == ARGV[1] then redis.call('DEL', KEYS[2]) end
local v = redis.call('GET', KEYS[1])
if v and v ~= ARGV[4] then return {ARGV[1], 'lost', v} end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
redis.call('DEL', KEYS[3])
return {ARGV[1], 'stored'}`)

	// ARGV[2]: the duration of the lease in ms. A lease that was lost in a flush or a failover is
	// taken again.
	renewScript = redis.NewScript(`
local o = redis.call('GET', KEYS[2])
if o and o ~= ARGV[1] then return {ARGV[1], 'gone'} end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
return {ARGV[1], 'held'}`)

	// ARGV[2]: a sealed failure, or empty. ARGV[3]: its TTL in ms. Only the owner of the lease may
	// store a failure.
	releaseScript = redis.NewScript(`
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return {ARGV[1], 'gone'} end
redis.call('DEL', KEYS[2])
if ARGV[2] ~= '' then redis.call('SET', KEYS[3], ARGV[2], 'PX', ARGV[3]) end
return {ARGV[1], 'done'}`)
)

// errDesync is the error for a reply that belongs to another command, or that has an unexpected
// form.
var errDesync = errors.New("redis: a reply to another command")

// read returns the sealed value of a key, or nil if the key does not exist.
func (t *redisTier) read(ctx context.Context, k Key) (sealed []byte, err error) {
	err = t.do(ctx, "load", t.options.Timeout, func(ctx context.Context, c *client) error {
		value, _, _ := t.keys(k)
		sealed, err = get(ctx, c, value)
		return err
	})
	return sealed, err
}

// claim asks for the value, for the failure marker or, if neither exists, for the lease, in one
// round trip. Without scripts, it asks only for the value. The parameter unusable is a value that
// counts as absent.
func (t *redisTier) claim(ctx context.Context, k Key, owner string, unusable []byte) (r reply, err error) {
	err = t.do(ctx, "claim", t.options.Timeout, func(ctx context.Context, c *client) error {
		if t.scripted() {
			r, err = t.scriptedClaim(ctx, c, k, owner, unusable)
			return err
		}
		value, _, _ := t.keys(k)
		r.value, err = get(ctx, c, value)
		if bytes.Equal(r.value, unusable) {
			r.value = nil
		}
		return err
	})
	return r, err
}

// publish stores a sealed value and ends the owner's lease. It replaces a stored value only if that
// value equals the parameter over. Any other stored value wins: publish leaves it in Redis and
// returns it. In the same round trip, publish writes into the index; see sealedIndex.
func (t *redisTier) publish(k Key, owner string, sealed []byte, ttl time.Duration, over []byte, index sealedIndex) (winner []byte, err error) {
	err = t.do(context.Background(), "publish", t.options.StoreTimeout, func(ctx context.Context, c *client) error {
		if t.scripted() {
			winner, err = t.scriptedPublish(ctx, c, k, owner, sealed, ttl, over, index)
		} else {
			winner, err = t.plainPublish(ctx, c, k, sealed, ttl, over, index)
		}
		return err
	})
	return winner, err
}

// renew restores the full time of the owner's lease, and takes the lease again if it is free. It
// reports whether the owner holds the lease.
func (t *redisTier) renew(k Key, owner string) (held bool, err error) {
	budget := min(t.options.StoreTimeout, t.options.Lease/3)
	err = t.do(context.Background(), "renew", budget, func(ctx context.Context, c *client) error {
		if !t.scripted() {
			return nil // without scripts, the lease is not held
		}
		word, _, err := t.run(ctx, c, renewScript, k, owner, t.options.Lease.Milliseconds())
		if err == nil && word != "held" && word != "gone" {
			err = errDesync
		}
		held = word == "held"
		return err
	})
	return held, err
}

// release ends the owner's lease. The parameter failure is a sealed failure to store for the
// followers, or empty.
func (t *redisTier) release(k Key, owner string, failure []byte, ttl time.Duration) error {
	return t.do(context.Background(), "release", t.options.StoreTimeout, func(ctx context.Context, c *client) error {
		if !t.scripted() {
			return nil // the lease expires by itself
		}
		word, _, err := t.run(ctx, c, releaseScript, k, owner, failure, ttl.Milliseconds())
		if err == nil && word != "done" && word != "gone" {
			err = errDesync
		}
		return err
	})
}

// run calls a script and returns the word and the payload of its reply.
func (t *redisTier) run(ctx context.Context, c *client, s *redis.Script, k Key, owner string, args ...any) (word string, payload []byte, err error) {
	value, lease, failure := t.keys(k)
	reply, err := c.run(ctx, s, []string{value, lease, failure}, append([]any{owner}, args...))
	return readReply(reply, err, owner)
}

// readReply returns the word and the payload of the reply to a script.
func readReply(reply any, err error, owner string) (word string, payload []byte, _ error) {
	if err != nil {
		return "", nil, scriptError(err)
	}
	list, _ := reply.([]any)
	if len(list) < 2 || list[0] != owner {
		return "", nil, errDesync
	}
	word, _ = list[1].(string)
	if len(list) > 2 {
		text, _ := list[2].(string)
		payload = []byte(text)
	}
	return word, payload, nil
}

func (t *redisTier) scriptedClaim(ctx context.Context, c *client, k Key, owner string, unusable []byte) (reply, error) {
	word, payload, err := t.run(ctx, c, claimScript, k, owner, t.options.Lease.Milliseconds(), unusable)
	switch {
	case err != nil:
		return reply{}, err
	case word == "value" && payload != nil:
		return reply{value: payload}, nil
	case word == "failure" && payload != nil:
		return reply{failure: payload}, nil
	case word == "leader":
		return reply{leader: true}, nil
	case word == "follower":
		return reply{follower: true}, nil
	}
	return reply{}, errDesync
}

func (t *redisTier) scriptedPublish(ctx context.Context, c *client, k Key, owner string, sealed []byte, ttl time.Duration, over []byte, index sealedIndex) ([]byte, error) {
	value, lease, failure := t.keys(k)
	keys, args := []string{value, lease, failure}, []any{owner, sealed, ttl.Milliseconds(), over}
	store := t.indexing(c, index, ttl)
	stored := publishScript.EvalSha(ctx, store, keys, args...)
	store.exec(ctx, stored)
	reply, err := stored.Result()
	if redis.HasErrorPrefix(err, "NOSCRIPT") {
		reply, err = publishScript.Eval(ctx, c, keys, args...).Result()
	}
	word, winner, err := readReply(reply, err, owner)
	switch {
	case err != nil:
		return nil, err
	case word == "stored":
		return nil, nil
	case word == "lost" && winner != nil:
		return winner, nil
	}
	return nil, errDesync
}

// plainPublish stores a value without a script. It is not atomic, so it can overwrite a value that
// another process stores meanwhile. No process can get a wrong entry, because entries are sealed.
func (t *redisTier) plainPublish(ctx context.Context, c *client, k Key, sealed []byte, ttl time.Duration, over []byte, index sealedIndex) (winner []byte, err error) {
	key, _, _ := t.keys(k)
	store := t.indexing(c, index, ttl)
	stored := store.SetArgs(ctx, key, sealed, redis.SetArgs{Mode: "NX", TTL: ttl})
	store.exec(ctx, stored)
	if err = stored.Err(); !errors.Is(err, redis.Nil) { // stored, or failed
		return nil, err
	}
	if winner, err = get(ctx, c, key); err != nil || winner != nil && !bytes.Equal(winner, over) {
		return winner, err
	}
	return nil, c.Set(ctx, key, sealed, ttl).Err()
}

// get returns the value of a key, or nil if the key does not exist.
func get(ctx context.Context, c redis.Cmdable, key string) ([]byte, error) {
	value, err := c.Get(ctx, key).Bytes()
	if errors.Is(err, redis.Nil) {
		return nil, nil
	}
	return value, err
}
