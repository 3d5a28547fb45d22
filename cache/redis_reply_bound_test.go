package cache

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
)

func bulk(n int) string { return fmt.Sprintf("$%d\r\n%s\r\n", n, strings.Repeat("$", n)) }

// slots returns a reply to CLUSTER SLOTS, as Redis 7 sends it to a client that speaks RESP2.
func slots(ranges int) string {
	node := "*4\r\n$12\r\n10.100.200.1\r\n:6379\r\n$40\r\n" + strings.Repeat("0", 40) + "\r\n*0\r\n"
	return fmt.Sprintf("*%d\r\n", ranges) + strings.Repeat("*5\r\n:10000\r\n:10001\r\n"+node+node+node, ranges)
}

// Replies beyond the bounds or of an unexpected form are refused, and replies just within the
// bounds are not.
func TestReplyBoundRefusesOnlyOversizedOrUnexpectedReplies(t *testing.T) {
	nested := func(depth int) string { return strings.Repeat("*1\r\n", depth) + "+a\r\n" }
	for name, c := range map[string]struct {
		replies string
		allowed bool
	}{
		"a simple string":                {"+9999999999999\r\n", true},
		"an error":                       {"-ERR 9999999999999\r\n", true},
		"a number":                       {":9999999999999\r\n", true},
		"no value":                       {"$-1\r\n*-1\r\n*2\r\n$-1\r\n*-1\r\n", true},
		"a string like a header":         {"$16\r\n$99999999999999\n\r\n+OK\r\n", true},
		"an empty string and array":      {"$0\r\n\r\n*0\r\n*2\r\n*0\r\n$0\r\n\r\n+OK\r\n", true},
		"the largest string":             {bulk(maxReply-len("$1048565\r\n\r\n")) + "+OK\r\n", true},
		"many large strings, one by one": {strings.Repeat(bulk(maxReply/2), 4), true},
		"a claim's reply":                {"*3\r\n$5\r\nowner\r\n$5\r\nvalue\r\n" + bulk(70_000) + bulk(3), true},
		"200 ranges of slots, not in reply to CLUSTER SLOTS": {slots(200) + "+OK\r\n", true},
		"the purges of an app":                               {fmt.Sprintf("*%d\r\n", maxRead) + strings.Repeat(bulk(77), maxRead), true},
		"arrays four deep":                                   {nested(4) + nested(4), true},
		"64 members in an array":                             {"*1\r\n*64\r\n" + strings.Repeat(":1\r\n", 64) + "+OK\r\n", true},
		"the longest line":                                   {"+" + strings.Repeat("x", maxLine-3) + "\r\n+OK\r\n", true},

		"a string beyond the bound":                          {fmt.Sprintf("$%d\r\n", maxReply), false},
		"a string of 30 GB":                                  {"$30000000000\r\n", false},
		"a length that overflows":                            {"$18446744073709551617\r\n", false},
		"a length of 1000 zeros":                             {"$" + strings.Repeat("0", 1000) + "\r\n", false},
		"an array of 30 G members":                           {"*30000000000\r\n", false},
		"1001 members in the outer array":                    {"*1001\r\n", false},
		"300 ranges of slots, not in reply to CLUSTER SLOTS": {slots(300), false},
		"many empty arrays":                                  {"*1000\r\n" + strings.Repeat("*64\r\n"+strings.Repeat("*0\r\n", 64), 1000), false},
		"65 members in an inner array":                       {"*1\r\n*65\r\n", false},
		"arrays five deep":                                   {nested(5), false},
		"large strings in one array":                         {"*2\r\n" + bulk(maxReply/2) + fmt.Sprintf("$%d\r\n", maxReply/2), false},
		"many small members":                                 {"*1000\r\n" + strings.Repeat("*64\r\n"+strings.Repeat(":1\r\n", 64), 1000), false},
		"an empty line":                                      {"\n", false},
		"NUL bytes":                                          {strings.Repeat("\x00", maxReply+1), false},
		"a line beyond the bound":                            {"+" + strings.Repeat("x", maxLine), false},
		"a large reply after a good one":                     {"+OK\r\n" + bulk(10) + "$30000000000\r\n", false},
		"a string of unknown length":                         {"$?\r\n;4\r\nabcd\r\n;0\r\n", false},
		"an array of unknown length":                         {"*?\r\n:1\r\n.\r\n", false},
		"a negative length":                                  {"$-2\r\n", false},
		"a length with a sign":                               {"$+5\r\nabcde\r\n", false},
		"a length of -1 with more digits":                    {"$-10\r\n", false},
		"no length":                                          {"$\r\n", false},
		"a length without CR":                                {"$5\nabcde\r\n", false},
		"a CR within a length":                               {"$1\r0\r\n", false},
		"RESP3: a map":                                       {"%1\r\n+a\r\n+b\r\n", false},
		"RESP3: a large map":                                 {"%30000000000\r\n", false},
		"RESP3: a set":                                       {"~1\r\n+a\r\n", false},
		"RESP3: a push":                                      {">1\r\n+a\r\n", false},
		"RESP3: attributes":                                  {"|1\r\n+a\r\n+b\r\n+OK\r\n", false},
		"RESP3: a verbatim string":                           {"=7\r\ntxt:abc\r\n", false},
		"RESP3: an error as a string":                        {"!30000000000\r\n", false},
	} {
		t.Run(name, func(t *testing.T) {
			for _, piece := range []int{1, 7, 4096, len(c.replies)} { // sizes of the pieces that arrive
				if got := admitted(c.replies, piece); (got == len(c.replies)) != c.allowed {
					t.Errorf("in pieces of %d bytes: admitted %d of %d bytes; want all bytes admitted: %v", piece, got, len(c.replies), c.allowed)
				}
			}
		})
	}
}

