package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/igproxy/igproxy/breaker"
	"github.com/igproxy/igproxy/proxy/graph"
)

func newGuarded(t *testing.T, slots int, next exchangeFunc) *guardStep {
	t.Helper()
	o := breaker.Options{Failures: 3, Ratio: 0.5, MinRequests: 20, Interval: time.Minute, Open: 10 * time.Second, Probes: 1}
	breakers, err := newCircuits(o, slots, NewMetrics(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return &guardStep{next: next, circuits: breakers, failures: newFailures(o.Interval), log: slog.New(slog.DiscardHandler)}
}

func TestOnlyFailuresOpenTheBreaker(t *testing.T) {
	for name, c := range map[string]struct {
		give func() (answer, error)
		want breaker.State
	}{
		"transient": {func() (answer, error) {
			return answer{}, &graph.Error{Status: 502, Code: 2, Class: graph.ClassTransient}
		}, breaker.Open},
		"unreachable": {func() (answer, error) { return answer{}, errUnreachable("refused") }, breaker.Open},
		"timeout":     {func() (answer, error) { return answer{}, errTimeout() }, breaker.Open},
		"nonsense":    {func() (answer, error) { return answer{}, errBadAnswer("x") }, breaker.Open},
		"expired":     {func() (answer, error) { return refusalAnswer(190, 463, "m"), nil }, breaker.Closed},
		"rate limit":  {func() (answer, error) { return refusalAnswer(17, 0, "m"), nil }, breaker.Closed},
		"igproxy bug": {func() (answer, error) { return answer{}, errInternal("x") }, breaker.Closed},
	} {
		synctest.Test(t, func(t *testing.T) {
			g := newGuarded(t, 10, func(context.Context, call) (answer, error) { return c.give() })
			for n := range 10 {
				_, _ = g.Exchange(t.Context(), callFor(t, fmt.Sprint("short-", n)))
			}
			if got := g.circuits.worst(upstreamGraph); got != c.want {
				t.Errorf("%s: the breaker is %s, want %s", name, got, c.want)
			}
		})
	}
}

func TestAnOpenBreakerAnswers503WithRetryAfterAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		g := newGuarded(t, 10, func(context.Context, call) (answer, error) { asked++; return answer{}, errTimeout() })
		for n := range 100 {
			_, _ = g.Exchange(t.Context(), callFor(t, fmt.Sprint("short-", n)))
		}
		time.Sleep(4 * time.Second)
		_, err := g.Exchange(t.Context(), callFor(t, "another"))
		var e *graph.Error
		if !errors.As(err, &e) || e.Status != 503 || e.Code != 2 || !*e.Transient || time.Until(e.RetryAt) != 6*time.Second {
			t.Errorf("got %v, want 503 with RetryAt in 6s", err)
		}
		if asked != 3 {
			t.Errorf("Meta was asked %d times, want 3", asked)
		}
	})
}

func TestALimitOnTheAppPausesAllItsTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		g := newGuarded(t, 10, nil)
		c := callFor(t, "short")
		g.next = exchangeFunc(func(context.Context, call) (answer, error) {
			if asked++; asked > 1 {
				return tokenAnswer(t, "long", time.Hour), nil
			}
			a := refusalAnswer(4, 0, "Application request limit reached")
			a.refusal.Status, a.refusal.RetryAt = http.StatusForbidden, time.Now().Add(5*time.Minute)
			return a, nil
		})
		if a, _ := g.Exchange(t.Context(), c); a.refusal.Status != http.StatusForbidden {
			t.Errorf("the first answer has status %d, want Instagram's own 403", a.refusal.Status)
		}
		time.Sleep(2 * time.Minute)
		other := c
		other.token = NewSecret("other")
		a, err := g.Exchange(t.Context(), other)
		if err != nil || a.source != sourceHold || a.refusal.Status != 429 || time.Until(a.refusal.RetryAt) != 3*time.Minute {
			t.Errorf("during the pause: the source is %s, want %s; got the refusal %+v, want status 429 and RetryAt in 3m; got the error %v, want nil", a.source, sourceHold, a.refusal, err)
		}
		time.Sleep(3 * time.Minute)
		if a, err := g.Exchange(t.Context(), other); err != nil || a.refusal != nil || asked != 2 {
			t.Errorf("after the pause: got the refusal %v and the error %v, want a token; Meta got %d calls, want 2", a.refusal, err, asked)
		}
	})
}

func TestARefusedSecretPausesTheAppForSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		asked, wrong := 0, true
		g := newGuarded(t, 10, nil)
		g.log = slog.New(slog.NewTextHandler(&log, nil))
		c := callFor(t, "short")
		c.app.state.secrets.use(c.app.secrets)
		g.next = exchangeFunc(func(context.Context, call) (answer, error) {
			a := refusalAnswer(190, 463, "expired")
			if asked++; wrong {
				a = refusalAnswer(100, 0, "Error validating client secret.")
			}
			a.with = c.app.secrets[0]
			return a, nil
		})
		for range 10 {
			a, err := g.Exchange(t.Context(), c)
			if err != nil || a.refusal.Class != graph.ClassSecret || a.refusal.Status != 400 {
				t.Fatalf("got the refusal %+v, want status 400 and the class secret; got the error %v, want nil", a.refusal, err)
			}
		}
		if asked != 1 || c.app.state.secrets.standing() != secretRefused {
			t.Errorf("Meta was asked %d times, want 1; the secret is %s, want refused", asked, c.app.state.secrets.standing())
		}
		time.Sleep(refusedPause)
		_, _ = g.Exchange(t.Context(), c)
		time.Sleep(refusedPause)
		if n := strings.Count(log.String(), "client secret refused"); n != 1 {
			t.Errorf("the log has %d lines \"client secret refused\", want 1:\n%s", n, log.String())
		}
		wrong = false
		_, _ = g.Exchange(t.Context(), c)
		if c.app.state.secrets.standing() != secretAccepted || !strings.Contains(log.String(), "client secret accepted again") {
			t.Errorf("after code 190, which shows that the secret is right: the secret is %s, want accepted; want the log line \"client secret accepted again\" in:\n%s", c.app.state.secrets.standing(), log.String())
		}
	})
}

// If a flight has waited long for a slot, the wait may be the reason for its timeout. So the
// timeout must not open the breaker.
func TestTimeoutAfterWaitingForASlotIsNotAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuarded(t, 1, func(ctx context.Context, _ call) (answer, error) {
			select {
			case <-time.After(7 * time.Second):
				return refusalAnswer(190, 0, "m"), nil
			case <-ctx.Done():
				return answer{}, errTimeout()
			}
		})
		g.timeout = 10 * time.Second
		var overloaded atomic.Int32
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				_, err := g.Exchange(ctx, callFor(t, "short"))
				var e *graph.Error
				if errors.As(err, &e) && e.Subcode == 990021 {
					overloaded.Add(1)
				}
			})
		}
		wg.Wait()
		if got := g.circuits.worst(upstreamGraph); got != breaker.Closed || overloaded.Load() != 7 {
			t.Errorf("the breaker is %s, want closed; %d calls were refused because of overload, want 7", got, overloaded.Load())
		}
	})
}

func TestCallsInFlightAndTheirQueueAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var now, most atomic.Int32
		g := newGuarded(t, 2, func(context.Context, call) (answer, error) {
			most.Store(max(most.Load(), now.Add(1)))
			time.Sleep(time.Second)
			now.Add(-1)
			return refusalAnswer(190, 0, "m"), nil
		})
		c := callFor(t, "short")
		var overloaded, answered atomic.Int32
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				_, err := g.Exchange(t.Context(), c)
				var e *graph.Error
				switch {
				case err == nil:
					answered.Add(1)
				case errors.As(err, &e) && e.Status == 503 && e.Subcode == 990021 && !e.RetryAt.IsZero():
					overloaded.Add(1)
				default:
					t.Errorf("got %v, want an answer, or 503 with the subcode 990021 and a RetryAt", err)
				}
			})
		}
		wg.Wait()
		if most.Load() != 2 || answered.Load() != 2+2*waitersPerSlot || overloaded.Load() != 100-answered.Load() {
			t.Errorf("at most %d of 100 calls were in flight at once, want 2; %d were answered, want %d; %d were refused because of overload, want %d", most.Load(), answered.Load(), 2+2*waitersPerSlot, overloaded.Load(), 100-answered.Load())
		}
	})
}
