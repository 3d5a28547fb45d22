package cache

import (
	"context"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"
)

// The hint in simulated time: what it brings when it works, and how little it costs when it does not.

// counting is a shared tier that counts claims.
type counting struct {
	*model
	claims int
}

func (c *counting) claim(ctx context.Context, k Key, owner string, unusable []byte) (reply, error) {
	c.claims++
	return c.model.claim(ctx, k, owner, unusable)
}

func hinted(hinting string) *counting {
	return &counting{model: &model{random: rand.New(rand.NewPCG(1, 1)), hinting: hinting, down: func() bool { return false }}}
}

// follow lets one process lead and another one follow; lead is the leader's part. It returns how long after that the follower was
// answered, with what, and how often it asked.
func follow(t *testing.T, m *counting, lead func(*Claim)) (late time.Duration, cl *Claim, claims int) {
	t.Helper()
	k := keyOf(t, "short")
	leader, follower := processCache(t, m.model, time.Minute), processCache(t, m, time.Minute)
	leading := leader.Claim(t.Context(), k)
	wantOutcome(t, "the first", leading, Leader)
	done := make(chan *Claim)
	go func() { done <- follower.Claim(context.Background(), k) }()
	lead(leading)
	led := time.Now()
	cl = <-done
	late, claims = time.Since(led), m.claims
	cl.Release()
	for _, c := range []*Cache{leader, follower} {
		if err := c.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}
	return late, cl, claims
}

func stored() Entry { return Entry{Value: []byte("token"), Expires: time.Now().Add(time.Hour)} }

func TestAHintBringsTheAnswerAtOnce(t *testing.T) {
	for name, end := range map[string]struct {
		lead func(*Claim)
		want Outcome
	}{
		"answer":  {func(cl *Claim) { cl.Remember(stored(), nil) }, Followed},
		"failure": {func(cl *Claim) { cl.Fail(Entry{Value: []byte("failure"), Expires: time.Now().Add(time.Second)}) }, Failed},
		"nothing": {func(cl *Claim) { cl.Release() }, Leader},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				late, cl, claims := follow(t, hinted("sure"), func(cl *Claim) { time.Sleep(time.Second); end.lead(cl) })
				wantOutcome(t, "the follower", cl, end.want)
				if late != 0 {
					t.Errorf("it was answered %s late, want at once", late)
				}
				if most := 3 + int(time.Second/longestPoll); claims > most {
					t.Errorf("it asked %d times in a second, want at most %d", claims, most)
				}
			})
		})
	}
}

// The message gets lost: the next poll finds the answer.
func TestALostHintCostsAPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := hinted("sure")
		late, cl, _ := follow(t, m, func(cl *Claim) {
			time.Sleep(time.Second)
			m.mu.Lock()
			m.hints = nil
			m.mu.Unlock()
			cl.Remember(stored(), nil)
		})
		wantOutcome(t, "the follower", cl, Followed)
		if late == 0 || late > 2*longestPoll {
			t.Errorf("it was answered %s late, want a poll's pause", late)
		}
	})
}

// A leader that dies tells nobody: its lease ends, and polls notice it.
func TestADeadLeaderIsNoticedWithoutAHint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		late, cl, _ := follow(t, hinted("sure"), func(cl *Claim) {
			time.Sleep(2 * testLease)
			cl.lease.stop().wait()
		})
		wantOutcome(t, "the follower", cl, Leader)
		if late > testLease+300*time.Millisecond {
			t.Errorf("it was noticed after %s, want at most the lease and 300ms", late)
		}
	})
}

// Somebody who wakes followers for nothing does not make them ask without end.
func TestNoiseIsNotHeeded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := hinted("sure")
		_, cl, claims := follow(t, m, func(cl *Claim) {
			for range 10_000 {
				time.Sleep(time.Millisecond)
				m.noise()
			}
			cl.Remember(stored(), nil)
		})
		wantOutcome(t, "the follower", cl, Followed)
		if most := 1 + mostHints + int(10*time.Second/longestPoll); claims > most {
			t.Errorf("it asked %d times in 10 s, want at most %d", claims, most)
		}
	})
}
