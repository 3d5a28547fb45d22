package proxy

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/igproxy/igproxy/cache"
)

// exchangeFunc is a step made of a function.
type exchangeFunc func(context.Context, call) (answer, error)

func (f exchangeFunc) Exchange(ctx context.Context, c call) (answer, error) { return f(ctx, c) }

// callFor is a decoded request for a token.
func callFor(t testing.TB, token string) call {
	t.Helper()
	e := testEngine(t)
	return call{grant: e.grants[0], app: e.app, token: NewSecret(token), key: e.app.keys["exchange"].Derive(token)}
}

func tokenAnswer(t testing.TB, long string, life time.Duration) answer {
	t.Helper()
	tok, err := decodeToken(fmt.Appendf(nil, `{"access_token":%q,"token_type":"bearer","expires_in":%d}`, long, int(life.Seconds())), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return answer{token: tok, source: sourceUpstream}
}

func refusalAnswer(code, subcode int, message string) answer {
	e := &GraphError{Status: 400, Type: "OAuthException", Code: code, Subcode: subcode, Message: message}
	e.class = classify(e)
	return answer{refusal: e, source: sourceUpstream}
}

func newCache(t testing.TB) *cache.Cache {
	t.Helper()
	c, err := cache.New(cache.Options{MaxEntries: 1000})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(context.Background()); err != nil {
			t.Errorf("closing the cache: %v", err)
		}
	})
	return c
}
