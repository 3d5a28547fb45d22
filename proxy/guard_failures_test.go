package proxy

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/igproxy/igproxy/breaker"
	"github.com/igproxy/igproxy/cache"
	"github.com/igproxy/igproxy/proxy/graph"
)

// metaFails returns a function that replaces the step ask. If fails(c) is true for a call c, the
// function counts the call and returns a failure with code 2. It answers all other calls with a
// refusal.
func metaFails(fails func(call) bool, calls *int) exchangeFunc {
	return func(_ context.Context, c call) (answer, error) {
		if fails(c) {
			*calls++
			yes := true
			return answer{}, &graph.Error{Status: 502, Code: 2, Transient: &yes, Class: graph.ClassTransient, Cause: "Meta answered with an error"}
		}
		return refusalAnswer(190, 463, "expired"), nil
	}
}

func withToken(c call, token string) call {
	c.token, c.key = NewSecret(token), c.app.keys[c.grant.name].Derive(token)
	return c
}

// For an hour, a worker sends the same token once a second, and that token always fails at Meta.
// Every 30 seconds another user sends a token.
func TestTokenThatAlwaysFailsTakesNoCapacityFromOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		g := newGuarded(t, 10, nil)
		c := callFor(t, "bad")
		bad := c.key.ID()
		g.next = metaFails(func(c call) bool { return c.key.ID() == bad }, &calls)
		repeated := 0
		for second := range 3600 {
			_, err := g.Exchange(t.Context(), c)
			var e *graph.Error
			if !errors.As(err, &e) || e.Code != 2 || !e.RetryAt.After(time.Now()) {
				t.Fatalf("the bad token: got %+v, want code 2, and a RetryAt in the future", err)
			}
			if e.Repeated {
				repeated++
			}
			if second%30 == 7 {
				if _, err := g.Exchange(t.Context(), withToken(c, fmt.Sprint("user-", second))); err != nil {
					t.Fatalf("a healthy user after %d s: got the error %v, want an answer", second, err)
				}
			}
			time.Sleep(time.Second)
		}
		if state := g.circuits.worst(""); state != breaker.Closed {
			t.Errorf("the breaker is %s, want closed", state)
		}
		if calls > 5+3600/30 || calls+repeated != 3600 {
			t.Errorf("of 3600 requests with the bad token, %d reached Meta, want at most %d; %d got a repeated failure, want the other %d", calls, 5+3600/30, repeated, 3600-calls)
		}
	})
}

// The pause of a token grows: 1, 2, 4, 8, 16, then 30 seconds. When Meta answers a call with the
// token, its failure is forgotten.
func TestFailedTokenIsRetriedAfterAGrowingPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls, down := 0, true
		g := newGuarded(t, 10, nil)
		g.next = metaFails(func(call) bool { return down }, &calls)
		c := callFor(t, "bad")
		var pauses []int
		for n, last := 0, -1; len(pauses) < 6; n++ {
			before := calls
			_, _ = g.Exchange(t.Context(), c)
			if calls > before {
				if last >= 0 {
					pauses = append(pauses, n-last)
				}
				last = n
			}
			time.Sleep(time.Second)
		}
		if got := fmt.Sprint(pauses); got != "[1 2 4 8 16 30]" {
			t.Errorf("Meta was asked again after %s seconds, want [1 2 4 8 16 30]", got)
		}
		down = false
		time.Sleep(lastPause)
		if _, err := g.Exchange(t.Context(), c); err != nil {
			t.Errorf("after the pause: got %v, want an answer", err)
		}
		if _, ok := g.failures.last(c.key.ID(), time.Now()); ok {
			t.Error("after Meta has answered: a failure is still remembered, want none")
		}
	})
}

// After an outage the first probe must not be a call with a token that always fails at Meta.
func TestACallWithATokenThatKeepsFailingIsNotTheProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls, down := 0, true
		g := newGuarded(t, 10, nil)
		c := callFor(t, "bad")
		bad := c.key.ID()
		g.next = metaFails(func(c call) bool { return down || c.key.ID() == bad }, &calls)
		for range 70 { // the token has failed for a while, and its pause is 30 s
			_, _ = g.Exchange(t.Context(), c)
			time.Sleep(time.Second)
		}
		for n := range 3 {
			_, _ = g.Exchange(t.Context(), withToken(c, fmt.Sprint("user-", n)))
		}
		if state := g.circuits.worst(""); state != breaker.Open {
			t.Fatalf("the breaker is %s in an outage, want open", state)
		}
		down = false
		time.Sleep(25 * time.Second) // the breaker is half-open, and the bad token's pause is over
		before := calls
		if _, err := g.Exchange(t.Context(), c); err == nil || calls != before {
			t.Errorf("the bad token, which must not be the probe: got %v, want an error; Meta got %d calls, want 0", err, calls-before)
		}
		if _, err := g.Exchange(t.Context(), withToken(c, "healthy")); err != nil || g.circuits.worst("") != breaker.Closed {
			t.Errorf("a healthy token: got the error %v, want an answer; then the breaker is %s, want closed", err, g.circuits.worst(""))
		}
	})
}

