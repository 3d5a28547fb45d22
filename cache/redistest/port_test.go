package redistest_test

import (
	"net"
	"os/exec"
	"strconv"
	"testing"

	"github.com/igproxy/igproxy/cache/redistest"
)

// A child process has a copy of every socket of its parent until it executes its program. If
// FreePort listened on a port to test it, such a copy could still occupy the port that FreePort
// returns.
func TestFreePortIsFreeWhileProcessesStart(t *testing.T) {
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() { // ends with the test
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				_ = exec.CommandContext(t.Context(), "true").Run()
			}
		}
	}()
	defer func() { close(stop); <-stopped }()
	for range 2000 {
		l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(redistest.FreePort(t)))
		if err != nil {
			t.Fatal(err)
		}
		_ = l.Close()
	}
}
