package graph

import (
	"slices"
	"testing"
)

// Any error of Meta has one of the classes that mean that Meta was asked.
func TestEveryErrorOfMetaHasAClassOfItsOwn(t *testing.T) {
	all := []Class{ClassToken, ClassStanding, ClassSecret, ClassRefused, ClassAppLimit, ClassUserLimit, ClassTransient}
	for code := -10; code < 100_000; code++ {
		for _, status := range []int{400, 403, 429, 500, 503} {
			if c := classify(&Error{Code: code, Status: status, Message: "x"}); !slices.Contains(all, c) {
				t.Fatalf("code %d, status %d is %q", code, status, c)
			}
		}
	}
}
