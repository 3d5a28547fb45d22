package integration

// A Redis that announces or holds more data than igproxy ever stores is a fault like any other. It
// cannot end igproxy's process or fill its memory, because no number from outside determines the
// size of an allocation.

import (
	"fmt"
	"net"
	"os/exec"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/igproxy/igproxy/cache/redistest"
	"github.com/igproxy/igproxy/integration/harness"
	"github.com/igproxy/igproxy/proxy/mock"
)

// oversized has replies that would end the process, or take gigabytes of memory, if go-redis read
// them without a limit.
var oversized = map[string]string{
	"string":        "$9000000000000000000",
	"2 GB":          "$2000000000\r\nabc",
	"array":         "*1000000000000",
	"map":           "%1000000000000",
	"set":           "~1000000000000",
	"push":          ">1000000000000",
	"attributes":    "|1000000000000",
	"verbatim":      "=2000000000",
	"error":         "!2000000000",
	"nested arrays": strings.TrimSuffix(strings.Repeat("*16384\r\n", 100), "\r\n"),
	"endless line":  "+" + strings.Repeat("x", 8<<20),
}

// honest has correct replies, for the commands that get no oversized reply.
var honest = map[string]string{"HELLO": "-ERR unknown command 'HELLO'", "TIME": "*2\r\n$1\r\n1\r\n$1\r\n1", "ZRANGE": "*0", "GET": "$-1", "SET": "+OK", "PING": "+PONG"}

func TestOversizedRepliesToEveryRedisCommandFailNoRequest(t *testing.T) {
	t.Parallel()
	_, upstream := instagram(t, mock.ServerOptions{})
	for name, lie := range oversized {
		t.Run(name, func(t *testing.T) {
			addr := fakeRedis(t, func(c net.Conn) { redistest.AnswerEach(c, func(string) string { return lie }) })
			for mode, settings := range map[string][]string{
				"single":   {"REDIS_URL=redis://" + addr},
				"sentinel": {"REDIS_ADDRS=" + addr, "REDIS_MASTER_NAME=mymaster"},
				"cluster":  {"REDIS_ADDRS=" + addr},
			} {
				wantOversize(t, upstream.URL, append(settings, "REDIS_MODE="+mode)...)
			}
		})
	}
}

func TestOversizedRepliesToOneRedisCommandFailNoRequest(t *testing.T) {
	t.Parallel()
	_, upstream := instagram(t, mock.ServerOptions{})
	for _, command := range []string{"HELLO", "EVALSHA", "TIME", "ZRANGE", "GET", "SET"} {
		for _, lie := range []string{"$9000000000000000000", "*1000000000000", "%1000000000000"} {
			t.Run(command+" gets "+lie, func(t *testing.T) {
				addr := fakeRedis(t, func(c net.Conn) {
					redistest.AnswerEach(c, func(asked string) string {
						if asked == command {
							return lie
						}
						return honest[asked]
					})
				})
				scripts := fmt.Sprint("COALESCE_ENABLED=", command == "EVALSHA")
				wantOversize(t, upstream.URL, "REDIS_MODE=single", "REDIS_URL=redis://"+addr, scripts)
			})
		}
	}
}

// wantOversize starts a sidecar with 128 MiB of memory, and checks that cold tokens are answered
// and the fault is counted.
func wantOversize(t *testing.T, upstream string, settings ...string) {
	t.Helper()
	p := confine(t, container(t, 128<<20), append(settings, "UPSTREAM_URL="+upstream)...)
	answers(t, p, "oversize", 20)
	eventually(t, "the fault is counted as oversize", func() bool {
		return strings.Contains(p.page(t, "/metrics").body, `igproxy_redis_errors_total{kind="oversize",operation="`)
	})
	wantSmall(t, p, 128<<20)
}

// confine starts a sidecar with limited memory, without the race detector.
func confine(t *testing.T, c confined, settings ...string) *process {
	t.Helper()
	p := startCommand(t, append(environ(settings...), c.env), exec.Command("sh", "-c", c.before+` && exec "$0" serve`, harness.Plain(t)))
	p.Listening(t)
	return p
}

// wantSmall checks that the process took less memory than limit (in bytes), and that it stops on
// SIGTERM.
func wantSmall(t *testing.T, p *process, limit int) {
	t.Helper()
	most := p.inRAM(t, "VmHWM")
	t.Logf("at most %d MiB in RAM", most>>20)
	if most >= limit {
		t.Errorf("igproxy took %d MiB, want less than %d", most>>20, limit>>20)
	}
	if code := p.Stop(t); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}

