package keep_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/igproxy/igproxy/cache"
	"github.com/igproxy/igproxy/proxy/keep"
)

// client sends calls with one token, and answers the refreshes of the token as Meta would.
type client struct {
	t         *testing.T
	keeper    *running
	token     string
	isShort   bool                           // keep.Token.MayBeShort
	answer    func(token string) keep.Result // returns Meta's answer to a refresh
	mu        sync.Mutex                     // protects refreshed
	refreshed []string                       // the tokens that Meta was asked to refresh
}

func (c *client) kept() keep.Kept {
	own := c.token
	return c.keeper.Find(c.t.Context(), keep.Token{App: "default", Key: keyOf(c.t, own), Reveal: func() string { return own },
		MayBeShort: c.isShort, Refresh: func(_ context.Context, token string) keep.Result {
			c.mu.Lock()
			c.refreshed = append(c.refreshed, token)
			c.mu.Unlock()
			return c.answer(token)
		}})
}

// use uses the token, gives a refresh one second, and returns all tokens that Meta was asked to
// refresh since the test began.
func (c *client) use() []string {
	c.keeper.Used(c.kept())
	time.Sleep(time.Second)
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string(nil), c.refreshed...)
}

// sends checks which token a call is sent with.
func (c *client) sends(what, want string) {
	c.t.Helper()
	sent := c.token
	if successor, _, ok := c.kept().Successor(time.Now()); ok {
		sent = successor
	}
	if sent != want {
		c.t.Errorf("%s: the call is sent with %s, want %s", what, sent, want)
	}
}

// wantRefreshes uses the token and checks which tokens were refreshed since the test began.
func (c *client) wantRefreshes(what string, want ...string) {
	c.t.Helper()
	if got := c.use(); fmt.Sprint(got) != fmt.Sprint(want) {
		c.t.Errorf("%s: refreshed %q, want %q", what, got, want)
	}
}

// with runs the function story with one Keeper, in simulated time.
func with(t *testing.T, story func(t *testing.T, k *running, c *client)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		k := start(newShelf(), settings)
		defer k.stop()
		n := 0
		c := &client{t: t, keeper: k, token: "old"}
		c.answer = func(string) keep.Result {
			n++
			return keep.Result{Token: fmt.Sprint("new", n), Expires: time.Now().Add(60 * day)}
		}
		story(t, k, c)
	})
}

func TestTokenIsRefreshedOnlyShortlyBeforeItsEnd(t *testing.T) {
	with(t, func(t *testing.T, k *running, c *client) {
		k.Issued(keyOf(t, "old"), time.Now().Add(60*day))
		c.wantRefreshes("on the first day")
		time.Sleep(49 * day)
		c.wantRefreshes("11 days before the end")
		time.Sleep(day)
		c.wantRefreshes("10 days before the end", "old")
		c.sends("afterwards", "new1")
		c.wantRefreshes("after the refresh", "old")
		time.Sleep(30 * day)
		c.sends("after the end of the old token", "new1")
		time.Sleep(20 * day)
		c.wantRefreshes("10 days before the end of the successor", "old", "new1")
		c.sends("afterwards", "new2")
		if got := k.refreshes(); !maps.Equal(got, map[keep.Outcome]int{keep.Refreshed: 2}) {
			t.Errorf("outcomes %v, want two refreshed", got)
		}
	})
}

// If igproxy does not know when a token ends, it tries a refresh. If Meta refuses, perhaps because
// the token is too young, the next try comes a day (Settings.CheckEvery) later.
func TestRefusedRefreshOfATokenOfUnknownEndIsTriedAgainADayLater(t *testing.T) {
	with(t, func(t *testing.T, k *running, c *client) {
		answer := c.answer
		c.answer = func(string) keep.Result { return keep.Result{Refused: true, Cause: "bad_token"} }
		c.wantRefreshes("the first use", "old")
		c.wantRefreshes("a second later", "old")
		time.Sleep(day)
		c.answer = answer
		c.wantRefreshes("a day later", "old", "old")
		c.sends("afterwards", "new1")
		if got := k.refreshes(); got[keep.Postponed] != 1 || got[keep.Refreshed] != 1 {
			t.Errorf("outcomes %v, want one postponed and one refreshed", got)
		}
	})
}

// A short-lived token must end, like the session that it belongs to. Facebook's exchange would turn
// it into a long-lived token. Instagram and Threads refuse to refresh a short-lived token, so
// igproxy may try to refresh their tokens even if it does not know when they end.
func TestShortLivedTokenIsNeverRefreshed(t *testing.T) {
	for name, c := range map[string]struct {
		isShort, learned bool
		want             int
	}{
		"issued with a short life":                {false, true, 0},
		"issued with a short life, of Facebook":   {true, true, 0},
		"of Facebook, with an unknown end":        {true, false, 0},
		"of another service, with an unknown end": {false, false, 1},
	} {
		with(t, func(t *testing.T, k *running, x *client) {
			x.isShort = c.isShort
			if c.learned {
				k.Issued(keyOf(t, "old"), time.Now().Add(time.Hour))
			}
			if got := x.use(); len(got) != c.want {
				t.Errorf("%s: refreshed %q, want %d refreshes", name, got, c.want)
			}
			if n := k.Status("default").Ending; n != 0 {
				t.Errorf("%s: the status has %d tokens that end soon, want 0", name, n)
			}
			k.Replaced(x.kept().Token, "long", time.Now().Add(60*day)) // an app has exchanged it
			time.Sleep(day)
			if successor, _, ok := x.kept().Successor(time.Now()); ok && (c.isShort || c.learned) {
				t.Errorf("%s: the token has the successor %s, want no successor", name, successor)
			}
			if n := k.endedTokens(); n != 0 {
				t.Errorf("%s: %d tokens were counted as ended, want 0", name, n)
			}
		})
	}
}

