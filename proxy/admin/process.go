package admin

import (
	"runtime"
	"runtime/metrics"
	"time"
)

// Process is the state of the Go runtime.
type Process struct {
	UptimeSeconds float64 `json:"uptime_seconds"`
	Goroutines    uint64  `json:"goroutines"`
	HeapBytes     uint64  `json:"heap_bytes"`   // live objects, and dead ones not yet collected
	MemoryBytes   uint64  `json:"memory_bytes"` // all that the Go runtime has mapped
	Processors    int     `json:"processors"`   // GOMAXPROCS
}

func readProcess(uptime time.Duration) Process {
	read := []metrics.Sample{{Name: "/sched/goroutines:goroutines"}, {Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/total:bytes"}}
	metrics.Read(read)
	return Process{UptimeSeconds: uptime.Seconds(), Goroutines: read[0].Value.Uint64(), HeapBytes: read[1].Value.Uint64(),
		MemoryBytes: read[2].Value.Uint64(), Processors: runtime.GOMAXPROCS(0)}
}
