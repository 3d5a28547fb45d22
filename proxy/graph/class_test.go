package graph_test

import (
	"slices"
	"testing"

	"github.com/igproxy/igproxy/proxy/graph"
)

// Every error from Meta gets one of the seven classes in this test. The other classes are for calls
// without a usable response, and for igproxy's own errors.
func TestEveryErrorFromMetaIsClassified(t *testing.T) {
	all := []graph.Class{graph.ClassToken, graph.ClassStanding, graph.ClassSecret, graph.ClassRefused, graph.ClassAppLimit, graph.ClassUserLimit, graph.ClassTransient}
	for code := -10; code < 100_000; code++ {
		for _, status := range []int{400, 403, 429, 500, 503} {
			if c := graph.Classify(&graph.Error{Code: code, Status: status, Message: "x"}); !slices.Contains(all, c) {
				t.Fatalf("code %d, status %d: got class %q, want one of %v", code, status, c, all)
			}
		}
	}
}
