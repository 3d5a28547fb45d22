package proxy

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/igproxy/igproxy/breaker"
)

func TestSinceIsWhenTheWorstStateChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newGuarded(t, 1, nil).circuits
		if !s.since(upstreamGraph).IsZero() {
			t.Error("since returns a time before any breaker has changed")
		}
		one, another := callFor(t, "a"), callFor(t, "b")
		another.redirect = "https://app.example/callback"
		opens := func(c call) {
			for range 3 {
				_ = s.of(c).Do(func() breaker.Verdict { return breaker.Failure })
			}
		}
		opens(one)
		opened := time.Now()
		time.Sleep(time.Second)
		opens(another)
		if got := s.since(upstreamGraph); !got.Equal(opened) || s.worst(upstreamGraph) != breaker.Open || !s.since(upstreamLogin).IsZero() {
			t.Errorf("%s since %v, want %v", s.worst(upstreamGraph), got, opened)
		}
	})
}
