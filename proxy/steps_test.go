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
	"github.com/igproxy/igproxy/cache"
)

// exchangeFunc is a step made of a function.
type exchangeFunc func(context.Context, call) (answer, error)

func (f exchangeFunc) Exchange(ctx context.Context, c call) (answer, error) { return f(ctx, c) }

// callFor is a decoded request for a token.
func callFor(t testing.TB, token string) call {
	t.Helper()
	e := testEngine(t)
	return call{grant: e.grants[0], app: e.app, token: NewSecret(token), key: e.app.keys["exchange"].Derive(token)}
}

func tokenAnswer(t testing.TB, long string, life time.Duration) answer {
	t.Helper()
	tok, err := decodeToken(fmt.Appendf(nil, `{"access_token":%q,"token_type":"bearer","expires_in":%d}`, long, int(life.Seconds())), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return answer{token: tok, source: sourceUpstream}
}

func refusalAnswer(code, subcode int, message string) answer {
	e := &GraphError{Status: 400, Type: "OAuthException", Code: code, Subcode: subcode, Message: message}
	e.class = classify(e)
	return answer{refusal: e, source: sourceUpstream}
}

func newDeduped(budget time.Duration, next exchangeFunc) *deduped {
	return &deduped{next: next, budget: budget, log: slog.New(slog.DiscardHandler)}
}

func TestManyCallersOfOneTokenAreOneFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int32
		want := tokenAnswer(t, "long", time.Hour)
		d := newDeduped(time.Minute, func(context.Context, call) (answer, error) {
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
					t.Errorf("got %v, %v", a.token, err)
				}
				if a.joined {
					joined.Add(1)
				}
			})
		}
		wg.Wait()
		if asked.Load() != 1 || joined.Load() != 199 {
			t.Errorf("asked %d times and %d joined, want 1 and 199", asked.Load(), joined.Load())
		}
	})
}

func TestTheLeaderLeavesAndTheFlightGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var landed atomic.Bool
		d := newDeduped(time.Minute, func(ctx context.Context, _ call) (answer, error) {
			time.Sleep(time.Second)
			landed.Store(ctx.Err() == nil)
			return tokenAnswer(t, "long", time.Hour), nil
		})
		c := callFor(t, "short")
		leader, leave := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := d.Exchange(leader, c); !errors.Is(err, errCallerGone) {
				t.Errorf("the leader got %v, want errCallerGone", err)
			}
		})
		synctest.Wait()
		wg.Go(func() {
			if a, err := d.Exchange(t.Context(), c); err != nil || !a.joined {
				t.Errorf("the follower got joined=%v, %v", a.joined, err)
			}
		})
		synctest.Wait()
		leave()
		wg.Wait()
		if !landed.Load() {
			t.Error("the flight ended with its leader")
		}
	})
}

func TestEverybodyLeavesAndCloseWaitsForTheFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var landed atomic.Bool
		d := newDeduped(time.Minute, func(context.Context, call) (answer, error) {
			time.Sleep(5 * time.Second)
			landed.Store(true)
			return tokenAnswer(t, "long", time.Hour), nil
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, _ = d.Exchange(ctx, callFor(t, "short"))
		if err := d.wait(ctx); err == nil || !strings.Contains(err.Error(), "1 flights") {
			t.Errorf("an ended context got %v, want the number of flights", err)
		}
		if err := d.wait(t.Context()); err != nil || !landed.Load() {
			t.Errorf("wait: %v, landed: %v", err, landed.Load())
		}
	})
}

func TestOneSlowFlightHoldsNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := callFor(t, "slow")
		d := newDeduped(time.Minute, func(_ context.Context, c call) (answer, error) {
			if c.token.Reveal() == "slow" {
				time.Sleep(30 * time.Second)
			}
			return tokenAnswer(t, "long", time.Hour), nil
		})
		go func() { _, _ = d.Exchange(context.Background(), slow) }()
		synctest.Wait()
		start := time.Now()
		if _, err := d.Exchange(t.Context(), callFor(t, "fast")); err != nil || time.Since(start) > 0 {
			t.Errorf("the fast one took %s, %v", time.Since(start), err)
		}
		time.Sleep(time.Minute)
	})
}

func TestAPanicInAFlightIsA500ForEveryMember(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDeduped(time.Minute, func(context.Context, call) (answer, error) {
			time.Sleep(time.Second)
			panic("canary-secret")
		})
		c := callFor(t, "short")
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				_, err := d.Exchange(t.Context(), c)
				var e *GraphError
				if !errors.As(err, &e) || e.Status != 500 || strings.Contains(fmt.Sprintf("%+v", *e), "canary") {
					t.Errorf("got %v, want a 500 without the panic's value", err)
				}
			})
		}
		wg.Wait()
	})
}

