package cache

import (
	"testing"

	"go.uber.org/goleak"
)

// After as many failed dials as its size, a pool of the library dials in a goroutine, which ends up
// to a second after the pool is closed.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}
