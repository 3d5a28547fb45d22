package cache

import (
	"strings"
	"testing"
)

// Regression test: a sentinel that replied with too few members made the library panic in one
// of its goroutines.
func TestWrongReplyOfASentinelIsAFaultAndNotACrash(t *testing.T) {
	for _, reply := range []string{"*0\r\n", "*1\r\n$1\r\na\r\n", "*2\r\n$-1\r\n$-1\r\n", "*3\r\n:1\r\n:2\r\n:3\r\n", "$-1\r\n", "+OK\r\n",
		"$9000000000000000000\r\n", "*1000000000000\r\n", "%1000000000000\r\n", "*3\r\n+message\r\n+\\+switch-master\r\n+mymaster\r\n"} {
		liar := fakeRedis(t, func([]string) string { return reply })
		r := &recorder{}
		c := newCache(t, Options{Observer: r, Redis: &RedisOptions{Mode: ModeSentinel, Addrs: []string{liar, liar}, MasterName: "mymaster", Timeout: patient, StoreTimeout: patient}})
		misses(t, c, "claim", 1)
		faults := 0
		for what, n := range r.all() {
			if strings.HasPrefix(what, "fault claim") {
				faults += n
			}
		}
		if faults != 1 {
			t.Errorf("%q: counted %v, want one fault of the claim", reply, r.all())
		}
	}
}
