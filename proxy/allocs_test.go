package proxy

// What a hit may allocate. Allocations are counted, not timed, so that a busy machine does not
// matter. A change that needs fewer lowers the budget; one that needs more explains why.

import (
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"
)

// budget is the exact number of allocations. With the race detector some functions are not inlined,
// so that some values are not on the stack.
type budget struct{ plain, raced float64 }

var (
	laneBudget   = budget{0, 0}   // a hit in the lane
	hitBudget    = budget{17, 19} // a hit through the whole handler, with its log line
	decodeBudget = budget{6, 7}   // reading the request and deriving its key
	recallBudget = budget{1, 1}   // the step "recall", a hit
	answerBudget = budget{6, 6}   // the step "answer"
)

func TestAllocationsOfAHit(t *testing.T) {
	_, s := newInstagram(t, overTLS)
	o := optionsFor(t, s.URL, s.CA())
	o.Logger = slog.New(slog.NewJSONHandler(io.Discard, nil))
	p := newProxy(t, o)
	r := get(target("IGAAshort"))
	r.Host = "127.0.0.1:8080"
	if got := serve(p, r); got != http.StatusOK {
		t.Fatalf("got %d", got)
	}
	w := &statusWriter{header: http.Header{}}
	atMost(t, "a hit", hitBudget, func() {
		clear(w.header)
		p.ServeHTTP(w, r)
	})
	if got := w.header.Get("Cache-Status"); w.status != http.StatusOK || !strings.HasPrefix(got, "igproxy; hit") {
		t.Fatalf("got %d, Cache-Status %q; want a hit", w.status, got)
	}
	e := p.current.Load()
	c, refused := e.decode(r, e.route(r))
	if refused != nil {
		t.Fatal(refused)
	}
	atMost(t, "decode", decodeBudget, func() { _, refused = e.decode(r, e.route(r)) })
	var a answer
	var err error
	atMost(t, "recall", recallBudget, func() { a, err = e.first.Exchange(t.Context(), c) })
	if err != nil || a.source != sourceMemory {
		t.Fatalf("got it from %q, %v; want memory", a.source, err)
	}
	x := reply{id: "0123456789abcdef", grant: "exchange", result: a}
	atMost(t, "answer", answerBudget, func() {
		clear(w.header)
		x.answer(w)
	})
}

// atMost compares the fewest allocations of many runs with a budget: with the race detector
// sync.Pool drops items at random, and other goroutines allocate, too.
func atMost(t *testing.T, what string, b budget, f func()) {
	t.Helper()
	most := b.plain
	if raced(t) {
		most = b.raced
	}
	fewest := testing.AllocsPerRun(1, f)
	for range 300 {
		fewest = min(fewest, testing.AllocsPerRun(1, f))
	}
	if fewest > most {
		t.Errorf("%s allocates %v times, and may %v times", what, fewest, most)
	}
	t.Logf("%s: %v of %v", what, fewest, most)
}

func raced(t *testing.T) bool {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		t.Fatal("the test does not know how it was built")
	}
	return slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// LogLines is 1, so that most hits have no log line.
func TestAHitInTheLaneAllocatesNothing(t *testing.T) {
	o := optionsFor(t, "https://graph.instagram.com", nil)
	o.LogLines, o.Logger = 1, slog.New(slog.NewJSONHandler(io.Discard, nil))
	p := laneProxy(t, o)
	c := newScripted(p)
	atMost(t, "a hit in the lane", laneBudget, func() {
		if c.serve(1); c.answers != 1 {
			t.Fatalf("%d were answered", c.answers)
		}
	})
}

// scripted is a connection below the lane that reads as a number of equal hits and then the end.
type scripted struct {
	net.Conn
	above         net.Conn
	buffer        []byte // net/http's
	hits, answers int
}

func newScripted(p *Proxy) *scripted {
	c := &scripted{buffer: make([]byte, 4096)}
	lane := p.NewLane(laneIdle, laneWrite)
	c.above = lane.Wrap(c)
	lane.ConnState(c.above, http.StateIdle)
	return c
}

func (c *scripted) serve(hits int) {
	c.hits, c.answers = hits, 0
	_, _ = c.above.Read(c.buffer)
}

func (c *scripted) Read(b []byte) (int, error) {
	if c.hits--; c.hits < 0 {
		return 0, io.EOF
	}
	return copy(b, hitRequest), nil
}

func (c *scripted) Write(b []byte) (int, error)      { c.answers++; return len(b), nil }
func (c *scripted) SetReadDeadline(time.Time) error  { return nil }
func (c *scripted) SetWriteDeadline(time.Time) error { return nil }

func BenchmarkLaneHit(b *testing.B) {
	c := newScripted(laneProxy(b, optionsFor(b, "https://graph.instagram.com", nil)))
	b.ReportAllocs()
	b.ResetTimer()
	if c.serve(b.N); c.answers != b.N {
		b.Fatalf("%d of %d were answered", c.answers, b.N)
	}
}
