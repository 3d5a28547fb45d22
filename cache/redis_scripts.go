package cache

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"
)

// The scripts. KEYS are value, lease, failure marker; ARGV[1] is the owner, which each reply repeats: an answer to another question,
// which a connection out of step hands out, is found out at once. Replies are {owner, word, what goes with the word, mute}, of which
// the last is whether followers could not be told.
const (
	// tell wakes those who follow. A user that may not PUBLISH stores all the same.
	tell = `
local told = redis.pcall('PUBLISH', string.sub(KEYS[1], 1, -2) .. 'c', '')
local mute = type(told) == 'table' and 'mute' or ''`
)

var (
	// claim: ARGV[2] lease in ms, ARGV[3] a value that does not open and counts as absent (or empty).
	claimScript = redis.NewScript(`
local v = redis.call('GET', KEYS[1])
if v and v ~= ARGV[3] then return {ARGV[1], 'value', v} end
local f = redis.call('GET', KEYS[3])
if f then return {ARGV[1], 'failure', f} end
if redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2]) then return {ARGV[1], 'leader'} end
if redis.call('GET', KEYS[2]) == ARGV[1] then return {ARGV[1], 'leader'} end
return {ARGV[1], 'follower'}`)

	// publish: ARGV[2] the sealed value, ARGV[3] its TTL in ms, ARGV[4] a value it may replace (or empty). A failure told before is past.
	publishScript = redis.NewScript(`
if redis.call('GET', KEYS[2]) == ARGV[1] then redis.call('DEL', KEYS[2]) end
local v = redis.call('GET', KEYS[1])
if v and v ~= ARGV[4] then return {ARGV[1], 'lost', v} end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
redis.call('DEL', KEYS[3])` + tell + `
return {ARGV[1], 'stored', '', mute}`)

	// renew: ARGV[2] lease in ms. A lease that got lost (a flush, a fail-over) is taken anew.
	renewScript = redis.NewScript(`
local o = redis.call('GET', KEYS[2])
if o and o ~= ARGV[1] then return {ARGV[1], 'gone'} end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
return {ARGV[1], 'held'}`)

	// release: ARGV[2] a sealed failure (or empty), ARGV[3] its TTL in ms. Only the owner of the lease may tell of a failure.
	releaseScript = redis.NewScript(`
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return {ARGV[1], 'gone'} end
redis.call('DEL', KEYS[2])
if ARGV[2] ~= '' then redis.call('SET', KEYS[3], ARGV[2], 'PX', ARGV[3]) end` + tell + `
return {ARGV[1], 'done', '', mute}`)
)

// errDesync is a reply to somebody else's question, or none that a script of ours gives.
var errDesync = errors.New("redis: an answer to another question")

// run asks by EVALSHA, and by EVAL where the script is not known (the first time, after SCRIPT FLUSH or a fail-over).
func (t *redisTier) run(ctx context.Context, c redis.UniversalClient, s *redis.Script, k Key, owner string, args ...any) (word string, rest []byte, err error) {
	value, lease, failure := t.keys(k)
	reply, err := s.Run(ctx, c, []string{value, lease, failure}, append([]any{owner}, args...)...).Result()
	if err != nil {
		return "", nil, err
	}
	list, _ := reply.([]any)
	if len(list) < 2 || list[0] != owner {
		return "", nil, errDesync
	}
	word, _ = list[1].(string)
	if len(list) > 2 {
		text, _ := list[2].(string)
		rest = []byte(text)
	}
	if len(list) > 3 && list[3] == "mute" {
		t.mute(kindPermission + "_publish")
	}
	return word, rest, nil
}

func (t *redisTier) scriptedClaim(ctx context.Context, c redis.UniversalClient, k Key, owner string, unusable []byte) (reply, error) {
	word, rest, err := t.run(ctx, c, claimScript, k, owner, t.lease().Milliseconds(), unusable)
	switch {
	case err != nil:
		return reply{}, err
	case word == "value" && rest != nil:
		return reply{value: rest}, nil
	case word == "failure" && rest != nil:
		return reply{failure: rest}, nil
	case word == "leader":
		return reply{leader: true}, nil
	case word == "follower":
		return reply{follower: true}, nil
	}
	return reply{}, errDesync
}

func (t *redisTier) scriptedPublish(ctx context.Context, c redis.UniversalClient, k Key, owner string, sealed []byte, ttl time.Duration, over []byte) ([]byte, error) {
	word, winner, err := t.run(ctx, c, publishScript, k, owner, sealed, ttl.Milliseconds(), over)
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

func (t *redisTier) scriptedRenew(ctx context.Context, c redis.UniversalClient, k Key, owner string) (bool, error) {
	word, _, err := t.run(ctx, c, renewScript, k, owner, t.lease().Milliseconds())
	if err == nil && word != "held" && word != "gone" {
		err = errDesync
	}
	return word == "held", err
}

func (t *redisTier) scriptedRelease(ctx context.Context, c redis.UniversalClient, k Key, owner string, failure []byte, ttl time.Duration) error {
	word, _, err := t.run(ctx, c, releaseScript, k, owner, failure, ttl.Milliseconds())
	if err == nil && word != "done" && word != "gone" {
		err = errDesync
	}
	return err
}

// lease is never 0 in a script, also not in a check of one whose coalescing is off.
func (t *redisTier) lease() time.Duration { return cmp.Or(t.options.Lease, time.Second) }
