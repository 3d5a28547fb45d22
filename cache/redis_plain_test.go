package cache

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"
)

// Without scripts, the look at the value and the lease are two commands: a leader may publish and leave between them. Who then gets the
// lease looks again, and gives it back.
func TestAnAnswerPublishedJustBeforeThePlainLeaseIsFound(t *testing.T) {
	var published, leased, released atomic.Bool
	addr := fakeRedis(t, func(command []string) string {
		const nothing, one = "$-1\r\n", ":1\r\n"
		key := command[len(command)-1]
		switch strings.ToUpper(command[0]) {
		case "HELLO":
			return unknownCommand
		case "GET":
			switch {
			case strings.HasSuffix(key, ":v") && published.Load():
				return "$6\r\nsealed\r\n"
			case strings.HasSuffix(key, ":l") && leased.Load():
				return "$2\r\nme\r\n"
			}
			return nothing
		case "SET": // of the lease
			published.Store(true)
			leased.Store(true)
			return "+OK\r\n"
		case "DEL":
			released.Store(leased.Load())
			return one
		case "PUBLISH":
			return one
		}
		return "+OK\r\n"
	})
	c := fleet(t, RedisOptions{Mode: ModeSingle, URL: "redis://" + addr}, nil)
	client := redis.NewClient(&redis.Options{Addr: addr, Protocol: 2, DisableIdentity: true})
	defer client.Close()
	r, err := c.redis.plainClaim(context.Background(), client, keyOf(t, "token"), "me", nil)
	if err != nil || r.leader || r.follower || string(r.value) != "sealed" || !released.Load() {
		t.Errorf("got %+v, %v, lease given back: %v; want the answer, and no lease kept", r, err, released.Load())
	}
}