func TestRefreshWithoutAnAnswerIsTriedAgainSoon(t *testing.T) {
	with(t, func(t *testing.T, k *running, c *client) {
		answer := c.answer
		k.Issued(keyOf(t, "old"), time.Now().Add(5*day))
		c.answer = func(string) keep.Result { return keep.Result{Cause: "timeout"} }
		c.wantRefreshes("the first use", "old")
		time.Sleep(14 * time.Minute)
		c.wantRefreshes("14 minutes later", "old")
		c.answer = func(string) keep.Result { return keep.Result{Cause: "app_limit", RetryAt: time.Now().Add(time.Hour)} }
		time.Sleep(time.Minute)
		c.wantRefreshes("15 minutes later", "old", "old")
		c.answer = answer
		time.Sleep(59 * time.Minute)
		c.wantRefreshes("before the time that Meta gave", "old", "old")
		time.Sleep(time.Minute)
		c.wantRefreshes("at the time that Meta gave", "old", "old", "old")
		if got := k.refreshes(); got[keep.Failed] != 2 || got[keep.Refreshed] != 1 {
			t.Errorf("outcomes %v, want two failed and one refreshed", got)
		}
	})
}

func TestRefreshThatReturnsTheSameTokenMovesItsEnd(t *testing.T) {
	with(t, func(t *testing.T, k *running, c *client) {
		k.Issued(keyOf(t, "old"), time.Now().Add(5*day))
		c.answer = func(token string) keep.Result { return keep.Result{Token: token, Expires: time.Now().Add(60 * day)} }
		c.wantRefreshes("5 days before the end", "old")
		c.sends("afterwards", "old")
		time.Sleep(49 * day)
		c.wantRefreshes("11 days before the new end", "old")
		time.Sleep(day)
		c.wantRefreshes("10 days before the new end", "old", "old")
	})
}

// A refresh takes the same steps as a call of an app, so Replaced records the answer to a refresh
// too, perhaps before the refresh has ended.
func TestRefreshThatReturnsTheSameTokenIsCountedAsRefreshed(t *testing.T) {
	with(t, func(t *testing.T, k *running, c *client) {
		k.Issued(keyOf(t, "old"), time.Now().Add(5*day))
		c.answer = func(string) keep.Result {
			end := time.Now().Add(60 * day)
			k.Replaced(c.kept().Token, "old", end)
			return keep.Result{Token: "old", Expires: end}
		}
		c.wantRefreshes("shortly before the end", "old")
		if got := k.refreshes(); len(got) != 1 || got[keep.Refreshed] != 1 {
			t.Errorf("counted %v, want one %q", got, keep.Refreshed)
		}
		if s := k.Status("default"); s.Ending != 0 {
			t.Errorf("the status has %d tokens that end soon, want 0", s.Ending)
		}
	})
}

// If the user has not come back to the app, Facebook answers a refresh with a token that ends at
// the same time as before.
func TestRefreshThatChangesNothingIsTriedAgainTheNextDay(t *testing.T) {
	with(t, func(t *testing.T, k *running, c *client) {
		end := time.Now().Add(5 * day)
		k.Issued(keyOf(t, "old"), end)
		c.answer = func(token string) keep.Result { return keep.Result{Token: token, Expires: end} }
		c.wantRefreshes("the first use", "old")
		c.answer = func(string) keep.Result { return keep.Result{Token: "brief", Expires: time.Now().Add(time.Hour)} }
		time.Sleep(day)
		c.wantRefreshes("a day later", "old", "old")
		c.sends("after a token that ends sooner", "old")
		if got := k.refreshes(); got[keep.Unchanged] != 2 {
			t.Errorf("outcomes %v, want two unchanged", got)
		}
	})
}

func TestRefusedSuccessorIsDropped(t *testing.T) {
	with(t, func(t *testing.T, k *running, c *client) {
		k.Issued(keyOf(t, "old"), time.Now().Add(5*day))
		c.use()
		kept := c.kept()
		c.sends("after the refresh", "new1")
		k.Drop(kept)
		c.sends("after the drop", "old")
		k.Replaced(kept.Token, "new2", time.Now().Add(60*day))
		k.Drop(kept) // by a process that has not seen the new successor
		c.sends("after a late drop of the first successor", "new2")
	})
}

