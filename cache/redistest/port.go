package redistest

import (
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"syscall"
	"testing"
)

// Ports are below the range that Linux uses for outgoing connections, so that no such connection
// takes the port of a server that has not started yet or is being restarted.
const (
	lowestPort  = 10000
	highestPort = 32000
	busDistance = 10000 // from the port of a cluster node to its bus port
)

var (
	portsMu sync.Mutex
	ports   = map[int]bool{} // the ports that freePort has reserved; portsMu protects the map
)

// FreePort returns a free loopback port that it has not returned before in this process.
func FreePort(t testing.TB) int {
	t.Helper()
	return freePort(t, 0)
}

// freePort returns a free port and reserves it. If distance is not 0, the port that far above it is
// free, too, and is also reserved. Reserved ports are never returned again.
func freePort(t testing.TB, distance int) int {
	t.Helper()
	portsMu.Lock()
	defer portsMu.Unlock()
	for range 1000 {
		port := lowestPort + rand.IntN(highestPort-lowestPort-distance)
		other := port + distance
		if !ports[port] && !ports[other] && isFree(port) && isFree(other) {
			ports[port], ports[other] = true, true
			return port
		}
	}
	t.Fatal("no free port")
	return 0
}

// isFree reports whether no server listens on the port. It connects instead of listening, because a
// child process that starts at that moment would keep the listening socket until it executes its
// program.
func isFree(port int) bool {
	c, err := net.Dial("tcp", "127.0.0.1:"+strconv.Itoa(port))
	if err != nil {
		return errors.Is(err, syscall.ECONNREFUSED)
	}
	_ = c.Close()
	return false
}
