package proxy

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestTheClassOfAnAnswerDecidesHowLongItIsRemembered(t *testing.T) {
	for name, c := range map[string]struct {
		answer func(t testing.TB) answer
		want   time.Duration
	}{
		"token":               {func(t testing.TB) answer { return tokenAnswer(t, "l", 60*24*time.Hour) }, time.Hour},
		"token, 11m left":     {func(t testing.TB) answer { return tokenAnswer(t, "l", 11*time.Minute) }, 10 * time.Minute},
		"token, 1m left":      {func(t testing.TB) answer { return tokenAnswer(t, "l", time.Minute) }, 0},
		"expired":             {func(testing.TB) answer { return refusalAnswer(190, 463, "m") }, time.Minute},
		"already long-lived":  {func(testing.TB) answer { return refusalAnswer(452, 4279019, "m") }, time.Minute},
		"no access":           {func(testing.TB) answer { return refusalAnswer(100, 0, "Unsupported request - method type: get") }, 10 * time.Second},
		"wrong secret":        {func(testing.TB) answer { return refusalAnswer(100, 0, "Error validating client secret.") }, 0},
		"permission, 10":      {func(testing.TB) answer { return refusalAnswer(10, 0, "m") }, 10 * time.Second},
		"permission, 200":     {func(testing.TB) answer { return refusalAnswer(200, 0, "m") }, 10 * time.Second},
		"app limit":           {func(testing.TB) answer { return refusalAnswer(4, 0, "m") }, 0},
		"unknown code":        {func(testing.TB) answer { return refusalAnswer(36000, 0, "m") }, 10 * time.Second},
		"repeated in a pause": {func(testing.TB) answer { a := refusalAnswer(190, 0, "m"); a.source = sourceHold; return a }, 0},
		"user limit, 2m pause": {func(testing.TB) answer {
			a := refusalAnswer(17, 0, "m")
			a.refusal.RetryAt = time.Now().Add(2 * time.Minute)
			return a
		}, 2 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := newCache(t)
				asked := 0
				s := &claimStep{cache: store, negativeTTL: time.Minute, next: exchangeFunc(func(context.Context, call) (answer, error) {
					asked++
					return c.answer(t), nil
				})}
				short := callFor(t, "short")
				a, err := s.Exchange(t.Context(), short)
				if err != nil || a.left != c.want || a.stored != (c.want > 0) {
					t.Fatalf("remembered for %s, want %s; stored: %v, want %v; error: %v, want nil", a.left, c.want, a.stored, c.want > 0, err)
				}
				if c.want > 0 {
					time.Sleep(c.want - time.Second)
					if a, _ := s.Exchange(t.Context(), short); a.source != sourceMemory || a.left != time.Second {
						t.Errorf("a second before the end: got the answer from %s with %s left, want it from memory with 1s left", a.source, a.left)
					}
				}
				time.Sleep(time.Second)
				if _, _ = s.Exchange(t.Context(), short); asked != 2 {
					t.Errorf("after the answer has expired: Meta was asked %d times, want 2", asked)
				}
			})
		})
	}
}

// A worker that keeps sending one token must not use up the app's rate limit, whatever the code of
// the refusal is.
func TestRepeatedRefusalsCostFewCalls(t *testing.T) {
	for _, code := range []int{3, 10, 100, 102, 190, 200, 299, 452, 2500, 1349245} {
		synctest.Test(t, func(t *testing.T) {
			asked := 0
			s := &claimStep{cache: newCache(t), negativeTTL: time.Minute, next: exchangeFunc(func(context.Context, call) (answer, error) {
				asked++
				return refusalAnswer(code, 0, "m"), nil
			})}
			for range 50 {
				if a, err := s.Exchange(t.Context(), callFor(t, "short")); err != nil || a.refusal.Code != code {
					t.Fatalf("code %d: got the refusal %+v, want this code; got the error %v, want nil", code, a.refusal, err)
				}
				time.Sleep(time.Second)
			}
			if asked > 5 {
				t.Errorf("code %d: Meta was asked %d times by 50 requests, want at most 5", code, asked)
			}
		})
	}
}

// When Meta refuses a code, it usually does not say why. The reason may be a wrong client secret,
// which an operator can correct. So such a refusal is not remembered.
func TestRefusalOfALoginCodeIsNotRemembered(t *testing.T) {
	asked := 0
	s := &claimStep{cache: newCache(t), negativeTTL: time.Minute, next: exchangeFunc(func(context.Context, call) (answer, error) {
		asked++
		return refusalAnswer(400, 0, "m"), nil
	})}
	c := callFor(t, "code")
	c.grant = &grant{name: "exchange", subject: codeSubject}
	for range 2 {
		if a, err := s.Exchange(t.Context(), c); err != nil || a.stored {
			t.Errorf("stored: %v, want false; error: %v, want nil", a.stored, err)
		}
	}
	if asked != 2 {
		t.Errorf("Meta was asked %d times, want 2", asked)
	}
}

func TestAFailedCallIsNotRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newCache(t)
		s := &claimStep{cache: store, negativeTTL: time.Minute, next: exchangeFunc(func(context.Context, call) (answer, error) {
			return answer{}, errBadAnswer("test")
		})}
		for range 2 {
			if a, err := s.Exchange(t.Context(), callFor(t, "short")); err == nil || a.stored {
				t.Errorf("stored: %v, want false; error: %v, want an error", a.stored, err)
			}
		}
		if store.Len() != 0 {
			t.Errorf("the cache has %d entries, want 0", store.Len())
		}
	})
}
