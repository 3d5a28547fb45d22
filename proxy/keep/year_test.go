package keep_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/igproxy/igproxy/cache"
	"github.com/igproxy/igproxy/proxy/keep"
)

// This test runs a fleet of five sidecars for a year of simulated time. Each user makes calls at
// random times, always with the first token that Meta issued to the user. The shelf plays the part
// of Redis. Meta and the shelf may have outages, and sidecars are restarted.

const (
	life    = 60 * day
	year    = 365 * day
	callFor = 20 * time.Second // the longest call to Meta

	// settle is how close to a call or a refresh an outage or a restart must be to excuse a refused
	// token. It is longer than a refresh, and longer than the pause of 15 minutes after a failed
	// refresh.
	settle = 20 * time.Minute
)

// period is a time during which Meta or the shelf is down, or a sidecar restarts.
type period struct{ from, to time.Time }

type periods []period

func (p periods) overlap(from, to time.Time) bool {
	for _, one := range p {
		if one.from.Before(to) && from.Before(one.to) {
			return true
		}
	}
	return false
}

// now reports whether the current time is in one of these periods.
func (p periods) now() bool { now := time.Now(); return p.overlap(now, now.Add(1)) }

// drawPeriods returns random periods for the year that begins at start. Each lasts less than
// length, and each gap before a period is less than gap.
func drawPeriods(random *rand.Rand, start time.Time, gap, length time.Duration) (all periods) {
	for at := start; at.Before(start.Add(year)); {
		at = at.Add(time.Duration(random.Int64N(int64(gap))))
		end := at.Add(time.Duration(random.Int64N(int64(length))))
		all = append(all, period{at, end})
		at = end
	}
	return all
}

// meta issues and refreshes tokens as Instagram does.
type meta struct {
	random *rand.Rand
	down   periods
	same   bool // a refresh may return the same token

	mu        sync.Mutex             // protects random and the fields below
	issued    map[string]time.Time   // by token
	ends      map[string]time.Time   // by token
	first     map[string]string      // for each token, the original token that it descends from
	refreshes map[string][]time.Time // by original token: the refreshes of it and its descendants
}

func (m *meta) issue(token, first string) time.Time {
	now := time.Now()
	m.issued[token], m.ends[token], m.first[token] = now, now.Add(life), first
	return now.Add(life)
}

func (m *meta) accepts(token string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return time.Now().Before(m.ends[token])
}

func (m *meta) refresh(_ context.Context, token string) keep.Result {
	m.mu.Lock()
	delay := time.Duration(m.random.Int64N(int64(callFor)))
	m.mu.Unlock()
	time.Sleep(delay)
	now := time.Now()
	if m.down.now() {
		return keep.Result{Cause: "unreached"}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	first := m.first[token]
	m.refreshes[first] = append(m.refreshes[first], now)
	if !now.Before(m.ends[token]) || now.Sub(m.issued[token]) < day {
		return keep.Result{Refused: true, Cause: "code 190"}
	}
	next := token
	if !m.same || m.random.IntN(2) == 0 {
		next = fmt.Sprintf("%s.%d", first, len(m.refreshes[first]))
	}
	return keep.Result{Token: next, Expires: m.issue(next, first)}
}

// last looks for the token that ends last among the descendants of first. It returns when that
// token was issued, and when it ends.
func (m *meta) last(first string) (issued, end time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for token, ends := range m.ends {
		if m.first[token] == first && ends.After(end) {
			issued, end = m.issued[token], ends
		}
	}
	return issued, end
}

// user sends the same token in every call.
type user struct {
	token  string
	key    cache.Key
	random *rand.Rand
	used   []time.Time // the calls that Meta accepted
}

func TestTokensThatAreUsedDoNotEndWithinAYear(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		seed := rapid.Uint64().Draw(r, "seed")
		same := rapid.Bool().Draw(r, "a refresh may return the same token")
		learned := rapid.Bool().Draw(r, "igproxy knows when the first token ends")
		outages := rapid.Bool().Draw(r, "outages")
		gap := time.Duration(rapid.IntRange(1, 30).Draw(r, "days between uses")) * day
		synctest.Test(t, func(*testing.T) { simulateYear(t, r, seed, same, learned, outages, gap) })
	})
}