// If an app refreshes its token itself and stores the new token, each of the two tokens has a
// record.
func TestAnAppMayRefreshItsTokenItself(t *testing.T) {
	with(t, func(t *testing.T, k *running, c *client) {
		k.Issued(keyOf(t, "old"), time.Now().Add(60*day))
		time.Sleep(30 * day)
		k.Issued(keyOf(t, "own"), time.Now().Add(60*day))
		k.Replaced(c.kept().Token, "own", time.Now().Add(60*day))
		c.sends("the old token", "own")
		time.Sleep(25 * day)
		c.wantRefreshes("5 days before the end of the old token")
		c.token = "own"
		c.sends("the new token", "own")
		time.Sleep(25 * day)
		c.wantRefreshes("10 days before the end of the new token", "own")
	})
}

// A token is counted as ended only if it was used shortly before its end. It is not counted if Meta
// has refused it as invalid, for example because the user has revoked it.
func TestTokensThatEndAreCountedIfTheyWereUsed(t *testing.T) {
	with(t, func(t *testing.T, k *running, c *client) {
		c.answer = func(string) keep.Result { return keep.Result{Refused: true, Cause: "standing"} }
		for _, token := range []string{"used", "unused", "revoked"} {
			k.Issued(keyOf(t, token), time.Now().Add(5*day))
		}
		c.token = "revoked"
		c.use()
		k.Invalid(c.kept().Token)
		c.token = "used"
		c.use()
		if s := k.Status("default"); s != (keep.Status{Refused: 2, Ending: 1}) {
			t.Errorf("status %+v, want two refused and one ending", s)
		}
		time.Sleep(5*day + time.Hour)
		if n := k.endedTokens(); n != 1 {
			t.Errorf("%d tokens were counted as ended, want 1", n)
		}
		if s := k.Status("default"); s != (keep.Status{}) {
			t.Errorf("status %+v after the end, want only zeros", s)
		}
	})
}

// A sidecar does not count a token as ended if another sidecar has refreshed it.
func TestTokenThatAnotherSidecarRefreshedHasNotEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf()
		one, other := start(s, settings), start(s, settings)
		defer one.stop()
		defer other.stop()
		one.Issued(keyOf(t, "old"), time.Now().Add(5*day))
		c := &client{t: t, keeper: one, token: "old", answer: func(string) keep.Result { return keep.Result{Refused: true} }}
		c.use()
		time.Sleep(2 * day)
		c.keeper, c.answer = other, func(string) keep.Result { return keep.Result{Token: "new", Expires: time.Now().Add(60 * day)} }
		c.use()
		time.Sleep(5 * day)
		if one.endedTokens()+other.endedTokens() != 0 {
			t.Errorf("the sidecars counted %d and %d ended tokens, want 0 and 0", one.endedTokens(), other.endedTokens())
		}
	})
}

func TestNothingPrintsAToken(t *testing.T) {
	var log bytes.Buffer
	synctest.Test(t, func(t *testing.T) {
		s := newShelf()
		k := startWith(s, settings, slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
		c := &client{t: t, keeper: k, token: "canary-old", answer: func(string) keep.Result {
			return keep.Result{Token: "canary-new", Expires: time.Now().Add(60 * day)}
		}}
		c.use()
		c.sends("after the refresh", "canary-new")
		kept := c.kept()
		c.answer = func(string) keep.Result { panic("canary") }
		k.Drop(kept)
		time.Sleep(day)
		c.use()
		k.stop()
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%q"} {
			for _, v := range []any{kept, &kept, []keep.Kept{kept}} {
				if text := fmt.Sprintf(verb, v); strings.Contains(text, "canary") || strings.Contains(text, fmt.Sprintf("%x", "canary")) {
					t.Errorf("%s of %T: got %s, want no token", verb, v, text)
				}
			}
		}
	})
	if !strings.Contains(log.String(), "token refreshed") || strings.Contains(log.String(), "canary") {
		t.Errorf("want a line \"token refreshed\" and no token in the log, got:\n%s", &log)
	}
}

func TestNothingWaitsOrIsRefreshedAfterClear(t *testing.T) {
	with(t, func(t *testing.T, k *running, c *client) {
		k.Issued(keyOf(t, "old"), time.Now().Add(5*day))
		k.Issued(keyOf(t, "other"), time.Now().Add(5*day))
		k.Used(c.kept())
		c.token = "other"
		k.Used(c.kept())
		time.Sleep(time.Millisecond) // the first refresh has begun, and the second one waits
		k.Clear()
		if s := k.Status("default"); s.Waiting+s.Ending != 0 {
			t.Errorf("status %+v, want no tokens that wait or end soon", s)
		}
		c.wantRefreshes("after the end of a call that began before Clear", "old") // a reload does not end such a call
		if s := k.Status("default"); s.Waiting+s.Ending != 0 {
			t.Errorf("status %+v, want no tokens that wait or end soon", s)
		}
		k.Set(settings)
		time.Sleep(time.Minute)
		c.wantRefreshes("after the next use", "old", "other")
	})
}

var _ keep.Store = (*cache.Cache)(nil)
