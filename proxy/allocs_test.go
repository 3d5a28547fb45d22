package proxy

// These tests limit how often a hit allocates. They count allocations and do not measure time, so
// they also work on a busy machine. A change that needs fewer allocations should lower the budget.
// A change that needs more should explain why.

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/igproxy/igproxy/proxy/lane"
)

// budget is the largest number of allocations allowed, without and with the race detector. The race
// detector prevents the inlining of some functions, so more values escape to the heap.
type budget struct{ plain, raced float64 }

var (
	hitBudget    = budget{17, 19} // a hit through the whole handler, with its log line
	decodeBudget = budget{6, 7}   // the step "decode", which also derives the key
	recallBudget = budget{1, 1}   // the step "recall" for a hit
	answerBudget = budget{6, 6}   // the step "answer"
)

func TestAHitAllocatesWithinItsBudget(t *testing.T) {
	_, s := newInstagram(t, overTLS)
	o := optionsFor(t, s.URL, s.CA())
	o.Logger = slog.New(slog.NewJSONHandler(io.Discard, nil))
	p := newProxy(t, o)
	r := get(target("IGAAshort"))
	r.Host = "127.0.0.1:8080"
	if got := serve(p, r); got != http.StatusOK {
		t.Fatalf("the first exchange got %d, want 200", got)
	}
	w := &statusWriter{header: http.Header{}}
	atMost(t, "a hit", hitBudget, func() {
		clear(w.header)
		p.ServeHTTP(w, r)
	})
	if got := w.header.Get("Cache-Status"); w.status != http.StatusOK || !strings.HasPrefix(got, "igproxy; hit") {
		t.Fatalf("got the status %d and the Cache-Status %q, want 200 and a hit", w.status, got)
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
		t.Fatalf("the answer came from %q, with the error %v; want it from memory, without an error", a.source, err)
	}
	x := requestState{id: newRequestID(), grant: "exchange", result: a}
	atMost(t, "answer", answerBudget, func() {
		clear(w.header)
		x.answer(w)
	})
}

// atMost checks that f allocates no more often than the budget allows.
func atMost(t *testing.T, what string, b budget, f func()) {
	t.Helper()
	most := b.plain
	if raced(t) {
		most = b.raced
	}
	fewest := fewestAllocations(f)
	if fewest > most {
		t.Errorf("%s allocates %v times, want at most %v", what, fewest, most)
	}
	t.Logf("%s: %v allocations, at most %v are allowed", what, fewest, most)
}

// fewestAllocations returns the smallest result of many runs. The results differ, because other
// goroutines allocate too, and because sync.Pool drops items at random under the race detector.
func fewestAllocations(f func()) float64 {
	fewest := testing.AllocsPerRun(1, f)
	for range 300 {
		fewest = min(fewest, testing.AllocsPerRun(1, f))
	}
	return fewest
}

func raced(t *testing.T) bool {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		t.Fatal("the test binary has no build information")
	}
	return slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

func TestAHitInTheLaneAllocatesNothing(t *testing.T) {
	o := optionsFor(t, "https://graph.instagram.com", nil)
	// With a limit of one line a second, most hits have no log line.
	o.LogLines, o.Logger = 1, slog.New(slog.NewJSONHandler(io.Discard, nil))
	p := laneProxy(t, o)
	c := newScripted(t, p)
	one := fewestAllocations(func() { c.serve(1) }) // serving a connection allocates, even if hits do not
	if four := fewestAllocations(func() { c.serve(4) }); four != one || c.responses != 4 {
		t.Errorf("a connection with four hits allocates %v times, want %v times, as with one hit; got %d responses, want 4", four, one, c.responses)
	}
}

// scripted is a listener that returns itself as the connection. After each Accept, the connection
// delivers a number of identical requests, which are hits, and then EOF.
type scripted struct {
	net.Conn
	lane            *lane.Lane
	connect         chan struct{} // each value lets Accept return a connection
	ended           chan struct{} // gets a value from each Close
	hits, responses int           // requests that are still to be delivered, and responses that were written
}

func newScripted(t testing.TB, p *Proxy) *scripted {
	c := &scripted{connect: make(chan struct{}, 1), ended: make(chan struct{}, 1)}
	c.lane = p.NewLane(lane.Options{IdleTimeout: laneIdle, WriteTimeout: laneWrite, Logger: slog.New(slog.DiscardHandler)})
	served := make(chan error, 1)
	go func() { served <- c.lane.Serve(c) }()
	t.Cleanup(func() {
		close(c.connect)
		<-served
		_ = c.lane.Shutdown(context.Background())
	})
	return c
}

// serve lets the lane accept the connection, and returns when the lane has closed it.
func (c *scripted) serve(hits int) {
	c.hits, c.responses = hits, 0
	c.connect <- struct{}{}
	<-c.ended
}

// Accept, Addr and Close make scripted a net.Listener. Close and the other methods make it a
// net.Conn.
func (c *scripted) Accept() (net.Conn, error) {
	if _, ok := <-c.connect; !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}

func (c *scripted) Addr() net.Addr { return &net.TCPAddr{} }

func (c *scripted) Read(b []byte) (int, error) {
	if c.hits--; c.hits < 0 {
		return 0, io.EOF
	}
	return copy(b, hitRequest), nil
}

func (c *scripted) Close() error                     { c.ended <- struct{}{}; return nil }
func (c *scripted) Write(b []byte) (int, error)      { c.responses++; return len(b), nil }
func (c *scripted) SetDeadline(time.Time) error      { return nil }
func (c *scripted) SetReadDeadline(time.Time) error  { return nil }
func (c *scripted) SetWriteDeadline(time.Time) error { return nil }

func BenchmarkLaneHit(b *testing.B) {
	c := newScripted(b, laneProxy(b, optionsFor(b, "https://graph.instagram.com", nil)))
	b.ReportAllocs()
	b.ResetTimer()
	if c.serve(b.N); c.responses != b.N {
		b.Fatalf("got %d responses, want %d", c.responses, b.N)
	}
}