func TestAFlightBeyondItsBudgetIsA504(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stuck := make(chan struct{})
		d := newDeduped(time.Second, func(context.Context, call) (answer, error) { <-stuck; return answer{}, errTimeout() })
		start := time.Now()
		_, err := d.Exchange(t.Context(), callFor(t, "short"))
		var e *GraphError
		if !errors.As(err, &e) || e.Status != 504 || time.Since(start) != time.Second+grace {
			t.Errorf("got %v after %s", err, time.Since(start))
		}
		close(stuck)
		_ = d.wait(t.Context())
	})
}

// What Instagram says decides how long it is remembered.
func TestRememberByClass(t *testing.T) {
	for name, c := range map[string]struct {
		answer func(t testing.TB) answer
		want   time.Duration
	}{
		"token":              {func(t testing.TB) answer { return tokenAnswer(t, "l", 60*24*time.Hour) }, time.Hour},
		"token near its end": {func(t testing.TB) answer { return tokenAnswer(t, "l", 11*time.Minute) }, 10 * time.Minute},
		"token at its end":   {func(t testing.TB) answer { return tokenAnswer(t, "l", time.Minute) }, 0},
		"expired":            {func(testing.TB) answer { return refusalAnswer(190, 463, "m") }, time.Minute},
		"already long-lived": {func(testing.TB) answer { return refusalAnswer(452, 4279019, "m") }, time.Minute},
		"standing":           {func(testing.TB) answer { return refusalAnswer(100, 0, "Unsupported request - method type: get") }, 10 * time.Second},
		"wrong secret":       {func(testing.TB) answer { return refusalAnswer(100, 0, "Error validating client secret.") }, 0},
		"permission":         {func(testing.TB) answer { return refusalAnswer(10, 0, "m") }, 0},
		"app limit":          {func(testing.TB) answer { return refusalAnswer(4, 0, "m") }, 0},
		"unknown code":       {func(testing.TB) answer { return refusalAnswer(36000, 0, "m") }, 0},
		"a hold's word":      {func(testing.TB) answer { a := refusalAnswer(190, 0, "m"); a.source = sourceHold; return a }, 0},
		"user limit, 2m pause": {func(testing.TB) answer {
			a := refusalAnswer(17, 0, "m")
			a.refusal.RetryAt = time.Now().Add(2 * time.Minute)
			return a
		}, 2 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := newCache(t)
				asked := 0
				s := &claimed{cache: store, negativeTTL: time.Minute, next: exchangeFunc(func(context.Context, call) (answer, error) {
					asked++
					return c.answer(t), nil
				})}
				short := callFor(t, "short")
				a, err := s.Exchange(t.Context(), short)
				if err != nil || a.left != c.want || a.stored != (c.want > 0) {
					t.Fatalf("left %s, stored %v, %v; want %s", a.left, a.stored, err, c.want)
				}
				if c.want > 0 {
					time.Sleep(c.want - time.Second)
					if a, _ := s.Exchange(t.Context(), short); a.source != sourceMemory || a.left != time.Second {
						t.Errorf("a second before its end: from %s with %s left", a.source, a.left)
					}
				}
				time.Sleep(time.Second)
				if _, _ = s.Exchange(t.Context(), short); asked != 2 {
					t.Errorf("asked %d times, want 2", asked)
				}
			})
		})
	}
}

func newCache(t testing.TB) *cache.Cache {
	t.Helper()
	c, err := cache.New(cache.Options{MaxEntries: 1000})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(context.Background()); err != nil {
			t.Errorf("closing the cache: %v", err)
		}
	})
	return c
}

func TestDoubtfulAnswersAreNeverRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newCache(t)
		s := &claimed{cache: store, negativeTTL: time.Minute, next: exchangeFunc(func(context.Context, call) (answer, error) {
			return answer{}, errBadAnswer("test")
		})}
		for range 2 {
			if a, err := s.Exchange(t.Context(), callFor(t, "short")); err == nil || a.stored {
				t.Errorf("stored %v, %v", a.stored, err)
			}
		}
		if store.Len() != 0 {
			t.Errorf("%d entries, want none", store.Len())
		}
	})
}

func newGuarded(t *testing.T, places int, next exchangeFunc) *guarded {
	t.Helper()
	b, err := breaker.New(breaker.Options{Failures: 3, Ratio: 0.5, MinRequests: 20, Interval: time.Minute, Open: 10 * time.Second, Probes: 1})
	if err != nil {
		t.Fatal(err)
	}
	return &guarded{next: next, breaker: b, places: newPlaces(places), log: slog.New(slog.DiscardHandler)}
}

