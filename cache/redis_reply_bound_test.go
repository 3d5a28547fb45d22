package cache

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestGuardRefusesOnlyOversizedReplies(t *testing.T) {
	bulk := func(n int) string { return fmt.Sprintf("$%d\r\n%s\r\n", n, strings.Repeat("$", n)) }
	for name, c := range map[string]struct {
		replies string
		allowed bool
	}{
		"a simple string":              {"+9999999999999\r\n", true},
		"an error":                     {"-ERR 9999999999999\r\n", true},
		"a number":                     {":9999999999999\r\n", true},
		"no value":                     {"$-1\r\n*-1\r\n", true},
		"a string like a header":       {"$16\r\n$99999999999999\n\r\n+OK\r\n", true},
		"the largest value":            {bulk(16<<20) + "+OK\r\n", true},
		"many large values":            {strings.Repeat(bulk(16<<20), 4), true},
		"a claim's reply":              {"*3\r\n$5\r\nowner\r\n$5\r\nvalue\r\n" + bulk(70_000) + bulk(3), true},
		"the slots of a large cluster": {"*1000\r\n" + strings.Repeat("*3\r\n:0\r\n:1\r\n*3\r\n$1\r\na\r\n:1\r\n$1\r\nb\r\n", 1000) + "+OK\r\n", true},
		"RESP3":                        {"%2\r\n+a\r\n#t\r\n+b\r\n_\r\n>2\r\n+c\r\n,1.5\r\n~1\r\n(99999999999999999999\r\n=7\r\ntxt:abc\r\n", true},
		"a string of 30 GB":            {"$30000000000\r\n", false},
		"a length that overflows":      {"$18446744073709551617\r\n", false},
		"an array of 30 G members":     {"*30000000000\r\n", false},
		"a map":                        {"%30000000000\r\n", false},
		"arrays in arrays":             {strings.Repeat("*100000\r\n", 10), false},
		"large strings in one array":   {"*3\r\n" + bulk(16<<20) + bulk(16<<20) + "$100\r\n", false},
		"a large error (RESP3)":        {"!30000000000\r\n", false},
		"after a good one":             {"+OK\r\n" + bulk(10) + "$30000000000\r\n", false},
	} {
		t.Run(name, func(t *testing.T) {
			for _, piece := range []int{1, 7, 4096, len(c.replies)} { // sizes of the pieces that arrive
				if piece == 1 && len(c.replies) > 1<<20 {
					continue
				}
				var g guard
				for rest := c.replies; rest != ""; {
					n := min(piece, len(rest))
					g.follow([]byte(rest[:n]))
					rest = rest[n:]
				}
				if g.refuses() == c.allowed {
					t.Errorf("in pieces of %d: refused %v, want %v", piece, g.refuses(), !c.allowed)
				}
			}
		})
	}
}

// Regression test: some of these replies ended the process.
func TestReplyOfAnyAnnouncedLengthIsOnlyAFault(t *testing.T) {
	for _, reply := range []string{"$9223372036854775806\r\n", "$30000000000\r\n", "*30000000000\r\n", "%4611686018427387904\r\n", strings.Repeat("*100000\r\n", 100)} {
		addr := fakeRedis(t, always(reply))
		c, r := over(t, RedisOptions{Addrs: []string{addr}, Timeout: patient, StoreTimeout: patient})
		if _, _, err := c.redis.readMarks(t.Context(), []*Purges{newTestPurges(t, "secret")}); err == nil || errors.Unwrap(err) != nil || !strings.Contains(err.Error(), kindDesync) {
			t.Errorf("%.30q: got %v", reply, err)
		}
		if misses(t, c, "claim", 1) > time.Second || r.of("fault claim desync") != 1 {
			t.Errorf("%.30q: counted %v", reply, r.all())
		}
	}
}
