package cache

import (
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
)

// contain runs work and reports whether it returned. A panic is logged, with its type but without
// its value, which can hold anything. Every goroutine of the package runs its work in contain,
// because a panic in a goroutine ends the process, which can answer without Redis.
func contain(log *slog.Logger, where string, work func()) (returned bool) {
	defer func() {
		if v := recover(); v != nil {
			kind := fmt.Sprintf("%T", v)
			if err, ok := v.(runtime.Error); ok {
				kind = err.Error()
			}
			log.Error("panic in the cache", "where", where, "panic", kind, "stack", string(debug.Stack()))
		}
	}()
	work()
	return true
}
