package cache

import (
	"testing"

	"go.uber.org/goleak"
)

// When the number of failed dials has reached the size of the pool, go-redis dials in a background
// goroutine. That goroutine may continue for more than a second after the pool is closed, so it is
// not reported as a leak.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}
