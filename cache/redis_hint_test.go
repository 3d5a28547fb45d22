package cache

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/igproxy/igproxy/cache/redistest"
)

// The hint on real Redis.

// heard waits for a hint.
func heard(t *testing.T, what string, hint <-chan struct{}) {
	t.Helper()
	select {
	case <-hint:
	case <-time.After(patient):
		t.Fatalf("%s: no hint", what)
	}
}

// unheard wants no hint to be there.
func unheard(t *testing.T, what string, hint <-chan struct{}) {
	t.Helper()
	select {
	case <-hint:
		t.Errorf("%s: a hint for nothing", what)
	default:
	}
}

// listens follows a token and waits until it is heard what happens to it.
func listens(t *testing.T, c *Cache, k Key) (hint <-chan struct{}) {
	t.Helper()
	hint, cancel := c.shared.wake(k)
	t.Cleanup(cancel)
	heard(t, "the subscription becomes active", hint)
	return hint
}

// hintAndTell is the story every Redis must be good for: a follower hears when its token's answer is stored and when it will not be.
func hintAndTell(t *testing.T, o RedisOptions) {
	t.Helper()
	leader, follower := fleet(t, o, nil), fleet(t, o, nil)
	hints := map[string]<-chan struct{}{}
	for ending, end := range map[string]func(*Claim){
		"answer":  func(cl *Claim) { cl.Remember(lasting("token"), nil) },
		"failure": func(cl *Claim) { cl.Fail(lasting("failure")) },
		"nothing": func(cl *Claim) { cl.Release() },
	} {
		k := keyOf(t, "hint: "+ending)
		cl := leader.Claim(t.Context(), k)
		wantOutcome(t, ending, cl, Leader)
		hints[ending] = listens(t, follower, k)
		end(cl)
		heard(t, ending, hints[ending])
	}
	for ending, hint := range hints {
		unheard(t, ending, hint)
	}
}

// subscribers are the connections that listen.
func subscribers(s *redistest.Server) int {
	return strings.Count(fmt.Sprint(s.Do("CLIENT", "LIST", "TYPE", "pubsub")), "addr=") / 2 // laddr= is the other
}

func TestAllFollowersShareOneConnectionWhichEnds(t *testing.T) {
	server := redistest.Start(t)
	c := fleet(t, single(server), nil)
	c.redis.hints.idle = 50 * time.Millisecond
	keys := keysOf(t, "secret", "app", "scope")
	var cancels []func()
	for i := range 200 {
		hint, cancel := c.shared.wake(keys.Derive(fmt.Sprint("token", i)))
		cancels = append(cancels, cancel)
		heard(t, "the subscription becomes active", hint)
	}
	again, cancel := c.shared.wake(keys.Derive("token7"))
	heard(t, "a second follower of one token, at once", again)
	if n := subscribers(server); n != 1 {
		t.Errorf("%d connections for 200 followers, want 1", n)
	}
	cancel()
	for _, cancel := range cancels {
		cancel()
	}
	eventually(t, "nobody follows, and the connection is closed", func() bool { return subscribers(server) == 0 })
	listens(t, c, keyOf(t, "later"))
	if n := subscribers(server); n != 1 {
		t.Errorf("%d connections for a later follower, want 1", n)
	}
}

func TestChannelsNobodyFollowsAreLeft(t *testing.T) {
	server := redistest.Start(t)
	c := fleet(t, single(server), nil)
	keys := keysOf(t, "secret", "app", "scope")
	for i := range 5 * mostStale {
		hint, cancel := c.shared.wake(keys.Derive(fmt.Sprint("token", i)))
		heard(t, "the subscription becomes active", hint)
		cancel()
	}
	eventually(t, "stale channels are left", func() bool {
		return len(server.Do("PUBSUB", "CHANNELS").([]any)) <= mostStale+1
	})
}

func TestFollowersBeyondTheBoundPoll(t *testing.T) {
	server := redistest.Start(t)
	c := fleet(t, single(server), nil)
	keys := keysOf(t, "secret", "app", "scope")
	for i := range maxFollowed {
		if hint, cancel := c.shared.wake(keys.Derive(fmt.Sprint("token", i))); hint == nil {
			t.Fatalf("follower %d has no hint", i)
		} else {
			t.Cleanup(cancel)
		}
	}
	hint, cancel := c.shared.wake(keyOf(t, "one more"))
	if cancel(); hint != nil {
		t.Errorf("follower %d has a hint", maxFollowed)
	}
}

