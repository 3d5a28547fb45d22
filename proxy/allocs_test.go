package proxy

// What a known token may allocate on its way, counted and not timed, so that a busy machine changes nothing. The numbers are budgets: whoever
// needs fewer lowers them, whoever needs more says why.

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

// budget is the exact number; the race detector's hooks keep some functions from being inlined, and so some values from the stack.
type budget struct{ plain, raced float64 }

var (
	laneBudget   = budget{0, 0}   // hits in the lane
	hitBudget    = budget{17, 19} // a hit through the whole handler, its line in the log included
	decodeBudget = budget{6, 7}   // reading the request, the id of its token included
	recallBudget = budget{1, 1}   // the step "recall", a hit
	answerBudget = budget{6, 6}   // the step "answer"
)

func TestWhatAHitAllocates(t *testing.T) {
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

// atMost holds the fewest allocations of many runs to a budget: under the race detector sync.Pool forgets at random, and other goroutines
// allocate now and then.
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

// A line in the log is left out: it is the first of its second, or there is none.
func TestAHitInTheLaneAllocatesNothing(t *testing.T) {
	o := optionsFor(t, "https://graph.instagram.com", nil)
	o.HitLines, o.Logger = 1, slog.New(slog.NewJSONHandler(io.Discard, nil))
	p := laneProxy(t, o)
	c := newScripted(p)
	atMost(t, "100 hits in the lane", laneBudget, func() {
		if c.serve(100); c.answers != 100 {
			t.Fatalf("%d were answered", c.answers)
		}
	})
}

// scripted is a connection below the lane, on which the same hit comes a number of times, and then the end.
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