// The one-line replies of RESP3 announce no length, so replyBound lets them pass. The library can
// read them, and it refuses lines of an unknown kind.
func TestReplyBoundPassesLinesOfAnyKind(t *testing.T) {
	const lines = "#t\r\n_\r\n,1.5\r\n(99999999999999999999\r\n\x15\x03\r\n"
	if got := admitted(lines, len(lines)); got != len(lines) {
		t.Errorf("admitted %d of %d bytes, want all", got, len(lines))
	}
}

// The reply to CLUSTER SLOTS has its own bounds. They apply only to the reply to this command, and
// not to later replies on the same connection.
func TestSlotsOfALargeClusterAreRead(t *testing.T) {
	for replies, want := range map[string]bool{slots(2500): true, slots(2600): false, "*16384\r\n": true, "*16385\r\n": false} {
		for _, asked := range []string{string(askSlots), "*1\r\n$4\r\nping\r\n"} {
			c := &boundedConn{Conn: newReplayed([]byte(replies))}
			_, _ = c.Write(askSlots)
			_, _ = c.Write([]byte(asked))
			_, err := io.ReadAll(c)
			if got := err == nil; got != (want && asked == string(askSlots)) {
				t.Errorf("the reply %.10q of %d bytes to the command %.40q: got the error %v, want the reply accepted: %v", replies, len(replies), asked, err, !got)
			}
		}
	}
}

// admitted returns how many bytes pass when they arrive in pieces of this size.
func admitted(replies string, piece int) int {
	var g replyBound
	for at := 0; at < len(replies); at += piece {
		if g.admit([]byte(replies[at:min(at+piece, len(replies))])) != nil {
			return at
		}
	}
	return len(replies)
}

// Regression test: some of these replies ended the process. Each is tested twice: as the reply to
// every command except HELLO, which is refused, and as the reply to every command.
func TestOversizedReplyIsAFaultAndNotACrash(t *testing.T) {
	for _, reply := range []string{"$9223372036854775806\r\n", "$2000000000\r\nabc\r\n", "*1000000000000\r\n", "%4611686018427387904\r\n", strings.Repeat("*16384\r\n", 100),
		"+" + strings.Repeat("x", 2<<20) + "\r\n"} {
		for _, replyTo := range []func([]string) string{always(reply), func([]string) string { return reply }} {
			addr := fakeRedis(t, replyTo)
			c, r := over(t, RedisOptions{Addrs: []string{addr}, Timeout: patient, StoreTimeout: patient})
			if _, _, err := c.redis.readMarks(t.Context(), []*Purges{newTestPurges(t, "secret")}); err == nil || errors.Unwrap(err) != nil || !strings.Contains(err.Error(), kindOversize) {
				t.Errorf("%.30q: got %v, want a fault of kind %s", reply, err, kindOversize)
			}
			if took := misses(t, c, "claim", 1); took > time.Second || r.of("fault claim oversize") != 1 {
				t.Errorf("%.30q: the claim took %v, want at most 1s; counted %v, want one fault of the claim, of kind %s", reply, took, r.all(), kindOversize)
			}
		}
	}
}
