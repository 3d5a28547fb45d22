package cache

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"
)

const (
	faultsToOpen = 3 // in a row
	firstProbe   = 250 * time.Millisecond
	lastProbe    = 2 * time.Second
)

var errGateOpen = errors.New("redis is left alone until it answers a PING")

// gate is Redis's own breaker: while it is open nobody waits for Redis, and one goroutine PINGs. go-redis has a Limiter for this, but not
// in its Sentinel and Cluster clients.
//
//	closed --3 faults in a row--> open --PING answered--> trial --a real operation succeeds--> closed
//	                                ^-------------------------- a real operation fails -----------'
type gate struct {
	ping     func(context.Context) error
	observer Observer
	log      *slog.Logger
	stop     context.CancelFunc
	stopped  context.Context
	probes   sync.WaitGroup

	mu     sync.Mutex // protects all below
	state  gateState
	faults int
	last   time.Time // when the last of them was reported, or a PING answered
	kind   string
	since  time.Time
	delay  time.Duration
}

type gateState int

const (
	gateClosed gateState = iota
	gateOpen
	gateTrial
)

func newGate(ping func(context.Context) error, observer Observer, log *slog.Logger) *gate {
	g := &gate{ping: ping, observer: observer, log: log}
	g.stopped, g.stop = context.WithCancel(context.Background())
	observer.RedisState(true)
	return g
}

// allow reports whether Redis may be asked.
func (g *gate) allow() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.state != gateOpen
}

// report takes the outcome of a real operation and when it began: the kind of its fault, or "" for an answer, a miss included.
func (g *gate) report(kind string, began time.Time) {
	switch lost, back, after := g.turn(kind, began); {
	case lost:
		g.observer.RedisState(false)
		g.log.Warn("redis degraded", "kind", kind, "next_step", advice(kind))
	case back:
		g.observer.RedisState(true)
		g.log.Info("redis back", "after_ms", after.Milliseconds())
	}
}

// turn moves the state and says whether Redis was just lost or is back. A trial that fails is not a new loss.
//
// Faults are in a row if each operation began after the previous fault was known. Operations that fail at the
// same time count once: those of a burst of new tokens that wait for a connection until their time is over,
// and those on connections that broke together. A trial is not ended by an operation from before it.
func (g *gate) turn(kind string, began time.Time) (lost, back bool, after time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case harmless(kind), g.state == gateOpen: // an operation that began before it opened
	case kind == "" && g.state == gateTrial:
		g.state, g.faults, after = gateClosed, 0, time.Since(g.since)
		return false, true, after
	case kind == "":
		g.faults = 0
	case began.Before(g.last):
	case g.state == gateTrial:
		g.kind, g.delay = kind, min(2*g.delay, lastProbe)
		g.open()
	default:
		g.last = time.Now()
		if g.faults++; g.faults >= faultsToOpen {
			g.kind, g.since, g.delay = kind, g.last, firstProbe
			g.open()
			return true, false, 0
		}
	}
	return false, false, 0
}

// open is called with mu held.
func (g *gate) open() {
	g.state = gateOpen
	if delay := g.delay; g.stopped.Err() == nil {
		g.probes.Go(func() { g.probe(delay) })
	}
}

// probe PINGs until Redis answers or the gate is closed for good. There is one at a time: only opening starts it.
func (g *gate) probe(delay time.Duration) {
	for ; ; delay = min(2*delay, lastProbe) {
		wait := time.NewTimer(delay/2 + rand.N(delay)) // jitter: many sidecars see the same Redis come back
		select {
		case <-wait.C:
		case <-g.stopped.Done():
			wait.Stop()
			return
		}
		if g.ping(g.stopped) == nil {
			g.mu.Lock()
			g.state, g.delay, g.last = gateTrial, delay, time.Now()
			g.mu.Unlock()
			return
		}
	}
}

func (g *gate) health() Health {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.state == gateClosed {
		return Health{State: "ok"}
	}
	return Health{State: "degraded", Kind: g.kind, Since: g.since}
}

// close ends the probe and waits for it.
func (g *gate) close() {
	g.mu.Lock()
	g.stop()
	g.mu.Unlock()
	g.probes.Wait()
}
