package cache

import (
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
)

// contain runs the function work, and reports whether it returned. A panic is logged with its type
// (or its text, if it is a runtime error), but without its value, which may contain a secret. The
// goroutines of the package use contain, because a panic would end a process that can answer
// without Redis. The goroutines that send batches recover from panics themselves.
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
