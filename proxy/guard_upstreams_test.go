package proxy

import (
	"testing"
	"time"

	"github.com/igproxy/igproxy/breaker"
)

func TestTheLastTwentyChangesOfEachUpstreamAreKept(t *testing.T) {
	s, err := newCircuits(optionsFor(t, "https://127.0.0.1:1", nil).Breaker, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	for i := range 25 {
		to := []breaker.State{breaker.Open, breaker.HalfOpen}[i%2]
		s.noteChange("instagram", to, start.Add(time.Duration(i)*time.Second))
		s.noteChange("instagram", to, start.Add(time.Duration(i)*time.Second+1)) // another breaker, which changes nothing
	}
	s.noteChange("threads", breaker.HalfOpen, start)
	got := s.lastChanges("instagram")
	if len(got) != maxChanges || !got[0].At.Equal(start.Add(24*time.Second)) || !got[19].At.Equal(start.Add(5*time.Second)) ||
		len(s.lastChanges("threads")) != 1 || len(s.lastChanges("login")) != 0 {
		t.Errorf("%d changes, from %v to %v", len(got), got[0], got[len(got)-1])
	}
}