func simulateYear(t *testing.T, r *rapid.T, seed uint64, same, learned, outages bool, gap time.Duration) {
	random, start := rand.New(rand.NewPCG(seed, 1)), time.Now()
	m := &meta{random: rand.New(rand.NewPCG(seed, 2)), same: same, issued: map[string]time.Time{}, ends: map[string]time.Time{},
		first: map[string]string{}, refreshes: map[string][]time.Time{}}
	s := newShelf()
	var shelfDown periods
	if outages {
		m.down, shelfDown = drawPeriods(random, start, 20*day, 4*day), drawPeriods(random, start, 20*day, day)
	}
	fleet := startFleet(s, 5)
	users := make([]*user, 3)
	var all sync.WaitGroup
	for i := range users {
		name := fmt.Sprint("token", i)
		own := rand.New(rand.NewPCG(seed, uint64(10+i))) //nolint:gosec // i is small
		u := &user{token: name, key: keyOf(t, name), random: own}
		users[i] = u
		m.mu.Lock()
		end := m.issue(u.token, u.token)
		m.mu.Unlock()
		if learned {
			fleet.any(u.random).Issued(u.key, end)
		}
		all.Go(func() {
			for time.Since(start) < year {
				time.Sleep(time.Duration(u.random.Int64N(int64(gap))) + time.Minute)
				s.setDown(shelfDown.now())
				if u.random.IntN(10) == 0 {
					fleet.restartOne(u.random)
				}
				for range 1 + u.random.IntN(3) { // calls in quick succession
					// While the shelf is down, the sidecar may be unable to read the successor.
					if !u.call(fleet.any(u.random), m) && !shelfDown.now() {
						issued, end := m.last(u.token)
						trouble := slices.Concat(m.down, shelfDown, fleet.restarts())
						switch {
						case time.Now().Before(end) && !trouble.overlap(issued.Add(-settle), issued.Add(settle)):
							r.Errorf("seed %d: a call with %s was refused, want it sent with the successor that Meta issued at %v", seed, u.token, issued)
						case u.shouldHaveBeenKept(end, trouble):
							r.Errorf("seed %d: a call with %s was refused, want a refresh before the end of its last successor at %v", seed, u.token, end)
						}
						return // the user has to log in again
					}
				}
			}
		})
	}
	all.Wait()
	fleet.stop()
	for first, times := range m.refreshes {
		for i := 1; i < len(times); i++ {
			if apart := times[i].Sub(times[i-1]); apart < settings.CheckEvery-callFor {
				r.Errorf("seed %d: the time between two refreshes of %s: got %s, want at least %s", seed, first, apart, settings.CheckEvery-callFor)
			}
		}
	}
}

// call makes a call as a sidecar does. It returns false if Meta refuses the token.
func (u *user) call(sidecar *running, m *meta) bool {
	kept, sent := sidecar.Find(context.Background(), keep.Token{App: "default", Key: u.key,
		Reveal: func() string { return u.token }, Refresh: m.refresh}), u.token
	if next, _, ok := kept.Successor(time.Now()); ok {
		sent = next
	}
	switch {
	case m.down.now():
		return true
	case !m.accepts(sent):
		return false
	}
	sidecar.Used(kept)
	u.used = append(u.used, time.Now())
	return true
}

// shouldHaveBeenKept reports whether a call of the user should have led to a refresh: a call that
// Meta accepted between ten days and 20 minutes before this end, with no trouble in the 20 minutes
// before and after the call.
func (u *user) shouldHaveBeenKept(end time.Time, trouble periods) bool {
	for _, at := range u.used {
		if at.After(end.Add(-settings.RefreshBefore)) && at.Before(end.Add(-settle)) && !trouble.overlap(at.Add(-settle), at.Add(settle)) {
			return true
		}
	}
	return false
}
