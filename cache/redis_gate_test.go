package cache

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

var errDead = errors.New("no answer to PING")

// probed is a gate and what it probes.
type probed struct {
	*gate
	*recorder
	alive   atomic.Bool
	hangs   atomic.Bool // a PING lasts until its context ends
	atOnce  atomic.Int32
	lasting time.Duration

	mu     sync.Mutex // protects pinged
	pinged []time.Time
}

func newProbed(t *testing.T) *probed {
	p := &probed{recorder: &recorder{}}
	p.gate = newGate(p.ping, p.recorder, p.logger())
	t.Cleanup(p.gate.close)
	return p
}

func (p *probed) ping(ctx context.Context) error {
	if p.atOnce.Add(1) > 1 {
		panic("two probes at once")
	}
	defer p.atOnce.Add(-1)
	p.mu.Lock()
	p.pinged = append(p.pinged, time.Now())
	p.mu.Unlock()
	if p.hangs.Load() {
		<-ctx.Done()
		time.Sleep(time.Millisecond) // no call ends at once
		return ctx.Err()
	}
	time.Sleep(p.lasting)
	if p.alive.Load() {
		return nil
	}
	return errDead
}

// probes are the times of all PINGs so far.
func (p *probed) probes() []time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.pinged)
}

func (p *probed) reports(kinds ...string) {
	for _, kind := range kinds {
		p.report(kind, time.Now())
	}
}

func (p *probed) lose() { p.reports(kindTimeout, kindTimeout, kindTimeout) }

// back waits until a PING was answered.
func (p *probed) back() {
	p.alive.Store(true)
	time.Sleep(2 * lastProbe)
	synctest.Wait()
}

func (p *probed) says(t *testing.T, want ...string) {
	t.Helper()
	lines := p.lines()
	if len(lines) != len(want) {
		t.Fatalf("%d log lines, want %d:\n%s", len(lines), len(want), strings.Join(lines, "\n"))
	}
	for i, line := range lines {
		if !strings.Contains(line, want[i]) {
			t.Errorf("line %d is %q, want %q in it", i, line, want[i])
		}
	}
}

func TestThreeFaultsInARowOpenTheGate(t *testing.T) {
	const ok = ""
	for _, c := range []struct {
		reports []string
		open    bool
	}{
		{nil, false},
		{[]string{ok, ok, ok, ok}, false},
		{[]string{kindTimeout, kindTimeout}, false},
		{[]string{kindTimeout, kindTimeout, kindTimeout}, true},
		{[]string{kindRefused, kindTimeout, kindOther}, true},
		{[]string{kindTimeout, kindTimeout, ok, kindTimeout, kindTimeout}, false},
		{[]string{kindTimeout, kindTimeout, ok, kindTimeout, kindTimeout, kindTimeout}, true},
		{[]string{kindReadOnly, kindOOM, kindMoved, kindTryAgain, kindReadOnly, kindOOM}, false},
		{[]string{kindTimeout, kindReadOnly, kindTimeout, kindOOM}, false},
		{[]string{kindTimeout, kindReadOnly, kindTimeout, kindMoved, kindTimeout}, true},
		{[]string{kindAuth, kindAuth, kindAuth}, true},
		{[]string{kindTimeout, kindTimeout, kindTimeout, ok, ok}, true}, // answers to what was asked before it opened
	} {
		synctest.Test(t, func(t *testing.T) {
			p := newProbed(t)
			p.reports(c.reports...)
			if p.allow() == c.open {
				t.Errorf("after %q open is %v, want %v", c.reports, !p.allow(), c.open)
			}
			want := "ok"
			if c.open {
				want = "degraded"
			}
			if got := p.health(); got.State != want || c.open == got.Since.IsZero() {
				t.Errorf("after %q health is %+v, want %s", c.reports, got, want)
			}
		})
	}
}

// Operations that fail together say as much as one of them.
func TestFaultsAtTheSameTimeCountOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProbed(t)
		for wave := range faultsToOpen {
			began := time.Now()
			time.Sleep(50 * time.Millisecond)
			for range 100 {
				p.report(kindTimeout, began)
			}
			if open := !p.allow(); open != (wave == faultsToOpen-1) {
				t.Errorf("after wave %d open is %v", wave+1, open)
			}
		}
	})
}

func TestOneOutageIsOneLineToGoAndOneToComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProbed(t)
		began := time.Now()
		p.lose()
		p.reports(kindRefused, kindRefused, kindRefused, kindRefused) // of what was under way
		time.Sleep(time.Minute)
		if p.allow() {
			t.Error("a dead Redis is asked")
		}
		p.back()
		if h := p.health(); !p.allow() || h.State != "degraded" || h.Kind != kindTimeout || !h.Since.Equal(began) {
			t.Errorf("on trial: allowed %v, %+v; want it allowed, and degraded by %s since %v", p.allow(), h, kindTimeout, began)
		}
		p.reports("", "", "")
		if h := p.health(); h != (Health{State: "ok"}) {
			t.Errorf("after the trial: %+v", h)
		}
		p.says(t, "level=WARN msg=\"redis degraded\" kind=timeout next_step=", "level=INFO msg=\"redis back\" after_ms="+fmt.Sprint(time.Since(began).Milliseconds()))
		if got := p.statesSoFar(); got != "[true false true]" {
			t.Errorf("states %s", got)
		}
	})
}

