package cache

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"runtime/metrics"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// FuzzReplyBound compares replyBound with a recursive parser, and with the library's reader.
// Replies within the bounds pass, and the library reads them exactly as it would without
// replyBound. Nothing larger reaches the reader, so its allocations are bounded.
func FuzzReplyBound(f *testing.F) {
	for _, seed := range []string{
		"+OK\r\n", "-ERR no\r\n", ":1\r\n", "$3\r\nabc\r\n", "$-1\r\n", "*-1\r\n", "*0\r\n", "*2\r\n$1\r\na\r\n*1\r\n:2\r\n", "$0\r\n\r\n",
		"$9000000000000000000\r\n", "*1000000000000\r\n", "*16384\r\n", "*1\r\n*65\r\n", "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n+a\r\n", "$1048576\r\n",
		"$?\r\n;1\r\na\r\n;0\r\n", "*?\r\n:1\r\n.\r\n", "%1\r\n+a\r\n:1\r\n", "~1\r\n:1\r\n", ">2\r\n+message\r\n+a\r\n", "|1\r\n+a\r\n+b\r\n:1\r\n",
		"=7\r\ntxt:abc\r\n", "!5\r\nERR x\r\n", "(123456789012345678901234567890\r\n", ",1.5\r\n", "#t\r\n", "_\r\n", "$+3\r\nabc\r\n", "$03\r\nabc\r\n", "$3\nabc\r\n",
	} {
		f.Add([]byte(seed), uint8(1))
		f.Add([]byte(seed), uint8(255))
	}
	f.Fuzz(func(t *testing.T, replies []byte, piece uint8) {
		if len(replies) > 128<<10 { // longer inputs show nothing new
			return
		}
		passed := replies[:admitted(string(replies), max(int(piece), 1))]
		if !withinBounds(passed) {
			t.Fatalf("%d bytes passed, want only bytes within the bounds; the bytes that passed: %.200q", len(passed), passed)
		}
		if withinBounds(replies) != (len(passed) == len(replies)) {
			t.Fatalf("%d of %d bytes passed; want all bytes to pass: %v; the bytes: %.200q", len(passed), len(replies), withinBounds(replies), replies)
		}
		guarded, allocated := readOne(t, &boundedConn{Conn: newReplayed(replies)})
		// The library allocates what a header within the bounds announces, even if the body never
		// comes.
		if most := uint64(2*maxReply + 20*len(replies)); allocated > most {
			t.Fatalf("read %.200q with %d bytes allocated, want at most %d", replies, allocated, most)
		}
		if len(passed) == len(replies) {
			if plain, _ := readOne(t, newReplayed(replies)); plain != guarded {
				t.Fatalf("read %.200q with replyBound: got %s, want %s, as without replyBound", replies, guarded, plain)
			}
		}
	})
}

// withinBounds reports whether replies that begin with these bytes can be within the bounds. The
// last reply may be incomplete.
func withinBounds(b []byte) bool {
	for len(b) > 0 {
		left := maxReply
		rest, ok := member(b, 0, &left)
		if !ok {
			return false
		}
		b = rest
	}
	return true
}

// member parses one value at the given depth, and returns the bytes after it, or nil if b ends
// before the value does. ok is false if the value exceeds a bound. left is what remains of
// maxReply; member subtracts the size of the value.
func member(b []byte, depth int, left *int) (rest []byte, ok bool) {
	if len(b) == 0 {
		return nil, true
	}
	if bytes.IndexByte([]byte("%~>|=!\n"), b[0]) >= 0 {
		return nil, false
	}
	line, rest, whole := bytes.Cut(b, []byte("\n"))
	number := b[0] == '$' || b[0] == '*'
	if number && !isLength(line[1:], whole) {
		return nil, false
	}
	if !whole {
		return nil, len(line) <= *left && len(line) <= maxLine
	}
	if len(line) >= maxLine {
		return nil, false
	}
	if *left -= len(line) + 1; *left < 0 {
		return nil, false
	}
	n, _ := strconv.Atoi(string(bytes.TrimSuffix(line[1:], []byte("\r"))))
	switch {
	case !number, n < 0:
		return rest, true
	case b[0] == '$':
		*left -= n + 2
		return rest[min(n+2, len(rest)):], *left >= 0
	case n > 0 && (depth == maxDepth || depth > 0 && n > maxMembers || n > maxOutermost):
		return nil, false
	}
	if *left -= n * memberCost; *left < 0 {
		return nil, false
	}
	for range n {
		if rest, ok = member(rest, depth+1, left); !ok || len(rest) == 0 {
			return nil, ok
		}
	}
	return rest, true
}

// isLength reports whether these bytes are a length and its CR. If the line is not whole yet, the
// beginning of a length is enough.
func isLength(b []byte, whole bool) bool {
	digits, hasCR := bytes.CutSuffix(b, []byte("\r"))
	if whole && !hasCR || hasCR && len(digits) == 0 {
		return false
	}
	if bytes.HasPrefix(digits, []byte("-")) {
		return string(digits) == "-1" || string(digits) == "-" && !hasCR
	}
	if len(digits) > 10 {
		return false
	}
	for _, d := range digits {
		if d < '0' || d > '9' {
			return false
		}
	}
	n, _ := strconv.Atoi(string(digits))
	return n <= maxReply
}

// replayed is a connection to a Redis that refuses HELLO, and then sends the given replies,
// whatever the commands are.
type replayed struct {
	net.Conn
	replies io.Reader
}

func newReplayed(replies []byte) net.Conn {
	return &replayed{replies: io.MultiReader(bytes.NewReader([]byte(unknownCommand)), bytes.NewReader(replies))}
}

func (c *replayed) Read(b []byte) (int, error)       { return c.replies.Read(b) }
func (c *replayed) Write(b []byte) (int, error)      { return len(b), nil }
func (c *replayed) Close() error                     { return nil }
func (c *replayed) SetDeadline(time.Time) error      { return nil }
func (c *replayed) SetReadDeadline(time.Time) error  { return nil }
func (c *replayed) SetWriteDeadline(time.Time) error { return nil }
func (c *replayed) RemoteAddr() net.Addr             { return &net.TCPAddr{} }

// readOne returns, as text, the library's result for the first reply on a connection, and how many
// bytes the library allocated.
func readOne(t *testing.T, conn net.Conn) (what string, allocated uint64) {
	client := redis.NewClient(&redis.Options{Protocol: 2, MaxRetries: -1, DialerRetries: 1, DisableIdentity: true, PoolSize: 1, ReadBufferSize: 4 << 10,
		Dialer: func(context.Context, string, string) (net.Conn, error) { return conn, nil }})
	defer client.Close()
	before := allocatedBytes()
	value, err := client.Do(t.Context(), "GET", "key").Result()
	return fmt.Sprintf("%#v, %v", value, err), allocatedBytes() - before
}

func allocatedBytes() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
