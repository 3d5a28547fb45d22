package cache

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"
)

// check tries every Redis command that igproxy needs. The error names the kind of fault and the
// next step. If permissions are missing, the error names all of them. In mode cluster the client
// sends CLUSTER SLOTS first. If Redis denies CLUSTER SLOTS, every command fails with the error of
// CLUSTER SLOTS.
func (t *redisTier) check(ctx context.Context) error {
	if err := t.checkSentinels(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, max(t.options.Timeout, t.options.StoreTimeout))
	defer cancel()
	value, set := t.name("check", "v"), t.name("check", "p")
	client, script := t.client.Load(), "return redis.call('GET', KEYS[1])"
	firstKind, keys, missing := "", "", []string{}
	commands := [][]any{
		{"ping"}, {"set", value, "check", "px", 1000}, {"get", value}, {"del", value},
		{"eval", script, 1, value}, {"evalsha", redis.NewScript(script).Hash(), 1, value},
		{"time"}, {"zadd", set, 1, "check"}, {"pexpire", set, 1000}, {"zrange", set, 0, 1}, {"zrem", set, "check"},
	}
	if t.options.Mode == ModeCluster {
		commands = slices.Insert(commands, 0, []any{"asking"}) // the client sends it while a slot moves
	}
	for _, command := range commands {
		err := client.Do(ctx, command...).Err()
		if command[0] == "eval" || command[0] == "evalsha" {
			err = scriptError(err)
		}
		switch kind := kindOf(err); {
		case err == nil, errors.Is(err, redis.Nil):
			continue
		case kind == kindPermission && permissionOfKeys(err):
			keys = "~" + t.options.Prefix + ":*"
		case kind == kindPermission && strings.Contains(err.Error(), "'cluster"):
			return fmt.Errorf("%s: Redis denies what igproxy needs; if Redis has an access list, give the user +cluster|slots; "+
				"without it nothing else can be tested", kind)
		case kind == kindPermission, kind == kindNoScript:
			missing = append(missing, "+"+command[0].(string))
		case command[0] == "evalsha" && redis.HasErrorPrefix(err, "NOSCRIPT"):
			continue // EVAL was denied, so the script was not loaded
		default:
			return fmt.Errorf("%s: %s", kind, t.options.advice(kind, err))
		}
		if firstKind == "" {
			firstKind = kindOf(err)
		}
	}
	if keys != "" {
		missing = slices.Insert(missing, 0, keys)
	}
	if len(missing) == 0 {
		return nil
	}
	return fmt.Errorf("%s: Redis denies what igproxy needs; if Redis has an access list, give the user %s", firstKind, strings.Join(missing, " "))
}

// checkSentinels asks one sentinel after another for the address of the master, until one returns
// it. The time for this does not count against the timeout of check, so check succeeds even if some
// of the sentinels hang. (A running sidecar also reaches a working sentinel, after a few attempts,
// because a sentinel that did not answer is asked last the next time.) In modes other than
// sentinel, checkSentinels does nothing.
func (t *redisTier) checkSentinels(ctx context.Context) error {
	s := t.client.Load().sentinels
	if s == nil {
		return nil
	}
	_, err := s.find(ctx)
	if err == nil {
		return nil
	}
	kind := kindOf(err)
	return fmt.Errorf("%s: %s", kind, t.options.advice(kind, err))
}
