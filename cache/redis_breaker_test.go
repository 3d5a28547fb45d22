package cache

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/igproxy/igproxy/breaker"
)

// replied is an error reply from Redis.
type replied string

func (r replied) Error() string { return string(r) }
func (replied) RedisError()     {}

var faultOf = map[string]error{
	"":           nil,
	kindTimeout:  context.DeadlineExceeded,
	kindRefused:  syscall.ECONNREFUSED,
	kindOther:    errors.New("another fault"),
	kindAuth:     replied("NOAUTH Authentication required."),
	kindReadOnly: replied("READONLY You can't write against a read only replica."),
	kindOOM:      replied("OOM command not allowed"),
	kindMoved:    replied("MOVED 1 127.0.0.1:1"),
	kindTryAgain: replied("TRYAGAIN Multiple keys request during rehashing of slot"),
}

// tested is a tier without Redis, and the recorder that observes it.
type tested struct {
	*redisTier
	*recorder
}

func newTested(t *testing.T) tested {
	t.Helper()
	r := &recorder{}
	tier, err := newRedisTier(RedisOptions{Mode: ModeSingle, Addrs: []string{"127.0.0.1:1"}}, r, r.logger())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tier.close)
	return tested{tier, r}
}

// request runs a claim that takes the given time and ends with the given kind of error. It reports
// whether the breaker let the claim through.
func (s tested) request(kind string, takes time.Duration) (asked bool) {
	_ = s.do(context.Background(), "claim", time.Second, func(context.Context, *client) error {
		asked = true
		time.Sleep(takes)
		return faultOf[kind]
	})
	return asked
}

// background runs a read of the purges that ends with the given kind of error. It reports whether
// the breaker let the read through.
func (s tested) background(kind string) (asked bool) {
	_ = s.probe(context.Background(), "purge", time.Second, func(context.Context, *client) error {
		asked = true
		return faultOf[kind]
	})
	return asked
}

func (s tested) isOpen() bool { return s.breaker.State() != breaker.Closed }

func TestThreeConsecutiveFaultsOpenTheBreaker(t *testing.T) {
	const ok = ""
	for _, c := range []struct {
		kinds []string
		open  bool
	}{
		{nil, false},
		{[]string{ok, ok, ok, ok}, false},
		{[]string{kindTimeout, kindTimeout}, false},
		{[]string{kindTimeout, kindTimeout, kindTimeout}, true},
		{[]string{kindRefused, kindTimeout, kindOther}, true},
		{[]string{kindTimeout, kindTimeout, ok, kindTimeout, kindTimeout}, false},
		{[]string{kindTimeout, kindTimeout, ok, kindTimeout, kindTimeout, kindTimeout}, true},
		{[]string{kindReadOnly, kindOOM, kindMoved, kindTryAgain, kindReadOnly, kindOOM}, false},
		{[]string{kindTimeout, kindReadOnly, kindTimeout, kindOOM}, false},
		{[]string{kindTimeout, kindReadOnly, kindTimeout, kindMoved, kindTimeout}, true},
		{[]string{kindAuth, kindAuth, kindAuth}, true},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newTested(t)
			for _, kind := range c.kinds {
				time.Sleep(time.Millisecond)
				s.request(kind, 0)
			}
			want := Health{State: "ok"}
			if c.open {
				want = Health{State: "degraded", Kind: c.kinds[len(c.kinds)-1], Since: time.Now()}
			}
			if got := s.health(); s.isOpen() != c.open || got != want {
				t.Errorf("after %q: open is %v, want %v; health is %+v, want %+v", c.kinds, s.isOpen(), c.open, got, want)
			}
		})
	}
}

// Regression test: the claims of a burst of new tokens timed out while they waited for a
// connection, and all these faults together opened the breaker.
func TestConcurrentFaultsCountOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTested(t)
		for wave := range faultsToOpen {
			for range 100 {
				go s.request(kindTimeout, 50*time.Millisecond)
			}
			time.Sleep(60 * time.Millisecond)
			synctest.Wait()
			if s.isOpen() != (wave == faultsToOpen-1) {
				t.Errorf("after wave %d of %d: open is %v, want %v", wave+1, faultsToOpen, s.isOpen(), wave == faultsToOpen-1)
			}
		}
	})
}

// fail opens the breaker.
func (s tested) fail() {
	for range faultsToOpen {
		time.Sleep(time.Millisecond)
		s.request(kindTimeout, 0)
	}
}

func TestOutageIsLoggedOnceAtStartAndEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTested(t)
		s.fail()
		began := time.Now()
		for range 100 { // every call fails for a minute
			time.Sleep(600 * time.Millisecond)
			s.background(kindRefused)
			if s.request("", 0) {
				t.Fatal("a request during the outage: sent to Redis, want it refused")
			}
		}
		if h := s.health(); h.State != "degraded" || h.Kind != kindRefused || !h.Since.Equal(began) {
			t.Errorf("health %+v, want degraded since %v, by a fault of kind %s", h, began, kindRefused)
		}
		time.Sleep(600 * time.Millisecond)
		s.background("")
		if asked := s.request("", 0); !asked || s.health() != (Health{State: "ok"}) {
			t.Errorf("after the outage: Redis was asked: %v, want true; health is %+v, want ok", asked, s.health())
		}
		lines := s.lines()
		if len(lines) != 2 || !strings.Contains(lines[0], `level=WARN msg="redis degraded" kind=timeout next_step=`) ||
			!strings.Contains(lines[1], fmt.Sprintf(`level=INFO msg="redis back" after_ms=%d`, time.Since(began).Milliseconds())) {
			t.Errorf("%d lines, want 2, one when the outage begins and one when it ends; the log:\n%s", len(lines), strings.Join(lines, "\n"))
		}
		if got := s.statesSoFar(); got != "[true false true]" {
			t.Errorf("the states were %s, want [true false true]", got)
		}
	})
}

func TestTwoFaultsAfterAnOutageDoNotOpenTheBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTested(t)
		s.fail()
		time.Sleep(leaveAlone + time.Millisecond)
		s.background("")
		time.Sleep(time.Millisecond)
		s.request(kindTimeout, 0)
		time.Sleep(time.Millisecond)
		s.request(kindTimeout, 0)
		if s.isOpen() {
			t.Error("after the outage and two faults: open is true, want false")
		}
	})
}

func TestRedisIsNotProbedWhileTheBreakerIsOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTested(t)
		s.fail()
		time.Sleep(leaveAlone - time.Millisecond)
		if s.background("") {
			t.Errorf("less than %s after the breaker opened: Redis was asked, want the read refused", leaveAlone)
		}
		time.Sleep(2 * time.Millisecond)
		if !s.background("") {
			t.Errorf("more than %s after the breaker opened: the read was refused, want Redis asked", leaveAlone)
		}
	})
}

// go-redis panics on some malformed replies.
func TestPanicInTheRedisLibraryIsAFault(t *testing.T) {
	s := newTested(t)
	err := s.do(context.Background(), "claim", time.Second, func(context.Context, *client) error { panic("a reply of another form") })
	if err == nil || !strings.Contains(err.Error(), kindDesync) || s.of("fault claim desync") != 1 {
		t.Errorf("got %v, want an error of kind %s; counted %v, want one such fault", err, kindDesync, s.all())
	}
}
