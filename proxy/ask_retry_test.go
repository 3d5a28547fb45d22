package proxy

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// If every call fails, there is one retry for every ten calls, and one more for every second. The
// budget also starts with retrySaved retries.
func TestRetriesAreATenthOfTheCallsPlusOneASecond(t *testing.T) {
	for calls, pace := range map[int]time.Duration{100_000: time.Millisecond, 10_000: 10 * time.Millisecond, 1000: 0} {
		synctest.Test(t, func(t *testing.T) {
			b := newRetryBudget()
			spent := 0
			for range calls {
				b.earn()
				if b.spend() {
					spent++
				}
				time.Sleep(pace)
			}
			seconds := (time.Duration(calls) * pace).Seconds()
			want := retryShare*float64(calls) + retryRate*seconds + retrySaved
			if got := float64(spent); got > want || got < want-2 {
				t.Errorf("%d calls within %.0f s: %v retries, want %v, or up to 2 fewer", calls, seconds, got, want)
			}
		})
	}
}

func TestAQuietSidecarCanRetryEveryCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newRetryBudget()
		for n := range 1000 {
			b.earn()
			if !b.spend() {
				t.Fatalf("call %d could not be retried; at one call a second, want a retry for every call", n)
			}
			time.Sleep(time.Second)
		}
	})
}

// The number of saved retries is bounded, however long Meta was healthy.
func TestRetryBudgetIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newRetryBudget()
		for range 100_000 {
			b.earn()
		}
		time.Sleep(24 * time.Hour)
		spent := 0
		for b.spend() {
			spent++
		}
		if spent != retrySaved {
			t.Errorf("%d retries at once, want %d", spent, retrySaved)
		}
	})
}

func TestTheWaitBeforeARetryIsFullyJittered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var all []time.Duration
		var sum time.Duration
		for range 2000 {
			start := time.Now()
			if !waitForRetry(t.Context()) {
				t.Fatal("waitForRetry: got false, want true, because the call has time left")
			}
			all = append(all, time.Since(start))
			sum += time.Since(start)
		}
		mean := sum / time.Duration(len(all))
		if least, most := slices.Min(all), slices.Max(all); least > maxRetryWait/20 || most < maxRetryWait*19/20 || most >= maxRetryWait ||
			mean < maxRetryWait*4/10 || mean > maxRetryWait*6/10 {
			t.Errorf("waits from %s to %s, %s on average; want them evenly spread from 0 to %s", least, most, mean, maxRetryWait)
		}
	})
}

// asking returns an askStep whose upstream answers everything with status 500 and code 2. It also
// returns a call for this step, and a function that returns how many requests the upstream got.
func asking(t *testing.T, headers ...string) (u *askStep, c call, asked func() int) {
	t.Helper()
	base, requests := saying(t, rawResponse(500, `{"error":{"message":"m","type":"OAuthException","code":2,"is_transient":true}}`, headers...))
	o := optionsFor(t, base, nil)
	c = callFor(t, "IGAAshort")
	c.grant.base = o.UpstreamURL
	p := newProxy(t, o)
	return newAsk(o, p.carried, p.current.Load().out), c, func() int { return int(requests.Load()) }
}

func TestACallIsRepeatedOnlyIfNothingForbidsIt(t *testing.T) {
	for name, c := range map[string]struct {
		headers []string
		spoil   func(*askStep, *call)
		result  string // "": no retry was considered
	}{
		"the app is paused": {spoil: func(_ *askStep, c *call) {
			limit := refusalAnswer(4, 0, "m").refusal
			limit.RetryAt = time.Now().Add(time.Hour)
			c.app.state.limit.begin(limit, time.Now())
			c.mayRetry = func() bool { return c.app.paused(time.Now()) == nil }
		}, result: retryHeld},
		"the breaker is open": {spoil: func(_ *askStep, c *call) { c.mayRetry = func() bool { return false } }, result: retryHeld},
		"the breaker opens during the wait": {spoil: func(_ *askStep, c *call) {
			looked := 0
			c.mayRetry = func() bool { looked++; return looked == 1 }
		}, result: retryHeld},
		"the budget is empty":         {spoil: func(u *askStep, _ *call) { u.budget.left = -1000 }, result: retryDenied},
		"the call's time is up":       {spoil: func(u *askStep, _ *call) { u.timeout = time.Nanosecond }},
		"the grant forbids it":        {spoil: func(_ *askStep, c *call) { c.grant.subject = codeSubject }},
		"Instagram sends Retry-After": {headers: []string{"Retry-After: 30"}, spoil: func(*askStep, *call) {}},
		"the operator forbids it":     {spoil: func(u *askStep, _ *call) { u.retries = 0 }},
		"nothing forbids it":          {spoil: func(*askStep, *call) {}, result: retrySpent},
	} {
		t.Run(name, func(t *testing.T) {
			u, one, asked := asking(t, c.headers...)
			c.spoil(u, &one)
			_, err := u.Exchange(t.Context(), one)
			want := 1
			switch {
			case c.result == retrySpent:
				want = 2
			case u.timeout == time.Nanosecond:
				want = 0
			}
			if err == nil || asked() != want {
				t.Errorf("Meta was asked %d times, want %d; got the error %v, want any error", asked(), want, err)
			}
			for _, result := range []string{retrySpent, retryDenied, retryHeld, retryLate} {
				want := map[bool]float64{true: 1}[result == c.result]
				if got := retried(t, u.metrics, result); got != want {
					t.Errorf("%v retries were counted as %s, want %v", got, result, want)
				}
			}
		})
	}
}

// retried returns igproxy_upstream_retries_total for a result.
func retried(t *testing.T, m *Metrics, result string) float64 {
	t.Helper()
	return countedAs(t, m, "igproxy_upstream_retries_total", result)
}

func TestTheRetryBudgetSurvivesAReload(t *testing.T) {
	i, s := newInstagram(t, overTLS)
	o := optionsFor(t, s.URL, s.CA())
	o.Cache, o.Metrics = newCache(t), NewMetrics()
	p := newProxy(t, o)
	p.carried.retries.left = -1000
	if err := p.Reload(o); err != nil {
		t.Fatal(err)
	}
	for n := range 5 {
		token := fmt.Sprintf("flaky500-%d", n)
		if w := ask(p, get(target(token))); w.Code != 502 || i.CallsFor(token) != 1 {
			t.Errorf("%s: got %d after %d calls, want 502 after 1", token, w.Code, i.CallsFor(token))
		}
	}
}
