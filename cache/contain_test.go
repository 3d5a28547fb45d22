package cache

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// panicking is a shared tier with a defect: one operation panics. The other operations work.
type panicking struct{ operation string }

func (p panicking) panics(operation string) {
	if p.operation == operation {
		panic("a token")
	}
}

func (p panicking) claim(context.Context, Key, string, []byte) (reply, error) {
	p.panics("claim")
	return reply{leader: true}, nil
}

func (p panicking) publish(Key, string, []byte, time.Duration, []byte, sealedIndex) ([]byte, error) {
	p.panics("publish")
	return nil, nil
}

func (p panicking) read(context.Context, Key) ([]byte, error) {
	p.panics("load")
	return nil, nil
}

func (p panicking) renew(Key, string) (bool, error) {
	p.panics("renew")
	return true, nil
}

func (p panicking) release(Key, string, []byte, time.Duration) error {
	p.panics("release")
	return nil
}

// A panic in the code that talks to Redis ends neither the request nor the process: the caller
// continues without Redis. The log names the place of the panic, but not its value.
func TestCallersContinueWithoutRedisAfterAPanicInItsTier(t *testing.T) {
	for operation, want := range map[string]Outcome{"claim": Alone, "publish": Leader, "renew": Leader, "release": Leader} {
		t.Run(operation, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &recorder{}
				c := newCache(t, Options{Observer: r, Logger: r.logger()})
				c.shared, c.lease, c.wait, c.patience = panicking{operation}, testLease, time.Second, 50*time.Millisecond
				k := keyOf(t, "token")
				cl := c.Claim(t.Context(), k)
				wantOutcome(t, "the claim", cl, want)
				time.Sleep(testLease) // long enough for renewals
				if operation == "release" {
					cl.Release()
				} else {
					cl.Remember(lasting("value"), nil)
					if e, ok := c.Recall(k); !ok || string(e.Value) != "value" {
						t.Errorf("recalled %q, found %v; want \"value\", found true", e.Value, ok)
					}
				}
				closeCache(t, c)
				if lines := r.lines(); len(lines) != 1 || !strings.Contains(lines[0], "panic in the cache") || strings.Contains(lines[0], "a token") {
					t.Errorf("logged %q, want one line that has \"panic in the cache\", but not \"a token\"", lines)
				}
			})
		})
	}
}
