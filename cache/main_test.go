package cache

import (
	"testing"

	"go.uber.org/goleak"
)

// After as many failed dials as its size, a connection pool of go-redis dials in a goroutine of its
// own. That goroutine may still run for a second after the pool is closed.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}