// The connection is cut, Redis restarts: followers poll meanwhile, and hear again soon after.
func TestABrokenSubscriptionIsMadeAnew(t *testing.T) {
	server := redistest.Start(t)
	leader := fleet(t, single(server), nil)
	c, r := over(t, patiently(server))
	k := keyOf(t, "token")
	hint := listens(t, c, k)
	for what, breakIt := range map[string]func(){
		"killed":    func() { server.Do("CLIENT", "KILL", "TYPE", "pubsub") },
		"restarted": server.Restart,
	} {
		breakIt()
		heard(t, what+": the subscription is active again", hint)
		wantHeard := func() bool { // the first message may have gone to a connection of before
			leader.redis.publish(k, "nobody", []byte("sealed"), time.Hour, nil)
			server.Do("DEL", "igproxy:{"+k.ID().String()+"}:v")
			return len(hint) > 0
		}
		eventually(t, what+": it hears", wantHeard)
		<-hint
	}
	if r.of("fault subscribe broken") == 0 {
		t.Errorf("counted %v", r.all())
	}
	if h := c.Health(); h.State != "ok" || len(r.lines()) != 0 {
		t.Errorf("a broken subscription is told as Redis's: %+v, %q", h, r.lines())
	}
}

// A subscription whose connection hangs is given up.
func TestASubscriptionThatIsNotConfirmedIsGivenUp(t *testing.T) {
	addr := fakeRedis(t, func(command []string) string {
		switch strings.ToLower(command[0]) {
		case "subscribe":
			return "+\r\n" // says something, and confirms nothing
		}
		return unknownCommand
	})
	c, r := over(t, RedisOptions{Addrs: []string{addr}, StoreTimeout: 50 * time.Millisecond})
	hint, cancel := c.shared.wake(keyOf(t, "token"))
	defer cancel()
	eventually(t, "it is counted", func() bool { return r.of("fault subscribe timeout") > 1 })
	unheard(t, "a hung connection", hint)
}

// Whatever comes in place of messages wakes nobody and breaks nothing.
func TestGarbageOnTheSubscriptionIsAFault(t *testing.T) {
	for name, garbage := range map[string]string{
		"empty":         "*0\r\n",
		"numbers":       "*3\r\n:1\r\n:2\r\n:3\r\n",
		"short":         "*1\r\n$9\r\nsubscribe\r\n",
		"bad count":     "*3\r\n$9\r\nsubscribe\r\n$1\r\nx\r\n$1\r\ny\r\n",
		"short message": "*2\r\n$7\r\nmessage\r\n$1\r\nx\r\n",
		"nested":        "*3\r\n$7\r\nmessage\r\n$1\r\nx\r\n*1\r\n:1\r\n",
		"no reply":      "HTTP/1.1 400 Bad Request\r\n",
		"error":         "-LOADING\r\n",
		"cut":           "*3\r\n$9\r\nsub",
		"reset":         hangUp,
		"closed":        "",
	} {
		t.Run(name, func(t *testing.T) {
			var asked atomic.Int32
			addr := fakeRedis(t, func(command []string) string {
				if strings.EqualFold(command[0], "subscribe") {
					asked.Add(1)
					return garbage
				}
				return unknownCommand
			})
			c, r := over(t, RedisOptions{Addrs: []string{addr}, StoreTimeout: patient})
			hint, cancel := c.shared.wake(keyOf(t, "token"))
			defer cancel()
			eventually(t, "it tries again", func() bool { return asked.Load() > 1 })
			unheard(t, name, hint)
			faults := 0
			for what, n := range r.all() {
				if strings.HasPrefix(what, "fault subscribe ") {
					faults += n
				}
			}
			if faults == 0 || c.Health().State != "ok" {
				t.Errorf("counted %v, health %+v", r.all(), c.Health())
			}
		})
	}
}

// Messages of other channels, and confirmations of them, are nobody's.
func TestMessagesOfOtherChannelsWakeNobody(t *testing.T) {
	server := redistest.Start(t)
	c := fleet(t, single(server), nil)
	mine, stale := keyOf(t, "mine"), keyOf(t, "stale")
	hint := listens(t, c, mine)
	_, cancel := c.shared.wake(stale)
	eventually(t, "the other channel is subscribed to", func() bool {
		return len(server.Do("PUBSUB", "CHANNELS").([]any)) == 2
	})
	cancel()
	server.Do("PUBLISH", c.redis.channel(stale), "garbage")
	server.Do("PUBLISH", c.redis.channel(keyOf(t, "unknown")), "garbage")
	last := listens(t, c, keyOf(t, "last")) // it comes behind them
	unheard(t, "mine", hint)
	server.Do("PUBLISH", c.redis.channel(mine), "garbage")
	heard(t, "mine", hint)
	unheard(t, "the last", last)
}