// Any client that can write to Redis can put 500 MB under a key that every sidecar reads.
func TestHugeValuesInRedisDoNotFillTheMemory(t *testing.T) {
	t.Parallel()
	const size = "524288000"
	_, upstream := instagram(t, mock.ServerOptions{})
	for name, c := range map[string]struct {
		kind  string                                    // the kind of the key: the end of its name
		spoil func(redis *redistest.Server, key string) // stores too much data under the key
		// counts is a pattern for the kind of fault. A timeout is possible, because 500 MB may take
		// longer than redis.timeout.
		counts string
	}{
		"a value":                 {":v", func(s *redistest.Server, key string) { s.Do("SETRANGE", key, size, "x") }, "(oversize|timeout)"},
		"a failure":               {":f", func(s *redistest.Server, key string) { s.Do("SETRANGE", key, size, "x") }, "(oversize|timeout)"},
		"the purges, as a string": {":p", func(s *redistest.Server, key string) { s.Do("SETRANGE", key, size, "x") }, "wrongtype"},
		"the purges, as members": {":p", func(s *redistest.Server, key string) {
			s.Do("EVAL", "for i = 1, 200 do redis.call('ZADD', KEYS[1], i, i .. string.rep('x', 1048576)) end", "1", key)
		}, "oversize"},
	} {
		t.Run(name, func(t *testing.T) {
			redis := redistest.Start(t)
			settings := append(singleRedis(redis), "UPSTREAM_URL="+upstream.URL, "REDIS_TIMEOUT=1s", "COALESCE_LEASE=6s", adminSocket(t))
			first := serve(t, settings...)
			first.ask(t, "IGAA-oversize-0")
			if c.kind == ":p" {
				if code, out, errs := first.operate(t, "purge", "--all"); code != 0 {
					t.Fatalf("exit code %d, want 0: %s%s", code, out, errs)
				}
			}
			first.Stop(t) // waits until stores have finished
			key := ""
			for _, k := range redis.Keys() {
				if id, ok := strings.CutSuffix(k, ":p"); ok && c.kind == ":p" {
					key = id + c.kind
				} else if id, ok := strings.CutSuffix(k, ":v"); ok && c.kind != ":p" {
					key = id + c.kind
				}
			}
			if key == "" {
				t.Fatalf("no key of kind %s in %q", c.kind, redis.Keys())
			}
			redis.Do("FLUSHALL")
			c.spoil(redis, key)

			p := confine(t, container(t, 128<<20), settings...)
			answers(t, p, "oversize", 20)
			counted := regexp.MustCompile(`igproxy_redis_errors_total{kind="` + c.counts + `",operation="`)
			eventually(t, "the fault is counted as "+c.counts, func() bool { return counted.MatchString(p.page(t, "/metrics").body) })
			wantSmall(t, p, 128<<20)
		})
	}
}

// Many replies at the same time, each just within igproxy's limits, fit into little memory.
func TestManyOfTheLargestAllowedRedisRepliesFitIntoLittleMemory(t *testing.T) {
	_, upstream := instagram(t, mock.ServerOptions{})
	members := "*1000" + strings.Repeat("\r\n*3\r\n*0\r\n*0\r\n*0", 1000)
	for name, c := range map[string]struct{ mode, lie, slots string }{
		"a string": {"single", "$1048000\r\n" + strings.Repeat("x", 1048000), ""},
		"an array": {"single", members, ""},
		"a line":   {"single", "+" + strings.Repeat("x", 65000), ""},
		"slots":    {"cluster", members, "*5000" + strings.Repeat("\r\n*7\r\n:0\r\n:1"+strings.Repeat("\r\n*2\r\n+\r\n+", 5), 5000)},
	} {
		t.Run(name, func(t *testing.T) {
			addr := fakeRedis(t, func(conn net.Conn) {
				redistest.AnswerEach(conn, func(asked string) string {
					switch asked {
					case "HELLO":
						return honest[asked]
					case "CLUSTER":
						return c.slots
					}
					return c.lie
				})
			})
			settings := []string{"REDIS_MODE=single", "REDIS_URL=redis://" + addr}
			if c.mode == "cluster" {
				settings = []string{"REDIS_MODE=cluster", "REDIS_ADDRS=" + addr}
			}
			p := confine(t, container(t, 128<<20), append(settings, "UPSTREAM_URL="+upstream.URL, patientRedis)...)
			var wrong atomic.Int64
			crowd(64, func(n int) {
				for i := range 8 {
					if r, err := p.try(t.Context(), fmt.Sprintf("IGAA-largest-%d-%d", n, i)); err != nil || r.status != 200 {
						wrong.Add(1)
					}
				}
			})
			if n := wrong.Load(); n > 0 {
				t.Errorf("%d of 512 tokens were not answered, want 0", n)
			}
			wantSmall(t, p, 128<<20)
		})
	}
}
