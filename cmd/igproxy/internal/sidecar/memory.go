package sidecar

import (
	"log/slog"
	"math"
	"os"
	"runtime/debug"

	"github.com/KimMachineGun/automemlimit/memlimit"

	"github.com/igproxy/igproxy/cmd/igproxy/internal/config"
)

// TuneMemory sets Go's memory limit to nine tenths of the container's limit; the rest is for what
// Go does not manage, mostly sockets. If the container has no limit, Go has no limit either.
// GOMEMLIMIT takes precedence. AUTOMEMLIMIT, a variable that package memlimit reads, can change the
// ratio.
func TuneMemory(log *slog.Logger) {
	if os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	_ = os.Unsetenv("GOMEMLIMIT") // memlimit does nothing if the variable exists, even if it is empty
	if limit, err := memlimit.Set(memlimit.WithRatio(0.9)); err == nil && limit < math.MaxInt64 {
		log.Info("memory", "limit_bytes", limit)
	}
}

// The bounds of the default of cache.max_bytes, in bytes.
const (
	leastCache = 8 << 20
	mostCache  = 64 << 20
)

// cacheBytes returns cache.max_bytes. Its default is an eighth of Go's memory limit, but at least
// leastCache and at most mostCache. An eighth leaves room for as much garbage as the cache holds,
// and for requests.
func cacheBytes(c config.Config) int64 {
	if c.Cache.MaxBytes > 0 {
		return c.Cache.MaxBytes
	}
	const readOnly = -1
	return min(max(debug.SetMemoryLimit(readOnly)/8, leastCache), mostCache)
}