func TestNobodySubscribesWhileRedisIsLeftAlone(t *testing.T) {
	var alive atomic.Bool
	var pings, subscriptions atomic.Int32
	addr := fakeRedis(t, func(command []string) string {
		switch strings.ToLower(command[0]) {
		case "ping":
			pings.Add(1)
			if alive.Load() {
				return "+PONG\r\n"
			}
		case "subscribe":
			subscriptions.Add(1)
			var confirmed strings.Builder
			for _, channel := range command[1:] {
				fmt.Fprintf(&confirmed, "*3\r\n$9\r\nsubscribe\r\n$%d\r\n%s\r\n:1\r\n", len(channel), channel)
			}
			return confirmed.String()
		}
		return unknownCommand
	})
	c, r := over(t, RedisOptions{Addrs: []string{addr}, StoreTimeout: patient})
	listens(t, c, keyOf(t, "before"))
	for range faultsToOpen {
		c.redis.gate.report(kindTimeout, time.Now())
	}
	hint, cancel := c.shared.wake(keyOf(t, "meanwhile"))
	defer cancel()
	eventually(t, "Redis is asked whether it is back", func() bool { return pings.Load() > 2 })
	if n := subscriptions.Load(); n != 1 {
		t.Errorf("%d subscriptions, want none but the one of before", n)
	}
	unheard(t, "Redis is left alone", hint)
	alive.Store(true)
	heard(t, "the subscription becomes active when it is back", hint)
	for what := range r.all() {
		if strings.HasPrefix(what, "fault subscribe") {
			t.Errorf("a fault was counted though nothing was asked: %s", what)
		}
	}
}

func TestCloseEndsTheSubscription(t *testing.T) {
	for name, o := range map[string]func(*redistest.Server) RedisOptions{
		"listening": single,
		"refused": func(s *redistest.Server) RedisOptions {
			s.Kill()
			return single(s)
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := redistest.Start(t)
			c := fleet(t, o(server), nil)
			hint, cancel := c.shared.wake(keyOf(t, "token"))
			defer cancel()
			if name == "listening" {
				heard(t, "the subscription becomes active", hint)
			}
			if err := c.Close(context.Background()); err != nil {
				t.Fatal(err)
			}
			if hint, cancel := c.shared.wake(keyOf(t, "late")); hint != nil {
				t.Errorf("a closed cache gives hints")
				cancel()
			}
		})
	}
}

// Without the hint's permissions everything works by polling; the log says so once, and what to give.
func TestWithoutTheHintsPermissionsFollowersPoll(t *testing.T) {
	server := redistest.Start(t)
	const least = "~igproxy:* +get +set +del +eval +evalsha +ping"
	for user, rules := range map[string]string{
		"permission_publish":     least + " &igproxy:* +subscribe +unsubscribe",
		"permission_subscribe":   least + " &igproxy:* +publish +unsubscribe",
		"permission_unsubscribe": least + " &igproxy:* +publish +subscribe",
		"permission_channels":    least + " &other:* +publish +subscribe +unsubscribe",
		"plain_publish":          "~igproxy:* +get +set +del +ping &igproxy:* +subscribe +unsubscribe",
	} {
		server.Do(append([]string{"ACL", "SETUSER", user, "on", ">pw", "resetchannels"}, strings.Fields(rules)...)...)
		t.Run(user, func(t *testing.T) {
			var log safeBuilder
			o := RedisOptions{Mode: ModeSingle, URL: "redis://" + user + ":pw@" + server.Addr()}
			logger := slog.New(slog.NewTextHandler(&log, nil))
			k := keyOf(t, user)
			leader, follower := fleet(t, o, logger), fleet(t, o, nil)
			follower.redis.log = logger
			cl := leader.Claim(t.Context(), k)
			wantOutcome(t, "the first", cl, Leader)
			done := make(chan *Claim)
			go func() { done <- follower.Claim(context.Background(), k) }() // ends within Wait
			eventually(t, "it follows", func() bool {
				h := follower.redis.hints
				h.mu.Lock()
				defer h.mu.Unlock()
				return len(h.followed) == 1
			})
			cl.Remember(lasting("token"), nil)
			wantOutcome(t, "the follower", <-done, Followed)
			if user == "permission_unsubscribe" { // it is asked for once there are many channels to leave
				keys := keysOf(t, "secret", "app", "scope")
				for i := range mostStale {
					hint, cancel := follower.shared.wake(keys.Derive(fmt.Sprint("token", i)))
					if i < mostStale-1 {
						heard(t, "the subscription becomes active", hint)
					}
					cancel()
				}
			}
			eventually(t, "the log says it", func() bool { return strings.Contains(log.String(), "redis does not permit the hint") })
			text := log.String()
			if kind := strings.Replace(user, "plain_", "permission_", 1); !strings.Contains(text, "level=WARN") || !strings.Contains(text, kind) ||
				!strings.Contains(text, "&PREFIX:* +publish +subscribe +unsubscribe") || strings.Contains(text, "level=ERROR") {
				t.Errorf("the log:\n%s", text)
			}
			if state := follower.Health().State; state != "ok" {
				t.Errorf("Redis is %s", state)
			}
		})
	}
}
