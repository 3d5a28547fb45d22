package cache

// This test bounds the allocations of a hit in memory, and those of sealing and opening an entry
// for Redis. It counts allocations, because time depends on the machine; see proxy/allocs_test.go.

import (
	"strings"
	"testing"
	"time"
)

func TestAllocationsOfHitsAndSealsAreBounded(t *testing.T) {
	keys, token := keysOf(t, "secret", "app", "scope"), strings.Repeat("IGAA", 45)
	k := keys.Derive(token)
	e := Entry{Value: make([]byte, 256), Expires: noon.Add(time.Hour)}
	in := sealed(t, k, e)
	c := newCache(t, Options{})
	c.Keep(k, Entry{Value: e.Value, Expires: time.Now().Add(time.Hour)})
	for _, of := range []struct {
		what   string
		budget float64
		f      func() bool
	}{
		{"deriving the id and the key of a token", 3, func() bool { keys.Derive(token); return true }},
		{"recalling from memory", 0, func() bool { _, ok := c.Recall(k); return ok }},
		{"sealing", 6, func() bool { _, err := seal(k, sealedValue, e); return err == nil }},
		{"opening", 5, func() bool { _, err := open(k, sealedValue, in, noon); return err == nil }},
	} {
		worked := true
		got := testing.AllocsPerRun(1, func() { worked = of.f() && worked })
		for range 300 { // use the lowest count, because under the race detector sync.Pool drops values at random
			got = min(got, testing.AllocsPerRun(1, func() { worked = of.f() && worked }))
		}
		t.Logf("%s: %v allocations", of.what, got)
		if got > of.budget || !worked {
			t.Errorf("%s: got %v allocations, want at most %v (worked: %t, want true)", of.what, got, of.budget, worked)
		}
	}
}
