package keep_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/igproxy/igproxy/proxy/keep"
)

// 100,000 tokens are used once each. The rate of refreshes stays within both limits (MaxInFlight
// and PerMinute), and the tokens that end first are refreshed first. At most maxWaiting (1000)
// tokens wait.
func TestManyTokensAreRefreshedAtTheConfiguredRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := start(newShelf(), settings)
		defer k.stop()
		begun := time.Now()
		var mu sync.Mutex // protects the variables below
		var ends []int
		inFlight, most := 0, 0
		for i := range 100_000 {
			days := 1 + i*7919%9 // the end of the token, in days
			key := keyOf(t, fmt.Sprint(i))
			k.Issued(key, begun.Add(time.Duration(days)*day+time.Hour))
			k.Used(k.Find(t.Context(), keep.Token{App: "default", Key: key, Reveal: func() string { return "" },
				Refresh: func(context.Context, string) keep.Result {
					mu.Lock()
					ends = append(ends, days)
					inFlight++
					most = max(most, inFlight)
					mu.Unlock()
					time.Sleep(10 * time.Second)
					mu.Lock()
					inFlight--
					mu.Unlock()
					return keep.Result{Token: "new", Expires: time.Now().Add(60 * day)}
				}}))
		}
		if s := k.Status("default"); s.Waiting != 1000 || s.Ending != 10_000 {
			t.Errorf("%d tokens wait, want 1000; %d are watched until they end, want 10000", s.Waiting, s.Ending)
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		// Only four refreshes may be in flight, and each takes ten seconds, so 24 a minute begin,
		// although PerMinute allows 60.
		if n := len(ends); n < 230 || n > 250 || most != 4 {
			t.Errorf("got %d refreshes in 10 minutes, want about 240; up to %d ran at the same time, want 4", n, most)
		}
		if !slices.IsSorted(ends) {
			t.Errorf("the refreshed tokens end after %v days, want ascending order", ends)
		}
	})
}

// A long queue must not delay the count of ended tokens.
func TestALongQueueDoesNotDelayTheCountOfEndedTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		set := settings
		set.PerMinute = 1
		k := start(newShelf(), set)
		defer k.stop()
		clients := make([]*client, 500)
		for i := range clients {
			clients[i] = &client{t: t, keeper: k, token: fmt.Sprint(i), answer: func(string) keep.Result { return keep.Result{Refused: true} }}
			k.Issued(keyOf(t, clients[i].token), time.Now().Add(25*time.Hour))
		}
		time.Sleep(24 * time.Hour)
		for _, c := range clients {
			k.Used(c.kept())
		}
		time.Sleep(3 * time.Hour)
		if s := k.Status("default"); s.Waiting == 0 {
			t.Fatalf("%d tokens wait, want at least 1", s.Waiting)
		}
		if n := k.endedTokens(); n == 0 {
			t.Errorf("two hours after the tokens ended: %d were counted as ended, want at least 1", n)
		}
	})
}

func TestRefreshesBeginAtMostAsOftenAsConfigured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		set := settings
		set.PerMinute = 6
		k := start(newShelf(), set)
		defer k.stop()
		var times []time.Duration
		begun := time.Now()
		for i := range 4 {
			c := &client{t: t, keeper: k, token: fmt.Sprint(i), answer: func(string) keep.Result {
				times = append(times, time.Since(begun))
				return keep.Result{Refused: true}
			}}
			k.Used(c.kept())
			k.Used(c.kept()) // the token is queued only once
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if want := []time.Duration{0, 10 * time.Second, 20 * time.Second, 30 * time.Second}; !slices.Equal(times, want) {
			t.Errorf("refreshes after %v, want %v", times, want)
		}
	})
}
