package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/igproxy/igproxy/proxy/graph"
)

func newJoin(budget time.Duration, next exchangeFunc) *joinStep {
	return &joinStep{next: next, budget: budget, log: slog.New(slog.DiscardHandler), flights: &flights{}}
}

func TestManyCallersOfOneTokenShareOneFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int32
		want := tokenAnswer(t, "long", time.Hour)
		d := newJoin(time.Minute, func(context.Context, call) (answer, error) {
			asked.Add(1)
			time.Sleep(time.Second)
			return want, nil
		})
		c := callFor(t, "short")
		var joined atomic.Int32
		var wg sync.WaitGroup
		for range 200 {
			wg.Go(func() {
				a, err := d.Exchange(t.Context(), c)
				if err != nil || a.token != want.token {
					t.Errorf("the caller got the token of the flight: %v, want true; got the error %v, want nil", a.token == want.token, err)
				}
				if a.joined {
					joined.Add(1)
				}
			})
		}
		wg.Wait()
		if asked.Load() != 1 || joined.Load() != 199 {
			t.Errorf("Meta was asked %d times, want 1; %d callers joined, want 199", asked.Load(), joined.Load())
		}
	})
}

func TestAFlightContinuesWhenItsLeaderDisconnects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var landed atomic.Bool
		d := newJoin(time.Minute, func(ctx context.Context, _ call) (answer, error) {
			time.Sleep(time.Second)
			landed.Store(ctx.Err() == nil)
			return tokenAnswer(t, "long", time.Hour), nil
		})
		c := callFor(t, "short")
		caller, disconnect := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if a, err := d.Exchange(caller, c); err != nil || a.joined {
				t.Errorf("the caller that disconnected, but may still read: joined is %v, want false; got the error %v, want nil", a.joined, err)
			}
		})
		synctest.Wait()
		wg.Go(func() {
			if a, err := d.Exchange(t.Context(), c); err != nil || !a.joined {
				t.Errorf("the second caller: joined is %v, want true; got the error %v, want nil", a.joined, err)
			}
		})
		synctest.Wait()
		disconnect()
		wg.Wait()
		if !landed.Load() {
			t.Error("the context of the flight ended when the caller disconnected, want it to stay valid")
		}
	})
}

func TestCloseWaitsForTheFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var landed atomic.Bool
		d := newJoin(time.Minute, func(context.Context, call) (answer, error) {
			time.Sleep(5 * time.Second)
			landed.Store(true)
			return tokenAnswer(t, "long", time.Hour), nil
		})
		go func() { _, _ = d.Exchange(t.Context(), callFor(t, "short")) }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := d.flights.wait(ctx); err == nil || !strings.Contains(err.Error(), "1 flights") {
			t.Errorf("with a context that ends before the flight: got %v, want an error with the number of flights", err)
		}
		if err := d.flights.wait(t.Context()); err != nil || !landed.Load() {
			t.Errorf("wait returned the error %v, want nil; the flight has ended: %v, want true", err, landed.Load())
		}
	})
}

// A second signal ends a drain early, so callers may still arrive while Close waits. The race
// detector must find no race between them.
func TestCallersMayArriveWhileCloseWaits(t *testing.T) {
	d := newJoin(time.Minute, func(context.Context, call) (answer, error) { return tokenAnswer(t, "long", time.Hour), nil })
	var all sync.WaitGroup
	for i := range 8 {
		c := callFor(t, fmt.Sprintf("short-%d", i))
		all.Go(func() {
			for range 100 {
				if _, err := d.Exchange(t.Context(), c); err != nil {
					t.Errorf("got %v, want an answer", err)
				}
				if err := d.flights.wait(t.Context()); err != nil {
					t.Errorf("wait: got %v, want no error", err)
				}
			}
		})
	}
	all.Wait()
}

func TestASlowFlightDoesNotDelayOtherFlights(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := callFor(t, "slow")
		d := newJoin(time.Minute, func(_ context.Context, c call) (answer, error) {
			if c.token.Reveal() == "slow" {
				time.Sleep(30 * time.Second)
			}
			return tokenAnswer(t, "long", time.Hour), nil
		})
		go func() { _, _ = d.Exchange(context.Background(), slow) }()
		synctest.Wait()
		start := time.Now()
		if _, err := d.Exchange(t.Context(), callFor(t, "fast")); err != nil || time.Since(start) > 0 {
			t.Errorf("the fast flight took %s, want 0s; it got the error %v, want an answer", time.Since(start), err)
		}
		time.Sleep(time.Minute)
	})
}

func TestAPanicInAFlightIsA500ForEachOfItsCallers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newJoin(time.Minute, func(context.Context, call) (answer, error) {
			time.Sleep(time.Second)
			panic("canary-secret")
		})
		c := callFor(t, "short")
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				_, err := d.Exchange(t.Context(), c)
				var e *graph.Error
				if !errors.As(err, &e) || e.Status != 500 || strings.Contains(fmt.Sprintf("%+v", *e), "canary") {
					t.Errorf("got %v, want a 500 without the panic's value", err)
				}
			})
		}
		wg.Wait()
	})
}

func TestAFlightThatExceedsItsBudgetIsA504(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stuck := make(chan struct{})
		d := newJoin(time.Second, func(context.Context, call) (answer, error) { <-stuck; return answer{}, errTimeout() })
		start := time.Now()
		_, err := d.Exchange(t.Context(), callFor(t, "short"))
		var e *graph.Error
		if !errors.As(err, &e) || e.Status != 504 || time.Since(start) != time.Second+grace {
			t.Errorf("got %v after %s, want 504 after %s", err, time.Since(start), time.Second+grace)
		}
		close(stuck)
		_ = d.flights.wait(t.Context())
	})
}
