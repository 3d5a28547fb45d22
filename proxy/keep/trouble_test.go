package keep_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/igproxy/igproxy/proxy/keep"
)

// The shelf plays the part of Redis. While the shelf is down, nothing is refreshed, because the
// successor could not be stored.
func TestNothingIsRefreshedWhileRecordsCannotBeStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf()
		k := start(s, settings)
		defer k.stop()
		c := &client{t: t, keeper: k, token: "old", answer: func(string) keep.Result { return keep.Result{Token: "new", Expires: time.Now().Add(60 * day)} }}
		k.Issued(keyOf(t, "old"), time.Now().Add(5*day))
		s.setDown(true)
		c.wantRefreshes("during the outage")
		c.sends("during the outage", "old")
		s.setDown(false)
		c.wantRefreshes("after the outage", "old")
		time.Sleep(time.Hour)
		s.setDown(true)
		c.sends("during the next outage", "new")
	})
}

// If Meta accepts a token that has ended by this machine's clock, the clock may be wrong. The token
// must be refreshed.
func TestClockThatIsAheadDoesNotEndATokenThatMetaAccepts(t *testing.T) {
	with(t, func(t *testing.T, k *running, c *client) {
		k.Issued(keyOf(t, "old"), time.Now().Add(5*day))
		time.Sleep(6 * day)
		c.wantRefreshes("after the end", "old")
		c.sends("afterwards", "new1")
	})
}

// The shelf goes down during a refresh, so the successor is lost. The log says when the token
// itself ends. The next try comes 15 minutes later, as it does if Meta does not answer a refresh.
func TestARefreshWhoseSuccessorIsLostIsLoggedAsFailed(t *testing.T) {
	var log bytes.Buffer
	synctest.Test(t, func(t *testing.T) {
		s := newShelf()
		k := startWith(s, settings, slog.New(slog.NewTextHandler(&log, nil)))
		defer k.stop()
		c := &client{t: t, keeper: k, token: "old", answer: func(string) keep.Result {
			s.setDown(true)
			return keep.Result{Token: "new", Expires: time.Now().Add(60 * day)}
		}}
		end, begin := time.Now().Add(5*day).UTC(), time.Now()
		k.Issued(keyOf(t, "old"), end)
		c.wantRefreshes("while the shelf goes down", "old")
		for _, want := range []string{"outcome=failed", "ends=" + end.Format("2006-01-02T15:04:05.000Z"),
			"next_try=" + begin.Add(15*time.Minute).UTC().Format("2006-01-02T15:04:05.000Z")} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("the log does not say %s:\n%s", want, &log)
			}
		}
		s.setDown(false)
		c.sends("after the outage", "old")
		time.Sleep(15 * time.Minute)
		c.wantRefreshes("15 minutes later", "old", "old")
	})
}

// A panic in a refresh must not end the process, or prevent later refreshes.
func TestPanicInARefreshIsContained(t *testing.T) {
	with(t, func(t *testing.T, k *running, c *client) {
		answer := c.answer
		c.answer = func(string) keep.Result { panic("a token") }
		c.wantRefreshes("a panic", "old")
		c.answer = answer
		time.Sleep(15 * time.Minute)
		c.wantRefreshes("15 minutes later", "old", "old")
	})
}

func TestStopWaitsForARefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf()
		k := start(s, settings)
		c := &client{t: t, keeper: k, token: "old", answer: func(string) keep.Result {
			time.Sleep(5 * time.Second)
			return keep.Result{Token: "new", Expires: time.Now().Add(60 * day)}
		}}
		c.use()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		k.end()
		if err := k.Wait(ctx); err == nil {
			t.Error("Wait during a refresh: got no error, want one")
		}
		if err := k.Wait(t.Context()); err != nil {
			t.Error(err)
		}
		c.keeper = start(s, settings)
		defer c.keeper.stop()
		c.sends("after the stop", "new")
	})
}

// The clock was a year ahead when a token was recorded, and was then corrected. The token must
// still be refreshed when it is used.
func TestARecordFromAClockThatWasAheadDoesNotStopTheRefreshes(t *testing.T) {
	s := newShelf()
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(365 * day)
		k := start(s, settings)
		defer k.stop()
		k.Issued(keyOf(t, "old"), time.Now().Add(5*day))
		c := &client{t: t, keeper: k, token: "old", answer: func(string) keep.Result { return keep.Result{Token: "new", Expires: time.Now().Add(60 * day)} }}
		c.wantRefreshes("a year ahead", "old")
	})
	synctest.Test(t, func(t *testing.T) { // simulated time starts again, a year before the time above
		k := start(s, settings)
		defer k.stop()
		c := &client{t: t, keeper: k, token: "old", answer: func(string) keep.Result { return keep.Result{Token: "newer", Expires: time.Now().Add(60 * day)} }}
		c.sends("after the correction", "new")
		c.wantRefreshes("after the correction", "new")
		c.sends("after the refresh", "newer")
	})
}

// More tokens are due than PerMinute allows, so tokens wait in the queue for hours. Tokens that end
// during these hours must still be counted.
func TestTokensThatEndAreCountedWhileOthersWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		set := settings
		set.PerMinute = 1
		k := start(newShelf(), set)
		defer k.stop()
		c := &client{t: t, keeper: k, token: "used", answer: func(string) keep.Result { return keep.Result{Refused: true} }}
		k.Issued(keyOf(t, "used"), time.Now().Add(25*time.Hour))
		c.use()
		time.Sleep(22 * time.Hour)
		for i := range 400 {
			c.token = fmt.Sprint(i)
			k.Issued(keyOf(t, c.token), time.Now().Add(5*day))
			k.Used(c.kept())
		}
		time.Sleep(5 * time.Hour)
		if waiting, ended := k.Status("default").Waiting, k.endedTokens(); waiting == 0 || ended != 1 {
			t.Errorf("%d tokens wait, want at least 1; %d were counted as ended, want 1", waiting, ended)
		}
	})
}
