package breaker_test

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/igproxy/igproxy/breaker"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func options() breaker.Options {
	return breaker.Options{Failures: 3, Ratio: 0.5, MinRequests: 10, Interval: time.Minute, Open: 10 * time.Second, Probes: 1}
}

func newBreaker(t *testing.T, o breaker.Options) *breaker.Breaker {
	t.Helper()
	b, err := breaker.New(o)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	return b
}

// returning returns a call with a fixed verdict.
func returning(v breaker.Verdict) func() breaker.Verdict { return func() breaker.Verdict { return v } }

func wantState(t *testing.T, b *breaker.Breaker, want breaker.State) {
	t.Helper()
	if got := b.State(); got != want {
		t.Fatalf("state is %s, want %s", got, want)
	}
}

func TestConsecutiveFailuresOpenTheBreakerAndItsErrorSaysWhenToRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBreaker(t, options())
		for range 3 {
			if err := b.Do(returning(breaker.Failure)); err != nil {
				t.Fatalf("a call while the breaker is closed: got the error %v, want nil", err)
			}
		}
		time.Sleep(4 * time.Second)
		err := b.Do(func() breaker.Verdict { t.Error("the call ran while the breaker was open"); return breaker.Success })
		var open *breaker.OpenError
		if !errors.As(err, &open) || open.RetryAfter != 6*time.Second {
			t.Fatalf("got %v, want an OpenError with RetryAfter 6s", err)
		}
	})
}

func TestSuccessBetweenFailuresKeepsTheBreakerClosed(t *testing.T) {
	b := newBreaker(t, options())
	for range 4 {
		_ = b.Do(returning(breaker.Failure))
		_ = b.Do(returning(breaker.Success))
		_ = b.Do(returning(breaker.Success))
	}
	wantState(t, b, breaker.Closed)
}

func TestFailureRatioOpensTheBreakerOnlyAfterMinRequests(t *testing.T) {
	o := options()
	o.Failures = 100
	b := newBreaker(t, o)
	for range 5 {
		_ = b.Do(returning(breaker.Success))
	}
	for range 4 {
		_ = b.Do(returning(breaker.Failure))
	}
	wantState(t, b, breaker.Closed)
	_ = b.Do(returning(breaker.Failure))
	wantState(t, b, breaker.Open)
}

func TestFailuresAreForgottenAfterTheInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBreaker(t, options())
		_ = b.Do(returning(breaker.Failure))
		_ = b.Do(returning(breaker.Failure))
		time.Sleep(2 * time.Minute)
		_ = b.Do(returning(breaker.Failure))
		wantState(t, b, breaker.Closed)
	})
}

func TestIgnoredCallsDoNotCount(t *testing.T) {
	b := newBreaker(t, options())
	for range 50 {
		_ = b.Do(returning(breaker.Ignored))
	}
	_ = b.Do(returning(breaker.Failure))
	_ = b.Do(returning(breaker.Failure))
	wantState(t, b, breaker.Closed)
}

func tripped(t *testing.T, o breaker.Options) *breaker.Breaker {
	t.Helper()
	b := newBreaker(t, o)
	for range o.Failures {
		_ = b.Do(returning(breaker.Failure))
	}
	wantState(t, b, breaker.Open)
	return b
}

func TestProbeDecidesTheNextStateAndOtherCallsAreRefusedMeanwhile(t *testing.T) {
	for _, c := range []struct {
		verdict breaker.Verdict
		want    breaker.State
	}{{breaker.Success, breaker.Closed}, {breaker.Failure, breaker.Open}, {breaker.Ignored, breaker.HalfOpen}} {
		synctest.Test(t, func(t *testing.T) {
			b := tripped(t, options())
			time.Sleep(10*time.Second + 1)
			wantState(t, b, breaker.HalfOpen)
			err := b.Do(func() breaker.Verdict {
				var open *breaker.OpenError
				if err := b.Do(returning(breaker.Success)); !errors.As(err, &open) || open.RetryAfter <= 0 {
					t.Errorf("a second probe got %v, want an OpenError with a RetryAfter above 0", err)
				}
				return c.verdict
			})
			if err != nil {
				t.Fatalf("the first probe: got the error %v, want nil", err)
			}
			wantState(t, b, c.want)
		})
	}
}

func TestHalfOpenBreakerLimitsProbes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := options()
		o.Probes = 2
		b := tripped(t, o)
		time.Sleep(o.Open + 1)
		var mu sync.Mutex
		ran := 0
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				_ = b.Do(func() breaker.Verdict {
					mu.Lock()
					ran++
					mu.Unlock()
					time.Sleep(time.Second)
					return breaker.Failure
				})
			})
		}
		wg.Wait()
		if ran != 2 {
			t.Fatalf("%d probes ran, want 2", ran)
		}
	})
}