// A call with a token that failed once in an outage may be the probe that ends the outage.
func TestTokenThatFailedInAnOutageMayBeTheProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls, down := 0, true
		g := newGuarded(t, 10, nil)
		g.next = metaFails(func(call) bool { return down }, &calls)
		c := callFor(t, "user")
		for n := range 3 {
			_, _ = g.Exchange(t.Context(), withToken(c, fmt.Sprint("user-", n)))
		}
		down = false
		time.Sleep(10*time.Second + 1)
		if _, err := g.Exchange(t.Context(), withToken(c, "user-0")); err != nil || g.circuits.worst("") != breaker.Closed {
			t.Errorf("got the error %v, want an answer; then the breaker is %s, want closed", err, g.circuits.worst(""))
		}
	})
}

// Each combination of app, grant and redirect_uri has its own breaker. So a combination whose calls
// always fail does not affect the others.
func TestCallsThatAlwaysFailHaveTheirOwnBreaker(t *testing.T) {
	other := func(c call, change func(*call)) call {
		app, grant := *c.app, *c.grant
		c.app, c.grant = &app, &grant
		change(&c)
		return c
	}
	for name, change := range map[string]func(*call){
		"an app":         func(c *call) { c.app.Label = "other" },
		"a grant":        func(c *call) { c.grant.name = "other" },
		"a redirect_uri": func(c *call) { c.redirect = "https://app.example/other" },
	} {
		synctest.Test(t, func(t *testing.T) {
			calls := 0
			g := newGuarded(t, 10, nil)
			healthy := callFor(t, "short")
			failing := other(healthy, change)
			g.next = metaFails(func(c call) bool { return circuitOf(c) == circuitOf(failing) }, &calls)
			for n := range 10 {
				id := withToken(healthy, fmt.Sprint("user-", n))
				failing.key = id.key
				_, _ = g.Exchange(t.Context(), failing)
				if _, err := g.Exchange(t.Context(), withToken(healthy, fmt.Sprint("other-", n))); err != nil {
					t.Errorf("%s: another user got %v, want an answer", name, err)
				}
			}
			if state := g.circuits.worst(""); state != breaker.Open || calls != 3 {
				t.Errorf("%s: the breaker of the failing calls is %s after %d calls, want open after 3", name, state, calls)
			}
		})
	}
}

// A host that hangs, or a batch job that refreshes thousands of tokens at once, uses up only its
// own slots.
func TestAppsAndGrantsDoNotShareSlotsForCalls(t *testing.T) {
	for name, change := range map[string]func(*call){
		"another host":  func(c *call) { c.grant.name, c.grant.upstream = "code", upstreamLogin },
		"another grant": func(c *call) { c.grant.name = "refresh" },
		"another app":   func(c *call) { c.app.Label = "other" },
	} {
		synctest.Test(t, func(t *testing.T) {
			end := make(chan struct{})
			c := callFor(t, "short")
			crowded := c
			app, grant := *c.app, *c.grant
			crowded.app, crowded.grant = &app, &grant
			change(&crowded)
			g := newGuarded(t, 2, func(_ context.Context, c call) (answer, error) {
				if circuitOf(c) == circuitOf(crowded) {
					<-end
				}
				return refusalAnswer(190, 0, "m"), nil
			})
			for range 50 {
				go func() { _, _ = g.Exchange(t.Context(), crowded) }() // ends with the test
			}
			synctest.Wait()
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if _, err := g.Exchange(ctx, c); err != nil {
				t.Errorf("while calls of %s have taken all their slots: got the error %v, want an answer", name, err)
			}
			close(end)
			synctest.Wait()
		})
	}
}

func TestTheNumberOfRememberedFailuresIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFailures(time.Minute)
		id := func(n int) (id cache.ID) { id[0], id[1], id[2] = byte(n), byte(n>>8), byte(n>>16); return id }
		e := errBadAnswer("x")
		for n := range maxFailed + 1000 {
			s.note(id(n), e, time.Now())
		}
		if len(s.all) != maxFailed {
			t.Errorf("%d failures are remembered, want %d", len(s.all), maxFailed)
		}
		time.Sleep(time.Minute)
		s.note(id(0), e, time.Now())
		if len(s.all) != 1 {
			t.Errorf("%d failures are remembered after the others have expired, want 1", len(s.all))
		}
	})
}

// If Meta did not receive the request, the token cannot be the reason for the failure.
func TestUnreachableHostIsNotATokenFailure(t *testing.T) {
	for kind, want := range map[string]bool{"reset": true, "closed": true, "refused": false, "resolve": false, "tls": false, "other": false} {
		if got := mayBeDueToToken(errUnreachable(kind)); got != want {
			t.Errorf("a failure with the cause %q may be due to the token: got %v, want %v", kind, got, want)
		}
	}
	for e, want := range map[*graph.Error]bool{errSilent(): false, errTimeout(): true, errBadAnswer("x"): true, errOverloaded(): false} {
		if got := mayBeDueToToken(e); got != want {
			t.Errorf("the failure %v may be due to the token: got %v, want %v", e, got, want)
		}
	}
}
