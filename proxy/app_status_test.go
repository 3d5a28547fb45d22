package proxy

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/igproxy/igproxy/breaker"
	"github.com/igproxy/igproxy/proxy/mock"
)

func TestTheStatusOfAnAppHasItsPauseItsBreakerAndTheStateOfItsSecret(t *testing.T) {
	_, upstream := newInstagram(t, mock.ServerOptions{})
	o := optionsFor(t, upstream.URL, nil)
	o.Retries, o.Breaker.Failures = 0, 2
	for i, label := range []string{"good", "limited", "wrong", "down"} {
		o.Apps = append(o.Apps, App{Label: label, ID: string(rune('1' + i)), Secret: NewSecret(testSecret)})
	}
	o.Apps = o.Apps[1:]
	o.Apps[2].Secret = NewSecret("another secret")
	p := newProxy(t, o)
	for _, path := range []string{"/apps/good" + target("IGAA-1"), "/apps/limited" + target("limit4-1"), "/apps/wrong" + target("IGAA-2"),
		"/apps/down" + target("down-1"), "/apps/down" + target("down-2")} {
		_ = ask(p, httptest.NewRequest(http.MethodGet, path, nil))
	}
	got := p.Apps()
	if len(got) != 4 {
		t.Fatalf("got %+v, want four apps", got)
	}
	good, limited, wrong, down := got[0], got[1], got[2], got[3]
	if good.Name != "good" || good.Service != Instagram || good.ClientSecret != "accepted" || good.Hold != nil || good.Breaker != breaker.Closed || good.InFlight != 0 {
		t.Errorf("got %+v, want an accepted secret, no hold and a closed breaker", good)
	}
	if limited.Hold == nil || !limited.Hold.Until.After(time.Now()) || limited.Hold.Why != "rate limit of the app" || !limited.Hold.Resumable {
		t.Errorf("got %+v with the hold %+v, want a resumable hold for the rate limit", limited, limited.Hold)
	}
	if wrong.ClientSecret != "refused" || wrong.Hold == nil || wrong.Hold.Why != "Meta refused the client secret" || wrong.Hold.Resumable {
		t.Errorf("got %+v with the hold %+v, want a refused secret, and a hold for it that is not resumable", wrong, wrong.Hold)
	}
	if down.Breaker != breaker.Open || !slices.Equal(down.NotClosed, []string{"exchange"}) {
		t.Errorf("got %+v, want the breaker of exchange open", down)
	}
}