func TestProbeThatPanicsOrCallsGoexitCountsAsAFailure(t *testing.T) {
	for name, die := range map[string]func(){"panic": func() { panic("boom") }, "goexit": runtime.Goexit} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := options()
				b := tripped(t, o)
				time.Sleep(o.Open + 1)
				var wg sync.WaitGroup
				wg.Go(func() {
					defer func() { _ = recover() }()
					_ = b.Do(func() breaker.Verdict { die(); return breaker.Success })
				})
				wg.Wait()
				wantState(t, b, breaker.Open)
				time.Sleep(o.Open + 1)
				if err := b.Do(returning(breaker.Success)); err != nil {
					t.Fatalf("the next probe: got the error %v, want nil", err)
				}
				wantState(t, b, breaker.Closed)
			})
		})
	}
}

// OnChange may call the breaker, because it runs outside the lock.
func TestChangesAreReportedInOrderOutsideTheLock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var changes []string
		var b *breaker.Breaker
		o := options()
		o.OnChange = func(c breaker.Change) {
			_ = b.State()
			changes = append(changes, fmt.Sprintf("%s>%s", c.From, c.To))
		}
		b = newBreaker(t, o)
		for range o.Failures {
			_ = b.Do(returning(breaker.Failure))
		}
		time.Sleep(o.Open + 1)
		_ = b.Do(returning(breaker.Success))
		if got, want := strings.Join(changes, " "), "closed>open open>half-open half-open>closed"; got != want {
			t.Fatalf("got the changes %q, want %q", got, want)
		}
	})
}

func TestAnOutageLastsFromOpeningToClosingOfTheBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var last breaker.Change
		o := options()
		o.OnChange = func(c breaker.Change) { last = c }
		b := newBreaker(t, o)
		if got := b.Outage(); got != (breaker.Outage{}) || !b.ClosedAt().IsZero() {
			t.Errorf("before any failure: the outage is %+v, want the zero Outage; ClosedAt is %s, want the zero time", got, b.ClosedAt())
		}
		for range o.Failures {
			_ = b.Do(returning(breaker.Failure))
		}
		began := time.Now()
		for n := range 720 { // two hours
			if want := (breaker.Outage{Since: began, Probes: n}); b.Outage() != want || last.Outage != want || last.To != breaker.Open {
				t.Fatalf("after %d failed probes: the outage is %+v, want %+v; the last change is %+v, want a change to open with the outage %+v", n, b.Outage(), want, last, want)
			}
			time.Sleep(o.Open + 1)
			_ = b.Do(returning(breaker.Failure))
		}
		time.Sleep(o.Open + 1)
		_ = b.Do(returning(breaker.Success))
		if want := (breaker.Change{From: breaker.HalfOpen, To: breaker.Closed, Outage: breaker.Outage{Since: began, Probes: 721}}); last != want {
			t.Errorf("the last change is %+v, want %+v", last, want)
		}
		if got := b.Outage(); got != (breaker.Outage{}) || !b.ClosedAt().Equal(time.Now()) {
			t.Errorf("after the outage: the outage is %+v, want the zero Outage; ClosedAt is %s, want the current time", got, b.ClosedAt())
		}
	})
}

func TestNewRejectsInvalidOptions(t *testing.T) {
	for name, spoil := range map[string]func(*breaker.Options){
		"failures":     func(o *breaker.Options) { o.Failures = 0 },
		"ratio":        func(o *breaker.Options) { o.Ratio = 1.5 },
		"min_requests": func(o *breaker.Options) { o.MinRequests = 0 },
		"interval":     func(o *breaker.Options) { o.Interval = 0 },
		"open":         func(o *breaker.Options) { o.Open = -1 },
		"probes":       func(o *breaker.Options) { o.Probes = 0 },
	} {
		o := options()
		spoil(&o)
		if _, err := breaker.New(o); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: got %v, want an error that names this option", name, err)
		}
	}
}

func ExampleBreaker_Do() {
	b, _ := breaker.New(breaker.Options{Failures: 1, Ratio: 1, MinRequests: 1, Interval: time.Minute, Open: time.Hour, Probes: 1})
	_ = b.Do(func() breaker.Verdict { return breaker.Failure })
	err := b.Do(func() breaker.Verdict { return breaker.Success })
	var open *breaker.OpenError
	fmt.Println(errors.As(err, &open), b.State())
	// Output: true open
}

func BenchmarkDo(b *testing.B) {
	g, err := breaker.New(options())
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		_ = g.Do(returning(breaker.Success))
	}
}
