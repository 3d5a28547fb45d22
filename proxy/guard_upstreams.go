package proxy

import (
	"slices"
	"time"

	"github.com/igproxy/igproxy/breaker"
)

// Upstream is the state of one of Meta's hosts.
type Upstream struct {
	Name        string          // instagram, login or threads
	InFlight    int             // calls
	MaxInFlight int             // calls of one app and grant
	Breaker     breaker.State   // the worst state of its breakers
	Changes     []BreakerChange // the last changes of Breaker, the newest first
}

// BreakerChange is a change of an upstream's breakers to another worst state.
type BreakerChange struct {
	At time.Time     `json:"at"`
	To breaker.State `json:"to"`
}

// Upstreams returns the current state of every upstream, always in the same order.
func (p *Proxy) Upstreams() (list []Upstream) {
	for _, name := range upstreams {
		c := p.carried.circuits
		list = append(list, Upstream{Name: name, InFlight: c.inFlight(name), MaxInFlight: c.places, Breaker: c.worst(name), Changes: c.lastChanges(name)})
	}
	return list
}

// maxChanges bounds the changes that are kept of each upstream.
const maxChanges = 20

// noteChange keeps a change of an upstream's breakers, unless another of them is in a worse state.
func (s *circuits) noteChange(upstream string, worst breaker.State, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.changes[upstream]
	if len(list) > 0 && list[len(list)-1].To == worst {
		return
	}
	list = append(list, BreakerChange{at, worst})
	s.changes[upstream] = list[max(0, len(list)-maxChanges):]
}

// lastChanges returns an upstream's changes, the newest first.
func (s *circuits) lastChanges(upstream string) []BreakerChange {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := slices.Clone(s.changes[upstream])
	slices.Reverse(list)
	return list
}