func TestAfterAnOutageItTakesThreeFaultsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProbed(t)
		p.lose()
		p.back()
		p.reports("", kindTimeout, kindTimeout)
		if !p.allow() {
			t.Error("two faults opened it")
		}
		p.reports(kindTimeout)
		if p.allow() {
			t.Error("three faults did not open it")
		}
		p.says(t, "degraded", "back", "degraded")
	})
}

func TestAFailedTrialReopensWithoutASecondLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProbed(t)
		p.lose()
		p.back()
		for range 20 { // it answers PING and nothing else
			p.reports(kindAuth)
			if p.allow() {
				t.Fatal("a failed trial did not reopen it")
			}
			p.back()
			if !p.allow() {
				t.Fatal("an answered PING did not put it on trial again")
			}
		}
		if h := p.health(); h.State != "degraded" || h.Kind != kindAuth {
			t.Errorf("health %+v, want degraded by the last fault, %s", h, kindAuth)
		}
		p.says(t, "degraded")
		p.reports("")
		p.says(t, "degraded", "back")
	})
}

// A store may take a second, and a PING is answered sooner.
func TestAnOperationFromBeforeTheTrialDoesNotEndIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProbed(t)
		began := time.Now()
		p.lose()
		p.back()
		p.report(kindTimeout, began)
		if !p.allow() {
			t.Error("it ended the trial")
		}
		p.reports(kindTimeout)
		if p.allow() {
			t.Error("one that began after it did not")
		}
	})
}

func TestAHarmlessKindEndsNoTrial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProbed(t)
		p.lose()
		p.back()
		p.reports(kindReadOnly)
		if h := p.health(); !p.allow() || h.State != "degraded" {
			t.Errorf("allowed %v, %+v; want it still on trial", p.allow(), h)
		}
	})
}

// One PING at a time, the pauses doubling from firstProbe to lastProbe, each between half and one and a half of its length.
func TestProbesGrowRarerAndAreJittered(t *testing.T) {
	first := map[time.Duration]bool{}
	for range 10 {
		synctest.Test(t, func(t *testing.T) {
			p := newProbed(t)
			p.lasting = 100 * time.Millisecond
			last := time.Now()
			p.lose()
			time.Sleep(time.Minute)
			p.gate.close()
			first[p.probes()[0].Sub(last)] = true
			delay := firstProbe
			for i, at := range p.probes() {
				if gap := at.Sub(last); gap < delay/2 || gap >= delay/2+delay {
					t.Errorf("probe %d came after %v, want %v to %v", i, gap, delay/2, delay/2+delay)
				}
				last, delay = at.Add(p.lasting), min(2*delay, lastProbe)
			}
			if n := len(p.probes()); n < 60/3 {
				t.Errorf("%d probes in a minute", n)
			}
		})
	}
	if len(first) < 2 {
		t.Errorf("ten gates all probed after %v first: no jitter", first)
	}
}

// A Redis that answers PING and fails everything else is put on trial ever more rarely, too.
func TestFailedTrialsGrowRarer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProbed(t)
		p.alive.Store(true)
		p.lose()
		for delay := firstProbe; delay < lastProbe; delay *= 2 {
			began, before := time.Now(), len(p.probes())
			for !p.allow() {
				time.Sleep(time.Millisecond)
			}
			if took := time.Since(began); took < delay/2 || len(p.probes()) != before+1 {
				t.Errorf("on trial after %v and %d probes, want at least %v and 1", took, len(p.probes())-before, delay/2)
			}
			p.reports(kindOther)
		}
	})
}

func TestCloseEndsTheProbe(t *testing.T) {
	for name, set := range map[string]func(*probed){
		"closed":         func(*probed) {},
		"between probes": func(p *probed) { p.lose() },
		"in a probe":     func(p *probed) { p.hangs.Store(true); p.lose(); time.Sleep(time.Minute) },
		"on trial":       func(p *probed) { p.lose(); p.back() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newProbed(t)
				set(p)
				began, probes := time.Now(), len(p.probes())
				p.gate.close()
				p.gate.close()
				if took := time.Since(began); took > time.Millisecond || p.atOnce.Load() != 0 {
					t.Errorf("closing took %v and left %d probes", took, p.atOnce.Load())
				}
				p.lose() // what ends after it starts no probe
				time.Sleep(time.Minute)
				if len(p.probes()) != probes {
					t.Errorf("%d probes after it was closed", len(p.probes())-probes)
				}
			})
		})
	}
}