func TestIllHealthOpensTheBreakerAndRefusalsDoNot(t *testing.T) {
	for name, c := range map[string]struct {
		give func() (answer, error)
		want breaker.State
	}{
		"transient":   {func() (answer, error) { return answer{}, &GraphError{Status: 502, Code: 2, class: classTransient} }, breaker.Open},
		"unreachable": {func() (answer, error) { return answer{}, errUnreachable("refused") }, breaker.Open},
		"timeout":     {func() (answer, error) { return answer{}, errTimeout() }, breaker.Open},
		"nonsense":    {func() (answer, error) { return answer{}, errBadAnswer("x") }, breaker.Open},
		"expired":     {func() (answer, error) { return refusalAnswer(190, 463, "m"), nil }, breaker.Closed},
		"rate limit":  {func() (answer, error) { return refusalAnswer(17, 0, "m"), nil }, breaker.Closed},
		"our own bug": {func() (answer, error) { return answer{}, errInternal("x") }, breaker.Closed},
	} {
		synctest.Test(t, func(t *testing.T) {
			g := newGuarded(t, 10, func(context.Context, call) (answer, error) { return c.give() })
			for range 10 {
				_, _ = g.Exchange(t.Context(), callFor(t, "short"))
			}
			if got := g.breaker.State(); got != c.want {
				t.Errorf("%s: breaker %s, want %s", name, got, c.want)
			}
		})
	}
}

func TestAnOpenBreakerIsAQuick503WithTheTimeLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		g := newGuarded(t, 10, func(context.Context, call) (answer, error) { asked++; return answer{}, errTimeout() })
		for range 100 {
			_, _ = g.Exchange(t.Context(), callFor(t, "short"))
		}
		time.Sleep(4 * time.Second)
		_, err := g.Exchange(t.Context(), callFor(t, "short"))
		var e *GraphError
		if !errors.As(err, &e) || e.Status != 503 || e.Code != 2 || !*e.Transient || time.Until(e.RetryAt) != 6*time.Second {
			t.Errorf("got %v", err)
		}
		if asked != 3 {
			t.Errorf("asked %d times, want 3", asked)
		}
	})
}

func TestAnAppLimitHoldsAllTokensForItsTimeAndNoLonger(t *testing.T) {
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
			t.Errorf("while held: %+v, %v", a.refusal, err)
		}
		time.Sleep(3 * time.Minute)
		if a, err := g.Exchange(t.Context(), other); err != nil || a.refusal != nil || asked != 2 {
			t.Errorf("after the hold: %v, %v, asked %d", a.refusal, err, asked)
		}
	})
}

func TestARefusedSecretHoldsForSecondsAndIsForgottenOnceProven(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		asked, wrong := 0, true
		g := newGuarded(t, 10, nil)
		g.log = slog.New(slog.NewTextHandler(&log, nil))
		c := callFor(t, "short")
		g.next = exchangeFunc(func(context.Context, call) (answer, error) {
			if asked++; wrong {
				return refusalAnswer(100, 0, "Error validating client secret."), nil
			}
			return refusalAnswer(190, 463, "expired"), nil
		})
		for range 10 {
			a, err := g.Exchange(t.Context(), c)
			if err != nil || a.refusal.class != classSecret || a.refusal.Status != 400 {
				t.Fatalf("got %+v, %v", a.refusal, err)
			}
		}
		if asked != 1 || !c.app.hold.secretRefused(time.Now()) {
			t.Errorf("asked %d times, refused %v; want 1, true", asked, c.app.hold.secretRefused(time.Now()))
		}
		time.Sleep(secretHold)
		_, _ = g.Exchange(t.Context(), c)
		time.Sleep(secretHold)
		if n := strings.Count(log.String(), "refuses the client secret"); n != 1 {
			t.Errorf("said %d times, want once:\n%s", n, log.String())
		}
		wrong = false
		_, _ = g.Exchange(t.Context(), c)
		if c.app.hold.secretRefused(time.Now()) || !strings.Contains(log.String(), "accepts the client secret again") {
			t.Errorf("a 190 proves the secret, but it is still held to be refused:\n%s", log.String())
		}
	})
}

// Readiness that never came back would keep every request away that could prove the secret.
func TestARefusedSecretIsDoubtedAfterAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &hold{}
		h.hear(refusalAnswer(100, 0, "Error validating client secret.").refusal, time.Now())
		time.Sleep(secretDoubt)
		if h.secretRefused(time.Now()) {
			t.Error("still refused after the time of doubt")
		}
	})
}

func TestCallsUnderWayAreBoundedAndSoIsTheirQueue(t *testing.T) {
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
				var e *GraphError
				switch {
				case err == nil:
					answered.Add(1)
				case errors.As(err, &e) && e.Status == 503 && e.Subcode == subOverloaded && !e.RetryAt.IsZero():
					overloaded.Add(1)
				default:
					t.Errorf("got %v", err)
				}
			})
		}
		wg.Wait()
		if most.Load() != 2 || answered.Load() != 2+2*waitersPerPlace || overloaded.Load() != 100-answered.Load() {
			t.Errorf("most %d, answered %d, overloaded %d", most.Load(), answered.Load(), overloaded.Load())
		}
	})
}
