package proxy

import (
	"time"

	"github.com/igproxy/igproxy/breaker"
)

// Upstream is the state of one of Meta's hosts.
type Upstream struct {
	Name        string          `json:"name"` // instagram, login or threads
	InFlight    int             `json:"in_flight"`
	MaxInFlight int             `json:"max_in_flight"` // limit of each app and grant
	Breaker     breaker.State   `json:"breaker"`       // the worst state of its breakers
	Changes     []BreakerChange `json:"changes"`       // the last changes of Breaker, newest first
}

// BreakerChange is a change of an upstream's breakers to another worst state.
type BreakerChange struct {
	At time.Time     `json:"at"`
	To breaker.State `json:"to"`
}

// Upstreams returns the current state of every upstream, always in the same order.
func (p *Proxy) Upstreams() (list []Upstream) {
	c := p.carried.circuits
	for _, name := range upstreams {
		list = append(list, Upstream{Name: name, InFlight: c.inFlight(name), MaxInFlight: c.places,
			Breaker: c.worst(name), Changes: c.lastChanges(name)})
	}
	return list
}

// maxChanges bounds the changes that are kept of each upstream.
const maxChanges = 20

// noteChange keeps a change of an upstream's breakers if their worst state has changed.
func (s *circuits) noteChange(upstream string, worst breaker.State, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.changes[upstream]
	if len(list) > 0 && list[0].To == worst {
		return
	}
	// A new list each time, because lastChanges hands it out.
	s.changes[upstream] = append([]BreakerChange{{at, worst}}, list[:min(len(list), maxChanges-1)]...)
}

// lastChanges returns an upstream's changes, newest first.
func (s *circuits) lastChanges(upstream string) []BreakerChange {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changes[upstream]
}
