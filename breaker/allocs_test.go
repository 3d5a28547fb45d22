package breaker_test

import (
	"testing"

	"github.com/igproxy/igproxy/breaker"
)

// This test counts allocations, because time depends on the machine; see proxy/allocs_test.go.
func TestACallThroughTheBreakerAllocatesOnce(t *testing.T) {
	g, err := breaker.New(options())
	if err != nil {
		t.Fatal(err)
	}
	if got := testing.AllocsPerRun(500, func() { err = g.Do(returning(breaker.Success)) }); got > 1 || err != nil {
		t.Errorf("got %v allocations, want at most 1; got the error %v, want nil", got, err)
	}
}
